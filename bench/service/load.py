"""What a client is to do, and what it saw.

In: pieces, which are requests with the answers they must have, and a plan of when to send them. Out: `Seen`, a row for
each request: when it was due, sent, first and fully answered, its status, and whether the answer was the right one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNCHECKED, RIGHT, WRONG = 0, 1, 2  # of an answer
BEGIN = 0.2  # share of a closed loop in which answers begin to come: it does not count
FAILURES = ("", "unreachable", "broken", "late", "no connection", "no answer")


@dataclass(frozen=True, slots=True)
class Piece:
    """A request, made beforehand."""

    request: bytes
    kind: str  # what it is counted as
    num_images: int = 1
    expected: bytes | None = None  # float32 [num_images * D] of a status 200; None: the answer is not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Load of one sort for some seconds."""

    port: int
    groups: tuple[tuple[float, tuple[Piece, ...]], ...]  # shares, which add up to 1, and of what
    seconds: float
    tolerance: float = 0.0  # of a coordinate of an answer
    concurrency: int | None = None  # closed loop: so many are always in flight
    rate_per_s: float | None = None  # open loop: so many a second, whatever comes back
    is_poisson: bool = True  # else evenly spaced
    max_connections: int = 512
    limit_s: float = 60.0
    seed: int = 0


@dataclass(slots=True)
class Seen:
    """R requests, in the order in which they ended. Times are those of `time.monotonic`, 0 where there is none."""

    kinds: list[str]
    kind: NDArray[np.int16]  # [R], place in `kinds`
    num_images: NDArray[np.int32]  # [R]
    due: Floats  # [R] when it was to be sent
    sent: Floats
    first: Floats  # first byte of the answer
    finished: Floats
    status: NDArray[np.int16]
    verdict: NDArray[np.int8]  # [R] UNCHECKED, RIGHT, WRONG
    failure: NDArray[np.int8]  # [R] place in FAILURES
    start: float
    end: float  # of sending
    cpu_s: float  # of the client's process meanwhile
    num_retried: int = 0
    examples: list[str] = field(default_factory=list)  # of what was wrong, in words

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def seconds(self) -> float:
        """How long it sent."""
        return self.end - self.start

    def of(self, kind: str) -> NDArray[np.bool_]:
        """[R] which are of that kind."""
        if kind not in self.kinds:
            return np.zeros(len(self), np.bool_)
        found: NDArray[np.bool_] = self.kind == self.kinds.index(kind)
        return found

    def images_per_s(self) -> float:
        """Images in answers of status 200 that ended while it sent, without the first part of that time."""
        start = self.start + BEGIN * self.seconds
        is_good = (self.status == 200) & (self.verdict != WRONG) & (self.finished > start) & (self.finished <= self.end)
        return float(self.num_images[is_good].sum() / (self.end - start))


def quantiles_ms(seconds: Floats) -> dict[str, float | None]:
    """p50, p90, p99 and the most, in milliseconds; None where there is nothing."""
    if not len(seconds):
        return dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "max_ms"))
    p50, p90, p99 = np.quantile(seconds, (0.5, 0.9, 0.99))
    return {"p50_ms": 1e3 * float(p50), "p90_ms": 1e3 * float(p90), "p99_ms": 1e3 * float(p99),
            "max_ms": 1e3 * float(seconds.max())}  # fmt: skip
