"""The highest rate at which a latency stays under a bound, by trying: doubled or halved until there is one rate on
either side, then the middle again and again. Knows nothing of LoadGen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found at a rate."""

    rate_per_sec: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Search:
    """How it went; no rate where none that was tried stays under the bound."""

    rate_per_sec: float | None  # the highest that was tried and stays under the bound, below all that do not
    is_closed: bool  # whether a rate at most `closeness` above was tried and is over the bound
    probes: tuple[Probe, ...]  # in the order in which they were tried


def highest_rate(
    p99_ms_at: Callable[[float], float],
    *,
    bound_ms: float,
    start_per_sec: float,
    least_per_sec: float = 0.0,
    most_probes: int = 12,
    closeness: float = 0.05,
) -> Search:
    """Try at most `most_probes` rates, the first of them `start_per_sec`, none below `least_per_sec`.

    A rate once found over the bound limits all later ones, so that a lucky probe above it counts for nothing.

    >>> found = highest_rate(lambda rate: 1.0 if rate <= 100 else 50.0, bound_ms=15, start_per_sec=10)
    >>> 95 < found.rate_per_sec <= 100
    True
    """
    under: float | None = None
    over: float | None = None
    probes: list[Probe] = []
    rate = start_per_sec
    while len(probes) < most_probes and not _is_closed(under, over, closeness):
        probes.append(Probe(rate, p99_ms_at(rate)))
        if probes[-1].p99_ms <= bound_ms:
            under = rate
        else:
            over = rate
        rate = _next(under, over)
        if rate < least_per_sec:
            break
    return Search(under, _is_closed(under, over, closeness), tuple(probes))


def _next(under: float | None, over: float | None) -> float:
    if under is None:
        assert over is not None
        return over / 2
    return 2 * under if over is None else (under * over) ** 0.5


def _is_closed(under: float | None, over: float | None, closeness: float) -> bool:
    return under is not None and over is not None and over <= under * (1 + closeness)
