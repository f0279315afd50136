"""Rescoring against exact search over the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.gallery.exact import search_exact
from semblance.gallery.rescore import rescore


def plain_rescore(
    queries: NDArray, candidates: NDArray, vectors: NDArray, k: int, metric: str
) -> list[tuple[list[int], list[float]]]:
    """Exact search over the distinct candidates of one query after the other."""
    answers = []
    for query, row in zip(queries, candidates, strict=True):
        chosen = np.unique(row[row >= 0])
        if len(chosen) == 0:
            answers.append(([], []))
            continue
        found, distances = search_exact(query[None], vectors[chosen], k=min(k, len(chosen)), metric=metric)
        answers.append((chosen[found[0]].tolist(), distances[0].tolist()))
    return answers


def assert_same(found: tuple[NDArray, NDArray, NDArray], plain: list[tuple[list[int], list[float]]]) -> None:
    rows, distances, counts = found
    assert (rows.dtype, distances.dtype, counts.dtype) == (np.int64, np.float32, np.int64)
    assert rows.shape == distances.shape
    assert len(rows) == len(counts) == len(plain)
    for row, distance, count, (expected_rows, expected_distances) in zip(rows, distances, counts, plain, strict=True):
        assert row[:count].tolist() == expected_rows
        assert distance[:count].tolist() == expected_distances  # to the bit
        assert (row[count:] == -1).all()
        assert np.isinf(distance[count:]).all()


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dimension", [1, 3, 64, 700, 2048])
@pytest.mark.parametrize("threads", [1, 3])
def test_it_agrees_with_exact_search_to_the_bit(metric: str, dtype: type, dimension: int, threads: int) -> None:
    rng = np.random.default_rng(dimension)
    vectors = (rng.standard_normal((300, dimension)) * 10.0 ** rng.integers(-3, 3, (300, 1))).astype(dtype)
    vectors[200:] = vectors[:100]  # ties
    queries = rng.standard_normal((70, dimension), dtype=np.float32)
    candidates = rng.integers(-1, 300, (70, 25))
    found = rescore(queries, candidates, vectors.__getitem__, k=10, metric=metric, threads=threads)
    assert_same(found, plain_rescore(queries, candidates, vectors, 10, metric))


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_small_integers_ties_copies_gaps_and_zero_vectors(metric: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    num, dimension = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 4))
    vectors = rng.integers(-1, 2, (num, dimension)).astype(np.float32)
    queries = rng.integers(-1, 2, (data.draw(st.integers(0, 9)), dimension)).astype(np.float32)
    candidates = rng.integers(-1, num, (len(queries), data.draw(st.integers(0, 20))))
    k = data.draw(st.integers(1, 30))
    found = rescore(queries, candidates, vectors.__getitem__, k=k, metric=metric)
    assert found[0].shape == (len(queries), k)
    assert_same(found, plain_rescore(queries, candidates, vectors, k, metric))


def test_all_rows_as_candidates_is_exact_search() -> None:
    rng = np.random.default_rng(1)
    vectors, queries = rng.standard_normal((500, 48), dtype=np.float32), rng.standard_normal((20, 48), dtype=np.float32)
    everything = np.tile(rng.permutation(500), (20, 1))
    rows, distances, counts = rescore(queries, everything, vectors.__getitem__, k=500, metric="cos")
    expected = search_exact(queries, vectors, k=500, metric="cos")
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(distances, expected[1])
    np.testing.assert_array_equal(counts, 500)


def test_what_is_fetched_at_once_is_bounded() -> None:
    vectors = np.random.default_rng(2).standard_normal((1000, 512), dtype=np.float32)
    fetched = []

    def gather(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        fetched.append(len(rows))
        return vectors[rows]

    candidates = np.tile(np.arange(40), (900, 1))
    rescore(vectors[:900], candidates, gather, k=10, metric="l2sq")
    assert sum(fetched) == 900 * 40
    assert max(fetched) * 512 * 8 <= 4 << 20  # 4 MiB a thread, measured to be fastest


QUERIES, CANDIDATES = np.ones((3, 4), np.float32), np.zeros((3, 2), np.int64)


@pytest.mark.parametrize(
    ("queries", "candidates", "options", "says"),
    [
        (QUERIES, CANDIDATES, {"k": 0}, "k must be an integer of at least 1, is 0"),
        (QUERIES, CANDIDATES, {"threads": 0}, "threads must be"),
        (QUERIES, CANDIDATES, {"metric": "ip"}, "'cos' or 'l2sq', is 'ip'"),
        (QUERIES.astype(np.float64), CANDIDATES, {}, r"queries must be float32 \[Q, D\], are float64 \[3, 4\]"),
        (QUERIES, CANDIDATES[:2], {}, r"candidates must be int64 \[3, c\].* are int64 \[2, 2\]"),
        (QUERIES, CANDIDATES.astype(np.int32), {}, "are int32"),
        (QUERIES[:, :3], CANDIDATES, {}, r"gather must give vectors \[3, 3\], gave \[3, 4\]"),
        (QUERIES * np.float32(np.nan), CANDIDATES, {}, "queries must be finite, row 0"),
    ],
)
def test_what_it_refuses(queries: NDArray, candidates: NDArray, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        rescore(queries, candidates, np.ones((5, 4), np.float32).__getitem__, **{"k": 1, "metric": "cos", **options})
