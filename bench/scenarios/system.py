"""The system under test as LoadGen sees it: queries come in by a callback, each is answered exactly once.

In: a contender. Two ways, as the scenarios are meant: a client that waits is answered in the callback itself; requests
of many clients wait in a queue, of which a worker takes all that is there, up to a batch. A contender that has a queue
of its own gets them as they come. LoadGen calls back from its
own C++ and has no way to be stopped: an exception must not get there (it ends the process without a word), so the first
one goes to `on_failure`, and nothing is answered from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.scenarios.contenders import Contender

Query = tuple[int, int]  # LoadGen's identifier of the response, the number of the sample
OnFailure = Callable[[BaseException], None]


class System(Protocol):
    """What answers."""

    num_issued: int
    num_answered: int

    def issue(self, queries: Iterable[Any]) -> None:
        """Take queries; called by LoadGen, from one thread. Raises nothing."""

    def close(self) -> None:
        """End what runs; all queries are answered by then, or it failed."""


class _Counted:
    """Who answers, whom it tells, and how many there were."""

    def __init__(self, contender: Contender, loadgen: Any, on_failure: OnFailure) -> None:
        self._contender = contender
        self._loadgen = loadgen
        self._on_failure = on_failure
        self._has_failed = False
        self._counting = threading.Lock()
        self.num_issued = 0
        self.num_answered = 0


class _Answering(_Counted):
    """Embeds and responds; stops at the first failure."""

    def _answer(self, queries: list[Query]) -> None:
        if self._has_failed:
            return
        try:
            self._respond(queries)
        except BaseException as error:  # also SystemExit: this may be a thread of LoadGen's
            self._has_failed = True
            self._on_failure(error)

    def _respond(self, queries: list[Query]) -> None:
        samples = [self._contender.samples[number] for _, number in queries]
        embeddings = np.ascontiguousarray(self._contender.embed(samples), np.float32)  # [n, D]
        if embeddings.ndim != 2 or len(embeddings) != len(queries):
            raise ValueError(f"{len(queries)} samples were asked for, the embeddings are {list(embeddings.shape)}")
        first, row_bytes = embeddings.ctypes.data, embeddings.strides[0]
        responses = [
            self._loadgen.QuerySampleResponse(identifier, first + row * row_bytes, row_bytes)
            for row, (identifier, _) in enumerate(queries)
        ]
        with self._counting:
            self.num_answered += len(responses)
        self._loadgen.QuerySamplesComplete(responses)  # copies what it keeps before it returns


class InPlace(_Answering):
    """Answers in the callback, `at_once` samples at a time: nobody asks for anything else meanwhile."""

    def __init__(self, contender: Contender, loadgen: Any, on_failure: OnFailure, *, at_once: int) -> None:
        super().__init__(contender, loadgen, on_failure)
        self._at_once = at_once

    def issue(self, queries: Iterable[Any]) -> None:
        """Take queries and answer them."""
        taken = [(each.id, each.index) for each in queries]
        self.num_issued += len(taken)
        for start in range(0, len(taken), self._at_once):
            self._answer(taken[start : start + self._at_once])

    def close(self) -> None:
        """Nothing runs."""


class InFlight(_Counted):
    """Hands each query on at once, to a contender that calls back when it has the answer."""

    def issue(self, queries: Iterable[Any]) -> None:
        """Take queries and hand them on."""
        assert self._contender.begin is not None
        for each in queries:
            self.num_issued += 1
            try:
                self._contender.begin(self._contender.samples[each.index], partial(self._answered, each.id))
            except BaseException as error:
                self._fail(error)

    def close(self) -> None:
        """All is answered."""

    def _answered(self, identifier: int, answer: NDArray[np.float32] | BaseException) -> None:
        if self._has_failed:
            return
        if isinstance(answer, BaseException):
            self._fail(answer)
            return
        embedding = np.ascontiguousarray(answer, np.float32)  # [D]
        with self._counting:
            self.num_answered += 1
        # copies what it keeps before it returns
        response = self._loadgen.QuerySampleResponse(identifier, embedding.ctypes.data, embedding.nbytes)
        self._loadgen.QuerySamplesComplete([response])

    def _fail(self, error: BaseException) -> None:
        with self._counting:
            is_first, self._has_failed = not self._has_failed, True
        if is_first:
            self._on_failure(error)


class Queued(_Answering):
    """Answers in a worker for each stream, which takes what waits and never waits for more."""

    def __init__(self, contender: Contender, loadgen: Any, on_failure: OnFailure) -> None:
        super().__init__(contender, loadgen, on_failure)
        self._waiting: SimpleQueue[Query | None] = SimpleQueue()  # None: the end, once for each worker
        self.batch_sizes: list[int] = []
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(contender.streams)]
        for worker in self._workers:
            worker.start()

    def issue(self, queries: Iterable[Any]) -> None:
        """Take queries and let them wait."""
        for each in queries:
            self.num_issued += 1
            self._waiting.put((each.id, each.index))

    def close(self) -> None:
        """End the workers once they have answered all that waits."""
        for _ in self._workers:
            self._waiting.put(None)
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while batch := self._taken():
            self.batch_sizes.append(len(batch))
            self._answer(batch)

    def _taken(self) -> list[Query]:
        """All that waits, up to a batch, and at least one; nothing at the end."""
        batch: list[Query] = []
        query = self._waiting.get()
        while query is not None:
            batch.append(query)
            if len(batch) == self._contender.max_batch:
                return batch
            try:
                query = self._waiting.get_nowait()
            except Empty:
                return batch
        if batch:
            self._waiting.put(None)  # seen too early: it is met again after this batch
        return batch
