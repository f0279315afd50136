"""Streaming counts against numpy's histogram of everything at once."""

from __future__ import annotations

import numpy as np
import pytest

from export import histogram
from export.histogram import HALF, Histogram

rng = np.random.default_rng(0)

VALUES = {
    "normal": rng.normal(size=5000),
    "negative": -np.abs(rng.normal(3, 1, 1000)),
    "relu": np.maximum(rng.normal(size=3000), 0),
    "huge after tiny": np.concatenate([rng.normal(0, 1e-6, 500), rng.normal(0, 1e6, 500)]),
    "constant": np.full(100, 2.5),
    "zeros": np.zeros(100),
    "powers of two": 2.0 ** np.arange(-20, 20),
    "one": np.asarray([-7.0]),
}


def _filled(*parts: np.ndarray) -> Histogram:
    counted = Histogram()
    for part in parts:
        counted.add(part.astype(np.float32))
    return counted


@pytest.mark.parametrize("name", VALUES)
def test_counts_are_those_of_numpy(name):
    values = VALUES[name].astype(np.float32)
    counted = _filled(*np.array_split(values, 7))
    expected, _ = np.histogram(values.astype(np.float64), counted.edges)
    np.testing.assert_array_equal(counted.counts, expected)
    assert (counted.lowest, counted.highest) == (values.min(), values.max())
    assert counted.num_values == len(values)
    assert np.log2(counted.width) == np.rint(np.log2(counted.width))


@pytest.mark.parametrize("name", VALUES)
def test_no_order_of_the_values_changes_them(name):
    values = VALUES[name]
    first, second = _filled(values), _filled(*np.array_split(values[::-1], 5))
    np.testing.assert_array_equal(first.counts, second.counts)
    assert first.width == second.width


def test_the_bins_are_as_narrow_as_they_can_be():
    counted = _filled(VALUES["normal"])
    assert max(-counted.lowest, counted.highest) > HALF * counted.width / 2


def test_nothing_counted_is_an_empty_histogram():
    counted = _filled(np.empty((0, 4)))
    assert counted.num_values == 0
    assert counted.filled()[0].size == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        _filled(np.asarray([1.0, bad]))


def test_of_a_large_array_every_nth_value_is_counted_and_the_extremes_are_exact(monkeypatch):
    monkeypatch.setattr(histogram, "_MOST_COUNTED", 100)
    values = np.tile(np.arange(8.0), 100)  # every eighth would always be the same
    values[3] = 1000
    counted = _filled(values)
    assert counted.highest == 1000
    assert 80 <= counted.num_values <= 100
    shares = np.histogram(values, counted.edges)[0] / len(values)
    np.testing.assert_allclose(counted.counts / counted.num_values, shares, atol=0.03)


def test_centres_lie_where_the_values_do():
    centres, counts = _filled(VALUES["relu"]).filled()
    assert centres[0] >= 0
    assert counts[0] > 0
    assert counts[-1] > 0
    assert counts.sum() == 3000
