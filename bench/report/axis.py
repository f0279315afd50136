"""An axis: where a value comes to lie, and which round numbers are written along it.

In: the values that it has to hold. Out: places from 0 to 1, and numbers; a logarithmic one has 1, 2, 5 and their tens,
as many as there is room for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report import words


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis is called and which part of its numbers it shows."""

    label: str
    low: float
    high: float
    is_log: bool = False
    ticks: tuple[float, ...] = ()  # empty: round ones
    write: Callable[[float], str] = words.short

    @classmethod
    def over(cls, label: str, values: Sequence[float], *, is_log: bool = False, pad: float = 0.06,
             ticks: tuple[float, ...] = (), write: Callable[[float], str] = words.short,
             floor: float | None = None, ceiling: float | None = None) -> Axis:  # fmt: skip
        """An axis that holds all of `values`, with some room, within `floor` and `ceiling`."""
        low, high = min(values, default=1.0), max(values, default=2.0)
        if is_log:
            low, high = max(low, 1e-12), max(high, 1e-12)
            room = max(pad * math.log(high / low), 0.08) if high > low else 0.3
            low, high = low / math.exp(room), high * math.exp(room)
        else:
            room = pad * (high - low) if high > low else abs(high) * 0.1 or 1.0
            low, high = low - room, high + room
        low = low if floor is None else max(low, floor)
        high = high if ceiling is None else min(high, ceiling)
        return cls(label, low, high, is_log, ticks, write)

    def place(self, value: float) -> float:
        """0 at its low end, 1 at its high one."""
        if self.is_log:
            return math.log(max(value, 1e-300) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def marks(self, most: int) -> list[float]:
        """The numbers that are written."""
        if self.ticks:
            return [each for each in self.ticks if self.low <= each <= self.high]
        return _log_ticks(self.low, self.high, most) if self.is_log else _round_ticks(self.low, self.high, most)


# ------------------------------------------------------------------------------------------------------------------


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        found = [each for each in found if low <= each <= high]
        if len(found) <= most:
            break
    else:
        found = found[:: math.ceil(len(found) / most)]
    return found if len(found) > 1 else _round_ticks(low, high, 4)


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
