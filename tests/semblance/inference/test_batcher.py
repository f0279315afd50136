"""Many callers of one real session, some of whose batches fail, block or come back wrong."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import (
    BackendError,
    Closed,
    DeadlineExceeded,
    ImageError,
    InputError,
    Overloaded,
    SemblanceError,
)
from semblance.inference import batcher as batcher_module
from semblance.inference import pending as pending_module
from semblance.inference.batcher import Batcher
from semblance.inference.counts import BatchReport, ImageReport
from semblance.inference.encoder import Encoder
from semblance.inference.session import Session
from semblance.inputs.limits import Limits

MOST = 2e-6  # of a coordinate, to the longest embedding: as an image's embedding may differ between batches
PATIENCE_S = 30.0  # nothing here takes that long; whatever does, hangs


class TestedSession(Session):
    """A real one, whose runs can be held up and made to fail, and are counted."""

    __test__ = False  # pytest: no class of tests

    def __init__(self, model: Path, **options: Any) -> None:
        super().__init__(model, backend="cpu", threads=options.get("streams", 1), **options)
        self.faults: deque[BaseException | None] = deque()  # of the next runs, in turn; None: that one goes well
        self.sizes: list[int] = []
        self.entered = threading.Semaphore(0)  # one for each run that began
        self.gate = threading.Event()
        self.gate.set()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(images))
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            raise fault
        return super().run(images)

    def alone(self, encoder: Encoder, image: Any) -> NDArray[np.float32]:
        """The plain reference: that image, in a batch of its own."""
        return super().run(encoder.prepare(image)[None])[0]


@pytest.fixture
def session(tiny_model: Any) -> TestedSession:
    return TestedSession(tiny_model.path, max_batch=8)


@pytest.fixture
def encoder(session: TestedSession) -> Encoder:
    return Encoder(session, warmed=session.warm_up())


@contextmanager
def held(session: TestedSession) -> Iterator[None]:
    """No run comes back meanwhile."""
    session.gate.clear()
    try:
        yield
    finally:
        session.gate.set()


@contextmanager
def busy(batcher: Batcher, session: TestedSession) -> Iterator[Future[NDArray[np.float32]]]:
    """One image is in the session, which is held: everything behind it waits."""
    session.entered = threading.Semaphore(0)
    with held(session):
        first = batcher.submit(noise(8, 8))
        assert session.entered.acquire(timeout=PATIENCE_S)
        yield first


class HeldDecoder:
    """Takes the place of `decode`: it counts, and holds up what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._decode = batcher_module.decode
        self.num_calls = 0
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.holds: Callable[[Any], bool] = lambda content: True
        monkeypatch.setattr(batcher_module, "decode", self)

    def __call__(self, content: Any, **options: Any) -> NDArray[np.uint8]:
        self.num_calls += 1
        self.entered.release()
        if self.holds(content):
            assert self.gate.wait(PATIENCE_S)
        return self._decode(content, **options)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(seed: int) -> Any:
    """Of the model's size or another, encoded or not."""
    if seed % 3 == 0:
        return noise(8, 8, seed=seed)
    pixels = noise(9 + seed % 5, 12, 3, seed=seed)
    return pixels if seed % 3 == 1 else cv2.imencode(".png", pixels)[1].tobytes()


def assert_same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= MOST * np.linalg.norm(expected, axis=-1).max(initial=0)


def outcome(future: Future[NDArray[np.float32]]) -> NDArray[np.float32]:
    return future.result(PATIENCE_S)


# ----------------------------------------------------------------------------------------------------------------------
# Each caller's own vector


@pytest.mark.parametrize(("streams", "max_batch"), [(1, 1), (1, 7), (2, 8)])
@pytest.mark.parametrize("num", [0, 1, 5, 100])
def test_answers_equal_the_reference_whatever_came_together(
    tiny_model: Any, num: int, streams: int, max_batch: int
) -> None:
    session = TestedSession(tiny_model.path, streams=streams, max_batch=8)
    encoder = Encoder(session)
    pictures = [picture(seed) for seed in range(num)]
    expected = np.array([session.alone(encoder, each) for each in pictures], np.float32).reshape(num, 16)
    with Batcher(encoder, max_batch=max_batch) as batcher:
        futures = batcher.submit_many(pictures)
        for future, row in zip(futures, expected, strict=True):
            assert_same(outcome(future), row)
    assert max(session.sizes) <= max_batch


