"""The index against exact search, and against the surprises of the library under it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
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
    again = VectorIndex.open(
        tmp_path / "x.usearch", metric="l2sq", sha256=written.sha256, expansion_search=200, mmap=mmap
    )
    for one, other in zip(index.search(vectors[:50], 5), again.search(vectors[:50], 5), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.metric, again.dtype, again.expansion_search, len(again)) == ("l2sq", "f16", 200, 1000)


@pytest.mark.parametrize("num_queries", [0, 1, 2, 40])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
def test_candidates_are_what_a_search_finds(num_queries: int, dtype: str) -> None:
    index = VectorIndex.build(clustered(300), metric="cos", dtype=dtype, connectivity=2, expansion_search=1)  # type: ignore[arg-type]
    queries = clustered(num_queries, seed=2)
    rows, _, counts = index.search(queries, 300)
    candidates = index.candidates(queries, 300)
    assert (candidates.shape, candidates.dtype) == ((num_queries, 300), np.int64)
    np.testing.assert_array_equal(np.sort(candidates, axis=1), np.sort(rows, axis=1))
    assert ((candidates >= 0).sum(axis=1) == counts).all()
    with pytest.raises(InputError, match=r"k must be an integer in 1\.\.300"):
        index.candidates(queries, 301)


@pytest.mark.parametrize(("built", "opened"), [("cos", "l2sq"), ("l2sq", "cos")])
def test_a_file_of_another_metric_is_refused(tmp_path: Path, built: str, opened: str) -> None:
    written = VectorIndex.build(clustered(50), metric=built).save(tmp_path / "x.usearch")  # type: ignore[arg-type]
    with pytest.raises(GalleryError, match=f"compares by .*, which is no index of {opened}; build it anew"):
        VectorIndex.open(tmp_path / "x.usearch", metric=opened, sha256=written.sha256)  # type: ignore[arg-type]


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(("dimension", "density"), [(64, 0.2), (65, 0.2), (2048, 0.02)])
def test_bytes_mean_the_same_in_a_file_that_is_opened(
    tmp_path: Path, mmap: bool, dimension: int, density: float
) -> None:
    """Of sparse vectors the bytes do not tell the factor: what is zero was not rounded."""
    rng = np.random.default_rng(5)
    vectors = rng.random((500, dimension), dtype=np.float32) * (rng.random((500, dimension)) < density)
    vectors[:, 0] += 0.1
    index = VectorIndex.build(vectors, metric="cos", dtype="i8")
    written = index.save(tmp_path / "x.usearch")
    again = VectorIndex.open(
        tmp_path / "x.usearch", metric="cos", sha256=written.sha256, factor=index.factor, mmap=mmap
    )
    assert again.factor == index.factor
    found = index.search(vectors[:50], 5)
    for one, other in zip(found, again.search(vectors[:50], 5), strict=True):
        np.testing.assert_array_equal(one, other)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found[1], 1 - np.einsum("qd,qkd->qk", unit[:50], unit[found[0]]), atol=0.02)
    assert VectorIndex.build(vectors, metric="cos", dtype="f16").factor is None


def test_two_that_look_for_lost_rows_leave_the_search_as_wide_as_it_was() -> None:
    vectors = clustered(3000)
    index = VectorIndex.build(vectors, metric="cos", expansion_search=50)
    with ThreadPoolExecutor(4) as pool:
        for lost in pool.map(lambda _: index.lost(vectors), range(12)):
            assert len(lost) == 0
    assert index.expansion_search == 50


def test_replacing_a_mapped_file_leaves_its_readers_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.usearch"
    written = VectorIndex.build(clustered(1000), metric="cos").save(path)
    reader = VectorIndex.open(path, metric="cos", sha256=written.sha256)
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
    with pytest.raises(GalleryError, match=r"damaged.*restore it from a copy, or build it anew"):
        VectorIndex.open(path, metric="cos", sha256=written.sha256)
    path.unlink()
    with pytest.raises(GalleryError, match=r"missing.*restore it from a copy, or build it anew"):
        VectorIndex.open(path, metric="cos", sha256=written.sha256)


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
    from semblance.gallery.index import _padded, _repadded, _sorted

    counts = np.array([3, 2])
    rows, distances = _repadded(
        np.array([[5, 3, 9, 0], [2, 1, 0, 0]], np.uint64),
        np.array([[1, 1, 0.5, np.nan], [3, 2, np.nan, np.nan]], np.float32),
        counts,
    )
    np.testing.assert_array_equal(rows, [[5, 3, 9, -1], [2, 1, -1, -1]])
    rows, distances = _sorted(rows, distances, counts)
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


# What the library under it would do ---------------------------------------------------------------------------------
# Each was met with USearch itself, and the wrapper decides or refuses it; where a version of USearch no longer does it,
# the wrapper's promise still holds.

DTYPES = ["f32", "f16", "bf16", "i8"]


def unit(num: int, dimension: int = 16, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((num, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_number_type_is_named_whatever_the_machine_likes(tmp_path: Path) -> None:
    """Left to itself, USearch takes bf16 where the processor has it, which costs recall."""
    from usearch.index import Index

    for metric in ("cos", "l2sq"):
        assert VectorIndex.build(unit(50), metric=metric).dtype == "f16"
        assert VectorIndex.build(unit(50) * np.float32(1e6), metric="l2sq").dtype == "f32"
        for dtype in DTYPES:
            index = VectorIndex.build(unit(50), metric=metric, dtype=dtype)  # type: ignore[arg-type]
            written = index.save(tmp_path / "x.usearch")
            assert VectorIndex.open(tmp_path / "x.usearch", metric=metric, sha256=written.sha256).dtype == dtype
            assert str(Index.metadata(tmp_path / "x.usearch")["kind_scalar"]).lower().endswith(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_no_row_comes_twice_and_none_that_was_removed(metric: str, dtype: str, tmp_path: Path) -> None:
    """Also where rows came back under their numbers, and through a file."""
    vectors = unit(300)
    index = VectorIndex.build(vectors, metric=metric, dtype=dtype)  # type: ignore[arg-type]
    for turn in range(3):
        gone = np.arange(turn, 300, 3)
        assert index.remove(gone) == len(gone)
        assert index.remove(gone) == 0
        assert (len(index), index.num_free) == (300 - len(gone), len(gone))
        back = np.zeros(300, bool)
        back[gone[: turn * 20]] = True
        index.add(vectors, first_row=0, alive=back)
        with pytest.raises(InputError, match=r"row \d+ is in the index; remove it first"):
            index.add(vectors, first_row=0)
        written = index.save(tmp_path / "x.usearch")
        for mmap in (True, False):
            opened = VectorIndex.open(tmp_path / "x.usearch", metric=metric, sha256=written.sha256, mmap=mmap)
            alive = np.setdiff1d(np.arange(300), gone[turn * 20 :])
            np.testing.assert_array_equal(np.flatnonzero(opened.contains(np.arange(300))), alive)
            for each in (index, opened):
                assert len(each) == len(alive)
                rows, distances, counts = each.search(vectors[:40], len(alive))
                for row, distance, count in zip(rows, distances, counts, strict=True):
                    found = row[:count].tolist()
                    assert len(set(found)) == count
                    assert set(found) <= set(alive.tolist())
                    assert np.isfinite(distance[:count]).all()
        index.add(vectors, first_row=0, alive=~index.contains(np.arange(300)))
        assert len(index) == 300


def test_row_numbers_are_never_the_librarys_key_of_nothing() -> None:
    """-1 would wrap to 2**64 - 1, which USearch takes for a removed one."""
    index = VectorIndex.build(unit(5), metric="cos")
    for first_row in (-1, -5, 2.5, True):
        with pytest.raises(InputError, match="first_row must be an integer of at least 0"):
            index.add(unit(5), first_row=first_row)  # type: ignore[arg-type]
    assert index.contains(np.array([-1, 0, 4, 5, 2**63 - 1])).tolist() == [False, True, True, False, False]
    assert index.remove(np.array([-1, 5, 2**63 - 1])) == 0
    index.add(unit(1, seed=1), first_row=2**62)
    assert index.search(unit(1, seed=1), 1)[0].tolist() == [[2**62]]


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.stack([unit(1)[0], np.full(16, np.nan, np.float32)]), "row 6 holds NaN or infinity"),
        (np.stack([unit(1)[0], np.full(16, -np.inf, np.float32)]), "row 6 holds NaN or infinity"),
        (np.stack([unit(1)[0], np.zeros(16, np.float32)]), "row 6 is: it has no direction"),
        ((unit(2) * 100).astype(np.uint8), r"float32 \[N, D\], are uint8 \[2, 16\]"),
        ((unit(2) * 100).astype(np.int8), "are int8"),
        (unit(2).astype(np.float64), "are float64"),
        (unit(2).astype(">f4"), "are >f4"),
        (unit(2, 15), "vectors have 15 dimensions, the index 16"),
        (unit(2)[0], r"are float32 \[16\]"),
        ([[1.0] * 16], "are list"),
    ],
)
def test_a_refused_batch_adds_none_of_its_rows(vectors: NDArray, says: str) -> None:
    """USearch takes bytes for numbers of its own type, NaN for a value, and keeps what came before a row it refuses."""
    index = VectorIndex.build(unit(5), metric="cos")
    before = index.search(unit(5), 5)
    with pytest.raises(InputError, match=says):
        index.add(vectors, first_row=5)
    with pytest.raises(InputError, match=r"row 4 is in the index"):
        index.add(unit(3, seed=1), first_row=4)
    with pytest.raises(InputError, match=r"row 0 is in the index"):
        index.add([unit(3, seed=1), unit(2, seed=2)], first_row=0, alive=np.array([True, False, False, False, True]))
    assert len(index) == 5
    for one, other in zip(index.search(unit(5), 5), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_queries_of_bytes_are_refused_and_zero_ones_where_they_have_no_direction(metric: str) -> None:
    index = VectorIndex.build(unit(5), metric=metric)
    for queries in (np.ones((1, 16), np.uint8), np.ones((1, 16), np.int8), np.ones((1, 16))):
        with pytest.raises(InputError, match="queries must be float16 or float32"):
            index.search(queries, 1)
    zero = np.zeros((1, 16), np.float32)
    if metric == "cos":
        with pytest.raises(InputError, match="queries must not be zero under cosine, row 0 is"):
            index.search(zero, 1)
    else:
        assert index.search(zero, 5)[1] == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_vectors_and_queries_however_they_lie_in_memory(metric: str, dtype: type) -> None:
    vectors = unit(200).astype(dtype)
    wide = np.zeros((400, 32), dtype)
    wide[::2, ::2] = vectors
    backwards = np.ascontiguousarray(vectors[::-1])[::-1]
    expected = VectorIndex.build(vectors, metric=metric).search(vectors[:20], 7)
    for given in (wide[::2, ::2], np.asfortranarray(vectors), backwards):
        assert not (given.flags.c_contiguous and given.base is None)
        index = VectorIndex.build(given, metric=metric)
        for one, other in zip(index.search(given[:20], 7), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        index.remove(np.arange(100))
        index.add(given[:100], first_row=0)
        np.testing.assert_array_equal(index.search(given, 1)[0][:, 0], np.arange(200))


def test_a_mapped_index_is_not_changed_and_not_written_over(tmp_path: Path) -> None:
    """Adding to one ends the process, and so does reading on in a file that was written over."""
    path = tmp_path / "x.usearch"
    written = VectorIndex.build(unit(50), metric="cos").save(path)
    index = VectorIndex.open(path, metric="cos", sha256=written.sha256)
    before = path.read_bytes()
    for change in (
        lambda: index.add(unit(1), first_row=50),
        lambda: index.remove(np.array([3])),
        lambda: index.repair(unit(50)),
    ):
        with pytest.raises(GalleryError, match=r"is mapped and can only be searched; open it with mmap=False"):
            change()
    (tmp_path / "link.usearch").symlink_to(path)
    (tmp_path / "hard.usearch").hardlink_to(path)
    for name in ("x.usearch", "link.usearch", "hard.usearch"):
        with pytest.raises(GalleryError, match="is mapped by the index to be saved; save it under another name"):
            index.save(tmp_path / name)
    assert path.read_bytes() == before
    assert index.save(tmp_path / "other.usearch").sha256 == written.sha256
    assert len(index) == 50


def test_a_mapped_file_may_be_replaced_and_removed_under_its_readers(tmp_path: Path) -> None:
    path = tmp_path / "x.usearch"
    written = VectorIndex.build(unit(2000), metric="cos").save(path)
    readers = [VectorIndex.open(path, metric="cos", sha256=written.sha256) for _ in range(3)]
    before = readers[0].search(unit(50, seed=1), 20)
    for turn in range(3):
        VectorIndex.build(unit(10, seed=turn), metric="cos").save(path)
        path.unlink() if turn == 1 else None
        for reader in readers:
            for one, other in zip(reader.search(unit(50, seed=1), 20), before, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_keeps_neither_expansion_so_that_both_are_given_again(tmp_path: Path, mmap: bool) -> None:
    index = VectorIndex.build(unit(50), metric="cos", connectivity=5, expansion_add=30, expansion_search=20)
    sha256 = index.save(tmp_path / "x.usearch").sha256
    again = VectorIndex.open(
        tmp_path / "x.usearch", metric="cos", sha256=sha256, expansion_add=30, expansion_search=20, mmap=mmap
    )
    assert (again.connectivity, again.expansion_add, again.expansion_search) == (5, 30, 20)
    assert (index.connectivity, index.expansion_add, index.expansion_search) == (5, 30, 20)


def test_every_flipped_byte_is_noticed_before_the_library_sees_the_file(tmp_path: Path) -> None:
    """USearch follows whatever offsets it finds, and gives what lies there."""
    path = tmp_path / "x.usearch"
    sha256 = VectorIndex.build(unit(40, 4), metric="cos").save(path).sha256
    whole = path.read_bytes()
    for at in [*range(0, len(whole), len(whole) // 60), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 0x80
        path.write_bytes(damaged)
        with pytest.raises(GalleryError, match="is damaged: its sha256 begins"):
            VectorIndex.open(path, metric="cos", sha256=sha256)
    for content in (whole[:-1], whole + b"x", b""):
        path.write_bytes(content)
        with pytest.raises(GalleryError, match="is damaged"):
            VectorIndex.open(path, metric="cos", sha256=sha256)


def test_places_of_removed_rows_are_known_and_what_they_lost_is_repaired() -> None:
    """A row that takes another's place takes over none of its links, and some rows were reached by those alone."""
    lost = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((400, 3), dtype=np.float32)
        index = VectorIndex.build(vectors, metric="l2sq", dtype="f32")
        assert (index.num_free, len(index.lost(vectors))) == (0, 0)
        replaced = np.zeros(400, bool)
        for _ in range(4):
            replaced[:] = False
            replaced[rng.choice(400, 80, replace=False)] = True
            index.remove(np.flatnonzero(replaced))
            assert index.num_free == 80
            vectors[replaced] = rng.standard_normal((80, 3), dtype=np.float32)
            index.add(vectors, first_row=0, alive=replaced)
            assert index.num_free == 0
            lost += len(index.lost(vectors))
            index.repair(vectors)
            assert len(index.lost(vectors)) == 0
            np.testing.assert_array_equal(index.search(vectors, 1)[0][:, 0], np.arange(400))
    assert lost > 0  # or USearch no longer does it, and writer.py need not look at all rows again
