"""One model on one backend: [N, H, W, C] uint8 in, [N, D] float32 out, at batch sizes that were met before.

A runtime plans memory and picks kernels at the first sight of a batch size, which would fall upon a user's request. So
a session runs only at its buckets (1, 2, 4, ... max_batch): a batch is padded up to the next one, and `warm_up` meets
them all. Rows never touch each other inside a graph, so the padding cannot change an answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import LifoQueue

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard, read_card
from semblance.container import available_threads
from semblance.errors import BackendError, InputError, ModelError
from semblance.inference import backends, tuned
from semblance.inference.backends import GpuOptions, LoadOptions, Runner
from semblance.inference.backends.unheeded import unheeded
from semblance.options import checked_count

_SMALL_INPUT = 64 * 64 * 3  # up to here a batch of 256 fits the caches and pays; photographs are compute-bound by 32


def default_max_batch(card: ModelCard) -> int:
    """The largest batch of a session where nobody says and nothing was measured."""
    return 256 if card.height * card.width * card.channels <= _SMALL_INPUT else 32


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What meeting a batch size cost."""

    bucket: int
    first_ms: float  # of the first batch of that size, which a user would have waited for
    again_ms: float  # of the next one


class Session:
    """A loaded model with its card."""

    card: ModelCard
    buckets: tuple[int, ...]  # the batch sizes that are really run, ascending
    streams: int  # batches that may be run at the same time, from as many threads
    backend: str  # the one that runs, also where `auto` was asked for
    why: str  # that one, where `auto` was asked for; else ""
    description: str  # what runs where, for people

    def __init__(
        self,
        model: Path,
        *,
        backend: str = "auto",
        threads: int | None = None,
        streams: int | None = 1,
        max_batch: int | None = None,
        spinning: bool = True,
        gpu: GpuOptions | None = None,
    ) -> None:
        """Load the ONNX file `model`.

        `threads` (default: all this process may use) and `max_batch` (default: 256 for inputs up to 64x64, else 32)
        are at least 1, else InputError. On a CPU threads are shared out among `streams`, at most one for each thread;
        on a GPU each is a session of its own on each device; None: as many as embed the most in the long run. Threads
        that wait without `spinning` leave the processor to others. A backend that does not heed what `gpu` says, also
        one that `auto` comes to, is a BackendError. With `auto`, what `semblance tune` measured for this model here
        takes the place of the defaults. Raises ModelNotFound, ModelError, CardError, BackendError, RuntimeMissing.
        """
        self.card = read_card(model)
        backends.check_name(backend)
        if gpu is not None and backend != "auto":
            _check_heeded(backend, gpu, "was asked for")  # before anything is loaded
        found = tuned.find(model, self.card) if backend == "auto" else None
        max_batch = None if max_batch is None else checked_count("max_batch", max_batch)
        self._asked = (
            None if threads is None else checked_count("threads", threads),
            None if streams is None else checked_count("streams", streams),
        )
        device_options = GpuOptions() if gpu is None else gpu
        general = LoadOptions(
            threads=1,
            spinning=spinning,
            precision=self.card.precision,
            shape=self._shape,
            identity=tuned.identity(model, self.card),
            device=device_options.devices[0],
            gpu=device_options,
        )

        def options_of(name: str) -> LoadOptions:
            threads, streams = self._shares(name, found)
            usual = found.max_batch if found and found.backend == name else default_max_batch(self.card)
            own = replace(general, threads=threads, buckets=buckets_of(max_batch or usual))
            return own if backends.is_device(name) else replace(own, streams=streams)

        loaded = backends.load(model, backend, options_of, tuned=found.choice if found else None)
        self.backend, self.why = loaded.backend, loaded.why
        self.buckets = options_of(loaded.backend).buckets
        if gpu is not None:
            _check_heeded(loaded.backend, gpu, f"is what `auto` came to ({loaded.why})")
        _, self.streams = self._shares(loaded.backend, found)
        self._runners, callers = [loaded.runner], 1
        if backends.is_device(loaded.backend):
            self._runners += [
                backends.load(model, loaded.backend, replace(options_of(loaded.backend), device=device)).runner
                for number in range(self.streams)
                for device in (device_options.devices[1:] if number == 0 else device_options.devices)
            ]
            callers = backends.callers(loaded.backend, device_options)
            self.streams = len(self._runners) * callers
        self._idle: LifoQueue[Runner] = LifoQueue()
        for runner in reversed(self._runners * callers):
            self._idle.put(runner)
        self.description = "; ".join(dict.fromkeys(runner.description for runner in self._runners))
        if self.why:
            self.description += f" (auto: {self.why})"
        self._check_graph(model)

    def _shares(self, backend: str, found: tuned.Tuned | None) -> tuple[int, int]:
        """Threads and streams where that backend runs: as asked for, as measured for this very one, or the default.

        On a device these are the threads of each session, and the sessions of each device.
        """
        threads, streams = self._asked
        if found is not None and found.backend == backend:
            threads = found.threads if threads is None else threads
            streams = found.streams if streams is None else streams
        if threads is None:
            threads = backends.default_threads(backend, available_threads())
        if streams is None:
            streams = backends.bulk_streams(backend, threads)
        return threads, streams if backends.is_device(backend) else min(threads, streams)

    @property
    def max_batch(self) -> int:
        """The largest batch that is run at once."""
        return self.buckets[-1]

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8 of exactly the card's size -> [N, D] float32, for any N including 0."""
        self._check_images(images)
        out = np.empty((len(images), self.card.dimension), np.float32)  # [N, D]
        for start in range(0, len(images), self.max_batch):
            part = images[start : start + self.max_batch]
            with self._runner() as runner:
                out[start : start + len(part)] = runner.run(self._padded(part))[: len(part)]
        return out

    def warm_up(self) -> tuple[WarmUp, ...]:
        """Run every bucket twice, so that no batch size is first met under load; what each of them took."""
        return tuple(self._warmed(runner, bucket) for bucket in self.buckets for runner in self._runners)

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""
        for runner in self._runners:
            runner.release_memory()

    @contextmanager
    def _runner(self) -> Iterator[Runner]:
        """The one there is, which takes several callers; or one of several that nobody else has, waiting for it."""
        if len(self._runners) == 1:
            yield self._runners[0]
            return
        runner = self._idle.get()
        try:
            yield runner
        finally:
            self._idle.put(runner)

    def _warmed(self, runner: Runner, bucket: int) -> WarmUp:
        images = np.zeros((bucket, *self._shape), np.uint8)
        start = time.perf_counter()
        runner.run(images)
        between = time.perf_counter()
        runner.run(images)
        return WarmUp(bucket, 1e3 * (between - start), 1e3 * (time.perf_counter() - between))

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.card.height, self.card.width, self.card.channels

    def _padded(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bucket = next(size for size in self.buckets if size >= len(images))
        if bucket == len(images):
            return np.ascontiguousarray(images)
        padded = np.zeros((bucket, *self._shape), np.uint8)
        padded[: len(images)] = images
        return padded

    def _check_images(self, images: NDArray[np.uint8]) -> None:
        is_array = isinstance(images, np.ndarray)
        if not is_array or images.dtype != np.uint8 or images.shape[1:] != self._shape:
            given = f"{images.dtype} {list(images.shape)}" if is_array else type(images).__name__
            raise InputError(
                f"{self.card.name} eats uint8 [N, {', '.join(map(str, self._shape))}], was given {given}; "
                "`Encoder.embed` takes pictures of any size"
            )

    def _check_graph(self, model: Path) -> None:
        """A card that does not fit its own graph is found at load, with one image, and not in a gallery later.

        A CPU can fail of nothing else with one image; a device of its memory or driver, which its own error tells.
        """
        try:
            with self._runner() as runner:
                embedding = runner.run(np.zeros((1, *self._shape), np.uint8))
        except BackendError as error:
            if backends.is_device(self.backend):
                raise
            raise ModelError(f"{model}: its graph does not take what its card says ({error})") from error
        if embedding.shape != (1, self.card.dimension) or embedding.dtype != np.float32:
            raise ModelError(
                f"{model}: its card says float32 [N, {self.card.dimension}], its graph gives {embedding.dtype} "
                f"{list(embedding.shape)}; export the model again"
            )


def _check_heeded(backend: str, gpu: GpuOptions, how: str) -> None:
    if names := unheeded(backend, gpu):
        raise BackendError(
            f"options that mean nothing to the backend {backend!r}, which {how}: {', '.join(names)}; leave them out, "
            "or ask for 'cuda'"
        )


def buckets_of(max_batch: int) -> tuple[int, ...]:
    """The batch sizes that are run where the largest is `max_batch`: powers of two below it, and it itself."""
    sizes = {1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch}
    return (*sorted(sizes), max_batch)
