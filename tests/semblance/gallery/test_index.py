"""The index against exact search, and against the surprises of the library under it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.gallery.exact import search_exact
from semblance.gallery.index import VectorIndex
from semblance.metrics import neighbour_overlap


def clustered(num: int, dimension: int = 32, seed: int = 0) -> NDArray[np.float32]:
    centres = np.random.default_rng(99).standard_normal((50, dimension))
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, 50, num)] + 0.5 * rng.standard_normal((num, dimension))).astype(np.float32)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize(
    ("dtype", "recall", "close"), [("f32", 0.999, 1e-5), ("f16", 0.99, 2e-3), ("bf16", 0.97, 2e-2)]
)
def test_recall_and_distances_against_exact_search(metric: str, dtype: str, recall: float, close: float) -> None:
    vectors, queries = clustered(3000), clustered(200, seed=1)
    # One thread, so that the graph is the same in every run; a wide search, so that only the number type loses anything
    index = VectorIndex.build(vectors, metric=metric, dtype=dtype, expansion_search=256, threads=1)
    rows, distances, counts = index.search(queries, 10, threads=2)
    truth, _ = search_exact(queries, vectors, k=10, metric=metric)
    assert neighbour_overlap(rows, truth).mean() >= recall
    found, asked = vectors[rows].astype(np.float64), queries[:, None].astype(np.float64)  # [Q, 10, D], [Q, 1, D]
    expected = ((found - asked) ** 2).sum(axis=2)
    if metric == "cos":
        norms = np.linalg.norm(found, axis=2) * np.linalg.norm(asked, axis=2)
        expected = 1 - (found * asked).sum(axis=2) / norms
    np.testing.assert_allclose(distances, expected, rtol=close, atol=close)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert (rows.dtype, distances.dtype, counts.dtype) == (np.int64, np.float32, np.int64)
    np.testing.assert_array_equal(counts, 10)
    assert (len(index), index.dimension, index.dtype) == (3000, 32, dtype)


def test_one_thread_gives_the_same_bytes(tmp_path: Path) -> None:
    vectors = clustered(2000)
    written = [VectorIndex.build(vectors, metric="cos").save(tmp_path / name) for name in ("a", "b")]
    assert written[0] == written[1]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("mmap", [True, False])
def test_saved_and_opened_it_answers_the_same(tmp_path: Path, mmap: bool) -> None:
    vectors = clustered(1000)
    index = VectorIndex.build(vectors, metric="l2sq", expansion_search=200)
    written = index.save(tmp_path / "x.usearch")
    again = VectorIndex.open(tmp_path / "x.usearch", sha256=written.sha256, expansion_search=200, mmap=mmap)
    for one, other in zip(index.search(vectors[:50], 5), again.search(vectors[:50], 5), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.metric, again.dtype, again.expansion_search, len(again)) == ("l2sq", "f16", 200, 1000)


def test_replacing_a_mapped_file_leaves_its_readers_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.usearch"
    written = VectorIndex.build(clustered(1000), metric="cos").save(path)
    reader = VectorIndex.open(path, sha256=written.sha256)
    before = reader.search(clustered(5), 3)
    VectorIndex.build(clustered(10, seed=3), metric="cos").save(path)
    np.testing.assert_array_equal(reader.search(clustered(5), 3)[0], before[0])


@pytest.mark.parametrize("where", [0, 100, 20_000, -1])
def test_one_flipped_byte_is_noticed(tmp_path: Path, where: int) -> None:
    path = tmp_path / "x.usearch"
    written = VectorIndex.build(clustered(500), metric="cos").save(path)
    damaged = bytearray(path.read_bytes())
    damaged[where] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(GalleryError, match=r"damaged.*restore it from a copy, or embed again"):
        VectorIndex.open(path, sha256=written.sha256)
    path.unlink()
    with pytest.raises(GalleryError, match=r"missing.*restore it from a copy, or embed again"):
        VectorIndex.open(path, sha256=written.sha256)


@pytest.mark.parametrize("num_queries", [1, 2])
def test_short_answers_are_padded_and_counted(num_queries: int) -> None:
    """An HNSW search may find fewer than k; USearch then fills up with key 0."""
    index = VectorIndex.build(clustered(300), metric="cos", connectivity=2, expansion_add=2, expansion_search=1)
    rows, distances, counts = index.search(clustered(num_queries, seed=2), 300)
    assert rows.shape == distances.shape == (num_queries, 300)
    for row, distance, count in zip(rows, distances, counts, strict=True):
        assert (row[count:] == -1).all()
        assert np.isinf(distance[count:]).all()
        assert len(set(row[:count])) == count
        assert np.isfinite(distance[:count]).all()
        assert (row[:count] >= 0).all()


def test_padding_and_ties_are_put_in_order() -> None:
    from semblance.gallery.index import _padded, _sorted

    rows, distances = _sorted(
        np.array([[5, 3, 9, 0], [2, 1, 0, 0]]),
        np.array([[1, 1, 0.5, np.nan], [3, 2, np.nan, np.nan]], np.float32),
        np.array([3, 2]),
    )
    np.testing.assert_array_equal(rows, [[9, 3, 5, -1], [1, 2, -1, -1]])
    np.testing.assert_array_equal(distances, [[0.5, 1, 1, np.inf], [2, 3, np.inf, np.inf]])
    np.testing.assert_array_equal(_padded(np.array([4, 6]), np.array([2]), 3), [[4, 6, 0]])


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_one_vector_no_queries_and_many_copies(metric: str) -> None:
    one = np.ones((1, 4), np.float32)
    index = VectorIndex.build(one, metric=metric)
    rows, distances, counts = index.search(one, 1)
    assert (rows.tolist(), counts.tolist()) == ([[0]], [1])
    assert distances[0, 0] == pytest.approx(0, abs=1e-3)
    assert [part.shape for part in index.search(one[:0], 1)] == [(0, 1), (0, 1), (0,)]
    copies = VectorIndex.build(np.repeat(one, 200, axis=0), metric=metric)
    rows, _, counts = copies.search(one, 200)
    assert sorted(rows[0, : counts[0]]) == sorted(set(rows[0, : counts[0]]))


def test_cosine_does_not_care_how_long_vectors_are() -> None:
    vectors = clustered(500)
    lengths = 10.0 ** np.random.default_rng(1).integers(-30, 30, (500, 1))
    scaled = (vectors * lengths).astype(np.float32)
    plain, odd = VectorIndex.build(vectors, metric="cos"), VectorIndex.build(scaled, metric="cos")
    truth, _ = search_exact(vectors[:50], vectors, k=5, metric="cos")
    assert neighbour_overlap(odd.search(scaled[:50], 5)[0], truth).mean() >= 0.99
    assert neighbour_overlap(plain.search(vectors[:50], 5)[0], truth).mean() >= 0.99


def test_threads_searching_together_agree() -> None:
    vectors = clustered(2000)
    index = VectorIndex.build(vectors, metric="cos", threads=2)
    expected = index.search(vectors[:100], 5)[0]
    answers: list[NDArray[np.int64]] = []
    workers = [threading.Thread(target=lambda: answers.append(index.search(vectors[:100], 5)[0])) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(answers) == 4
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


GOOD = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    ("vectors", "options", "says"),
    [
        (GOOD[:0], {}, "no vectors"),
        (GOOD.astype(np.float64), {}, r"float32 \[N, D\], are float64 \[3, 4\]"),
        (GOOD[0], {}, r"float32 \[N, D\], are float32 \[4\]"),
        (GOOD * np.float32(np.nan), {}, "finite, row 0"),
        (GOOD * 0, {}, "row 0 is: it has no direction"),
        (GOOD * 70_000, {"metric": "l2sq", "dtype": "f16"}, "7e[+]04.*f32 or bf16"),
        (GOOD * 1e-6, {"metric": "l2sq", "dtype": "f16"}, "half floats do not hold"),
        (GOOD * 3, {"metric": "l2sq", "dtype": "i8"}, "drops lengths"),
        (GOOD, {"dtype": "f64"}, "one of f32, f16, bf16, i8, is 'f64'"),
        (GOOD, {"metric": "ip"}, "'cos' or 'l2sq', is 'ip'"),
        (GOOD, {"connectivity": 1}, "connectivity must be an integer of at least 2, is 1"),
        (GOOD, {"threads": 0}, "threads must be an integer of at least 1, is 0"),
    ],
)
def test_what_build_refuses(vectors: NDArray, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        VectorIndex.build(vectors, **{"metric": "cos", **options})


@pytest.mark.parametrize(
    ("queries", "k", "says"),
    [
        (GOOD, 4, r"k must be an integer in 1\.\.3, the number of vectors, is 4; give a k in that range"),
        (GOOD, 2.5, r"is 2\.5"),
        (GOOD, 0, "is 0"),
        (GOOD[:, :3], 1, "3 dimensions, the index 4"),
        (GOOD * np.float32(np.inf), 1, "finite"),
        (GOOD * 0, 1, "no direction"),
    ],
)
def test_what_search_refuses(queries: NDArray, k: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        VectorIndex.build(GOOD, metric="cos").search(queries, k)


def test_strided_vectors_are_taken() -> None:
    wide = clustered(100, dimension=8)
    index = VectorIndex.build(wide[:, ::2], metric="cos")
    rows, _, _ = index.search(wide[:10, ::2], 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(10))


@pytest.mark.parametrize(("dtype", "refused"), [("f16", True), ("f32", False), ("bf16", False)])
def test_queries_that_half_floats_cannot_hold(dtype: str, refused: bool) -> None:
    vectors = clustered(300) * 100
    index = VectorIndex.build(vectors, metric="l2sq", dtype=dtype)
    queries = vectors[:5] * np.float32(1e4)
    if refused:
        with pytest.raises(InputError, match=r"^queries reach .*end at 65504; search with exact=True \(--exact"):
            index.search(queries, 3)
    else:
        assert np.isfinite(index.search(queries, 3)[1]).all()
    cosine = VectorIndex.build(vectors, metric="cos")  # of unit length, whatever was given
    np.testing.assert_array_equal(cosine.search(queries, 1)[0][:, 0], np.arange(5))


@pytest.mark.parametrize("number", [3, 100, 1500])
def test_several_threads_lose_no_row(number: int) -> None:
    """Each row of a small index is found by its own vector; threads that began a graph together often lost one."""
    for seed in range(20):
        vectors = np.random.default_rng(seed).standard_normal((number, 16)).astype(np.float32)
        index = VectorIndex.build(vectors, metric="l2sq", threads=4)
        np.testing.assert_array_equal(index.search(vectors, 1)[0][:, 0], np.arange(number))


def test_rows_that_threads_lost_are_found_and_put_in_again() -> None:
    """A row without links cannot be reached: taken out and put in under another graph, it is lost until repaired."""
    vectors = np.random.default_rng(5).standard_normal((20_000, 16), dtype=np.float32)
    index = VectorIndex.build(vectors, metric="cos", threads=2)
    assert len(index.lost(vectors, threads=2)) == 0
    assert len(index) == 20_000
    others = vectors.copy()
    others[[3, 19_999]] = -vectors[[3, 19_999]]  # as if these had been put where nobody looks for them
    assert index.lost(others, threads=2).tolist() == [3, 19_999]
    assert index.repair(others, threads=2) == 2
    assert len(index.lost(others, threads=2)) == 0
    assert len(index) == 20_000
