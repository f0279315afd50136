"""Hand-worked rankings, scikit-learn's figures, and the real pixels' known ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from semblance import metrics
from semblance.errors import InputError
from semblance.gallery.exact import search_exact

HAND = np.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
TOTALS = np.array([3, 1, 0, 9])


def test_a_hand_worked_case() -> None:
    np.testing.assert_allclose(metrics.precision_at_k(HAND, 5), [0.4, 0.2, 0, 1])
    np.testing.assert_allclose(metrics.precision_at_k(HAND, 1), [1, 0, 0, 1])
    np.testing.assert_allclose(metrics.recall_at_k(HAND, TOTALS, 5), [2 / 3, 1, 0, 5 / 9])
    np.testing.assert_allclose(metrics.f1_at_k(HAND, TOTALS, 5), [0.5, 1 / 3, 0, 10 / 14])
    np.testing.assert_allclose(metrics.average_precision_at_k(HAND, TOTALS, 5), [(1 + 2 / 3) / 3, 0.2, 0, 1])
    np.testing.assert_allclose(metrics.average_precision_at_k(HAND, TOTALS, 2), [0.5, 0, 0, 1])
    np.testing.assert_allclose(metrics.hit_at_k(HAND, 4), [1, 0, 0, 1])
    np.testing.assert_allclose(metrics.first_rank(HAND), [1, 5, np.inf, 1])
    np.testing.assert_allclose(metrics.mean_rank(HAND), [2, 5, np.nan, 3])


def test_sets_of_the_first_k_against_scikit_learn() -> None:
    """The first k of a full ranking are the predicted positives of a classifier."""
    rng = np.random.default_rng(1)
    relevant = rng.random((30, 40)) < 0.3
    totals = relevant.sum(axis=1)
    for k in (1, 7, 40):
        predicted = np.arange(40) < k
        for figure, reference in (
            (metrics.precision_at_k(relevant, k), precision_score),
            (metrics.recall_at_k(relevant, totals, k), recall_score),
            (metrics.f1_at_k(relevant, totals, k), f1_score),
        ):
            np.testing.assert_allclose(figure, [reference(row, predicted, zero_division=0) for row in relevant])


def test_average_precision_of_a_full_ranking_is_scikit_learns() -> None:
    rng = np.random.default_rng(2)
    relevant = rng.random((30, 50)) < 0.2
    relevant[:, 3] = True
    expected = [average_precision_score(row, -np.arange(50)) for row in relevant]
    np.testing.assert_allclose(metrics.average_precision_at_k(relevant, relevant.sum(axis=1), 50), expected)


def test_ranks_against_a_plain_count() -> None:
    relevant = np.random.default_rng(3).random((20, 30)) < 0.2
    relevant[:, 9] = True
    ranks = [[i for i, is_relevant in enumerate(row, start=1) if is_relevant] for row in relevant]
    np.testing.assert_allclose(metrics.first_rank(relevant), [row[0] for row in ranks])
    np.testing.assert_allclose(metrics.mean_rank(relevant), [np.mean(row) for row in ranks])


def test_the_query_is_dropped_wherever_it_stands() -> None:
    rows = np.array([[7, 1, 2], [1, 8, 2], [1, 2, 9], [1, 2, 3]])
    np.testing.assert_array_equal(metrics.leave_one_out(rows, np.array([7, 8, 9, 0])), [[1, 2]] * 4)


def test_labels_make_relevance() -> None:
    labels = np.array([["shoe", "bag"], ["bag", "bag"]])
    np.testing.assert_array_equal(metrics.relevance(labels, ["shoe", "shoe"]), [[True, False], [False, False]])
    np.testing.assert_array_equal(metrics.relevance(np.array([[3, 4]]), [4]), [[False, True]])


def test_per_class_means() -> None:
    values = np.array([1, 0, 0.5, 1])
    assert metrics.per_class(values, ["b", "a", "b", "b"]) == {"a": 0.0, "b": pytest.approx(2.5 / 3)}
    assert metrics.per_class(np.empty(0), []) == {}


def test_overlap_of_two_lists() -> None:
    truth = np.array([[1, 2, 3], [4, 5, 6], [7, -1, -1], [-1, -1, -1]])
    found = np.array([[3, 9, 1], [7, 8, 9], [0, 7, -1], [1, 2, 3]])
    np.testing.assert_allclose(metrics.neighbour_overlap(found, truth), [2 / 3, 0, 1, 0])
    np.testing.assert_allclose(metrics.neighbour_overlap(truth[:2], truth[:2]), [1, 1])


def test_no_queries_and_one() -> None:
    none = np.empty((0, 5), bool)
    totals = np.empty(0, np.int64)
    for figure in (
        metrics.precision_at_k(none, 5),
        metrics.recall_at_k(none, totals, 5),
        metrics.f1_at_k(none, totals, 5),
        metrics.average_precision_at_k(none, totals, 5),
        metrics.hit_at_k(none, 5),
        metrics.first_rank(none),
        metrics.mean_rank(none),
        metrics.neighbour_overlap(np.empty((0, 5), int), np.empty((0, 5), int)),
    ):
        assert figure.shape == (0,)
    assert metrics.leave_one_out(np.empty((0, 6), int), totals).shape == (0, 5)
    assert metrics.precision_at_k(np.array([[True]]), 1).tolist() == [1.0]
    assert metrics.first_rank(np.empty((2, 0), bool)).tolist() == [np.inf, np.inf]


def test_what_they_refuse() -> None:
    with pytest.raises(InputError, match=r"k must lie in 1\.\.5.* is 6"):
        metrics.precision_at_k(HAND, 6)
    with pytest.raises(InputError, match="is 0"):
        metrics.hit_at_k(HAND, 0)
    with pytest.raises(InputError, match="must be bool"):
        metrics.precision_at_k(HAND.astype(np.int64), 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="num_relevant must be int"):
        metrics.recall_at_k(HAND, [1, 2], 2)
    with pytest.raises(InputError, match="smaller than the relevant"):
        metrics.recall_at_k(HAND, TOTALS - 1, 5)
    with pytest.raises(InputError, match=r"\[Q, K\] and \[Q\]"):
        metrics.relevance(np.zeros((2, 3)), np.zeros(3))


def test_raw_pixels_leave_one_out_over_all_test_images(fashion_mnist_dir: Path) -> None:
    """The known figures of pixels under cosine, each image's own row excluded."""
    raw = gzip.decompress((fashion_mnist_dir / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)
    raw = gzip.decompress((fashion_mnist_dir / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(raw, np.uint8, offset=8)
    own = np.arange(len(pixels))
    rows, _ = search_exact(pixels, pixels, k=21, metric="cos")
    rows = metrics.leave_one_out(rows, own)
    relevant = metrics.relevance(labels[rows], labels)
    for k, expected in {1: 0.8146, 5: 0.7802, 10: 0.7611, 20: 0.7387}.items():
        assert metrics.precision_at_k(relevant, k).mean() == pytest.approx(expected, abs=0.0005)
    assert metrics.hit_at_k(relevant, 5).mean() == pytest.approx(0.9359, abs=0.0005)
    excluded, _ = search_exact(pixels[:500], pixels, k=20, metric="cos", exclude=own[:500])
    np.testing.assert_array_equal(excluded, rows[:500])
