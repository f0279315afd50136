"""Which of the measured settings is the one to take: pure functions of what was measured.

In: rows. Out: the row with most images per second within a bound on latency, the one that answers a single image
soonest, and those that are worth a second look. An unsteady figure never wins by less than what it may be off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from semblance.tune.candidates import Setting, Variant
from semblance.tune.measuring import MOST_APART, Speed

_CLOSE = 1.25  # times slower than the best, by one window each, which may be off by as much


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate, and what became of it."""

    variant: Variant
    backend: str = ""  # "" where the file took no part on any
    setting: Setting | None = None  # None where it was not run
    speed: Speed | None = None
    is_final: bool = False  # measured until steady, or to the end of windows and budget; else by one window alone
    note: str = ""  # why there is no speed, or what else is to be told

    @property
    def measured(self) -> tuple[Setting, Speed]:
        """Of a row that was run."""
        assert self.setting is not None
        assert self.speed is not None
        return self.setting, self.speed


def best_in_bulk(rows: Iterable[Row], *, max_latency_ms: float | None = None) -> Row | None:
    """Of the rows measured to the end, the one with most images per second.

    Where `max_latency_ms` is given, only rows count whose slowest calls (`tail_ms`) keep to it. A steady row is taken
    instead of a faster unsteady one that is ahead by 10 % or less. Of equals the one with the shorter tail, then with
    the smaller batch, fewer streams and fewer threads. None where no row is left.
    """
    return _best(within(_final(rows), max_latency_ms), lambda speed: speed.images_per_sec)


def soonest(rows: Iterable[Row]) -> Row | None:
    """The row whose median latency for a single image is the shortest, with nothing else running; by the same rules."""
    return _best(filter(_is_single, _final(rows)), lambda speed: 1 / speed.p50_ms)


def within(rows: Iterable[Row], max_latency_ms: float | None) -> list[Row]:
    """Those that were run, and whose slowest calls keep to the bound."""
    run = [row for row in rows if row.speed is not None]
    return [row for row in run if max_latency_ms is None or row.measured[1].tail_ms <= max_latency_ms]


def finalists(coarse: Sequence[Row], *, max_latency_ms: float | None = None, each: int = 4) -> list[Row]:
    """Rows of the first pass to measure again, the most important ones first.

    Of each file the `each` with most images per second that may be within the bound, which one window cannot tell for
    sure, and before all but the first of these, lest the time is over, the best of every other backend that is not far
    behind; where none may, the one that is nearest to the bound. And those that answer a single image soonest.
    """
    ran = [row for row in coarse if row.speed is not None]
    by_file: list[list[Row]] = []
    for path in dict.fromkeys(row.variant.path for row in ran):
        own = [row for row in ran if row.variant.path == path]
        near = within(own, None if max_latency_ms is None else 1.2 * max_latency_ms)
        near.sort(key=lambda row: -row.measured[1].images_per_sec)
        close = [row for row in near if row.measured[1].images_per_sec * _CLOSE >= near[0].measured[1].images_per_sec]
        others = {row.backend: row for row in reversed(close)}.values()
        by_file.append(
            _once([*near[:1], *others, *near[1:each]]) or [min(own, key=lambda row: row.measured[1].tail_ms)]
        )
    by_file.sort(key=lambda own: -own[0].measured[1].images_per_sec)
    single = sorted(filter(_is_single, ran), key=lambda row: row.measured[1].p50_ms)[:each]
    firsts = [own[0] for own in by_file]
    return _once([*firsts, *single[:1], *(row for own in by_file for row in own[1:]), *single[1:]])


# ------------------------------------------------------------------------------------------------------------------


def _once(rows: Iterable[Row]) -> list[Row]:
    """Without those that came before."""
    first: dict[tuple[object, object], Row] = {}
    for row in rows:
        first.setdefault((row.variant.path, row.setting), row)
    return list(first.values())


def _final(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.is_final and row.speed is not None]


def _is_single(row: Row) -> bool:
    setting = row.setting
    return setting is not None and setting.batch == 1 and setting.streams == 1


def _best(rows: Iterable[Row], merit: Callable[[Speed], float]) -> Row | None:
    def rank(row: Row) -> tuple[float, float, int, int, int]:
        setting, speed = row.measured
        return -merit(speed), speed.tail_ms, setting.batch, setting.streams, setting.threads

    ranked = sorted(rows, key=rank)
    if not ranked:
        return None
    least = merit(ranked[0].measured[1]) / MOST_APART
    steady = [row for row in ranked if row.measured[1].is_stable and merit(row.measured[1]) >= least]
    return steady[0] if steady else ranked[0]
