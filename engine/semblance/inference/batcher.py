"""Many callers, one model: single images in from any thread or event loop, each caller's own vector out.

Images are decoded in threads, put together to batches and run in as many streams as the encoder has. A free stream
takes a batch when it is full, or nothing is on its way that could make it fuller, or its first image has waited for
`max_delay_ms`: so one caller alone never waits, and of many none waits long. While all streams are busy the next ones
grow by themselves.

Whatever happens to one image happens to it alone, and every image that was accepted ends in exactly one way: its
vector, ImageError, BackendError, DeadlineExceeded, Closed, or cancelled. More images than `max_pending_images` are
refused at once with Overloaded, instead of growing old in a queue.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from semblance.container import available_threads
from semblance.errors import BackendError, Closed, ImageError, InputError
from semblance.inference.counts import BatchReport, ImageReport, Statistics
from semblance.inference.encoder import Encoder, as_pictures
from semblance.inference.pending import Content, PendingImage, PendingImages
from semblance.inference.session import buckets_of
from semblance.inputs.decode import decode
from semblance.inputs.limits import DEFAULT, Limits
from semblance.inputs.resize import fit
from semblance.niceness import MOST, give_way
from semblance.options import checked_count

_USUAL_BATCH = 32  # a larger one rarely pays, and whoever comes in it first waits for whoever comes last
_MAY_PASS = (BackendError, MemoryError)  # of a batch; what else a session raises would be raised again
_log = logging.getLogger(__name__)


class Batcher:
    """An encoder that many callers share.

    >>> with Batcher(Encoder.load("siamese")) as batcher:
    ...     future = batcher.submit(np.zeros((28, 28), np.uint8))
    ...     future.result().shape
    (64,)

    In a coroutine: `async with Batcher(encoder) as batcher: vector = await batcher.embed(image)`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_batch: int | None = None,
        max_delay_ms: float = 2.0,
        max_pending_images: int = 1024,
        drain_s: float = 30.0,
        workers: int | None = None,
        limits: Limits | None = None,
        niceness: int = 0,
        on_image: Callable[[ImageReport], None] | None = None,
        on_batch: Callable[[BatchReport], None] | None = None,
    ) -> None:
        """Share `encoder`; nothing runs before `start`, which `with` and `async with` call.

        `max_batch` (default: 32, or the encoder's where that is smaller) is the most images in a batch, and
        `max_delay_ms` what an image may wait for others that are being decoded. `max_pending_images` bounds all that
        are accepted and not done: waiting, being decoded, or in a batch. `stop` waits up to `drain_s` for these.
        `workers` threads decode (default: as many as the process may use) within `limits`; with a `niceness` of up to
        19 they and those that run batches give way to other threads of the process, where the system can. `on_image`
        and `on_batch` hear of each image and batch that is done, in whichever thread that was: they are to be quick.
        Raises InputError.
        """
        usual = min(_USUAL_BATCH, encoder.max_batch)
        self._max_batch = usual if max_batch is None else checked_count("max_batch", max_batch)
        if self._max_batch > encoder.max_batch:
            raise InputError(
                f"max_batch is {self._max_batch}, and the encoder runs {encoder.max_batch} at most; load it with a "
                "larger max_batch, or ask for less here"
            )
        self._niceness = min(checked_count("niceness", niceness, least=0), MOST)
        self._encoder = encoder
        self._limits = DEFAULT if limits is None else limits
        self._on_batch = on_batch
        self._drain_s = _checked_duration("drain_s", drain_s)
        self._num_decoders = available_threads() if workers is None else checked_count("workers", workers)
        self._pending = PendingImages(
            max_images=checked_count("max_pending_images", max_pending_images),
            max_batch=self._max_batch,
            max_delay_s=_checked_duration("max_delay_ms", max_delay_ms) / 1e3,
            # what is decoded far ahead is decoded in vain where deadlines pass, and takes the processor meanwhile
            ahead=self._max_batch * (encoder.streams + 1),
            on_image=on_image,
        )
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    # --------------------------------------------------------------------------------------------------------------
    # From its start to its end

    def start(self) -> Batcher:
        """Run every batch size that can occur, and accept images from now on.

        Once only: one that was stopped stays so. Raises Closed for a second start, BackendError.
        """
        with self._starting:
            if self._threads:
                raise Closed("a batcher starts once; make another")
            if not self._encoder.warmed:
                self._warm_up()
            threads = [
                *(self._thread("decode", self._decode) for _ in range(self._num_decoders)),
                *(self._thread("batch", self._run_batches) for _ in range(self._encoder.streams)),
                self._thread("clock", self._watch_deadlines),
            ]
            self._pending.open()
            try:
                for thread in threads:
                    thread.start()
                    self._threads.append(thread)
            except BaseException:  # the system has no more threads
                self._pending.close("the batcher could not start its threads", drain_s=0)
                raise
        return self

    def stop(self, drain_s: float | None = None) -> bool:
        """Accept nothing more, wait for what is pending, then let the threads go; whether all was done in time.

        What is not done after `drain_s` (default: as the batcher was made) ends with Closed. A session that never comes
        back is left alone: its thread keeps no process from ending.
        """
        limit = self._drain_s if drain_s is None else _checked_duration("drain_s", drain_s)
        is_drained = self._pending.close("the batcher is stopped", drain_s=limit)
        if is_drained:
            with self._starting:
                threads = [each for each in self._threads if each is not threading.current_thread()]
            for thread in threads:  # but for that of a callback that stops it
                thread.join(limit)
        return is_drained

    def __enter__(self) -> Batcher:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Batcher:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)  # whoever still awaits an answer needs the event loop meanwhile

    # --------------------------------------------------------------------------------------------------------------
    # Callers in threads

    def submit(self, image: Content, *, timeout_s: float | None = None) -> Future[NDArray[np.float32]]:
        """The vector, [D] float32, of an encoded picture or a uint8 array.

        The array is [H, W] or [H, W, C] and must not change before the future is done. After `timeout_s` that is
        DeadlineExceeded at the latest, and an image whose turn has not come by then costs nothing more; nor does one
        whose future is cancelled. The future raises ImageError for a picture that cannot be used and BackendError where
        its batch could not be run, Closed where the batcher stopped first. Raises Overloaded, Closed, InputError.
        """
        _check_kind(image)
        return self._pending.accept([image], _deadline(timeout_s))[0]

    def submit_many(
        self, images: Sequence[Content] | NDArray[np.uint8], *, timeout_s: float | None = None
    ) -> list[Future[NDArray[np.float32]]]:
        """As `submit`, all or, where there is not room for all, none. Raises Overloaded, Closed, InputError."""
        pictures = [_check_kind(each) for each in as_pictures(images)]
        return [*self._pending.accept(pictures, _deadline(timeout_s))]

    # --------------------------------------------------------------------------------------------------------------
    # Callers in coroutines

    async def embed(self, image: Content, *, timeout_s: float | None = None) -> NDArray[np.float32]:
        """The vector, [D] float32, of an encoded picture or a uint8 array [H, W] or [H, W, C].

        Where the task is cancelled the image is dropped. Raises what `submit` and its future raise.
        """
        return await _answer(self.submit(image, timeout_s=timeout_s))

    async def embed_many(
        self, images: Sequence[Content] | NDArray[np.uint8], *, timeout_s: float | None = None
    ) -> NDArray[np.float32]:
        """[N, D] float32, row i for picture i, as `Encoder.embed`; all are accepted or none.

        Raises what `submit` raises, and what the first of them raises that has no vector, after dropping those behind
        it; where each is to have an outcome of its own, there is `submit_many`.
        """
        pending = self.submit_many(images, timeout_s=timeout_s)
        out = np.empty((len(pending), self._encoder.card.dimension), np.float32)  # [N, D]
        try:
            for number, each in enumerate(pending):
                try:
                    out[number] = await _answer(each)
                except ImageError as error:
                    raise ImageError(f"picture {number}: {error}") from error
        finally:
            for each in pending:
                each.cancel()  # nothing, where it is done
        return out

    # --------------------------------------------------------------------------------------------------------------
    # Whoever watches

    @property
    def pending_images(self) -> int:
        """How many are accepted and not done; what `max_pending_images` bounds."""
        return self._pending.num_images

    def statistics(self) -> Statistics:
        """What it has done so far; cheap enough to be asked at any time."""
        return self._pending.statistics()

    # --------------------------------------------------------------------------------------------------------------
    # Its threads

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            give_way(self._niceness)
            try:
                work()
            except BaseException as error:  # an error of ours; nobody may wait for a thread that is gone
                _log.exception("a thread of the batcher died")
                self._pending.close(f"the batcher broke: {_said(error)}; see the log", drain_s=0)

        return threading.Thread(target=guarded, name=f"semblance-{name}", daemon=True)

    def _decode(self) -> None:
        while (image := self._pending.next_to_decode()) is not None:
            result: NDArray[np.uint8] | BaseException
            try:
                result = self._prepared(image.content)
            except BaseException as error:  # whatever it is, it is about this image
                result = error
            self._pending.decoded(image, result)
            del image, result  # a thread that waits keeps nothing alive

    def _prepared(self, content: Content | None) -> NDArray[np.uint8]:
        """[h, w, c] of the model's size. Raises ImageError."""
        assert content is not None, "an image is decoded once"
        card = self._encoder.card
        pixels = decode(
            content, channels=card.channels, limits=self._limits, is_trusted=False
        )  # it may be a stranger's
        return fit(pixels, card)

    def _run_batches(self) -> None:
        while (batch := self._pending.next_batch()) is not None:
            self._run(batch)
            del batch

    def _run(self, batch: list[PendingImage], *, may_retry: bool = True) -> None:
        """Run a batch and tell its callers; where it failed of what may pass, once more in halves.

        Two halves need smaller buckets, so less memory; and if one of them fails again, the other does not.
        """
        vectors = self._vectors(batch)
        if not isinstance(vectors, BaseException):
            self._pending.finish((image, vector.copy()) for image, vector in zip(batch, vectors, strict=True))
        elif may_retry and isinstance(vectors, _MAY_PASS):
            middle = (len(batch) + 1) // 2
            for half in (batch[:middle], batch[middle:]):
                if wanted := self._pending.still_wanted(half):
                    self._run(wanted, may_retry=False)
        else:
            # an exception for each: one that several callers raised would collect all their tracebacks
            self._pending.finish((image, _failure(vectors, len(batch))) for image in batch)

    def _vectors(self, batch: list[PendingImage]) -> NDArray[np.float32] | BaseException:
        """[N, D], or why there are none."""
        start = time.monotonic()
        result: NDArray[np.float32] | BaseException
        try:
            result = self._encoder.run(np.stack([image.pixels for image in batch if image.pixels is not None]))
            if result.shape != (len(batch), self._encoder.card.dimension):
                result = BackendError(f"the session gave {list(result.shape)} for a batch of {len(batch)}")
        except BaseException as error:  # whatever it is, it is about this batch
            result = error
        seconds = time.monotonic() - start
        for image in batch:
            image.inference_s += seconds
        report = BatchReport(len(batch), seconds, result if isinstance(result, BaseException) else None)
        self._pending.ran(report)
        if self._on_batch is not None:
            try:
                self._on_batch(report)
            except BaseException:
                _log.exception("on_batch raised")
        return result

    def _watch_deadlines(self) -> None:
        while self._pending.wait_for_deadlines():
            pass

    def _warm_up(self) -> None:
        """Meet every batch size, in as many threads as streams, since each may be a session of its own."""
        card, failures = self._encoder.card, list[BaseException]()

        def warm() -> None:
            try:
                for size in buckets_of(self._max_batch):
                    self._encoder.run(np.zeros((size, card.height, card.width, card.channels), np.uint8))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=warm, name="semblance-warm") for _ in range(self._encoder.streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


async def _answer(pending: Future[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What it ends in; dropped where nobody awaits it any more, also because the event loop ends.

    `asyncio.wrap_future` would do but for two things: it logs an error where the loop is closed by then, and it waits
    for ever for a result that asyncio does not let a future have (StopIteration).
    """
    if not pending.done():
        loop = asyncio.get_running_loop()
        heard = loop.create_future()

        def hear(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is there to hear it
                loop.call_soon_threadsafe(_set, heard)

        pending.add_done_callback(hear)
        try:
            await heard
        finally:
            pending.cancel()  # nothing, where it is done
    return pending.result()


def _set(heard: asyncio.Future[None]) -> None:
    if not heard.done():  # cancelled meanwhile
        heard.set_result(None)


def _check_kind(image: object) -> Content:
    if not isinstance(image, bytes | bytearray | memoryview | np.ndarray):
        raise InputError(
            f"an image is its encoded bytes or a uint8 array, is {type(image).__name__}; a path is not opened here, "
            "since it may come from a stranger: read the file yourself"
        )
    return image  # type: ignore[return-value]  # `decode` takes the other two as it does bytes


def _deadline(timeout_s: float | None) -> float:
    """On the clock of `time.monotonic`; what is negative has passed already."""
    if timeout_s is None:
        return math.inf
    if not isinstance(timeout_s, int | float) or math.isnan(timeout_s):
        raise InputError(f"timeout_s must be a number of seconds or None, is {timeout_s!r}")
    return time.monotonic() + timeout_s


def _checked_duration(name: str, value: float) -> float:
    if not isinstance(value, int | float) or not value >= 0:
        raise InputError(f"{name} must be a number of at least 0, is {value!r}")
    return min(value, threading.TIMEOUT_MAX)


def _failure(error: BaseException, size: int) -> BackendError:
    if isinstance(error, BackendError):
        failure = BackendError(str(error))
    else:
        failure = BackendError(f"a batch of {size} could not be run: {_said(error)}")
    failure.__cause__ = error
    return failure


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
