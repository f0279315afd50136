"""Which of many things is due first, where most are through long before they are due.

In: things with a moment each, on the clock of `time.monotonic`. Out: those whose moment has passed. What is through is
not looked for in the middle of the heap: it is dropped when it comes to the top, and all at once when most are through,
so memory follows what is pending and not what was.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
_FEW = 64  # from here on it pays to look which are through


class Deadlines(Generic[T]):
    """A heap of things by deadline; not safe for threads by itself."""

    def __init__(self, is_through: Callable[[T], bool]) -> None:
        """`is_through(thing)` says that its deadline means nothing any more; it stays so."""
        self._is_through = is_through
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()  # things themselves need no order
        self._enough = _FEW

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, thing: T, at: float) -> bool:
        """Whether it is now the first that is due."""
        if len(self._heap) >= self._enough:
            self._heap = [entry for entry in self._heap if not self._is_through(entry[2])]
            heapq.heapify(self._heap)
            self._enough = max(_FEW, 2 * len(self._heap))
        heapq.heappush(self._heap, (at, next(self._numbers), thing))
        return self._heap[0][2] is thing

    def pop_passed(self, now: float) -> list[T]:
        """Those that are due, first come first; they are not here any more."""
        passed = []
        while self._heap and (self._heap[0][0] <= now or self._is_through(self._heap[0][2])):
            thing = heapq.heappop(self._heap)[2]
            if not self._is_through(thing):
                passed.append(thing)
        return passed

    def seconds_left(self, now: float) -> float | None:
        """Until the next is due; None: nothing is."""
        return self._heap[0][0] - now if self._heap else None
