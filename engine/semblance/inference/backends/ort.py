"""ONNX Runtime: one session on the provider of one row of the table.

In: an ONNX file and a row. Out: a runner whose nodes all lie on that row's provider. ONNX Runtime itself would warn and
put a GPU session on the CPU, so every row but the CPU's forbids that with `session.disable_cpu_ep_fallback`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.errors import BackendError, ModelError
from semblance.inference.backends.options import LoadOptions
from semblance.inference.backends.providers import Options, Provider
from semblance.inference.backends.wheels import installed_wheels, onnxruntime


class OrtRunner:
    """One ONNX Runtime session on one provider."""

    def __init__(self, model: Path, row: Provider, options: LoadOptions) -> None:
        """Load `model`. Raises BackendError, RuntimeMissing, ModelError."""
        self._session = open_session(model, row, options)
        _check_signature(model, self._session)
        self._failures = failures()
        self.description = f"onnxruntime {onnxruntime().__version__}, {row.provider}, {options.threads} threads"
        if options.streams > 1:
            self.description += f" in each of {options.streams} streams"

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8 -> [N, D] float32. Raises BackendError where ONNX Runtime fails."""
        try:
            embedding: NDArray[np.float32] = self._session.run(["embedding"], {"image": images})[0]
        except self._failures as error:
            raise BackendError(
                f"{self.description} failed on a batch of {len(images)}: {_first_line(error)}"
            ) from error
        return embedding

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""
        if self._session.get_providers()[0] != "CPUExecutionProvider":
            return  # what it reserved lies on the device
        # ONNX Runtime gives back at the end of a run, of the smallest one here
        options = onnxruntime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        (image,) = self._session.get_inputs()
        with suppress(*self._failures):  # then it keeps what it has, and the next batch says what is wrong
            self._session.run(["embedding"], {"image": np.zeros((1, *image.shape[1:]), np.uint8)}, options)


def open_session(model: Path, row: Provider, options: LoadOptions, *, provider_options: Options | None = None) -> Any:
    """An `InferenceSession` of the graph in `model`, all of it on the provider of `row`, or an error that says why not.

    `provider_options` take the place of those of the row. Raises BackendError, RuntimeMissing, ModelError.
    """
    ort = onnxruntime()
    if row.provider not in ort.get_available_providers():
        raise BackendError(
            f"backend {row.name!r} needs {row.provider}, which this onnxruntime {ort.__version__} does not have "
            f"(it has {', '.join(ort.get_available_providers())}); "
            f"uninstall {' and '.join(installed_wheels())}, then: {row.install}"
        )
    if row.name in ("cuda", "tensorrt"):
        ort.preload_dlls()  # finds the CUDA and cuDNN libraries that pip installed
    given = ort.SessionOptions()
    given.intra_op_num_threads = options.threads
    given.inter_op_num_threads = 1
    given.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    given.log_severity_level = 3  # its warnings speak to developers of runtimes, not to our users
    if not row.is_cpu:
        given.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    of_provider = row.options(options) if provider_options is None else provider_options
    try:
        session = ort.InferenceSession(model, given, providers=[(row.provider, dict(of_provider))])
    except Exception as error:  # ONNX Runtime raises classes of its own, by failure, without a common base
        raise _load_error(model, row, error) from error
    if row.provider not in session.get_providers():
        raise BackendError(f"backend {row.name!r} was asked for, and ONNX Runtime loaded {model} without it")
    return session


def _load_error(model: Path, row: Provider, error: Exception) -> BackendError | ModelError:
    if row.is_cpu:
        return ModelError(f"{model}: ONNX Runtime cannot load it ({_first_line(error)}); export the model again")
    return BackendError(f"backend {row.name!r} cannot run {model}: {_first_line(error)}")


def _check_signature(model: Path, session: Any) -> None:
    """Names and batch axis as `python -m export` makes them; one fixed at 1 would fail at the second picture."""
    inputs = {each.name: each.shape for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]
    if list(inputs) != ["image"] or "embedding" not in outputs:
        raise ModelError(
            f"{model}: its graph has the inputs {list(inputs)} and outputs {outputs}, expected are `image` and "
            "`embedding`; export the model with `python -m export`"
        )
    if isinstance(inputs["image"][0], int):
        raise ModelError(f"{model}: its batch axis is fixed at {inputs['image'][0]}; export the model again")


def failures() -> tuple[type[Exception], ...]:
    """What `run` raises: ONNX Runtime's exceptions have no base of their own, and bad arguments are ValueErrors."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    raised = [each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception)]
    return (*raised, ValueError, RuntimeError)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
