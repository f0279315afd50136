"""The blocked search against the plain one, which computes every distance in float64 and sorts them all."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.gallery import exact
from semblance.gallery.blas import blas_threads
from semblance.gallery.exact import search_blocks, search_exact


@pytest.fixture(params=["by floats", "by bytes", "by bytes where they pay"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Few queries, too, are scored by bytes; and however many vectors these leave as candidates."""
    way = str(request.param)
    monkeypatch.setattr(exact, "_CODED_FROM", 1 << 60 if way == "by floats" else 0)
    if way == "by bytes":
        monkeypatch.setattr(exact, "_MOST_LOW", 1)
        monkeypatch.setattr(exact, "_MOST_CANDIDATES", 1 << 40)
    return way


def plain_distances(queries: NDArray, vectors: NDArray, metric: str) -> NDArray[np.float64]:
    queries, vectors = queries.astype(np.float64), vectors.astype(np.float64)
    distances = np.ones((len(queries), len(vectors)))
    for i, query in enumerate(queries):
        if metric == "l2sq":
            distances[i] = ((vectors - query) ** 2).sum(axis=1)
        else:
            norms = np.sqrt((vectors**2).sum(axis=1)) * np.sqrt((query**2).sum())
            dots = (vectors * query).sum(axis=1)
            distances[i] = np.clip(1 - np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0), 0, 2)
    return distances


