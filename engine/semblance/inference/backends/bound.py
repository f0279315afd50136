"""ONNX Runtime with buffers of its own on the device: one copy in, one recorded launch, one copy out.

In: an ONNX file and a row. Out: a runner that meets each bucket once and then only replays it. A CUDA graph is launched
as one, instead of kernel by kernel, but reads and writes the very addresses that it was recorded with, and the provider
keeps it with the thread that recorded it, under the number that the run names (`gpu_graph_id`). So each bucket has
slots, each slot its buffers and its number, and one thread of the runner's own does all its runs.

Two slots are two batches in flight. Callers copy, in their own threads, while that thread waits for the GPU: a copy
from locked pages goes through CUDA's default stream, for which the provider's own streams do not wait, and
`run_with_iobinding` sets Python free meanwhile. It overlaps copies with kernels of other batches, never a batch with
itself nor kernels of two: the session has one stream. And it takes as many threads that call `run`; one alone waits.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.errors import BackendError, ModelError
from semblance.inference.backends import libraries, nvidia, ort, pages
from semblance.inference.backends.gate import Gate
from semblance.inference.backends.options import LoadOptions
from semblance.inference.backends.providers import Options, Provider
from semblance.inference.backends.wheels import onnxruntime

# Runs until a bucket is as it stays: two, in which kernels are chosen and the arena grows (ONNX Runtime's
# min_num_runs_before_cuda_graph_capture_), and a third, which is recorded; some versions do all of them in one call
_RUNS_UNTIL_RECORDED = 3
_GATE = Gate()  # recordings exclude whatever else this process does on a GPU


class BoundRunner:
    """One ONNX Runtime session on one device, with fixed buffers there for each bucket."""

    def __init__(self, model: Path, row: Provider, options: LoadOptions) -> None:
        """Load `model`. Raises BackendError, RuntimeMissing, ModelError."""
        of_provider = row.options(options)
        with _GATE.together():
            self._session = ort.open_session(model, row, options, provider_options=of_provider)
        ort.check_signature(model, self._session)
        self._dimension = _dimension(model, self._session)
        self._row, self._options = row, options
        self._memory = "cpu" if row.memory == "host" else row.memory
        self._cuda = libraries.cuda_runtime() if self._memory == "cuda" else None
        self._records = any(of_provider.get(name, off) != off for name, off in ort.NO_GRAPHS.items())
        self._failures = ort.failures()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"semblance-{row.name}")
        self._slots: dict[int, LifoQueue[_Slot]] = {}  # of each bucket, those that nobody has
        self._preparing = threading.Lock()
        # of recordings; 0 is that of runs that name none. None is used twice: after a failure the provider would replay
        # what it recorded under that number before, with buffers that are gone
        self._numbers = itertools.count(1)
        with _GATE.together():  # it tries whether pages can be locked, which is a call of CUDA's too
            self.description = _described(row, options, of_provider, records=self._records)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8, N one of the buckets -> [N, D] float32, an array of the caller's own.

        Raises BackendError where ONNX Runtime fails, and for any other N.
        """
        slots = self._slots_for(len(images))
        slot = slots.get()  # waits where all are in flight
        try:
            with _GATE.together():
                if self._cuda is not None:  # of this thread; else the copy would set up GPU 0, whichever is used
                    self._cuda.cudaSetDevice(self._options.device)
                slot.fill(images)
            self._worker.submit(self._compute, slot).result()
            with _GATE.together():
                return slot.embedding()
        except self._failures as error:
            raise ort.run_error(self._row, self.description, len(images), error) from error
        finally:
            slots.put(slot)

    def release_memory(self) -> None:
        """Keeps what it has: on the device, where recordings hold its addresses."""

    def _compute(self, slot: _Slot) -> None:
        with _GATE.together():
            self._session.run_with_iobinding(slot.binding, slot.run_options)

    def _slots_for(self, bucket: int) -> LifoQueue[_Slot]:
        if bucket not in self._options.buckets:
            raise BackendError(
                f"{self.description} runs batches of {', '.join(map(str, self._options.buckets))}, was given {bucket}"
            )
        with self._preparing:
            if bucket not in self._slots:
                try:
                    self._slots[bucket] = self._worker.submit(self._prepare, bucket).result()
                except self._failures as error:
                    raise ort.run_error(self._row, self.description, bucket, error) from error
            return self._slots[bucket]

    def _prepare(self, bucket: int) -> LifoQueue[_Slot]:
        """All slots of a bucket, each run until it is as it stays."""
        slots: LifoQueue[_Slot] = LifoQueue()
        gate: AbstractContextManager[None] = _GATE.alone() if self._records else _GATE.together()
        with gate:
            for _ in range(self._options.gpu.in_flight):
                slot = self._slot(bucket)
                slot.fill(slot.host)
                for _ in range(_RUNS_UNTIL_RECORDED if self._records else 1):
                    self._session.run_with_iobinding(slot.binding, slot.run_options)
                slots.put(slot)
        return slots

    def _slot(self, bucket: int) -> _Slot:
        ort_value, device = onnxruntime().OrtValue, (self._memory, self._options.device)
        shape = (bucket, *self._options.shape)
        host = pages.host_array(shape)
        if self._memory == "cuda":
            pages.lock(host, self._options.device)
        image = ort_value.ortvalue_from_shape_and_type(shape, np.uint8, *device)
        embedding = ort_value.ortvalue_from_shape_and_type((bucket, self._dimension), np.float32, *device)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("image", image)
        binding.bind_ortvalue_output("embedding", embedding)
        run_options = onnxruntime().RunOptions()
        run_options.add_run_config_entry("gpu_graph_id", str(next(self._numbers) if self._records else -1))
        return _Slot(host, image, embedding, binding, run_options)


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """The buffers of one batch in flight."""

    host: NDArray[np.uint8]  # [N, H, W, C], on locked pages
    image: Any  # OrtValue [N, H, W, C] uint8 on the device
    output: Any  # OrtValue [N, D] float32 on the device
    binding: Any  # IOBinding of both
    run_options: Any

    def fill(self, images: NDArray[np.uint8]) -> None:
        """Copy [N, H, W, C] uint8 to the device; done when it returns."""
        if self.host is not images:
            if images.shape != self.host.shape:
                raise ValueError(f"shape {list(images.shape)}, expected {list(self.host.shape)}")
            np.copyto(self.host, images)
        self.image.update_inplace(self.host)

    def embedding(self) -> NDArray[np.float32]:
        """[N, D] float32, copied: on the CPU `numpy` is a view of the buffer, which the next batch overwrites."""
        return np.array(self.output.numpy())


