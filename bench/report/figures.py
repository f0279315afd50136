"""From raw times to figures: medians, percentiles, rates, ratios, and how sure they are.

In: the `seconds` of race records, a list of rounds, each a list of calls. Out: figures. The contenders of a race were
measured in turns, so that round i of all of them lies together in time: what slowed the machine down slowed all of
them. Hence ratios are formed round by round, and an interval is one over rounds: they are drawn again with
replacement, seeded, and the middle 95 % of the medians are the interval. One round gives no interval, and no calls give
no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Record = dict[str, Any]
Floats = NDArray[np.float64]

_DRAWS, _SEED = 2_000, 0
_MIDDLE = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with 95 % confidence, as far as rounds of one run can tell."""

    low: float
    high: float

    @property
    def noise(self) -> float:
        """Half of its width, to its middle."""
        middle = (self.low + self.high) / 2
        return (self.high - self.low) / 2 / middle if middle else 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval; None: of one round."""

    value: float
    interval: Interval | None

    @property
    def noise(self) -> float | None:
        """Half the interval's relative width."""
        return self.interval.noise if self.interval else None


@dataclass(frozen=True, slots=True)
class Timing:
    """What the calls of one contender come to. Percentiles are over all calls of all rounds."""

    num_rounds: int
    num_calls: int
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    rate: Estimate  # items per second: those of a call by the median of the rounds' medians


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a ceiling is reached."""

    value: float
    of: str  # the ceiling's title


def calls(record: Record) -> Floats:
    """All calls' seconds of a record [C], in the order they were made."""
    return np.array([each for one in record["seconds"] for each in one], np.float64)


def timing(record: Record) -> Timing | None:
    """The figures of a race record; None where it has no calls."""
    seconds = calls(record)
    if not len(seconds):
        return None
    p50, p90, p95, p99 = (float(each) for each in np.quantile(seconds, (0.5, 0.9, 0.95, 0.99)))
    return Timing(
        num_rounds=sum(bool(one) for one in record["seconds"]),
        num_calls=len(seconds),
        p50_s=p50,
        p90_s=p90,
        p95_s=p95,
        p99_s=p99,
        rate=estimate([each for each in round_rates(record) if each is not None]),
    )


def round_rates(record: Record) -> list[float | None]:
    """Items per second of each round, by its median call; None for a round without calls."""
    return [float(record["items"] / np.median(one)) if one else None for one in record["seconds"]]


def round_ratios(record: Record, original: Record) -> list[float]:
    """How many times the original's rate is reached, in each round that both have."""
    pairs = zip(round_rates(record), round_rates(original), strict=False)
    return [own / other for own, other in pairs if own is not None and other is not None]


def estimate(values: Sequence[float]) -> Estimate:
    """The median of one value a round, and its interval."""
    drawn = _drawn_medians(np.array(values, np.float64), _SEED)
    return Estimate(float(np.median(values)), _interval(drawn) if len(values) > 1 else None)


def ratio(record: Record, original: Record) -> Estimate | None:
    """The rate as times the original's, by rounds; None where they have none in common."""
    ratios = round_ratios(record, original)
    return estimate(ratios) if ratios else None


def change(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """`after`'s median as times `before`'s, whose rounds have nothing to do with each other."""
    value = float(np.median(after) / np.median(before))
    if min(len(before), len(after)) < 2:
        return Estimate(value, None)
    old, new = (_drawn_medians(np.array(each, np.float64), _SEED + which) for which, each in enumerate((before, after)))
    return Estimate(value, _interval(new / old))


def share_of_ceiling(record: Record, ceiling: Record) -> float | None:
    """The part of a ceiling that is reached.

    Where the ceiling is a product of matrices, its items are operations, and the record tells how many an item takes.
    Where it is of the record's own unit, rates are compared as they are. None where one has no figure.
    """
    own, most = timing(record), timing(ceiling)
    if own is None or most is None:
        return None
    if ceiling["unit"] != "operations":
        return own.rate.value / most.rate.value
    operations = record.get("operations_per_item")
    return None if operations is None else own.rate.value * operations / most.rate.value


def ecdf(seconds: Floats, most: int = 120) -> list[tuple[float, float]]:
    """Points (second, share of calls that took no longer), at most so many, evenly spread over the shares."""
    if not len(seconds):
        return []
    ordered = np.sort(seconds)
    ranks = np.unique(np.linspace(1, len(ordered), min(most, len(ordered))).round().astype(int))
    return [(float(ordered[rank - 1]), rank / len(ordered)) for rank in ranks]


# ------------------------------------------------------------------------------------------------------------------


def _drawn_medians(values: Floats, seed: int) -> Floats:
    """Medians of `values` [R] drawn again with replacement: [_DRAWS]."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (_DRAWS, len(values)))
    medians: Floats = np.median(values[drawn], axis=1)
    return medians


def _interval(drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, _MIDDLE)
    return Interval(float(low), float(high))