def plain_search(
    queries: NDArray, vectors: NDArray, *, k: int, metric: str, exclude: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    distances = plain_distances(queries, vectors, metric)
    if exclude is not None:
        for i, row in enumerate(exclude):
            if row >= 0:
                distances[i, row] = np.inf
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(distances, rows, axis=1)


def assert_same(
    found: tuple[NDArray, NDArray], queries: NDArray, vectors: NDArray, k: int, metric: str, **options: NDArray
) -> None:
    """Equal rows; where float64's last digits decide (never for small integers), equal distances to 1e-13 will do."""
    rows, distances = plain_search(queries, vectors, k=k, metric=metric, **options)
    assert found[0].dtype == np.int64
    assert found[1].dtype == np.float32
    assert found[0].shape == found[1].shape == (len(queries), k)
    np.testing.assert_allclose(found[1], distances.astype(np.float32), rtol=2e-7, atol=1e-15)
    differs = found[0] != rows
    full = plain_distances(queries, vectors, metric)
    mine = np.take_along_axis(full, found[0], axis=1)
    np.testing.assert_allclose(mine[differs], distances[differs], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("dimension", [1, 3, 64, 600, 1300])
def test_random_vectors_in_many_blocks(metric: str, dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    vectors = rng.standard_normal((1003, dimension), dtype=np.float32) + 0.3
    queries = rng.standard_normal((37, dimension), dtype=np.float32) + 0.3
    found = search_exact(queries, vectors, k=10, metric=metric, query_block=16, vector_block=128)
    assert_same(found, queries, vectors, 10, metric)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_small_integers_with_ties_and_zero_vectors(metric: str, data: st.DataObject) -> None:
    """Values -1, 0, 1 in few dimensions: most distances are tied, and squared ones are exact in float64."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    num_vectors = data.draw(st.integers(1, 200))
    dimension = data.draw(st.integers(1, 4))
    leave_out = data.draw(st.booleans()) and num_vectors > 1
    k = data.draw(st.integers(1, num_vectors - leave_out))
    vectors = rng.integers(-1, 2, (num_vectors, dimension)).astype(np.float32)
    queries = rng.integers(-1, 2, (data.draw(st.integers(1, 20)), dimension)).astype(np.float32)
    exclude = rng.integers(-1, num_vectors, len(queries)) if leave_out else None
    blocks = {"query_block": data.draw(st.integers(1, 32)), "vector_block": data.draw(st.integers(1, 256))}
    rows, distances = search_exact(queries, vectors, k=k, metric=metric, exclude=exclude, **blocks)
    assert_same((rows, distances), queries, vectors, k, metric, **({} if exclude is None else {"exclude": exclude}))
    if metric == "l2sq":
        np.testing.assert_array_equal(rows, plain_search(queries, vectors, k=k, metric=metric, exclude=exclude)[0])


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("dimension", [1, 7, 64, 65, 784, 8193, 10_001])
def test_duplicates_are_tied_wherever_they_lie_and_the_lower_row_wins(metric: str, dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    base = rng.standard_normal((3, dimension), dtype=np.float32)
    order = rng.integers(0, 3, 301)
    rows, distances = search_exact(base, base[order], k=301, metric=metric, vector_block=64)
    for query in range(3):
        for copy in range(3):
            positions = np.flatnonzero(order[rows[query]] == copy)
            assert (np.diff(rows[query, positions]) > 0).all()
            assert len(set(distances[query, positions])) == 1
        assert (order[rows[query, : (order == query).sum()]] == query).all() or dimension == 1


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-3, 1e4, 1e18, 3e36])
def test_tiny_and_huge_norms(metric: str, scale: float) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((500, 8)) * scale).astype(np.float32)
    queries = (rng.standard_normal((20, 8)) * scale).astype(np.float32)
    rows, _ = search_exact(queries, vectors, k=5, metric=metric, vector_block=100)
    np.testing.assert_array_equal(rows, plain_search(queries, vectors, k=5, metric=metric)[0])


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_norms_of_all_sizes_in_one_gallery(metric: str) -> None:
    rng = np.random.default_rng(4)
    vectors = (rng.standard_normal((700, 6)) * 10.0 ** rng.integers(-40, 38, (700, 1))).astype(np.float32)
    queries = (rng.standard_normal((50, 6)) * 10.0 ** rng.integers(-40, 38, (50, 1))).astype(np.float32)
    found = search_exact(queries, vectors, k=9, metric=metric, vector_block=128, query_block=8)
    with np.errstate(over="ignore"):
        assert_same(found, queries, vectors, 9, metric)


def test_distances_that_float32_cannot_tell_apart_are_ordered() -> None:
    """Integers near 2**13 squared lie beyond float32's 24 bits; steps of one still decide."""
    vectors = (8192 - np.random.default_rng(5).permutation(64)).astype(np.float32)[:, None]
    vectors = np.concatenate([vectors, np.full((64, 1), 4000, np.float32)], axis=1)
    rows, _ = search_exact(np.zeros((1, 2), np.float32), vectors, k=64, metric="l2sq")
    np.testing.assert_array_equal(vectors[rows[0], 0], np.sort(vectors[:, 0]))


def test_the_worst_order_of_blocks_changes_nothing() -> None:
    """Each block nearer than all before: nothing can be cut short by what came earlier."""
    vectors = np.linspace(100, 1, 5000, dtype=np.float32)[:, None]
    rows, _ = search_exact(np.zeros((3, 1), np.float32), vectors, k=4, metric="l2sq", vector_block=512)
    np.testing.assert_array_equal(rows, [[4999, 4998, 4997, 4996]] * 3)


@pytest.mark.parametrize("k", [1, 40, 299, 300])
def test_every_k_up_to_all_of_them(k: int) -> None:
    rng = np.random.default_rng(k)
    vectors, queries = rng.standard_normal((300, 5), dtype=np.float32), rng.standard_normal((4, 5), dtype=np.float32)
    assert_same(search_exact(queries, vectors, k=k, metric="cos", vector_block=70), queries, vectors, k, "cos")


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_zero_vectors(metric: str) -> None:
    vectors = np.array([[0, 0], [1, 0], [-1, 0], [0, 0]], np.float32)
    rows, distances = search_exact(np.array([[0, 0], [2, 0]], np.float32), vectors, k=4, metric=metric)
    expected = {
        "cos": ([[0, 1, 2, 3], [1, 0, 3, 2]], [[1, 1, 1, 1], [0, 1, 1, 2]]),
        "l2sq": ([[0, 3, 1, 2], [1, 0, 3, 2]], [[0, 0, 1, 1], [1, 4, 4, 9]]),
    }[metric]
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(distances, expected[1])


def test_leaving_out_each_query_among_its_own_copies() -> None:
    vectors = np.repeat(np.arange(50, dtype=np.float32)[:, None], 2, axis=0)  # every vector twice
    own = np.arange(100)
    rows, distances = search_exact(vectors, vectors, k=1, metric="l2sq", exclude=own, vector_block=16)
    np.testing.assert_array_equal(rows[:, 0], own ^ 1)
    np.testing.assert_array_equal(distances, 0)


def test_a_stream_of_uneven_blocks_and_a_memory_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((400, 12), dtype=np.float32)
    queries = rng.standard_normal((9, 12), dtype=np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    cuts = [0, 1, 1, 5, 200, 203, 400]
    stream = (vectors[a:b] for a, b in itertools.pairwise(cuts))
    whole = search_exact(queries, vectors, k=7, metric="cos")
    for other in (
        search_blocks(queries, stream, k=7, metric="cos"),
        search_exact(queries, np.load(tmp_path / "vectors.npy", mmap_mode="r"), k=7, metric="cos", vector_block=33),
    ):
        np.testing.assert_array_equal(other[0], whole[0])
        np.testing.assert_array_equal(other[1], whole[1])


def test_bytes_and_half_floats_are_taken_as_they_are() -> None:
    vectors = np.random.default_rng(7).integers(0, 256, (300, 20), dtype=np.uint8)
    assert_same(search_exact(vectors[:5], vectors, k=6, metric="l2sq"), vectors[:5], vectors, 6, "l2sq")
    half = vectors.astype(np.float16)
    assert_same(search_exact(half[:5], half, k=6, metric="cos"), half[:5], half, 6, "cos")


def test_no_queries_one_vector() -> None:
    one = np.ones((1, 3), np.float32)
    rows, distances = search_exact(np.empty((0, 3), np.float32), one, k=1, metric="cos")
    assert rows.shape == distances.shape == (0, 1)
    rows, distances = search_exact(one, one, k=1, metric="cos")
    assert (rows.tolist(), distances.tolist()) == ([[0]], [[0.0]])


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("num", [4095, 4096, 4097, 16385])
@pytest.mark.parametrize("num_queries", [1, 33, 300])
def test_threads_and_blocks_change_no_bit(metric: str, num: int, num_queries: int) -> None:
    rng = np.random.default_rng(num)
    vectors = rng.integers(-2, 3, (num, 5)).astype(np.float32)  # with ties
    vectors[:, 0] += 5
    queries = vectors[rng.integers(0, num, num_queries)]
    alone = [
        np.concatenate(parts)
        for parts in zip(*(search_exact(q[None], vectors, k=7, metric=metric) for q in queries), strict=True)
    ]
    for threads in (None, 1, 2, 5):
        found = search_exact(queries, vectors, k=7, metric=metric, threads=threads)
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one, other)
    if num_queries < 40:
        assert_same(found, queries, vectors, 7, metric)


def test_an_error_in_a_thread_reaches_the_caller_when_no_other_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before, running, merge = blas_threads(), [], exact._merge

    def failing(tile: Any, *found: Any) -> None:
        running.append(id(tile))
        time.sleep(0.01)
        merge(tile, *found)
        running.remove(id(tile))
        if tile.values[0, 0] == 2:
            raise ZeroDivisionError

    monkeypatch.setattr(exact, "_merge", failing)
    queries = vectors_of(600, 3)
    queries[0] = 2
    with pytest.raises(ZeroDivisionError):
        search_exact(queries, vectors_of(200, 3), k=1, metric="cos", query_block=20, threads=3)
    assert running == []
    assert blas_threads() == before


def test_threads_that_come_late_leave_blas_its_threads() -> None:
    """While others keep the interpreter busy a pool's second thread may begin when all is done."""
    before, is_over = blas_threads(), threading.Event()

    def spin() -> None:
        while not is_over.is_set():
            sum(range(1000))

    spinning = [threading.Thread(target=spin) for _ in range(2)]
    for thread in spinning:
        thread.start()
    try:
        vectors = np.random.default_rng(0).standard_normal((300, 8), dtype=np.float32)
        for _ in range(30):
            search_exact(vectors[:64], vectors, k=3, metric="cos", threads=2)
    finally:
        is_over.set()
        for thread in spinning:
            thread.join()
    assert blas_threads() == before


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_copies_of_one_vector_are_taken_some_at_a_time(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_MOST_PAIRS", 5000)
    asked = []
    distances = exact._distances
    monkeypatch.setattr(exact, "_distances", lambda *given: (asked.append(len(given[2])), distances(*given))[1])
    vectors = vectors_of(3000, 4)
    vectors[7] = 2
    queries = vectors[:40]
    assert_same(search_exact(queries, vectors, k=3, metric=metric), queries, vectors, 3, metric)
    assert sum(asked) > 40 * 2000
    assert max(asked) <= 5000


def test_more_dimensions_than_sums_of_bytes_may_have() -> None:
    """At 140,000 sums of the largest bytes pass 2^31."""
    rng = np.random.default_rng(0)
    vectors = np.ones((120, 140_000), np.float32)
    for row, share in enumerate([0.005] * 10 + [0.4] * 110):
        vectors[row, rng.random(140_000) < share] = -1
    rows, _ = search_exact(np.ones((1, 140_000), np.float32), vectors, k=1, metric="cos")
    assert rows[0, 0] == np.argmax(vectors.sum(axis=1))


def test_whatever_integer_k_is_and_a_row_of_nothing_to_leave_out() -> None:
    vectors = vectors_of(4, 3)
    none = np.full(4, -1)
    rows, _ = search_exact(vectors, vectors, k=np.int64(4), metric="cos", exclude=none)  # type: ignore[arg-type]
    assert rows.tolist() == [[0, 1, 2, 3]] * 4


def vectors_of(*shape: int, dtype: type = np.float32) -> NDArray:
    return np.ones(shape, dtype)


@pytest.mark.parametrize(
    ("queries", "vectors", "options", "says"),
    [
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 5}, "k = 5 .* 4 can be found"),
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 4, "exclude": np.zeros(2, np.int64)}, "k = 4 .* 3 can be found"),
        (vectors_of(2, 3), vectors_of(0, 3), {"k": 1}, "k = 1 .* 0 can be found"),
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 0}, "k must be an integer of at least 1, is 0"),
        (vectors_of(2, 3), vectors_of(4, 2), {"k": 1}, "queries have 3 dimensions, vectors 2"),
        (vectors_of(3), vectors_of(4, 3), {"k": 1}, r"queries must be an array \[N, D\].*shape \(3,\)"),
        (vectors_of(2, 3), vectors_of(4, 3, dtype=np.float64), {"k": 1}, "vectors must be float32 .* are float64"),
        (vectors_of(2, 3), vectors_of(4, 3) * np.nan, {"k": 1}, "vectors must be finite, row 0"),
        (vectors_of(2, 3) * np.inf, vectors_of(4, 3), {"k": 1}, "queries must be finite, row 0"),
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 1, "metric": "ip"}, "metric must be 'cos' or 'l2sq', is 'ip'"),
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 1, "exclude": [0, 1]}, "one row per query, int64 .* is list"),
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 1, "exclude": np.zeros(2)}, "int64 .* is float64"),
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 1, "vector_block": 0}, "vector_block must be an integer"),
        (vectors_of(2, 3), vectors_of(4, 3), {"k": 1, "query_block": 0}, "query_block must be an integer"),
        (
            vectors_of(2, 3),
            vectors_of(4, 3),
            {"k": 1, "exclude": np.zeros(3, np.int64)},
            r"one row per query, int64 \(2,\), is int64 \(3,\)",
        ),
    ],
)
def test_what_it_refuses(queries: NDArray, vectors: NDArray, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        search_exact(queries, vectors, **{"metric": "cos", **options})


@pytest.mark.parametrize("way", ["by bytes where they pay"], indirect=True)  # as it is
def test_real_pixels_against_the_known_neighbours(fashion_mnist_dir: Path) -> None:
    """All 10,000 test images against 60,000: the shipped truth has integer distances, equal ones by the lower row."""
    path = fashion_mnist_dir / "fashion-mnist-784-euclidean-groundtruth-top100.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}: it does not come with the data set")
    truth = np.load(path)
    vectors = idx_images(fashion_mnist_dir / "train-images-idx3-ubyte.gz")
    queries = idx_images(fashion_mnist_dir / "t10k-images-idx3-ubyte.gz")
    assert (len(queries), len(vectors)) == (10_000, 60_000)
    rows, distances = search_exact(queries, vectors, k=100, metric="l2sq")
    np.testing.assert_array_equal(rows, truth["neighbors"])
    np.testing.assert_array_equal(distances, truth["sqdist"].astype(np.float32))


def idx_images(path: Path) -> NDArray[np.uint8]:
    import gzip

    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 784)
