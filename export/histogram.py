"""How the values of one tensor are spread, counted as they stream by in memory that does not grow.

In: arrays of float32, one after another. Out: exact minimum and maximum, and counts in bins of equal width. The width
is a power of two and zero is an edge: when a value lies outside, pairs of neighbours are merged and the width doubles.
So the counts are those of numpy's histogram with the final edges, whatever came first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_COUNTED = 1 << 18  # of one array; the rest of a large one would say the same again
HALF = 2048  # bins on either side of zero; 256 levels of 8 bits are then at least four bins each
_SMALLEST_WIDTH = 2.0**-40  # below, all is taken for zero; an 8-bit level of any tensor that matters is far wider


class Histogram:
    """Counts int64 [2 * HALF] of bins [i * width, (i + 1) * width) for i from -HALF to HALF - 1."""

    def __init__(self) -> None:
        self.lowest, self.highest = math.inf, -math.inf
        self.width = _SMALLEST_WIDTH
        self.counts = np.zeros(2 * HALF, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count an array of any shape: its extremes, and its values or of a large array every n-th.

        Raises ValueError where a value is not finite.
        """
        if values.size == 0:
            return
        lowest, highest = float(values.min()), float(values.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise ValueError("values that are not finite cannot be counted")
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        while self.lowest < -HALF * self.width or self.highest >= HALF * self.width:
            self._widen()
        # division by a power of two is exact, so no value falls into its neighbour's bin
        counted = values.ravel()[:: _step(values.size)]
        places = np.floor(counted * np.float32(1 / self.width)).astype(np.intp)
        self.counts += np.bincount(places + HALF, minlength=2 * HALF)

    @property
    def num_values(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def edges(self) -> NDArray[np.float64]:
        """The 2 * HALF + 1 edges of the bins, ascending."""
        return np.arange(-HALF, HALF + 1) * self.width

    def filled(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Centres float64 [B] and counts int64 [B] from the first to the last bin that has any; B = 0 for none."""
        (used,) = np.nonzero(self.counts)
        span = slice(used[0], used[-1] + 1) if used.size else slice(0, 0)
        centres = np.clip((self.edges[:-1] + self.width / 2)[span], self.lowest, self.highest)
        return centres, self.counts[span]

    def _widen(self) -> None:
        merged = self.counts.reshape(-1, 2).sum(axis=1)  # [HALF], still centred on zero
        self.counts = np.zeros(2 * HALF, np.int64)
        self.counts[HALF // 2 : HALF // 2 + HALF] = merged
        self.width *= 2


def _step(size: int) -> int:
    """Every how manyth value is counted: without a divisor in common with the size, and so with each axis, since every
    112th value would always be the same column of a picture.
    """
    step = -(-size // _MOST_COUNTED)
    while math.gcd(step, size) > 1:
        step += 1
    return step
