"""One model on one backend: [N, H, W, C] uint8 in, [N, D] float32 out, at batch sizes that were met before.

A runtime plans memory and picks kernels at the first sight of a batch size, which would fall upon a user's request. So
a session runs only at its buckets (1, 2, 4, ... max_batch): a batch is padded up to the next one, and `warm_up` meets
them all. Rows never touch each other inside a graph, so the padding cannot change an answer.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard, read_card
from semblance.errors import BackendError, InputError, ModelError
from semblance.inference import backends
from semblance.options import checked_count

_SMALL_INPUT = 64 * 64 * 3  # up to here a batch of 256 fits the caches and pays; photographs are compute-bound by 32


def available_threads() -> int:
    """The processors this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Session:
    """A loaded model with its card."""

    card: ModelCard
    buckets: tuple[int, ...]  # the batch sizes that are really run, ascending
    streams: int  # batches that may be run at the same time, from as many threads
    description: str  # what runs where, for people

    def __init__(
        self,
        model: Path,
        *,
        backend: str = "auto",
        threads: int | None = None,
        streams: int | None = 1,
        max_batch: int | None = None,
    ) -> None:
        """Load the ONNX file `model`.

        `threads` (default: all this process may use) and `max_batch` (default: 256 for inputs up to 64x64, else 32)
        are at least 1, else InputError. Threads are shared out among `streams`, at most one for each thread; None: as
        many as embed the most in the long run. Raises ModelNotFound, ModelError, CardError, BackendError,
        RuntimeMissing.
        """
        threads = available_threads() if threads is None else checked_count("threads", threads)
        self.card = read_card(model)
        max_batch = self._default_max_batch() if max_batch is None else checked_count("max_batch", max_batch)
        streams = backends.bulk_streams(backend, threads) if streams is None else checked_count("streams", streams)
        self.streams = min(threads, streams)
        self._runner = backends.load(model, backend, threads=threads // self.streams)
        self.description = self._runner.description
        if self.streams > 1:
            self.description += f" in each of {self.streams} streams"
        self.buckets = _buckets(max_batch)
        self._check_graph(model)

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
            out[start : start + len(part)] = self._runner.run(self._padded(part))[: len(part)]
        return out

    def warm_up(self) -> None:
        """Run every bucket once, so that no batch size is first met under load."""
        for bucket in self.buckets:
            self._runner.run(np.zeros((bucket, *self._shape), np.uint8))

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""
        self._runner.release_memory()

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
        """A card that does not fit its own graph is found at load, with one image, and not in a gallery later."""
        try:
            embedding = self._runner.run(np.zeros((1, *self._shape), np.uint8))
        except BackendError as error:
            raise ModelError(f"{model}: its graph does not take what its card says ({error})") from error
        if embedding.shape != (1, self.card.dimension) or embedding.dtype != np.float32:
            raise ModelError(
                f"{model}: its card says float32 [N, {self.card.dimension}], its graph gives {embedding.dtype} "
                f"{list(embedding.shape)}; export the model again"
            )

    def _default_max_batch(self) -> int:
        return 256 if self.card.height * self.card.width * self.card.channels <= _SMALL_INPUT else 32


def _buckets(max_batch: int) -> tuple[int, ...]:
    """Powers of two below `max_batch`, and `max_batch` itself."""
    sizes = {1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch}
    return (*sorted(sizes), max_batch)
