"""What all requests of a process share: the model, the batcher, the gallery, and whether it is time to be asked.

In: `Settings`. Out: `Service`, opened by `async with`: the model is loaded and every batch size met before it is ready.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from semblance.container import available_threads
from semblance.errors import Overloaded
from semblance.gallery.commits import GroupCommits
from semblance.gallery.gallery import VectorGallery
from semblance.inference.backends.options import GpuOptions
from semblance.inference.batcher import Batcher
from semblance.inference.counts import BatchReport
from semblance.inference.encoder import Encoder
from semblance.inputs.limits import Limits
from semblance.niceness import give_way
from semblance.search import load_encoder
from semblance.service.budget import ByteBudget
from semblance.service.forwarding import ChangesServer, ForwardingWriter
from semblance.service.live import LiveGallery, LocalWriter, SeenWriter
from semblance.service.metrics import Metrics
from semblance.service.settings import Settings
from semblance.service.thumbnails import Thumbnails

T = TypeVar("T")
# one batch that fails is tried again in halves: so these are several batches, and no image of any was embedded
_MOST_FAILED_BATCHES = 8
_LEAST_THREADS = 4  # for searches and the like, which mostly wait for each other; half of them for slow ones
_log = logging.getLogger(__name__)


class Service:
    """One process's share of the service. Use `async with`."""

    def __init__(self, settings: Settings, *, changes_path: Path | None = None, is_writer: bool = True) -> None:
        """Nothing is opened yet.

        Of several processes one `is_writer`, and the others bring their changes to it by the socket at `changes_path`.
        Raises InputError for a token file that cannot be read.
        """
        self.settings = settings
        self.token = settings.read_token()
        self.limits = Limits(max_pixels=settings.max_pixels, max_bytes=settings.max_body_bytes)
        self.budget = ByteBudget(settings.max_pending_bytes)
        self.metrics = Metrics(enabled=settings.metrics)
        self.is_draining = False
        self.encoder: Encoder
        self.fingerprint = ""
        self.batcher: Batcher
        self.gallery: LiveGallery | None = None
        self.thumbnails: Thumbnails | None = None
        self.is_open = False  # requests are answered, also while it drains
        self._changes_path = changes_path
        self._is_writer = is_writer and not settings.read_only
        self._changes_server: ChangesServer | None = None
        self._forwarding: ForwardingWriter | None = None
        self._commits: GroupCommits | None = None
        self._num_failed_batches = 0  # one after the other, up to now
        self._num_beside = 0  # pieces of work in `beside` that are not done
        self._counting = threading.Lock()
        num_threads = max(_LEAST_THREADS, available_threads())
        self._pool = ThreadPoolExecutor(num_threads, "semblance-beside")
        self._slow = asyncio.Semaphore(num_threads // 2)
        self._num_slow = 0

    @property
    def is_ready(self) -> bool:
        """The model is warmed and runs, the gallery open, and the end not begun."""
        return self.is_open and not self.is_draining and not self.is_failing

    @property
    def is_failing(self) -> bool:
        """Whether batch after batch fails, as on a device that was lost, or the writer is gone: a new process helps."""
        has_lost_writer = self.is_open and self._commits is not None and not self._commits.is_accepting
        return self._num_failed_batches >= _MOST_FAILED_BATCHES or has_lost_writer

    @property
    def is_full(self) -> bool:
        """Whether an image more would be refused: then it need not even be read."""
        return self.batcher.pending_images >= self.settings.max_pending_images

    @property
    def encoder_threads(self) -> int:
        """How many threads one piece of work may use."""
        return self.settings.threads or max(1, available_threads() // self.settings.workers)

    async def __aenter__(self) -> Service:
        start = time.perf_counter()
        try:
            await asyncio.to_thread(self._open)
            await self._join_others()
        except BaseException:
            await asyncio.to_thread(self._close)
            raise
        self.is_open = True
        _log.info(
            "ready after %.2f s: %s", time.perf_counter() - start, self.encoder.description,
            extra={"model": self.encoder.card.name, "gallery": str(self.settings.gallery or "")},
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_draining = True
        self.is_open = False
        if self._changes_server is not None:
            await self._changes_server.__aexit__()
        if self._forwarding is not None:
            await self._forwarding.close()
        await asyncio.to_thread(self._close)

    async def beside(self, work: Callable[[], T], *, is_slow: bool = False) -> T:
        """Run `work` beside the event loop, at most as many pieces as images may be pending. Raises Overloaded.

        What `is_slow`, as a search by a condition, takes half of the threads at most. Where whoever waits is cancelled,
        work that has not begun never does, and what it holds is let go of.
        """
        piece = [work]
        del work  # or the traceback of a cancellation would keep it
        if not is_slow:
            return await self._in_thread(piece)
        if self._num_slow >= self.settings.max_pending_images:
            raise Overloaded(f"{self._num_slow} slow searches are pending, which is all that may be; ask again")
        self._num_slow += 1
        try:
            async with self._slow:
                return await self._in_thread(piece)
        finally:
            piece.clear()
            self._num_slow -= 1

    async def _in_thread(self, piece: list[Callable[[], T]]) -> T:
        if self._num_beside >= self.settings.max_pending_images:
            raise Overloaded(
                f"{self._num_beside} searches are pending, {self.settings.max_pending_images} may be; ask again"
            )
        future = self._pool.submit(lambda: piece.pop()())
        with self._counting:
            self._num_beside += 1
        # of the thread's own future: that of the event loop ends when its waiter leaves, though the work may go on
        future.add_done_callback(self._one_less)
        try:
            return await asyncio.wrap_future(future)
        finally:
            piece.clear()

    def _one_less(self, _: object) -> None:  # in whichever thread
        with self._counting:
            self._num_beside -= 1

    # ------------------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        settings = self.settings
        vectors = None if settings.gallery is None else VectorGallery.open(settings.gallery)
        with ThreadPoolExecutor(1, "semblance-load") as pool:
            pool.submit(give_way, settings.niceness)
            # whose own threads are started by this one, and are as nice
            self.encoder = pool.submit(self._load, vectors).result()
        self.fingerprint = self.encoder.card.fingerprint  # hashed anew at each look at the card
        if vectors is not None:
            vectors.where_limit_sec = settings.where_limit_s
            if self._is_writer:
                self._commits = GroupCommits(vectors.path, on_commit=self._committed).start()
            live = LiveGallery(vectors.path, self.encoder, vectors)
            _ = 0 in live.now.vectors  # reads every shard once, which is not to happen to a first request
            self.gallery = live
            if self._commits is not None:
                self.gallery.writer = LocalWriter(self._commits)
            self.gallery.start()
            if settings.thumbnails:
                self.thumbnails = Thumbnails(self.gallery, settings.root, self.limits)
        self.batcher = Batcher(
            self.encoder,
            max_batch=min(settings.max_batch, self.encoder.max_batch),
            max_delay_ms=settings.max_delay_ms,
            max_pending_images=settings.max_pending_images,
            drain_s=settings.drain_s,
            limits=self.limits,
            niceness=settings.niceness,
            on_image=self.metrics.image,
            on_batch=self._ran,
        ).start()
        self.metrics.watch(self)

    async def _join_others(self) -> None:
        """Bring changes to the process that writes, or take those of the others."""
        if self._changes_path is None or self.gallery is None:
            return
        if self._commits is not None:
            self._changes_server = await ChangesServer(self._changes_path, self._commits).__aenter__()
        elif not self.settings.read_only:
            self._forwarding = ForwardingWriter(self._changes_path)
            self.gallery.writer = SeenWriter(self._forwarding, self.gallery)

    def _load(self, vectors: VectorGallery | None) -> Encoder:
        settings = self.settings
        gpu = None
        if settings.devices or settings.gpu_memory_bytes is not None:
            gpu = GpuOptions(devices=settings.devices or (0,), memory_limit_bytes=settings.gpu_memory_bytes)
        options: dict[str, Any] = {
            "backend": settings.backend, "threads": self.encoder_threads, "streams": settings.streams,
            "max_batch": settings.max_batch, "spinning": False, "gpu": gpu,
        }  # fmt: skip
        if settings.model is not None:
            return Encoder.load(settings.model, **options)
        assert vectors is not None
        return load_encoder(vectors, **options)

    def _ran(self, report: BatchReport) -> None:
        self.metrics.batch(report)
        if report.error is None:
            self._num_failed_batches = 0
        else:
            self._num_failed_batches += 1

    def _committed(self, num_operations: int, seconds: float) -> None:
        self.metrics.committed(num_operations, seconds)
        if self.gallery is not None:
            self.gallery.refresh()  # before whoever wrote hears of it

    def _close(self) -> None:
        if self._commits is not None:
            self._commits.stop(self.settings.drain_s)
        if self.gallery is not None:
            self.gallery.stop()
        if hasattr(self, "batcher"):
            self.batcher.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
