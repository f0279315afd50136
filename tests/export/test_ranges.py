"""Each way to a range against a plain search over the values themselves."""

from __future__ import annotations

import numpy as np
import pytest

from export.histogram import Histogram
from export.ranges import (
    METHODS,
    entropy_range,
    levels_of,
    minmax_range,
    mse_range,
    percentile_range,
    round_to_levels,
)

rng = np.random.default_rng(0)


def _histogram(values: np.ndarray) -> Histogram:
    counted = Histogram()
    counted.add(values.astype(np.float32))
    return counted


SKEWED = np.concatenate([np.abs(rng.normal(size=20_000)), [40.0]])  # one value far out
BOTH_SIDES = np.concatenate([rng.normal(size=20_000), [-30.0, 40.0]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values", [SKEWED, BOTH_SIDES, -SKEWED, np.zeros(10), np.full(10, 3.0), np.full(10, -3.0), np.empty(0)]
)
def test_every_range_holds_zero_and_no_more_than_was_seen(method, values):
    lowest, highest = METHODS[method](_histogram(values))
    assert min(values.min(initial=0), 0) <= lowest <= 0 <= highest <= max(values.max(initial=0), 0)
    scale, zero = levels_of((lowest, highest))
    assert scale > 0
    assert 0 <= zero <= 255
    assert round_to_levels(np.zeros(1), (lowest, highest)) == 0


def test_minmax_is_exact():
    assert minmax_range(_histogram(BOTH_SIDES)) == (-30.0, 40.0)


@pytest.mark.parametrize("percent", [99.9, 99.0, 90.0])
def test_percentile_leaves_out_that_share_to_a_bin(percent):
    counted = _histogram(BOTH_SIDES)
    lowest, highest = percentile_range(counted, percent)
    tail = (100 - percent) / 2
    expected = np.percentile(BOTH_SIDES, [tail, 100 - tail])
    np.testing.assert_allclose([lowest, highest], expected, atol=2 * counted.width)


def test_all_percent_are_all_values():
    assert percentile_range(_histogram(BOTH_SIDES), 100) == (-30.0, 40.0)


@pytest.mark.parametrize("values", [SKEWED, BOTH_SIDES, rng.uniform(0, 6, 5000)])
def test_mse_is_the_best_of_a_plain_search_over_the_values(values):
    lowest, highest = minmax_range(_histogram(values))

    def error(share: float) -> float:
        return float(np.square(round_to_levels(values, (lowest * share, highest * share)) - values).mean())

    found = mse_range(_histogram(values))
    share = (found[1] - found[0]) / (highest - lowest)
    assert error(share) <= 1.05 * min(error(each) for each in np.linspace(0.2, 1, 300))


def test_a_far_value_costs_more_levels_than_it_is_worth():
    values = np.concatenate([np.abs(rng.normal(size=200_000)), [12.0]])
    assert 6 < mse_range(_histogram(values))[1] < 11


def test_entropy_cuts_a_far_tail_and_keeps_a_full_range():
    assert entropy_range(_histogram(rng.uniform(0, 6, 100_000)))[1] > 5.5
    assert entropy_range(_histogram(SKEWED))[1] < 20


def test_entropy_does_not_see_what_a_relu_set_to_zero():
    values = np.abs(rng.normal(size=20_000))
    with_zeros = np.concatenate([values, np.zeros(100_000)])
    assert entropy_range(_histogram(with_zeros)) == pytest.approx(entropy_range(_histogram(values)), rel=0.05)


def test_entropy_is_the_least_of_a_plain_relative_entropy():
    values = np.concatenate([rng.gamma(2, 1, 20_000)])
    counted = _histogram(values)
    found = entropy_range(counted)[1]

    def divergence(highest: float) -> float:
        """As Migacz defines it, bin by bin."""
        centres, counts = counted.filled()
        kept = centres <= highest
        p = counts[kept].astype(float)
        q = np.zeros(len(p))
        level = np.rint(centres[kept] / (highest / 255)).astype(int)
        for each in np.unique(level):
            inside = (level == each) & (p > 0)
            q[inside] = counts[kept][level == each].sum() / max(1, inside.sum())
        p[-1] += counts[~kept].sum()
        p, q = p / p.sum(), np.maximum(q / q.sum(), 1e-6)
        used = p > 0
        return float((p[used] * np.log(p[used] / q[used])).sum())

    top = float(values.max())
    best = min(divergence(top * share) for share in np.linspace(0.2, 1, 128))
    assert divergence(found) == pytest.approx(best, rel=0.05)


def test_levels_by_hand():
    scale, zero = levels_of((-1.0, 1.55))
    assert (scale, zero) == (pytest.approx(0.01), 100)
    np.testing.assert_allclose(round_to_levels(np.asarray([-5, 0.004, 0.016, 5]), (-1.0, 1.55)), [-1, 0, 0.02, 1.55])


def test_an_empty_range_has_levels_all_the_same():
    assert levels_of((0.0, 0.0)) == (1.0, 0)
