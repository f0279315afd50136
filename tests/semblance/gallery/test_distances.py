"""Distances of equal pairs are equal to the bit wherever the pairs lie, or ties would break at random."""

from __future__ import annotations

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from semblance.gallery.distances import cosine_distances, row_dots, squared_distances

DIMENSIONS = [1, 2, 3, 7, 16, 31, 64, 65, 700, 2048, 8192, 8193, 20011]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_row_gives_the_same_bits_wherever_it_lies(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    left, right = rng.standard_normal((2, dimension))
    (alone,) = row_dots(left[None], right[None])
    memory = np.empty(5 * dimension + 8)
    for offset in range(8):
        many = memory[offset : offset + 5 * dimension].reshape(5, dimension)
        many[:] = right
        assert (row_dots(np.broadcast_to(left, many.shape), many) == alone).all()
        assert (row_dots(left, many.reshape(5, 1, dimension)) == alone).all()


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_number_of_blas_threads_changes_no_bit(dimension: int) -> None:
    left, right = np.random.default_rng(dimension).standard_normal((2, 3, dimension))
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="blas"):
            found.append(row_dots(left, right))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_they_are_what_a_plain_sum_gives(dimension: int) -> None:
    left, right = np.random.default_rng(dimension).standard_normal((2, 4, dimension))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = [math.fsum(a * b) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(row_dots(left, right), products, atol=1e-13 * dimension)
    np.testing.assert_allclose(cosine_distances(left, right, norms), 1 - products / norms, atol=1e-13)
    expected = [math.fsum((a - b) ** 2) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(squared_distances(left, right.copy()), expected, rtol=1e-12)


def test_a_zero_vector_is_at_cosine_distance_one_and_none_at_all_give_none() -> None:
    zero, some = np.zeros((1, 4)), np.ones((1, 4))
    assert cosine_distances(zero, some, np.zeros(1)).tolist() == [1.0]
    assert row_dots(np.empty((0, 4)), np.empty((0, 4))).shape == (0,)
