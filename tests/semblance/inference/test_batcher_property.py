"""Thousands of requests at once, by any kind of caller, while images are bad, callers leave and the session fails.

Every answer is that image's own, every request ends in exactly one way, none hangs, and the figures add up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import Counter, deque
from concurrent.futures import Future
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from semblance.errors import BackendError, Closed, DeadlineExceeded, ImageError, Overloaded
from semblance.inference.batcher import Batcher
from semblance.inference.counts import BatchReport, ImageReport
from semblance.inference.encoder import Encoder
from semblance.inference.session import Session

MOST = 2e-6  # of a coordinate, to the longest embedding
PATIENCE_S = 30.0
NUM_PICTURES = 60
BAD = (b"", b"no picture", np.zeros((2, 2, 2, 3), np.uint8), np.zeros((4, 4), np.float32))

Faults = st.lists(
    st.sampled_from([None, BackendError("out of memory"), MemoryError(), RuntimeError("broken"), SystemExit(1)]),
    max_size=6,
)
# which pictures, by number; from NUM_PICTURES on they are bad
Numbers = st.builds(
    lambda count, seed: np.random.default_rng(seed).integers(0, NUM_PICTURES + 6, count).tolist(),
    st.integers(0, 60),
    st.integers(0, 1000),
)
Timeouts = st.sampled_from([None, None, None, PATIENCE_S, 0.02, 0.001, 0.0, -1.0])


class FaultySession(Session):
    """A real one, whose runs can be held up and made to fail."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gate = threading.Event()
        self.faults: deque[BaseException | None] = deque()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.gate.wait(PATIENCE_S)
        try:
            fault = self.faults.popleft()
        except IndexError:
            fault = None
        if fault is not None:
            raise fault
        return super().run(images)


