"""OpenVINO: its own runtime and wheel, beside any ONNX Runtime.

In: an ONNX file. Out: a runner on the CPU, at the precision that the model's card says: OpenVINO left to itself would
run a float32 graph in bfloat16 wherever the processor can, so it is always told which. A small model is compiled for
each bucket, a large one once for all of them, since each has a copy of the weights in the processor's own layout.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import Precision
from semblance.errors import BackendError, ModelError, RuntimeMissing
from semblance.inference.backends.options import LoadOptions
from semblance.inference.backends.wheels import version_of

NAME = "openvino"
INSTALL = "pip install 'semblance[openvino]'"

_DEVICE = "CPU"
_TELEMETRY = "openvino_telemetry"
_IMPORTING = threading.Lock()
# An int8 graph says it in its own quantised nodes
_HINTS: dict[Precision, str] = {"fp32": "f32", "fp16": "f32", "int8": "f32", "bf16": "bf16"}
# Up to here a graph is compiled for each bucket: batch 1 of a 28 x 28 model is a fifth faster, and memory no matter
_SMALL_FILE = 32 << 20


class OpenVinoRunner:
    """One graph, compiled for the CPU."""

    def __init__(self, model: Path, options: LoadOptions) -> None:
        """Load and compile `model`. Raises RuntimeMissing, BackendError (bf16 without the hardware), ModelError."""
        core = _core()
        hint = hint_of(options.precision)
        if hint == "bf16" and not has_bf16():
            raise BackendError(
                "backend 'openvino' would compute bf16 without hardware for it, slower than fp32: this processor has "
                "neither avx512_bf16 nor amx_bf16; use the fp32 or int8 export of the model"
            )
        self._settings = {
            # latency: one batch uses all threads of its stream; the throughput hint would halve a single caller
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": options.streams,
            "ENABLE_CPU_PINNING": False,  # it would pin beside a container's own set of processors
        }
        try:
            self._graph = core.read_model(model)
        except Exception as error:  # OpenVINO raises RuntimeError, and classes of its own
            raise ModelError(f"{model}: OpenVINO cannot load it ({_said(error)}); export the model again") from error
        _check_signature(model, self._graph)
        self._shape = options.shape
        self._is_small = model.stat().st_size <= _SMALL_FILE
        self._compiled: dict[int, _Compiled] = {}  # by batch size, 0 for all
        self._lock = threading.Lock()
        self.description = f"openvino {version_of('openvino')}, {_DEVICE}, {options.precision}, {options.threads_told}"
        if not self._is_small:
            self._compiled_for(1)  # what cannot be compiled is told here

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8 -> [N, D] float32. Raises BackendError where OpenVINO fails."""
        try:
            with self._compiled_for(len(images)).request() as request:
                found = request.infer({"image": images}, share_inputs=True)
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"{self.description} failed on a batch of {len(images)}: {_said(error)}") from error
        embedding: NDArray[np.float32] = found["embedding"]
        return embedding

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""
        with self._lock:
            for compiled in self._compiled.values():
                compiled.release_memory()

    def _compiled_for(self, batch: int) -> _Compiled:
        size = batch if self._is_small else 0
        with self._lock:
            if size not in self._compiled:
                self._compiled[size] = self._compile(size)
            return self._compiled[size]

    def _compile(self, size: int) -> _Compiled:
        graph = self._graph.clone()
        try:
            if size:
                graph.reshape({"image": [size, *self._shape]})
            return _Compiled(_core().compile_model(graph, _DEVICE, self._settings))
        except Exception as error:
            raise BackendError(f"backend 'openvino' cannot compile this model: {_said(error)}") from error


class _Compiled:
    """A compiled graph, and its requests: one for each caller that is in it."""

    def __init__(self, compiled: Any) -> None:
        self._graph = compiled
        self._idle: LifoQueue[Any] = LifoQueue()
        self._num_running = 0
        self._lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[Any]:
        """A request that nobody else has."""
        with self._lock:
            self._num_running += 1
        try:
            try:
                request = self._idle.get_nowait()
            except Empty:
                request = self._graph.create_infer_request()
            yield request
            self._idle.put(request)  # one that failed is not used again
        finally:
            with self._lock:
                self._num_running -= 1

    def release_memory(self) -> None:
        """OpenVINO allows it only while nothing runs; then nothing is given back."""
        with self._lock:
            if self._num_running == 0:
                self._graph.release_memory()


def openvino() -> Any:
    """The `openvino` module; RuntimeMissing with the pip command where it is not installed.

    Its import would report itself to a server by the package `openvino_telemetry`; it does without where that cannot be
    imported, so for the time of the import it cannot.
    """
    if version_of("openvino") is None:
        raise RuntimeMissing(f"backend 'openvino' needs the openvino wheel: {INSTALL}")
    try:
        with _IMPORTING:
            if "openvino" in sys.modules or _TELEMETRY in sys.modules:
                return importlib.import_module("openvino")  # whoever imported these decided
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # so Python refuses to import it
            try:
                return importlib.import_module("openvino")
            finally:
                del sys.modules[_TELEMETRY]
    except ImportError as error:
        raise RuntimeMissing(
            f"openvino is installed and cannot be imported ({error}); pip install --force-reinstall openvino"
        ) from error


def hint_of(precision: Precision) -> str:
    """What is computed where the graph itself has no narrower type; OpenVINO left to itself takes bf16 for fp32."""
    return _HINTS[precision]


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself. Raises RuntimeMissing without OpenVINO."""
    return "BF16" in _core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")


@cache
def _core() -> Any:
    """Loading the plug-ins takes a tenth of a second, once."""
    return openvino().Core()


def _check_signature(model: Path, graph: Any) -> None:
    inputs = [name for each in graph.inputs for name in each.get_names()]
    outputs = [name for each in graph.outputs for name in each.get_names()]
    if inputs != ["image"] or "embedding" not in outputs:
        raise ModelError(
            f"{model}: its graph has the inputs {inputs} and outputs {outputs}, expected are `image` and "
            "`embedding`; export the model with `python -m export`"
        )
    batch = graph.inputs[0].partial_shape[0]
    if batch.is_static:
        raise ModelError(f"{model}: its batch axis is fixed at {batch.get_length()}; export the model again")


def _said(error: Exception) -> str:
    """The last line of what OpenVINO says: those before are the places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
