"""Vectors as bytes: the factor, the codes, and whether neighbours survive them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.gallery.codes import code_factor, encode, factor_of, kept_neighbours
from semblance.gallery.exact import search_exact

METRICS: tuple[Metric, ...] = ("cos", "l2sq")


def unit(num: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((num, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_largest_value_becomes_the_largest_code() -> None:
    vectors = unit(50, 16)
    factor = code_factor([vectors[:20], vectors[20:]], "cos")
    codes = encode(vectors, factor)
    assert codes.dtype == np.int8
    assert np.abs(codes.astype(int)).max() == 127
    np.testing.assert_allclose(codes / factor, vectors, atol=0.5 / factor + 1e-6)
    assert encode(np.array([[9.0, -9.0]], np.float32), factor).tolist() == [[127, -127]]


def test_rows_that_do_not_count_do_not_decide_the_factor() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 7.0]], np.float32)
    assert code_factor([vectors], "cos", np.array([True, False])) == pytest.approx(127 / 0.8)
    assert code_factor([vectors], "l2sq") == pytest.approx(127 / 7)
    assert code_factor([np.zeros((3, 4), np.float32)], "l2sq") == 1


@pytest.mark.parametrize("dimension", [2, 16, 64, 2048])
def test_codes_of_unit_vectors_tell_their_factor(dimension: int) -> None:
    vectors = unit(64, dimension)
    factor = code_factor([vectors], "cos")
    assert factor_of(encode(vectors, factor)) == pytest.approx(factor, rel=0.01)


def test_no_codes_tell_no_factor() -> None:
    assert factor_of(np.empty((0, 4), np.int8)) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("dimension", "coarse"), [(8, 3.0), (100, 9.0)])  # a handful of levels
def test_kept_neighbours_against_exact_search(metric: Metric, dimension: int, coarse: float) -> None:
    vectors = unit(400, dimension)
    rows = np.arange(400)
    true, _ = search_exact(vectors, vectors, k=11, metric=metric)
    codes = encode(vectors, coarse)
    products = codes.astype(int) @ codes.astype(int).T
    squares = (codes.astype(int) ** 2).sum(axis=1)
    by_codes = squares - 2 * products if dimension == 8 or metric == "l2sq" else -products  # [N, N]
    limits = np.sort(by_codes, axis=1)[:, 20]
    expected = (np.take_along_axis(by_codes, true, axis=1) <= limits[:, None]).mean()
    found = kept_neighbours([vectors[:150], vectors[150:]], metric, coarse, k=11, candidates=21, sample=len(rows))
    assert 0.3 < expected < 0.97
    assert found == pytest.approx(expected, abs=0.002)  # float32 may break a tie of the true distances the other way


def test_kept_neighbours_of_good_codes_of_few_rows_and_of_copies() -> None:
    vectors = unit(300, 16)
    assert kept_neighbours([vectors], "cos", code_factor([vectors], "cos"), k=11, candidates=21, sample=64) == 1
    one = vectors[:1]
    assert kept_neighbours([one], "cos", 1.0, k=11, candidates=21, sample=64) == 1
    copies = np.repeat(one, 50, axis=0)
    assert kept_neighbours([copies], "cos", 3.0, k=11, candidates=21, sample=64) == 1
    alive = np.arange(300) % 3 == 0
    assert kept_neighbours([vectors], "cos", 200.0, k=11, candidates=21, sample=64, alive=alive) == 1
