"""The figures of a difference, checked by hand, and the error that holds them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from export.parity import LARGE, SMALL, ParityError, compare, require

rng = np.random.default_rng(0)


def _vectors(num: int = 30) -> np.ndarray:
    return rng.normal(size=(num, 6)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_equal_vectors_differ_by_nothing(metric):
    vectors = _vectors()
    parity = compare(vectors, vectors, metric=metric, described="random")
    assert (parity.max_unit_error, parity.max_relative_error, parity.overlap_at_10) == (0, 0, 1)
    assert parity.min_cosine == pytest.approx(1, abs=1e-12)
    require(parity, SMALL, name="equal")


def test_figures_by_hand():
    original = np.asarray([[3, 4], [0, 10], [5, 0]], np.float32)
    exported = np.asarray([[4, 3], [0, 10], [5, 0]], np.float32)
    parity = compare(exported, original, metric="l2sq", described="by hand")
    assert parity.max_unit_error == pytest.approx(0.2)
    assert parity.max_relative_error == pytest.approx(0.1)
    assert parity.min_cosine == pytest.approx(24 / 25)
    assert parity.mean_cosine == pytest.approx((24 / 25 + 2) / 3)
    assert (parity.num_images, parity.images) == (3, "by hand")


def test_longer_vectors_of_the_same_direction_are_seen():
    vectors = _vectors()
    parity = compare(vectors * np.float32(1.01), vectors, metric="l2sq", described="scaled")
    assert parity.max_unit_error < 1e-6 < parity.max_relative_error
    with pytest.raises(ParityError, match="max_relative_error"):
        require(parity, SMALL, name="scaled")


def test_the_error_holds_every_figure_and_what_is_expected():
    vectors = _vectors()
    parity = compare(vectors + 0.1 * _vectors(), vectors, metric="cos", described="random vectors")
    with pytest.raises(ParityError) as caught:
        require(parity, LARGE, name="resnet50")
    text = str(caught.value)
    for part in ("resnet50", "min_cosine", "overlap_at_10", "max_unit_error", "0.99999", "random vectors"):
        assert part in text


def test_zero_vectors_agree_with_each_other_only():
    zeros = np.zeros((3, 4), np.float32)
    assert compare(zeros, zeros, metric="cos", described="").min_cosine == 1
    assert compare(zeros + 1, zeros, metric="cos", described="").min_cosine == 0


def test_vectors_that_are_not_finite_are_refused():
    vectors = _vectors()
    broken = vectors.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ParityError, match="not finite"):
        compare(broken, vectors, metric="cos", described="")


def test_another_dimension_is_refused():
    with pytest.raises(ParityError, match=r"\[30, 5\].*\[30, 6\]"):
        compare(_vectors()[:, :5], _vectors(), metric="cos", described="")


def test_the_card_carries_plain_figures():
    vectors = _vectors()
    parity = compare(vectors, vectors, metric="cos", described="random")
    figures = parity.as_card()
    assert {type(value) for value in figures.values()} <= {float, int, str}
    assert figures == {field.name: getattr(parity, field.name) for field in dataclasses.fields(parity)}