def test_unit_vectors_of_a_real_model_are_within_the_stated_tolerance() -> None:
    encoder = Encoder.load("siamese", backend="cpu", threads=2)
    images = noise(200, 28, 28)
    alone = np.concatenate([encoder.embed(image[None]) for image in images])
    with Batcher(encoder) as batcher:
        found = np.stack([outcome(future) for future in batcher.submit_many(images)])
        assert any(size > 1 for size in batcher.statistics().batch_sizes)
    assert np.abs(found - alone).max() <= MOST


def test_coroutines_threads_and_event_loops_share_one_batcher(encoder: Encoder, session: TestedSession) -> None:
    wrong: list[str] = []

    def check(seed: int, found: NDArray[np.float32]) -> None:
        if np.abs(found - session.alone(encoder, picture(seed))).max() > 1e-4:
            wrong.append(f"picture {seed}")

    async def awaits(start: int) -> None:
        seeds = range(start, start + 40)
        rows = await asyncio.gather(*(batcher.embed(picture(seed)) for seed in seeds))
        many = await batcher.embed_many([picture(seed) for seed in seeds])
        for seed, row, other in zip(seeds, rows, many, strict=True):
            check(seed, row)
            check(seed, other)

    def waits(start: int) -> None:
        for seed in range(start, start + 40):
            check(seed, outcome(batcher.submit(picture(seed))))

    with Batcher(encoder) as batcher, concurrent.futures.ThreadPoolExecutor(8) as pool:
        loops = [pool.submit(asyncio.run, awaits(start)) for start in range(0, 160, 40)]
        threads = [pool.submit(waits, start) for start in range(160, 320, 40)]
        for each in [*loops, *threads]:
            each.result(PATIENCE_S)
    assert wrong == []


def test_a_vector_is_its_callers_own(encoder: Encoder, session: TestedSession) -> None:
    with Batcher(encoder) as batcher:
        with busy(batcher, session):
            first, second = batcher.submit_many([picture(1), picture(2)])
        outcome(first)[:] = 0
        assert_same(outcome(second), session.alone(encoder, picture(2)))
        assert outcome(second).base is None  # else it keeps its whole batch in memory


def test_coroutines_get_rows_in_order_also_none(encoder: Encoder, session: TestedSession) -> None:
    images = noise(3, 8, 8)

    async def main() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        async with Batcher(encoder) as batcher:
            return await batcher.embed_many([]), await batcher.embed_many(images)

    none, three = asyncio.run(main())
    assert none.shape == (0, 16)
    assert_same(three, np.stack([session.alone(encoder, image) for image in images]))


# ----------------------------------------------------------------------------------------------------------------------
# Which images come together


def test_one_caller_alone_never_waits_for_others(encoder: Encoder) -> None:
    with Batcher(encoder, max_delay_ms=1e12) as batcher:
        assert outcome(batcher.submit(picture(1))).shape == (16,)


