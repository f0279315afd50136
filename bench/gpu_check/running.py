"""One ONNX Runtime session as a setting says, and a batch that it embeds again and again.

In: an ONNX file, a setting, images. Out: calls to be timed, with the copies between host and device inside or outside.
The engine's own session decides such things by itself; here each of them is turned alone. On the backend "cpu" the
same code runs with buffers in host memory, and the provider's options are left out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.gpu_check.setting import Setting
from semblance.errors import BackendError
from semblance.inference.backends.wheels import onnxruntime

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
THREADS = 1  # of the host: a device leaves them nothing to do

Array = NDArray[Any]
_MEETINGS = 3  # runs until a shape is known: the first picks kernels, the second may record a graph


def open_session(model: Path | bytes, setting: Setting, backend: str, *, records_placement: bool = False) -> Any:
    """An InferenceSession on `backend`. Raises BackendError where it would be on another provider than that."""
    ort = onnxruntime()
    if backend == "cuda":
        with contextlib.redirect_stdout(io.StringIO()):  # it prints advice, and stdout ends in a document
            ort.preload_dlls()  # finds the CUDA and cuDNN libraries that pip installed
    given = ort.SessionOptions()
    given.intra_op_num_threads = given.inter_op_num_threads = THREADS
    given.log_severity_level = 3
    if records_placement:
        given.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    elif backend != "cpu":
        given.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options = setting.provider_options() if backend == "cuda" else {}
    source = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(source, given, providers=[(PROVIDERS[backend], options)])
    if session.get_providers()[0] != PROVIDERS[backend]:
        raise BackendError(f"ONNX Runtime put the session on {session.get_providers()[0]}, not on {PROVIDERS[backend]}")
    return session


class Prepared:
    """A session that has met one batch of named inputs, and the calls that are timed."""

    def __init__(self, session: Any, setting: Setting, given: dict[str, Array], output: str, backend: str) -> None:
        """`given`: each input's array, C-contiguous; `output`: the one that is wanted."""
        self._session, self._given, self._output = session, given, output
        self._binding: Any = None
        if setting.io == "bound":
            self._bind(onnxruntime(), setting, backend)
        for _ in range(_MEETINGS):
            self.with_copies()

    @property
    def without_copies(self) -> Callable[[], None] | None:
        """The run alone, its input on the device already and its output left there; None for plain runs."""
        return None if self._binding is None else self._run

    def with_copies(self) -> Array:
        """From arrays in host memory to one in host memory."""
        if self._binding is None:
            return self._session.run([self._output], self._given)[0]  # type: ignore[no-any-return]
        for name, array in self._given.items():
            self._inputs[name].update_inplace(array)
        self._run()
        return self._result.numpy()  # type: ignore[no-any-return]

    def _run(self) -> None:
        self._session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()  # nothing is timed that has not ended

    def _bind(self, ort: Any, setting: Setting, backend: str) -> None:
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(array.copy(), backend, 0) for name, array in self._given.items()
        }
        shape, dtype = self._output_form()
        self._result = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, backend, 0)
        self._binding = self._session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output(self._output, self._result)
        self._options = ort.RunOptions()
        if setting.graphs and backend == "cuda":
            # a graph belongs to one shape and to one set of addresses, so each batch size has its own
            batch = len(next(iter(self._given.values())))
            self._options.add_run_config_entry("gpu_graph_id", str(batch))

    def _output_form(self) -> tuple[list[int], Any]:
        """Shape and dtype of the output: its batch is the input's, the others are fixed."""
        batch = len(next(iter(self._given.values())))
        (output,) = (each for each in self._session.get_outputs() if each.name == self._output)
        dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[output.type]
        return [batch, *output.shape[1:]], dtype


def prepare(session: Any, setting: Setting, images: NDArray[np.uint8], backend: str) -> Prepared:
    """`Prepared` for a model of ours: `image` [N, H, W, C] in, `embedding` [N, D] out."""
    return Prepared(session, setting, {"image": np.ascontiguousarray(images)}, "embedding", backend)
