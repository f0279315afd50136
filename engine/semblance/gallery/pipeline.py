"""Items to written shards, every stage at work at the same time: decode workers, batches, inference, writer.

In: a stream of items, the work that turns one into a picture, a model, and what writes a shard. Out: shards in order,
each of the same items whatever the speed of any stage, and the time that each stage was busy. Decoding runs ahead
across the borders of shards; batches end there, so a shard that is computed again meets the same batches. At most a
few batches of pictures and three shards of vectors and keypoints are in memory, however long the stream is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.gallery.keypoints import Keypoints
from semblance.gallery.prepare import Known, Picture
from semblance.gallery.shards import ErrorRow, Row
from semblance.inference.batches import work_ahead

T = TypeVar("T")
Vectors = NDArray[np.float32]
Prepared = Picture | ErrorRow | Known

_NO_PIXELS: NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)
_CHUNK = 8  # pictures that a decoding thread takes at once; tiny ones cost more to hand over than to work on

# Bytes that encoded pictures may have before they are decoded, beside the one taken last: a photograph to each thread
_ENCODED = 1 << 26
_ENCODED_PER_WORKER = 1 << 23


class Embedder(Protocol):
    """What a gallery needs of an encoder."""

    @property
    def card(self) -> ModelCard:
        """What the model eats and gives."""

    @property
    def max_batch(self) -> int:
        """The largest batch that pays."""

    @property
    def backend(self) -> str:
        """What computes: embeddings of the same picture by two backends are not the same to the bit."""

    @property
    def streams(self) -> int:
        """How many batches it works on at the same time, when `run` is called from as many threads."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, card.height, card.width, card.channels] -> float32 [N, D]."""

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""


@dataclass(slots=True)
class Shard:
    """What became of `num_items` consecutive items."""

    num_items: int = 0
    rows: list[Row] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)  # of each batch, [n, D]; together one for each row
    keypoints: list[Keypoints] = field(default_factory=list)  # of each row, where they are kept; else none
    errors: list[ErrorRow] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """Pictures to embed together, and what else was among the items they came from."""

    pictures: list[Picture] = field(default_factory=list)
    errors: list[ErrorRow] = field(default_factory=list)
    num_items: int = 0
    ends_shard: bool = False


@dataclass(slots=True)
class Times:
    """Seconds that the stages were busy; several at once add up to more than the clock's."""

    workers: int = 0
    streams: int = 0
    busy: dict[str, float] = field(default_factory=dict)  # decode (all workers), inference (all streams), write, index
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Count the body as work of `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            with self._lock:
                self.busy[stage] = self.busy.get(stage, 0.0) + passed


class Pipeline(Generic[T]):
    """One stream of items on its way through an encoder."""

    def __init__(
        self,
        encoder: Embedder,
        prepare: Callable[[T], Prepared],
        write: Callable[[Shard], None],
        *,
        batch: int,
        shard_items: int,
        workers: int,
        times: Times,
        watch: Callable[[int, int, ErrorRow | None], None] | None = None,
        weigh: Callable[[T], int] | None = None,
    ) -> None:
        """`prepare` runs in `workers` threads, `write` in one of its own, shard after shard.

        `watch(items, errors, last)` hears how many items are through, how many `prepare` found unusable and the last of
        those; it may raise. `weigh(item)` is how many bytes an item holds that `prepare` lets go of.
        """
        self._encoder = encoder
        self._prepare = prepare
        self._write = write
        self._batch = batch
        self._shard_items = shard_items
        self._workers = workers
        self._times = times
        self._watch = watch
        self._weigh = weigh
        self._num_items = self._num_errors = 0
        self._last_error: ErrorRow | None = None
        times.workers, times.streams = max(1, workers), encoder.streams

    def run(self, items: Iterable[T]) -> None:
        """Take `items` to their end. What any stage raises is raised here, after the shards before it are written."""
        prepared = work_ahead(
            items,
            self._timed_prepare,
            workers=self._workers,
            chunk=_CHUNK,
            ahead=max(2 * self._workers, -(-2 * self._batch // _CHUNK)),
            weigh=self._weigh,
            most_weight=max(_ENCODED, _ENCODED_PER_WORKER * self._workers),
        )
        streams = self._encoder.streams
        embedded = work_ahead(self._batches(prepared), self._timed_embed, workers=streams, chunk=1, ahead=streams + 1)
        writing: Future[None] | None = None
        with (
            ThreadPoolExecutor(1, thread_name_prefix="semblance-write") as writer,
            closing(prepared),
            closing(embedded),
        ):
            for shard in self._shards(embedded):
                if writing is not None:
                    writing.result()  # one is written, one waits: no more of them in memory
                writing = writer.submit(self._timed_write, shard)
        if writing is not None:
            writing.result()

    def _batches(self, prepared: Iterator[Prepared]) -> Iterator[_Batch]:
        """Full batches of usable pictures but for each shard's last, which may be empty and carries the rest."""
        while True:
            batch, num_items = _Batch(), 0
            for result in islice(prepared, self._shard_items):
                num_items += 1
                batch.num_items += 1
                if isinstance(result, Picture):
                    batch.pictures.append(result)
                elif isinstance(result, ErrorRow):
                    batch.errors.append(result)
                    self._num_errors += 1
                    self._last_error = result
                    self._report()  # at once: whoever allows no errors need not wait for a batch of good pictures
                if len(batch.pictures) == self._batch:
                    yield batch
                    batch = _Batch()
            batch.ends_shard = True
            if num_items:
                yield batch
            if num_items < self._shard_items:
                return

    def _shards(self, embedded: Iterator[tuple[_Batch, Vectors]]) -> Iterator[Shard]:
        """Batches put together again, shard by shard."""
        shard = self._new_shard()
        for batch, vectors in embedded:
            shard.rows.extend(picture.row for picture in batch.pictures)
            shard.vectors.append(vectors)
            shard.keypoints.extend(each.keypoints for each in batch.pictures if each.keypoints is not None)
            shard.errors.extend(batch.errors)
            shard.num_items += batch.num_items
            self._num_items += batch.num_items
            self._report()
            if batch.ends_shard:
                yield shard
                shard = self._new_shard()

    def _new_shard(self) -> Shard:
        return Shard(vectors=[np.empty((0, self._encoder.card.dimension), np.float32)])

    def _report(self) -> None:
        if self._watch is not None:
            # one that raised is not asked again, while what is through before that is still written
            watch, self._watch = self._watch, None
            watch(self._num_items, self._num_errors, self._last_error)
            self._watch = watch

    def _timed_embed(self, batch: _Batch) -> tuple[_Batch, Vectors]:
        if not batch.pictures:
            return batch, np.empty((0, self._encoder.card.dimension), np.float32)
        with self._times.measured("inference"):
            vectors = self._encoder.run(np.stack([picture.pixels for picture in batch.pictures]))
        for picture in batch.pictures:
            picture.pixels = _NO_PIXELS  # they are of no more use, and a shard is many batches
        return batch, vectors

    def _timed_prepare(self, item: T) -> Prepared:
        with self._times.measured("decode"):
            return self._prepare(item)

    def _timed_write(self, shard: Shard) -> None:
        with self._times.measured("write"):
            self._write(shard)