def _dimension(model: Path, session: Any) -> int:
    """D of the output, which has to be fixed: its buffer is made before the first run."""
    output = next(each for each in session.get_outputs() if each.name == "embedding")
    if output.type != "tensor(float)" or len(output.shape) != 2 or not isinstance(output.shape[1], int):
        raise ModelError(
            f"{model}: its output is {output.type} {output.shape}, expected is float32 [N, D] with D fixed; export the "
            "model again"
        )
    dimension: int = output.shape[1]
    return dimension


def _described(row: Provider, options: LoadOptions, of_provider: Options, *, records: bool) -> str:
    device = nvidia.device(options.device) if row.memory == "cuda" else None
    parts = [f"GPU {options.device}" + (f" ({device.name})" if device else "")] if row.memory == "cuda" else []
    if row.memory == "cuda" and not pages.lock(pages.host_array((1,)), options.device):
        parts.append("host memory not locked")
    if records:
        parts.append("CUDA graphs")
    if of_provider.get("prefer_nhwc") == "1":
        parts.append("channels last")
    if row.name == "tensorrt" and options.precision == "fp32":
        # the provider has no option for it, and TensorRT allows it from Ampere on unless the environment forbids it
        parts.append("TF32 where TensorRT takes it (NVIDIA_TF32_OVERRIDE=0 forbids it)")
    if "use_tf32" in of_provider:
        parts.append("TF32" if of_provider["use_tf32"] == "1" else "TF32 off")
    return ", ".join([ort.describe(row, options), *parts])
