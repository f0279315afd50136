"""Every figure against scikit-learn, a plain loop, or a case worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from semblance import metrics
from semblance.errors import InputError

# Ranks:                     1  2  3  4  5
BY_HAND = np.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
NUM_RELEVANT = np.array([4, 1, 3, 5])


def test_worked_by_hand() -> None:
    np.testing.assert_allclose(metrics.precision_at_k(BY_HAND, 5), [2 / 5, 1 / 5, 0, 1])
    np.testing.assert_allclose(metrics.precision_at_k(BY_HAND, 1), [1, 0, 0, 1])
    np.testing.assert_allclose(metrics.recall_at_k(BY_HAND, NUM_RELEVANT, 5), [2 / 4, 1, 0, 1])
    np.testing.assert_allclose(metrics.f1_at_k(BY_HAND, NUM_RELEVANT, 5), [4 / 9, 2 / 6, 0, 1])
    # precision at the hits: 1/1 and 2/3, over min(5, 4); 1/5 over 1; none; all 1
    np.testing.assert_allclose(metrics.average_precision_at_k(BY_HAND, NUM_RELEVANT, 5), [(1 + 2 / 3) / 4, 1 / 5, 0, 1])
    np.testing.assert_allclose(metrics.average_precision_at_k(BY_HAND, NUM_RELEVANT, 2), [1 / 2, 0, 0, 1])
    np.testing.assert_allclose(metrics.hit_rate_at_k(BY_HAND, 3), [1, 0, 0, 1])
    np.testing.assert_allclose(metrics.first_rank(BY_HAND), [1, 5, np.inf, 1])
    np.testing.assert_allclose(metrics.mean_rank(BY_HAND), [2, 5, np.inf, 3])


bools = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=5)
)


@given(bools, st.integers(0, 5))
def test_equals_scikit_learn_on_the_whole_list(rows: Any, missing: int) -> None:
    """A list of K retrieved items and `missing` relevant ones never retrieved, as scikit-learn sees it."""
    relevant = np.array(rows, bool)
    k = relevant.shape[1]
    num_relevant = relevant.sum(axis=1) + missing
    for query in range(len(relevant)):
        truth = np.concatenate([relevant[query], np.ones(missing, bool)])
        predicted = np.concatenate([np.ones(k, bool), np.zeros(missing, bool)])
        kwargs: Any = {"zero_division": 0.0}
        ours = relevant[query : query + 1], num_relevant[query : query + 1]
        assert metrics.precision_at_k(ours[0], k)[0] == pytest.approx(precision_score(truth, predicted, **kwargs))
        assert metrics.recall_at_k(*ours, k)[0] == pytest.approx(recall_score(truth, predicted, **kwargs))
        assert metrics.f1_at_k(*ours, k)[0] == pytest.approx(f1_score(truth, predicted, **kwargs))


@given(bools)
def test_average_precision_of_a_full_ranking_is_scikit_learns(rows: Any) -> None:
    relevant = np.array(rows, bool)
    k = relevant.shape[1]
    for query in relevant:
        if query.any():
            ours = metrics.average_precision_at_k(query[None], np.array([query.sum()]), k)[0]
            capped = query.sum() / min(k, query.sum())  # 1: a full ranking holds all that is relevant
            assert ours == pytest.approx(capped * average_precision_score(query, -np.arange(k)))


def test_nothing_asked_gives_nothing_and_one_rank_is_enough() -> None:
    none = np.zeros((0, 3), bool)
    assert metrics.precision_at_k(none, 3).shape == (0,)
    assert metrics.average_precision_at_k(none, np.zeros(0, int), 2).shape == (0,)
    assert metrics.first_rank(np.zeros((2, 0), bool)).tolist() == [np.inf, np.inf]
    one = np.array([[True]])
    assert metrics.average_precision_at_k(one, np.array([1]), 1).tolist() == [1.0]
    assert metrics.recall_at_k(np.array([[False]]), np.array([0]), 1).tolist() == [0.0]


@pytest.mark.parametrize("k", [0, 4, -1])
def test_a_k_outside_the_list_is_refused(k: int) -> None:
    with pytest.raises(InputError, match="between 1 and the 3 ranks"):
        metrics.precision_at_k(np.zeros((2, 3), bool), k)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="bool"):
        metrics.precision_at_k(np.zeros((2, 3)), 1)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(InputError, match="num_relevant"):
        metrics.recall_at_k(np.zeros((2, 3), bool), np.array([1]), 1)
    with pytest.raises(InputError, match="labels"):
        metrics.relevance(np.zeros(3), np.zeros(3))
    with pytest.raises(InputError, match="values and labels"):
        metrics.per_class(np.zeros(2), ["a"])
    with pytest.raises(InputError, match="neighbours"):
        metrics.neighbour_overlap(np.zeros((2, 3), int), np.zeros((3, 3), int))


# ----------------------------------------------------------------------------------------------------------------------


def test_relevance_compares_with_the_querys_own_class() -> None:
    assert metrics.relevance([["a", "b"], ["b", "b"]], ["a", "b"]).tolist() == [[True, False], [True, True]]


def test_leave_one_out_drops_the_self_match_wherever_it_stands() -> None:
    rows = np.array([[7, 1, 2], [1, 8, 2], [1, 2, 9], [1, 2, 3]])
    assert metrics.leave_one_out(rows, np.array([7, 8, 9, 0])).tolist() == [[1, 2], [1, 2], [1, 2], [1, 2]]
    assert metrics.leave_one_out(np.zeros((0, 3), int), np.zeros(0, int)).shape == (0, 2)


@given(st.integers(0, 6), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_overlap_equals_sets(num: int, length: int, depth: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = np.array([rng.choice(8, length, replace=False) for _ in range(num)]).reshape(num, length)
    expected = np.array([rng.choice(8, depth, replace=False) for _ in range(num)]).reshape(num, depth)
    plain = [len(set(f) & set(e)) / depth for f, e in zip(found.tolist(), expected.tolist(), strict=True)]
    np.testing.assert_allclose(metrics.neighbour_overlap(found, expected), plain)


def test_padding_is_never_an_overlap() -> None:
    assert metrics.neighbour_overlap(np.array([[1, -1]]), np.array([[1, -1]])).tolist() == [1.0]
    assert metrics.neighbour_overlap(np.array([[-1, -1]]), np.array([[-1, -1]])).tolist() == [0.0]


def test_per_class_means() -> None:
    assert metrics.per_class(np.array([1.0, 0.0, 0.5]), ["b", "b", "a"]) == {"a": 0.5, "b": 0.5}