def test_a_batch_waits_for_what_is_being_decoded(
    encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = HeldDecoder(monkeypatch)
    decoder.holds = lambda content: isinstance(content, bytes)
    with Batcher(encoder, max_delay_ms=1e12, workers=2) as batcher:
        slow, quick = batcher.submit(picture(2)), batcher.submit(picture(0))
        assert decoder.entered.acquire(timeout=PATIENCE_S)
        decoder.gate.set()
        assert outcome(quick).shape == outcome(slow).shape
    assert session.sizes == [2]


@pytest.mark.parametrize("max_delay_ms", [0, 5])
def test_a_batch_waits_no_longer_than_it_may(
    encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch, max_delay_ms: float
) -> None:
    decoder = HeldDecoder(monkeypatch)
    decoder.holds = lambda content: isinstance(content, bytes)
    with Batcher(encoder, max_delay_ms=max_delay_ms, workers=2) as batcher:
        slow, quick = batcher.submit(picture(2)), batcher.submit(picture(0))
        outcome(quick)
        assert not slow.done()
        decoder.gate.set()
        outcome(slow)
    assert session.sizes == [1, 1]


def test_a_full_batch_goes_at_once(encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = HeldDecoder(monkeypatch)
    decoder.holds = lambda content: isinstance(content, bytes)
    with Batcher(encoder, max_batch=4, max_delay_ms=1e12, workers=2) as batcher:
        slow = batcher.submit(picture(2))
        for future in batcher.submit_many(noise(8, 8, 8)):
            outcome(future)
        assert not slow.done()
        decoder.gate.set()
        outcome(slow)
    assert session.sizes == [4, 4, 1]


def test_while_the_session_is_busy_the_next_batch_grows(encoder: Encoder, session: TestedSession) -> None:
    with Batcher(encoder, max_delay_ms=0) as batcher:
        with busy(batcher, session):
            futures = batcher.submit_many(noise(8, 8, 8))
            wait_until(lambda: batcher.statistics().pending_images == 9)
            wait_until(lambda: len(batcher._pending._decoded) == 8)
        for future in futures:
            outcome(future)
    assert session.sizes == [1, 8]


def test_every_stream_has_a_batch_of_its_own(tiny_model: Any) -> None:
    session = TestedSession(tiny_model.path, streams=2, max_batch=4)
    with Batcher(Encoder(session, warmed=session.warm_up()), max_delay_ms=0) as batcher:
        with busy(batcher, session) as first:
            second = batcher.submit(picture(1))
            assert session.entered.acquire(timeout=PATIENCE_S)
            assert not first.done()
        outcome(second)


def test_little_is_decoded_far_ahead(encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = HeldDecoder(monkeypatch)
    decoder.gate.set()
    with Batcher(encoder, max_batch=2, workers=1) as batcher, busy(batcher, session):
        futures = batcher.submit_many(noise(30, 8, 8))
        wait_until(lambda: len(batcher._pending._decoded) == 4)  # the next batch of each stream, and one more
        time.sleep(0.02)  # whoever decodes more is seen, or not; nobody is blamed for being slow
        assert decoder.num_calls == 5
        session.gate.set()
        for future in futures:
            outcome(future)
    assert decoder.num_calls == 31


def test_when_all_that_was_decoded_ahead_is_dropped_the_rest_is_decoded(
    encoder: Encoder, session: TestedSession
) -> None:
    with Batcher(encoder, max_batch=2, workers=1) as batcher:
        with busy(batcher, session):
            futures = batcher.submit_many(noise(30, 8, 8))
            wait_until(lambda: len(batcher._pending._decoded) == 4)
            for future in futures[:4]:
                assert future.cancel()
        for future in futures[4:]:
            outcome(future)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


# ----------------------------------------------------------------------------------------------------------------------
# Bad images


BAD = [b"", b"no picture", noise(8, 8).astype(np.float32), noise(2, 8, 8, 3), np.zeros((0, 4), np.uint8)]


def test_a_bad_image_fails_alone(encoder: Encoder, session: TestedSession) -> None:
    with Batcher(encoder) as batcher:
        pictures = [each for seed, bad in enumerate(BAD) for each in (picture(seed), bad)]
        futures = batcher.submit_many(pictures)
        for number, future in enumerate(futures):
            if number % 2:
                with pytest.raises(ImageError):
                    outcome(future)
            else:
                assert_same(outcome(future), session.alone(encoder, pictures[number]))
        assert batcher.statistics().outcomes == {"embedded": len(BAD), "bad_image": len(BAD)}


def test_of_many_the_first_bad_one_is_named_and_those_behind_it_are_dropped(
    encoder: Encoder, session: TestedSession
) -> None:
    async def main() -> None:
        async with Batcher(encoder) as batcher:
            with busy(batcher, session):
                many = asyncio.create_task(batcher.embed_many([picture(0), b"bad", picture(1)]))
                await asyncio.sleep(0)
            with pytest.raises(ImageError, match="picture 1: "):
                await many

    asyncio.run(main())


def test_limits_are_those_of_the_batcher(encoder: Encoder) -> None:
    with (
        Batcher(encoder, limits=Limits(max_pixels=80)) as batcher,
        pytest.raises(ImageError, match="the limit is 80"),
    ):
        outcome(batcher.submit(picture(2)))


@pytest.mark.parametrize("image", ["photo.png", Path("photo.png"), None, 7])
def test_what_is_no_image_at_all_is_refused_before_anything_is_accepted(encoder: Encoder, image: Any) -> None:
    with Batcher(encoder) as batcher:
        with pytest.raises(InputError, match="encoded bytes or a uint8 array"):
            batcher.submit(image)
        with pytest.raises(InputError, match="encoded bytes or a uint8 array"):
            batcher.submit_many([picture(0), image])
        assert batcher.statistics().accepted_images == 0


# ----------------------------------------------------------------------------------------------------------------------
# Callers who leave


def test_what_is_cancelled_is_not_decoded(
    encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = HeldDecoder(monkeypatch)
    with Batcher(encoder, workers=1) as batcher:
        first, second = batcher.submit(picture(0)), batcher.submit(picture(1))
        assert decoder.entered.acquire(timeout=PATIENCE_S)
        assert second.cancel()
        assert second.cancelled()
        assert batcher.statistics().pending_images == 1  # its place is free at once
        decoder.gate.set()
        outcome(first)
    assert decoder.num_calls == 1
    assert session.sizes == [1]


def test_what_is_cancelled_when_it_is_decoded_is_not_run(encoder: Encoder, session: TestedSession) -> None:
    with Batcher(encoder) as batcher:
        with busy(batcher, session):
            futures = batcher.submit_many(noise(6, 8, 8))
            wait_until(lambda: len(batcher._pending._decoded) == 6)
            assert all(future.cancel() for future in futures[::2])
        assert [future.cancelled() for future in futures] == [True, False] * 3
        for future in futures[1::2]:
            outcome(future)
    assert session.sizes == [1, 3]


def test_what_is_in_somebodys_hands_can_be_cancelled_and_keeps_its_place(
    encoder: Encoder, session: TestedSession
) -> None:
    with Batcher(encoder, max_pending_images=1) as batcher:
        with busy(batcher, session) as first:
            assert first.cancel()
            assert concurrent.futures.wait([first], PATIENCE_S).done == {first}
            with pytest.raises(Overloaded):
                batcher.submit(picture(1))
        wait_until(lambda: batcher.statistics().pending_images == 0)
        outcome(batcher.submit(picture(1)))


def test_what_has_an_outcome_cannot_be_cancelled(encoder: Encoder) -> None:
    with Batcher(encoder) as batcher:
        future = batcher.submit(picture(0))
        outcome(future)
        assert not future.cancel()
        assert not future.cancelled()


def test_a_cancelled_task_drops_its_images(encoder: Encoder, session: TestedSession) -> None:
    async def main() -> None:
        async with Batcher(encoder) as batcher:
            with busy(batcher, session):
                tasks = [
                    asyncio.create_task(batcher.embed(picture(0))),
                    asyncio.create_task(batcher.embed_many([picture(1), picture(2)])),
                ]
                while batcher.statistics().pending_images < 4:
                    await asyncio.sleep(0.001)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                assert all(task.cancelled() for task in tasks)
                assert batcher.statistics().pending_images <= 1 + 2  # decoders may have two in their hands
        assert batcher.statistics().outcomes == {"embedded": 1, "cancelled": 3}

    asyncio.run(main())
    assert session.sizes == [1]


def test_an_event_loop_that_dies_harms_nobody(
    encoder: Encoder, session: TestedSession, caplog: pytest.LogCaptureFixture
) -> None:
    with Batcher(encoder) as batcher:
        with busy(batcher, session):
            loop = asyncio.new_event_loop()
            task = loop.create_task(batcher.embed(picture(1)))
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.close()
        assert_same(outcome(batcher.submit(picture(2))), session.alone(encoder, picture(2)))
    assert not caplog.records
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # that it is pending is the point
    del task
    gc.collect()
    outcomes = batcher.statistics().outcomes
    assert sum(outcomes.values()) == 3
    assert outcomes["embedded"] >= 2


# ----------------------------------------------------------------------------------------------------------------------
# Deadlines


@pytest.mark.parametrize("timeout_s", [0, -5, -float("inf")])
def test_what_is_late_from_the_start_costs_nothing(
    encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch, timeout_s: float
) -> None:
    decoder = HeldDecoder(monkeypatch)
    with Batcher(encoder) as batcher, pytest.raises(DeadlineExceeded):
        outcome(batcher.submit(picture(0), timeout_s=timeout_s))
    assert (decoder.num_calls, session.sizes) == (0, [])


def test_a_session_that_blocks_keeps_no_caller_beyond_the_deadline(encoder: Encoder, session: TestedSession) -> None:
    async def awaits() -> None:
        with pytest.raises(DeadlineExceeded):
            await batcher.embed(picture(3), timeout_s=0.02)

    with Batcher(encoder) as batcher:
        with busy(batcher, session) as first:
            in_queue = batcher.submit_many([picture(1), picture(2)], timeout_s=0.02)
            asyncio.run(awaits())
            for future in in_queue:
                with pytest.raises(DeadlineExceeded):
                    outcome(future)
            assert not first.done()
        outcome(first)
    assert session.sizes == [1]
    assert batcher.statistics().outcomes == {"embedded": 1, "expired": 3}


def test_a_deadline_that_passes_in_the_session_is_told_and_the_place_kept(
    encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Batcher(encoder) as batcher:
        with held(session):
            future = batcher.submit(picture(0), timeout_s=PATIENCE_S)
            assert session.entered.acquire(timeout=PATIENCE_S)
            later = SimpleNamespace(monotonic=lambda: time.monotonic() + 2 * PATIENCE_S)
            monkeypatch.setattr(pending_module, "time", later)
            batcher.submit(picture(0), timeout_s=0)  # so that somebody looks at the clock
            with pytest.raises(TimeoutError):
                outcome(future)
            assert isinstance(future.exception(0), DeadlineExceeded)
            wait_until(lambda: batcher.statistics().pending_images == 1)
        wait_until(lambda: batcher.statistics().pending_images == 0)


def test_what_is_late_is_dropped_in_its_turn_also_where_the_clock_is_late_itself(
    encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = HeldDecoder(monkeypatch)
    decoder.gate.set()
    batcher, is_over = Batcher(encoder), threading.Event()
    monkeypatch.setattr(batcher._pending, "wait_for_deadlines", lambda: is_over.wait(PATIENCE_S) and False)
    with batcher:
        with pytest.raises(DeadlineExceeded):
            outcome(batcher.submit(picture(0), timeout_s=0))
        assert decoder.num_calls == 0
        with busy(batcher, session):
            futures = batcher.submit_many(noise(3, 8, 8), timeout_s=PATIENCE_S)
            wait_until(lambda: len(batcher._pending._decoded) == 3)
            later = SimpleNamespace(monotonic=lambda: time.monotonic() + 2 * PATIENCE_S)
            monkeypatch.setattr(pending_module, "time", later)
        for future in futures:
            with pytest.raises(DeadlineExceeded):
                outcome(future)
        is_over.set()
    assert session.sizes == [1]


@pytest.mark.parametrize("timeout_s", [None, 1e300, float("inf"), 10**6])
def test_a_far_deadline_is_as_none(encoder: Encoder, timeout_s: float | None) -> None:
    with Batcher(encoder) as batcher:
        outcome(batcher.submit(picture(0), timeout_s=timeout_s))
        outcome(batcher.submit(picture(0), timeout_s=PATIENCE_S))


@pytest.mark.parametrize("timeout_s", ["soon", float("nan"), [1]])
def test_a_deadline_is_a_number(encoder: Encoder, timeout_s: Any) -> None:
    with Batcher(encoder) as batcher, pytest.raises(InputError, match="timeout_s"):
        batcher.submit(picture(0), timeout_s=timeout_s)


# ----------------------------------------------------------------------------------------------------------------------
# Too many


def test_the_bound_counts_images_and_refuses_a_request_whole(encoder: Encoder, session: TestedSession) -> None:
    async def refused(num: int) -> None:
        with pytest.raises(Overloaded):
            await batcher.embed_many(noise(num, 8, 8))

    with Batcher(encoder, max_pending_images=8) as batcher:
        with busy(batcher, session):
            five = batcher.submit_many(noise(5, 8, 8))
            with pytest.raises(Overloaded, match="6 images are pending, and 3 more would be over the 8"):
                batcher.submit_many(noise(3, 8, 8))
            asyncio.run(refused(3))
            two = batcher.submit_many(noise(2, 8, 8))
            with pytest.raises(Overloaded):
                batcher.submit(picture(0))
            assert batcher.submit_many([]) == []
            wait_until(lambda: len(batcher._pending._decoded) == 7)
            assert five[0].cancel()
            one = batcher.submit(picture(0))
        for future in [*five[1:], *two, one]:
            outcome(future)
        with pytest.raises(Overloaded, match="at most 8 may ever be pending"):
            batcher.submit_many(noise(9, 8, 8))
        statistics = batcher.statistics()
        assert (statistics.accepted_images, statistics.refused_images) == (9, 3 + 3 + 1 + 9)


def test_whoever_waits_for_each_answer_finds_room_for_the_next(encoder: Encoder) -> None:
    with Batcher(encoder, max_pending_images=1) as batcher:
        for seed in range(300):
            outcome(batcher.submit(picture(3 * seed)))


# ----------------------------------------------------------------------------------------------------------------------
# Batches that fail


def test_an_exception_fails_its_batch_and_nothing_after_it(encoder: Encoder, session: TestedSession) -> None:
    with Batcher(encoder, max_batch=4) as batcher:
        session.faults.extend([None, RuntimeError("broken")])
        with busy(batcher, session) as first:
            futures = batcher.submit_many(noise(4, 8, 8))
            wait_until(lambda: len(batcher._pending._decoded) == 4)
        errors = [future.exception(PATIENCE_S) for future in futures]
        assert all(isinstance(error, BackendError) for error in errors)
        assert all("RuntimeError: broken" in str(error) for error in errors)
        assert len(set(map(id, errors))) == 4  # each caller raises one of its own
        assert isinstance(errors[0].__cause__, RuntimeError)  # type: ignore[union-attr]
        outcome(first)
        outcome(batcher.submit(picture(0)))
        assert batcher.statistics().failed_batches == 1
    assert session.sizes == [1, 4, 1]


@pytest.mark.parametrize("fault", [SystemExit(1), StopIteration(), KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_a_session_should_never_raise_reaches_coroutines_too(
    encoder: Encoder, session: TestedSession, fault: BaseException
) -> None:
    async def main() -> None:
        async with Batcher(encoder) as batcher:
            session.faults.append(fault)
            with pytest.raises(BackendError, match=type(fault).__name__):
                await asyncio.wait_for(batcher.embed(picture(0)), PATIENCE_S)
            await batcher.embed(picture(0))

    asyncio.run(main())


def run_batch_of(num: int, encoder: Encoder, session: TestedSession, *faults: BaseException | None) -> list[Any]:
    """What comes of `num` images in one batch, the runs of which end as told: a vector or an exception each."""
    images = noise(num, 8, 8)
    with Batcher(encoder) as batcher:
        with busy(batcher, session):
            futures = batcher.submit_many(images)
            wait_until(lambda: len(batcher._pending._decoded) == num)
            session.faults.extend([None, *faults])
        found = [future.exception(PATIENCE_S) or outcome(future) for future in futures]
    for image, each in zip(images, found, strict=True):
        if not isinstance(each, BaseException):
            assert_same(each, session.alone(encoder, image))
    return [type(each) for each in found]


LOST = [BackendError("the memory of the GPU does not suffice"), MemoryError()]


@pytest.mark.parametrize("fault", LOST)
def test_out_of_memory_is_tried_again_in_halves(encoder: Encoder, session: TestedSession, fault: BaseException) -> None:
    assert run_batch_of(5, encoder, session, fault) == [np.ndarray] * 5
    assert session.sizes == [1, 5, 3, 2]


@pytest.mark.parametrize("fault", LOST)
def test_a_half_that_fails_again_is_reported_and_the_other_is_not(
    encoder: Encoder, session: TestedSession, fault: BaseException
) -> None:
    found = run_batch_of(4, encoder, session, fault, fault)
    assert found == [BackendError, BackendError, np.ndarray, np.ndarray]
    assert session.sizes == [1, 4, 2, 2]


@pytest.mark.parametrize("fault", LOST)
def test_a_batch_of_one_is_tried_again_once(encoder: Encoder, session: TestedSession, fault: BaseException) -> None:
    assert run_batch_of(1, encoder, session, fault) == [np.ndarray]
    assert run_batch_of(1, encoder, session, fault, fault) == [BackendError]
    assert session.sizes == [1, 1, 1] * 2


def test_what_nobody_awaits_any_more_is_not_tried_again(encoder: Encoder, session: TestedSession) -> None:
    with Batcher(encoder) as batcher:
        with held(session):
            session.faults.append(BackendError("out of memory"))
            future = batcher.submit(picture(0))
            assert session.entered.acquire(timeout=PATIENCE_S)
            future.cancel()
        wait_until(lambda: batcher.statistics().pending_images == 0)
    assert session.sizes == [1]


def test_answers_that_are_not_as_many_as_images_are_nobodys(
    encoder: Encoder, session: TestedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "run", lambda images: np.zeros((len(images) + 1, 16), np.float32))
    with Batcher(encoder) as batcher, pytest.raises(BackendError, match=r"the session gave \[2, 16\]"):
        outcome(batcher.submit(picture(0)))


def test_an_error_in_decoding_that_nobody_expected_is_that_images(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(content: Any, **options: Any) -> Any:
        raise StopIteration

    async def main() -> None:
        async with Batcher(encoder) as batcher:
            with monkeypatch.context() as patch:
                patch.setattr(batcher_module, "decode", broken)
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await asyncio.wait_for(batcher.embed(picture(0)), PATIENCE_S)
            await batcher.embed(picture(0))

    asyncio.run(main())


# ----------------------------------------------------------------------------------------------------------------------
# Start, stop, and what must not harm the threads


def test_only_sizes_that_were_never_met_are_met_at_start(tiny_model: Any) -> None:
    session = TestedSession(tiny_model.path, max_batch=16)
    with Batcher(Encoder(session), max_batch=6):
        assert session.sizes == [1, 2, 4, 6]
    session.sizes.clear()
    with Batcher(Encoder(session, warmed=session.warm_up())):
        assert session.sizes == []


def test_a_model_that_does_not_run_is_told_at_start(session: TestedSession) -> None:
    session.faults.append(BackendError("no memory"))
    batcher = Batcher(Encoder(session))
    with pytest.raises(BackendError, match="no memory"):
        batcher.start()
    with batcher:  # it may be tried again
        outcome(batcher.submit(picture(0)))


def test_stopping_waits_for_what_is_pending(encoder: Encoder, session: TestedSession) -> None:
    with Batcher(encoder, max_batch=2) as batcher:
        futures = batcher.submit_many(noise(50, 8, 8))
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(Closed, match="stopped"):
        batcher.submit(picture(0))
    assert not [thread for thread in batcher._threads if thread.is_alive()]


def test_a_session_that_never_comes_back_does_not_keep_it_from_stopping(
    encoder: Encoder, session: TestedSession
) -> None:
    async def awaits() -> None:
        async with Batcher(encoder, max_batch=2, drain_s=0.02) as batcher:
            tasks.extend(asyncio.create_task(batcher.embed(picture(seed))) for seed in range(7))
            await asyncio.sleep(0.01)
            batchers.append(batcher)
        done, _ = await asyncio.wait(tasks, timeout=PATIENCE_S)
        assert {type(task.exception()) for task in done} == {Closed}
        assert len(done) == 7

    tasks: list[asyncio.Task[Any]] = []
    batchers: list[Batcher] = []
    with held(session):
        asyncio.run(awaits())
        assert batchers[0].stop(0) is False
    for thread in batchers[0]._threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    statistics = batchers[0].statistics()  # they add up, also when it came back at last
    assert (statistics.pending_images, statistics.outcomes) == (0, {"closed": 7})


def test_it_starts_once(encoder: Encoder) -> None:
    batcher = Batcher(encoder)
    with pytest.raises(Closed, match="not started"):
        batcher.submit(picture(0))
    with batcher, pytest.raises(Closed, match="starts once"):
        batcher.start()
    assert batcher.stop() is True
    with pytest.raises(Closed):
        batcher.start()
    never_started = Batcher(encoder)
    assert never_started.stop() is True
    with pytest.raises(Closed, match="stopped"):
        never_started.start()


@pytest.mark.parametrize("method", ["next_to_decode", "next_batch", "wait_for_deadlines"])
def test_a_thread_that_dies_leaves_nobody_waiting(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    batcher = Batcher(encoder)
    submitted = threading.Event()

    def dies() -> None:
        assert submitted.wait(PATIENCE_S)
        raise ValueError("a bug")

    monkeypatch.setattr(batcher._pending, method, dies)
    if method == "wait_for_deadlines":
        monkeypatch.setattr(batcher._pending, "next_batch", lambda: submitted.wait(PATIENCE_S) and None)
    with batcher:
        future = batcher.submit(picture(0))
        submitted.set()
        with pytest.raises(Closed, match="the batcher broke: ValueError: a bug"):
            outcome(future)
        with pytest.raises(Closed, match="the batcher broke"):
            batcher.submit(picture(0))
    assert "a thread of the batcher died" in caplog.text


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), asyncio.CancelledError()])
def test_callbacks_and_observers_that_raise_harm_nobody(
    encoder: Encoder, session: TestedSession, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def raises(_: object) -> None:
        raise error

    with Batcher(encoder, on_image=raises, on_batch=raises) as batcher:
        with busy(batcher, session):
            futures = batcher.submit_many(noise(6, 8, 8))
            for future in futures:
                future.add_done_callback(raises)
        for future in futures:
            outcome(future)
    assert "on_image raised" in caplog.text
    assert "on_batch raised" in caplog.text


def test_a_callback_may_ask_again_and_stop_the_batcher(encoder: Encoder) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    batcher = Batcher(encoder, drain_s=PATIENCE_S).start()
    batcher.submit(picture(0)).add_done_callback(lambda _: heard.put(batcher.submit(picture(1))))
    outcome(heard.get(timeout=PATIENCE_S))
    batcher.submit(picture(0)).add_done_callback(lambda _: heard.put(batcher.stop()))
    assert heard.get(timeout=PATIENCE_S) is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch": 9}, "the encoder runs 8 at most"),
        ({"max_batch": 0}, "max_batch"),
        ({"max_delay_ms": -1}, "max_delay_ms"),
        ({"max_delay_ms": float("nan")}, "max_delay_ms"),
        ({"max_pending_images": 0}, "max_pending_images"),
        ({"workers": 0}, "workers"),
        ({"drain_s": "long"}, "drain_s"),
    ],
)
def test_options_out_of_range_are_refused(encoder: Encoder, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Batcher(encoder, **options)


# ----------------------------------------------------------------------------------------------------------------------
# What it says of itself


def test_statistics_add_up_and_observers_hear_the_same(encoder: Encoder, session: TestedSession) -> None:
    images: list[ImageReport] = []
    batches: list[BatchReport] = []
    with Batcher(encoder, on_image=images.append, on_batch=batches.append) as batcher:
        session.faults.extend([None, None, RuntimeError("broken")])
        with busy(batcher, session):
            futures = batcher.submit_many([*(picture(seed) for seed in range(11)), b"bad"])
            late = batcher.submit(picture(0), timeout_s=0.01)
            assert isinstance(late.exception(PATIENCE_S), DeadlineExceeded)
            wait_until(lambda: len(batcher._pending._decoded) == 11)
            assert futures[0].cancel()
            during = batcher.statistics()
            assert (during.pending_images, during.accepted_images) == (11, 14)
    after = batcher.statistics()
    assert (after.pending_images, after.accepted_images, after.refused_images) == (0, 14, 0)
    assert after.outcomes == {"embedded": 9, "failed": 2, "bad_image": 1, "cancelled": 1, "expired": 1}
    assert after.batch_sizes == {1: 1, 2: 1, 8: 1}
    assert after.failed_batches == 1
    assert Counter(report.outcome for report in images) == after.outcomes
    assert Counter(report.size for report in batches) == after.batch_sizes
    assert [type(report.error) for report in batches] == [type(None), type(None), RuntimeError]
    assert sum(report.queue_seconds for report in images) == pytest.approx(after.queue_seconds)
    assert sum(report.decode_seconds for report in images) == pytest.approx(after.decode_seconds)
    assert sum(report.seconds for report in batches) == pytest.approx(after.inference_seconds)
    for report in images:
        assert (report.inference_seconds > 0) == (report.outcome in ("embedded", "failed"))
        assert min(report.queue_seconds, report.decode_seconds) >= 0


def test_its_errors_are_in_the_tree() -> None:
    for kind in (Overloaded, DeadlineExceeded, Closed):
        assert issubclass(kind, SemblanceError)
    assert issubclass(DeadlineExceeded, TimeoutError)
