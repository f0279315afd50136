"""Blocked neighbours against a plain sort, on random, tied, tiny and zero vectors."""

from __future__ import annotations

import numpy as np
import pytest

from export import neighbours
from export.neighbours import nearest, neighbour_overlap


def _plain(vectors: np.ndarray, metric: str, k: int) -> np.ndarray:
    """Row by row: sort by distance, then by row number, leave the row itself out."""
    exact, found = vectors.astype(np.float64), []
    for row, query in enumerate(exact):
        if metric == "l2sq":
            distances = ((exact - query) ** 2).sum(axis=1)
        else:
            lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(query)
            distances = 1 - np.divide(exact @ query, lengths, out=np.zeros(len(exact)), where=lengths > 0)
        order = [each for each in np.lexsort((np.arange(len(exact)), distances)) if each != row]
        found.append(order[:k])
    return np.asarray(found)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_blocks_agree_with_a_plain_sort(metric, monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    monkeypatch.setattr(neighbours, "_COLUMNS", 3)
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate(nearest(vectors, metric=metric, k=10)), _plain(vectors, metric, 10))


def test_of_equally_near_ones_the_lower_rows_win():
    vectors = np.asarray([[0, 1], [2, 1], [0, 3], [2, 3], [0, 1]], np.float32)  # a square, one corner twice
    np.testing.assert_array_equal(np.concatenate(nearest(vectors, metric="l2sq", k=3)), _plain(vectors, "l2sq", 3))


def test_a_zero_vector_is_at_right_angles_to_all():
    vectors = np.asarray([[0, 0], [1, 0], [-1, 0.5], [1, 1]], np.float32)
    np.testing.assert_array_equal(np.concatenate(nearest(vectors, metric="cos", k=3)), _plain(vectors, "cos", 3))


def test_overlap_counts_shared_neighbours():
    rng = np.random.default_rng(1)
    first = rng.normal(size=(60, 8)).astype(np.float32)
    second = first + 0.3 * rng.normal(size=first.shape).astype(np.float32)
    pairs = zip(_plain(first, "cos", 10), _plain(second, "cos", 10), strict=True)
    expected = np.mean([len(set(ours) & set(theirs)) / 10 for ours, theirs in pairs])
    assert 0.2 < expected < 0.95
    assert neighbour_overlap(first, second, metric="cos") == pytest.approx(expected)


@pytest.mark.parametrize("num", [0, 1, 2, 5])
def test_few_images_share_all_the_neighbours_there_are(num):
    first, second = np.random.default_rng(2).normal(size=(2, num, 4)).astype(np.float32)
    assert neighbour_overlap(first, second, metric="cos") == 1.0
