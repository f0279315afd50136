"""An order in which neighbours follow each other is a permutation, and changes no answer."""

from __future__ import annotations

import numpy as np
import pytest

from semblance.gallery import order
from semblance.gallery.index import VectorIndex
from semblance.gallery.order import answered_in_order, by_neighbourhood, windows
from semblance.gallery.pieces import prepared


@pytest.mark.parametrize("num", [0, 1, 7, 16, 200, 5000])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e30])
def test_it_is_a_permutation(num: int, scale: float) -> None:
    vectors = np.random.default_rng(num).standard_normal((num, 8), dtype=np.float32) * np.float32(scale)
    assert sorted(by_neighbourhood(vectors).tolist()) == list(range(num))


def test_vectors_of_a_cluster_follow_each_other() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 20, 4000)
    vectors = np.eye(20, dtype=np.float32)[cluster] * 10 + rng.standard_normal((4000, 20), dtype=np.float32) / 100
    ordered = cluster[by_neighbourhood(vectors)]
    unordered_steps = (cluster[1:] != cluster[:-1]).sum()
    assert (ordered[1:] != ordered[:-1]).sum() < unordered_steps / 2


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("num", [0, 1, 1023, 1024, 1500])
def test_many_queries_get_the_answers_that_each_would_get_alone(metric: str, num: int) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((3000, 16), dtype=np.float32)
    index = VectorIndex.build(vectors, metric=metric)
    queries = rng.standard_normal((num, 16), dtype=np.float32)
    asked = []

    def search(queries: np.ndarray) -> tuple[np.ndarray, ...]:
        asked.append(queries)
        return index.search(queries, 10, threads=2)

    for found, expected in zip(answered_in_order(search, queries), index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert np.array_equal(asked[0], queries) == (num < 1024)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("is_first_short", [False, True])
def test_windows_give_every_living_row_once_with_its_prepared_vector(
    monkeypatch: pytest.MonkeyPatch, metric: str, is_first_short: bool
) -> None:
    monkeypatch.setattr(order, "_WINDOW_VALUES", 700 * 8)
    monkeypatch.setattr(order, "_WINDOW_ROWS", 1)
    vectors = np.random.default_rng(2).standard_normal((3000, 8), dtype=np.float32)
    alive = np.arange(3000) % 5 != 2
    blocks = [vectors[start : start + 250] for start in range(0, 3000, 250)]
    found = list(windows(blocks, metric, alive=alive, first_row=100, is_first_short=is_first_short))
    assert len(found) > 2
    assert len(found[0][0]) == (200 if is_first_short else 800)
    rows = np.concatenate([each[0] for each in found])
    assert sorted(rows.tolist()) == (np.flatnonzero(alive) + 100).tolist()
    np.testing.assert_array_equal(
        np.concatenate([each[1] for each in found]), prepared(vectors, metric, "vectors")[rows - 100]
    )


def test_no_rows_make_no_window() -> None:
    assert list(windows([np.empty((0, 4), np.float32)], "cos")) == []
    assert list(windows([np.ones((3, 4), np.float32)], "cos", alive=np.zeros(3, bool))) == []
