"""From how a tensor's values are spread to the range that its 256 levels are laid over.

In: a histogram. Out: (lowest, highest), which always hold zero, since padding and ReLU need it exactly. A narrower
range makes each level finer and cuts more off; the methods differ in how they weigh the two.

    minmax       all that was seen
    percentile   all but a share of the values, as much at either end
    mse          the least mean square of what rounding and cutting change together
    entropy      the least relative entropy between the values and their levels, as TensorRT calibrates
                 (Migacz, "8-bit inference with TensorRT", GTC 2017); what a ReLU set to zero is left out, since zero
                 is a level whatever the range
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from export.histogram import Histogram

LEVELS = 255  # steps between the lowest and the highest of 256 levels

Range = tuple[float, float]  # lowest <= 0 <= highest
Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]

_MSE_STEPS = 100
_SMALLEST_SHARE = 0.2  # of the seen range that a search goes down to
_ENTROPY_STEPS = 128
_LEAST_PROBABILITY = 1e-6  # of an end where nothing was but what is cut off: it costs, and not infinitely


def minmax_range(histogram: Histogram) -> Range:
    """All values; (0, 0) where none was counted."""
    return min(histogram.lowest, 0.0), max(histogram.highest, 0.0)


def percentile_range(histogram: Histogram, percent: float) -> Range:
    """All but (100 - percent) / 2 percent of the values at either end, to the width of a bin."""
    lowest, highest = minmax_range(histogram)
    total = histogram.num_values
    if total == 0:
        return lowest, highest
    tail = total * (100 - percent) / 200
    below = np.concatenate([[0], np.cumsum(histogram.counts)])  # [B + 1], values below each edge
    left = histogram.edges[np.searchsorted(below, tail, side="right") - 1]
    right = histogram.edges[np.searchsorted(below, total - tail, side="left")]
    return min(max(lowest, float(left)), 0.0), max(min(highest, float(right)), 0.0)


def mse_range(histogram: Histogram) -> Range:
    """Of the seen range shrunk in a hundred steps, that whose rounding errors have the least mean square."""
    lowest, highest = minmax_range(histogram)
    centres, counts = histogram.filled()
    best, best_error = (lowest, highest), np.inf
    for share in np.linspace(1.0, _SMALLEST_SHARE, _MSE_STEPS):
        tried = (lowest * float(share), highest * float(share))
        error = float(counts @ np.square(round_to_levels(centres, tried) - centres))
        if error < best_error:
            best, best_error = tried, error
    return best


def entropy_range(histogram: Histogram) -> Range:
    """Of the seen range shrunk in steps, that whose levels keep the distribution best."""
    lowest, highest = minmax_range(histogram)
    centres, counts = histogram.filled()
    counts = _without_zeros(centres, counts)
    best, best_divergence = (lowest, highest), np.inf
    for share in np.linspace(1.0, _SMALLEST_SHARE, _ENTROPY_STEPS):
        tried = (lowest * float(share), highest * float(share))
        divergence = _divergence(centres, counts, tried)
        if divergence < best_divergence:
            best, best_divergence = tried, divergence
    return best


METHODS: dict[str, Callable[[Histogram], Range]] = {
    "minmax": minmax_range,
    "percentile 99.99": lambda histogram: percentile_range(histogram, 99.99),
    "percentile 99.9": lambda histogram: percentile_range(histogram, 99.9),
    "mse": mse_range,
    "entropy": entropy_range,
}


def levels_of(within: Range) -> tuple[float, int]:
    """Scale and zero point (0..255) of the 256 levels over a range that holds zero: value = scale * (level - zero).

    The zero point is rounded, so that zero is a level exactly. An empty range has scale 1.
    """
    lowest, highest = within
    scale = float(np.float32((highest - lowest) / LEVELS))
    if scale == 0 or not np.isfinite(scale):
        return 1.0, 0
    return scale, int(np.clip(np.rint(-lowest / scale), 0, LEVELS))


def round_to_levels(values: Doubles, within: Range) -> Doubles:
    """Each value at its level, or at the outermost ones, as QuantizeLinear and DequantizeLinear give it back."""
    scale, zero = levels_of(within)
    return np.asarray((np.clip(np.rint(values / scale) + zero, 0, LEVELS) - zero) * scale, np.float64)


def _without_zeros(centres: Doubles, counts: Counts) -> Counts:
    """The bin that begins at zero with no more than its neighbour has, as if no ReLU had filled it."""
    zero = int(np.searchsorted(centres, 0.0))  # the first bin above zero: zero is an edge
    if zero + 1 >= len(counts):
        return counts
    counts = counts.copy()
    counts[zero] = min(counts[zero], counts[zero + 1])
    return counts


def _divergence(centres: Doubles, counts: Counts, within: Range) -> float:
    """sum p log(p / q): p the values with all beyond the range put on its ends, q the same spread evenly over the bins
    of each level that have any.

    What is cut off is in p and not in q, which is what makes cutting cost something.
    """
    lowest, highest = within
    (inside,) = np.nonzero((centres >= lowest) & (centres <= highest))
    if inside.size == 0:
        return np.inf
    first, last = inside[0], inside[-1] + 1
    kept = counts[first:last].astype(np.float64)  # [b]
    p = kept.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[last:].sum()
    scale, zero = levels_of(within)
    level = np.clip(np.rint(centres[first:last] / scale) + zero, 0, LEVELS).astype(np.intp)
    is_filled = p > 0
    per_level = np.bincount(level, weights=kept, minlength=LEVELS + 1)
    num_bins = np.bincount(level, weights=is_filled, minlength=LEVELS + 1)
    q = np.where(is_filled, (per_level / np.maximum(num_bins, 1))[level], 0.0)
    p, q = p / p.sum(), np.maximum(q / max(q.sum(), 1.0), _LEAST_PROBABILITY)
    return float((p[is_filled] * np.log(p[is_filled] / q[is_filled])).sum())
