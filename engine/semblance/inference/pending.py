"""Images between their callers and a session: who waits for what, how many there may be, and how each of them ends.

In: encoded or raw images from any thread. Out: one image at a time to whoever decodes, a batch at a time to whoever
runs the session, and to each caller exactly one outcome. There are no threads here: theirs are the calls that wait.

An image waits to be decoded, is in the hands of a decoder, waits for a batch, is in the hands of a stream. What waits
is dropped on the spot when its caller leaves or its deadline passes; what is in somebody's hands has its outcome then
as well, but keeps its place until they are done with it, since it still costs what the bound is there to limit.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from semblance.errors import Closed, DeadlineExceeded, ImageError, Overloaded
from semblance.inference.counts import BatchReport, Counts, ImageReport, Outcome, Statistics
from semblance.inference.deadlines import Deadlines

Content = bytes | NDArray[np.uint8]  # an encoded picture, or pixels [H, W] or [H, W, C]
Answer = NDArray[np.float32] | BaseException  # [D], or why there is none

_NOT_STARTED = "the batcher is not started; use `with Batcher(encoder) as batcher:` or call its start()"
_log = logging.getLogger(__name__)


class PendingImage(Future[NDArray[np.float32]]):
    """What the caller holds, and what is known of its image meanwhile.

    It can be cancelled until it has an outcome, also while it is in a batch: an own `cancel`, so that there is one gate
    that all outcomes come through.
    """

    def __init__(self, content: Content, deadline: float, leave: Callable[[PendingImage], bool]) -> None:
        """`deadline` on the clock of `time.monotonic`, or infinity; `leave` is asked by `cancel`."""
        super().__init__()
        self._leave = leave
        self.content: Content | None = content  # until it is decoded
        self.pixels: NDArray[np.uint8] | None = None  # [h, w, c] of the model's size, from then on
        self.deadline = deadline
        self.since = time.monotonic()  # when it came to where it is
        self.outcome: Outcome | None = None
        self.is_in_hands = False
        self.queue_s = self.decode_s = self.inference_s = 0.0

    def cancel(self) -> bool:
        """Drop the image; whether it had no outcome yet."""
        return self._leave(self)

    def set_cancelled(self) -> None:
        """As `Future.cancel` does it; `concurrent.futures.wait` hears of it only by the second call."""
        try:
            super().cancel()
        finally:  # also where a callback raised what `Future` lets pass
            self.set_running_or_notify_cancel()

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.deadline


class PendingImages:
    """All images that a batcher has accepted and is not done with; safe for threads."""

    def __init__(
        self,
        *,
        max_images: int,
        max_batch: int,
        max_delay_s: float,
        ahead: int,
        on_image: Callable[[ImageReport], None] | None = None,
    ) -> None:
        """At most `max_images` at a time, of which about `ahead` wait decoded; batches as `next_batch` says."""
        self._max_images, self._max_batch, self._ahead = max_images, max_batch, ahead
        self._max_delay_s = max_delay_s
        self._on_image = on_image
        self._reports: deque[ImageReport] = deque()  # that nobody has heard of yet
        self._counts = Counts()
        self._lock = threading.Lock()
        self._decoder_wanted = threading.Condition(self._lock)
        self._stream_wanted = threading.Condition(self._lock)
        self._deadlines_changed = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._closed: str | None = _NOT_STARTED  # why nothing is accepted
        self._is_over = False  # nothing goes on any more
        self._places: set[PendingImage] = set()  # the one count of what is pending
        self._encoded: OrderedDict[PendingImage, None] = OrderedDict()  # waiting to be decoded, first come first
        self._num_decoding = 0
        self._decoded: OrderedDict[PendingImage, None] = OrderedDict()  # waiting for a batch
        self._deadlines = Deadlines[PendingImage](lambda image: image.outcome is not None)

    # --------------------------------------------------------------------------------------------------------------
    # Callers

    def accept(self, contents: Sequence[Content], deadline: float = math.inf) -> list[PendingImage]:
        """All of them or none. Raises Overloaded, Closed."""
        with self._lock:
            if self._closed is not None:
                raise Closed(self._closed)
            if len(self._places) + len(contents) > self._max_images:
                self._counts.refuse(len(contents))
                raise Overloaded(self._too_many(len(contents)))
            images = [PendingImage(content, deadline, self._leave) for content in contents]
            self._counts.accept(len(images))
            self._places.update(images)
            self._encoded.update(dict.fromkeys(images))
            if deadline < math.inf:
                is_next = [self._deadlines.add(image, deadline) for image in images]
                if any(is_next):
                    self._deadlines_changed.notify()
            self._decoder_wanted.notify(len(images))
        return images

    @property
    def num_images(self) -> int:
        """Accepted and not done."""
        return len(self._places)  # one look, which no lock makes any truer

    def statistics(self) -> Statistics:
        """A snapshot whose figures add up."""
        with self._lock:
            return self._counts.snapshot(len(self._places))

    def _too_many(self, num_more: int) -> str:
        if num_more > self._max_images:
            return (
                f"{num_more:,} images at once, and at most {self._max_images:,} may ever be pending; send fewer at a "
                "time, or raise max_pending_images"
            )
        return (
            f"{len(self._places):,} images are pending, and {num_more:,} more would be over the {self._max_images:,} "
            "that may be; ask again later, or raise max_pending_images"
        )

    def _leave(self, image: PendingImage) -> bool:
        with self._lock:
            is_first = self._end(image, "cancelled")
        if is_first:
            image.set_cancelled()
            self._report()
        return is_first or image.cancelled()

    # --------------------------------------------------------------------------------------------------------------
    # Decoders

    def next_to_decode(self) -> PendingImage | None:
        """The next image, when there is one; None: there will be none. `decoded` is to be called with it."""
        while True:
            with self._lock:
                while not (self._is_over or (self._encoded and len(self._decoded) < self._ahead)):
                    self._decoder_wanted.wait()
                if self._is_over:
                    return None
                image = self._take(self._encoded)
                self._num_decoding += 1
            if not image.is_late:
                return image
            self.decoded(image, _late())

    def decoded(self, image: PendingImage, result: NDArray[np.uint8] | BaseException) -> None:
        """What came of it: pixels [h, w, c] of the model's size, or why there are none."""
        told: list[tuple[PendingImage, Answer]] = []
        with self._lock:
            self._num_decoding -= 1
            image.decode_s = self._put_down(image)
            image.content = None
            if image.outcome is not None:
                self._release(image)
            elif isinstance(result, BaseException):
                self._end(image, _outcome(result))
                told.append((image, result))
            else:
                image.pixels = result
                self._decoded[image] = None
            # who waits for a fuller batch waits on until it is full, or nothing more is on its way
            if len(self._decoded) == 1 or self._seconds_to_wait() <= 0:
                self._stream_wanted.notify()
        self._tell(told)

    # --------------------------------------------------------------------------------------------------------------
    # Streams

    def next_batch(self) -> list[PendingImage] | None:
        """Decoded images, up to `max_batch`; None: there will be none. `finish` is to be called with each of them.

        It comes when it is full, when nothing is on its way that could make it fuller, or when its first has waited for
        `max_delay_s`.
        """
        while True:
            with self._lock:
                while not self._is_over and (not self._decoded or self._seconds_to_wait() > 0):
                    self._stream_wanted.wait(self._seconds_to_wait() if self._decoded else None)
                if self._is_over:
                    return None
                batch = [self._take(self._decoded) for _ in range(min(self._max_batch, len(self._decoded)))]
                self._decoder_wanted.notify(len(batch))
                if self._decoded:
                    self._stream_wanted.notify()
            if wanted := self.still_wanted(batch):
                return wanted

    def still_wanted(self, batch: list[PendingImage]) -> list[PendingImage]:
        """Those whose callers still wait; the others are finished."""
        wanted = [image for image in batch if image.outcome is None and not image.is_late]
        if len(wanted) < len(batch):
            kept = set(wanted)
            self.finish((image, _late()) for image in batch if image not in kept)
        return wanted

    def finish(self, answers: Iterable[tuple[PendingImage, Answer]]) -> None:
        """Tell each caller who still waits, and free the place."""
        told: list[tuple[PendingImage, Answer]] = []
        with self._lock:
            for image, answer in answers:
                self._put_down(image)
                if image.outcome is not None:
                    self._release(image)
                elif self._end(image, _outcome(answer)):
                    told.append((image, answer))
        self._tell(told)

    def ran(self, report: BatchReport) -> None:
        """A batch was run."""
        with self._lock:
            self._counts.batch(report)

    def _seconds_to_wait(self) -> float:
        """For a fuller batch."""
        if len(self._decoded) >= self._max_batch or not (self._encoded or self._num_decoding) or not self._decoded:
            return 0.0
        return next(iter(self._decoded)).since + self._max_delay_s - time.monotonic()

    # --------------------------------------------------------------------------------------------------------------
    # The clock

    def wait_for_deadlines(self) -> bool:
        """Wait until something may be late, and tell whose caller it is; False: nothing will be any more."""
        with self._lock:
            if self._is_over:
                return False
            late = [each for each in self._deadlines.pop_passed(time.monotonic()) if self._end(each, "expired")]
            if not late:
                left = self._deadlines.seconds_left(time.monotonic())
                self._deadlines_changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
        self._tell([(image, _late()) for image in late])
        return True

    # --------------------------------------------------------------------------------------------------------------
    # Opening and closing

    def open(self) -> None:
        """Accept images from now on. Raises Closed where it was closed before."""
        with self._lock:
            if self._is_over:
                raise Closed(f"{self._closed}; make another")
            self._closed = None

    def close(self, why: str, *, drain_s: float) -> bool:
        """Accept nothing more, wait for what is pending, and end with Closed what is left then; whether nothing was."""
        with self._lock:
            self._closed = why
            self._emptied.wait_for(lambda: not self._places or self._is_over, drain_s)
            is_drained = not self._places
            left = [image for image in list(self._places) if self._end(image, "closed")]
            self._is_over = True
            for waiting in (self._decoder_wanted, self._stream_wanted, self._deadlines_changed, self._emptied):
                waiting.notify_all()
        self._tell([(image, Closed(why)) for image in left])
        return is_drained

    # --------------------------------------------------------------------------------------------------------------
    # With the lock held

    def _take(self, waiting: OrderedDict[PendingImage, None]) -> PendingImage:
        """The first, into the hands of whoever asks."""
        image, _ = waiting.popitem(last=False)
        image.is_in_hands = True
        now = time.monotonic()
        image.queue_s += now - image.since
        image.since = now
        return image

    def _put_down(self, image: PendingImage) -> float:
        """How many seconds it was in somebody's hands."""
        image.is_in_hands = False
        taken, image.since = image.since, time.monotonic()
        return image.since - taken

    def _end(self, image: PendingImage, outcome: Outcome) -> bool:
        """The gate: True for one call only, which then has to tell the caller."""
        if image.outcome is not None:
            return False
        image.outcome = outcome
        if not image.is_in_hands:
            self._release(image)
        return True

    def _release(self, image: PendingImage) -> None:
        """Free the place, before the caller hears of it: who waits for one answer to ask again must find it free."""
        assert image.outcome is not None
        self._places.discard(image)
        if image in self._encoded or image in self._decoded:  # it waited, and perhaps others for it
            image.queue_s += time.monotonic() - image.since
            self._encoded.pop(image, None)
            self._decoded.pop(image, None)
            self._decoder_wanted.notify()
            self._stream_wanted.notify()
        image.content = image.pixels = None
        report = ImageReport(image.outcome, image.queue_s, image.decode_s, image.inference_s)
        self._counts.image(report)
        if self._on_image is not None:
            self._reports.append(report)
        if not self._places:
            self._emptied.notify_all()

    # --------------------------------------------------------------------------------------------------------------
    # Without the lock: what callers do when they hear may take long, and may call in here again

    def _tell(self, answers: Iterable[tuple[PendingImage, Answer]]) -> None:
        for image, answer in answers:
            try:
                if isinstance(answer, BaseException):
                    image.set_exception(answer)
                else:
                    image.set_result(answer)
            except BaseException:  # of a callback: the next caller is to hear as well
                _log.exception("a callback on an embedding raised")
        self._report()

    def _report(self) -> None:
        while self._on_image is not None and self._reports:
            try:
                self._on_image(self._reports.popleft())
            except IndexError:  # another thread was faster
                return
            except BaseException:
                _log.exception("on_image raised")


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before the image was embedded; allow more time, or send fewer images")


def _outcome(answer: Answer) -> Outcome:
    if isinstance(answer, DeadlineExceeded):
        return "expired"
    if isinstance(answer, ImageError):
        return "bad_image"
    return "failed" if isinstance(answer, BaseException) else "embedded"
