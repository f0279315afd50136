"""Weights at levels, and biases that make up for them, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from export.rounding import MOST, mean_shift, room_for_bias, to_levels, weight_scales

rng = np.random.default_rng(0)


def _error(row: np.ndarray, scale: float) -> float:
    return float(np.square(np.clip(np.rint(row / scale), -MOST, MOST) * scale - row).sum())


@pytest.mark.parametrize("num_weights", [1, 9, 1000])
def test_scales_are_the_best_of_a_plain_search(num_weights):
    rows = rng.normal(size=(20, num_weights)).astype(np.float32)
    for row, scale in zip(rows, weight_scales(rows), strict=True):
        widest = np.abs(row).max() / MOST
        best = min(_error(row, widest * share) for share in np.linspace(1, 0.7, 16))
        assert _error(row, scale) <= best * 1.001 + 1e-9


def test_long_rows_in_pieces_give_the_same(monkeypatch):
    rows = rng.normal(size=(33, 50)).astype(np.float32)
    whole = weight_scales(rows)
    monkeypatch.setattr("export.rounding._CACHED", 120)
    np.testing.assert_array_equal(weight_scales(rows), whole)


def test_no_level_is_further_from_zero_than_its_negative():
    rows = np.asarray([[-1.0, 0.5, 1.0], [0, 0, 0], [-2e-30, 0, 0]], np.float32)
    levels = to_levels(rows, weight_scales(rows))
    assert levels.dtype == np.int8
    assert levels.min() >= -MOST
    assert not levels[1].any()
    assert len(weight_scales(rows[:0])) == 0


def test_an_output_of_nearly_no_weight_has_room_for_its_bias():
    scales = room_for_bias(np.asarray([1e-12, 0.01], np.float32), np.asarray([5.0, 5.0]), input_scale=0.02)
    assert scales[1] == np.float32(0.01)
    assert 5.0 / (0.02 * scales[0]) < 2**31


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_mean_shift_is_that_of_a_convolution_with_the_error(groups):
    error = rng.normal(size=(12, 6 // groups))
    means = rng.normal(size=6)
    expected = [
        sum(error[out, place] * means[(out // (12 // groups)) * (6 // groups) + place] for place in range(6 // groups))
        for out in range(12)
    ]
    np.testing.assert_allclose(mean_shift(error, means, groups), expected)