def pictures() -> list[Any]:
    """All different: of the model's size and not, in colour and grey, encoded and not."""
    rng = np.random.default_rng(0)
    made: list[Any] = []
    for number in range(NUM_PICTURES):
        shape = (8, 8) if number % 4 == 0 else (*rng.integers(5, 30, 2), 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        made.append(cv2.imencode(".png", pixels)[1].tobytes() if number % 4 == 3 else pixels)
    return made


class Machine(RuleBasedStateMachine):
    """One batcher from its start to its end."""

    sessions: dict[int, FaultySession]  # by streams, loaded once
    pictures: list[Any]
    alone: NDArray[np.float32]  # the plain reference: each picture, in a batch of its own

    @initialize(
        streams=st.sampled_from([1, 2]),
        max_batch=st.integers(1, 8),
        max_delay_ms=st.sampled_from([0, 1, 1e9]),
        max_pending=st.sampled_from([10, 70, 1000]),
        workers=st.integers(1, 3),
    )
    def start(self, streams: int, max_batch: int, max_delay_ms: float, max_pending: int, workers: int) -> None:
        self.session = self.sessions[streams]
        self.session.faults.clear()
        self.session.gate.set()
        self.images: list[ImageReport] = []
        self.batches: list[BatchReport] = []
        self.max_pending = max_pending
        encoder = Encoder(self.session, warmed=self.session.warm_up())
        self.batcher = Batcher(
            encoder,
            max_batch=max_batch,
            max_delay_ms=max_delay_ms,
            max_pending_images=max_pending,
            workers=workers,
            drain_s=PATIENCE_S,
            on_image=self.images.append,
            on_batch=self.batches.append,
        ).start()
        self.futures: list[tuple[int, Future[NDArray[np.float32]]]] = []
        self.tasks: list[tuple[list[int], Future[Any]]] = []
        self.outcomes: Counter[int] = Counter()  # how often each future said that it was done
        self.num_accepted = self.num_refused = 0
        self.lock = threading.Lock()
        self.loop = asyncio.new_event_loop()
        self.loop_thread = threading.Thread(target=self.loop.run_forever)
        self.loop_thread.start()
        self.pool = concurrent.futures.ThreadPoolExecutor(4)

    def picture(self, number: int) -> Any:
        return self.pictures[number] if number < NUM_PICTURES else BAD[number % len(BAD)]

    def accept(self, numbers: list[int], timeout_s: float | None) -> None:
        """From whichever thread."""
        try:
            futures = self.batcher.submit_many([self.picture(number) for number in numbers], timeout_s=timeout_s)
        except Overloaded:
            with self.lock:
                self.num_refused += len(numbers)
            return
        for future in futures:
            future.add_done_callback(self.count)
        with self.lock:
            self.num_accepted += len(numbers)
            self.futures.extend(zip(numbers, futures, strict=True))

    def count(self, future: Future[Any]) -> None:
        with self.lock:
            self.outcomes[id(future)] += 1

    # ------------------------------------------------------------------------------------------------------------------

    @rule(numbers=Numbers, timeout_s=Timeouts)
    def submit_many(self, numbers: list[int], timeout_s: float | None) -> None:
        self.accept(numbers, timeout_s)

    @rule(numbers=Numbers, timeout_s=Timeouts, num_threads=st.integers(2, 4))
    def submit_from_threads(self, numbers: list[int], timeout_s: float | None, num_threads: int) -> None:
        parts = [numbers[start::num_threads] for start in range(num_threads)]
        for done in [self.pool.submit(self.accept, part, timeout_s) for part in parts]:
            done.result(PATIENCE_S)

    @rule(numbers=Numbers, timeout_s=Timeouts, is_one_call=st.booleans())
    def embed_in_coroutines(self, numbers: list[int], timeout_s: float | None, is_one_call: bool) -> None:
        async def many() -> Any:
            return await self.batcher.embed_many([self.picture(number) for number in numbers], timeout_s=timeout_s)

        async def one(number: int) -> Any:
            return [await self.batcher.embed(self.picture(number), timeout_s=timeout_s)]

        if is_one_call:
            self.tasks.append((numbers, asyncio.run_coroutine_threadsafe(many(), self.loop)))
        else:
            self.tasks.extend(([each], asyncio.run_coroutine_threadsafe(one(each), self.loop)) for each in numbers)

    @rule(every=st.integers(1, 5), are_tasks=st.booleans())
    def leave(self, every: int, are_tasks: bool) -> None:
        held = self.tasks if are_tasks else self.futures
        for _, future in held[-60::every]:
            future.cancel()

    @rule(faults=Faults)
    def fail(self, faults: list[BaseException | None]) -> None:
        self.session.faults.extend(faults)

    @rule()
    def block(self) -> None:
        self.session.gate.clear()

    @rule()
    def unblock(self) -> None:
        self.session.gate.set()

    @rule()
    def wait_for_all(self) -> None:
        self.session.gate.set()
        everything: list[Future[Any]] = [future for _, future in [*self.futures, *self.tasks]]
        assert not concurrent.futures.wait(everything, PATIENCE_S).not_done

    @invariant()
    def no_more_are_pending_than_may_be_and_the_figures_add_up(self) -> None:
        if not hasattr(self, "batcher"):
            return
        now = self.batcher.statistics()
        assert 0 <= now.pending_images <= self.max_pending
        assert now.accepted_images == now.pending_images + sum(now.outcomes.values())

    # ------------------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "batcher"):
            return
        try:
            self.wait_for_all()
            assert self.batcher.stop()
            with pytest.raises(Closed):
                self.batcher.submit(self.pictures[0])
            self.check_answers()
            self.check_figures()
        finally:
            self.session.gate.set()
            self.batcher.stop(0)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.loop_thread.join(PATIENCE_S)
            self.loop.close()
            self.pool.shutdown()

    def check_answers(self) -> None:
        for numbers, future in [*(([number], future) for number, future in self.futures), *self.tasks]:
            assert future.done()
            if future.cancelled():
                continue
            error = future.exception(0)
            if error is None:
                rows = np.asarray(future.result(0)).reshape(len(numbers), 16)
                expected = self.alone[numbers]
                assert np.abs(rows - expected).max(initial=0) <= MOST * np.linalg.norm(self.alone, axis=1).max()
            elif isinstance(error, ImageError):
                assert any(number >= NUM_PICTURES for number in numbers)
            else:
                assert isinstance(error, (BackendError, DeadlineExceeded, Overloaded))
        assert set(self.outcomes.values()) <= {1}
        assert len(self.outcomes) == len(self.futures)

    def check_figures(self) -> None:
        end = self.batcher.statistics()
        assert end.pending_images == 0
        assert end.accepted_images == sum(end.outcomes.values()) >= self.num_accepted
        assert end.refused_images >= self.num_refused
        assert Counter(report.outcome for report in self.images) == end.outcomes
        assert Counter(report.size for report in self.batches) == end.batch_sizes
        assert end.outcomes.get("closed", 0) == 0
        TOTALS.update(end.outcomes)


TOTALS: Counter[str] = Counter()


@pytest.mark.timeout(200)
def test_every_request_ends_in_one_way_and_every_answer_is_its_images_own(tiny_model: Any) -> None:
    Machine.sessions = {
        streams: FaultySession(tiny_model.path, backend="cpu", threads=streams, streams=streams, max_batch=8)
        for streams in (1, 2)
    }
    Machine.pictures = pictures()
    plain = Encoder(Session(tiny_model.path, backend="cpu", threads=1))
    Machine.alone = np.concatenate([plain.embed([picture]) for picture in Machine.pictures])
    TOTALS.clear()
    machine = Machine.TestCase()
    machine.settings = settings(
        max_examples=60,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    machine.runTest()
    assert TOTALS.total() > 5_000
    assert set(TOTALS) == {"embedded", "bad_image", "failed", "expired", "cancelled"}
