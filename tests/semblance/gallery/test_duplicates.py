"""Near-duplicates against every distance in float64 and the components of a graph library."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from semblance.errors import InputError
from semblance.gallery import pairs as pairs_module
from semblance.gallery import tiles as tiles_module
from semblance.gallery.duplicates import Groups, group, near_groups, near_pairs_by_index, write_report
from semblance.gallery.exact import search_exact
from semblance.gallery.pairs import near_pairs

METRICS = ["cos", "l2sq"]


def plain_distances(vectors: NDArray, metric: str) -> NDArray[np.float64]:
    """[N, N] in float64, one row after the other."""
    vectors = vectors.astype(np.float64)
    squares = (vectors**2).sum(axis=1)
    distances = np.ones((len(vectors), len(vectors)))
    for i, vector in enumerate(vectors):
        if metric == "l2sq":
            distances[i] = ((vectors - vector) ** 2).sum(axis=1)
        else:
            norms, dots = np.sqrt(squares * squares[i]), (vectors * vector).sum(axis=1)
            distances[i] = np.clip(1 - np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0), 0, 2)
    return distances


def plain_groups(distances: NDArray[np.float64], is_pair: NDArray[np.bool_]) -> Groups:
    is_pair = is_pair | is_pair.T
    _, component = connected_components(coo_matrix(is_pair), directed=False)
    members = np.flatnonzero(is_pair.any(axis=1))
    first = np.array([np.flatnonzero(component == component[row])[0] for row in members], np.int64)
    order = np.lexsort((members, first))
    number = np.unique(first, return_inverse=True)[1][order].astype(np.int64)
    nearest = np.where(is_pair, distances, np.inf).min(axis=1, initial=np.inf)[members[order]]
    return Groups(members[order], number, nearest.astype(np.float32))


def joined(pairs: Iterable[tuple[NDArray, NDArray, NDArray]]) -> tuple[NDArray, NDArray, NDArray]:
    pieces = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)), *pairs]
    for rows_a, rows_b, distances in pieces:
        assert (rows_a.dtype, rows_b.dtype, distances.dtype) == (np.int64, np.int64, np.float32)
    a, b, distances = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return a, b, distances


def assert_same_groups(found: Groups, expected: Groups) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.group, expected.group)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=2e-7, atol=1e-15)
    assert (found.rows.dtype, found.group.dtype, found.distance.dtype) == (np.int64, np.int64, np.float32)


def check(blocks: list[NDArray], metric: str, distance: float, alive: NDArray[np.bool_] | None = None) -> int:
    """Everything that is promised, for some blocks; the number of pairs."""
    vectors = np.concatenate(blocks)
    distances = plain_distances(vectors, metric)
    is_pair = np.triu(distances <= distance, 1)
    if alive is not None:
        is_pair &= alive[:, None] & alive
    options = {"metric": metric, "distance": distance, "alive": alive}
    a, b, found = joined(near_pairs(blocks, **options))
    assert (a < b).all()
    assert len(np.unique(a * len(vectors) + b)) == len(a) == is_pair.sum()
    assert is_pair[a, b].all()
    np.testing.assert_allclose(found, distances[a, b].astype(np.float32), rtol=2e-7, atol=1e-15)
    expected = plain_groups(distances, is_pair)
    grouped = group(near_pairs(blocks, **options), len(vectors))
    assert_same_groups(grouped, expected)
    short = near_groups(blocks, **options)
    for name in ("rows", "group", "distance"):
        np.testing.assert_array_equal(getattr(short, name), getattr(grouped, name))
    return len(a)


def quantile(distances: NDArray[np.float64], share: float) -> float:
    """A distance that a share of all are within, and none so close to that float64's last digits decide."""
    return float(np.quantile(distances, share)) * (1 + 1e-9)


def cut(vectors: NDArray, cuts: Iterable[int]) -> list[NDArray]:
    return [vectors[a:b] for a, b in itertools.pairwise([0, *sorted(cuts), len(vectors)])]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a few hundred rows are many tiles of many strips, and pieces end in the middle of everything."""
    set_sizes(monkeypatch)


def set_sizes(monkeypatch: pytest.MonkeyPatch, *, tile: int = 37, strip: int = 8, piece: int = 11) -> None:
    monkeypatch.setattr(tiles_module, "_TILE_ROWS", tile)
    monkeypatch.setattr(tiles_module, "_LEAST_ROWS", 1)
    monkeypatch.setattr(pairs_module, "_STRIP_ROWS", strip)
    monkeypatch.setattr(pairs_module, "_SETTLED", piece)
    monkeypatch.setattr(pairs_module, "_YIELDED", piece)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 3, 64, 600, 1300])
@pytest.mark.usefixtures("small_tiles")
def test_random_vectors_in_odd_blocks(metric: str, dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    vectors = rng.standard_normal((301, dimension), dtype=np.float32) + 0.3
    distance = quantile(plain_distances(vectors, metric), 0.05)
    num = check(cut(vectors, [0, 1, 1, 5, 200, 203]), metric, distance)
    assert num > 1000


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spread", [1e-7, 1e-4, 0.1])
def test_clusters_of_rows_in_one_tile_and_in_many(metric: str, spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((20, 16))
    vectors = (centres[rng.integers(0, 20, 400)] + rng.standard_normal((400, 16)) * spread).astype(np.float32)
    distance = 0.05 if metric == "cos" else 0.5
    assert check([vectors], metric, distance) > 400
    set_sizes(monkeypatch)
    assert check([vectors], metric, distance) > 400


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_ties_at_exactly_the_distance_copies_and_zero_vectors(metric: str, data: st.DataObject) -> None:
    """Values -1, 0, 1 in few dimensions: most vectors have copies, most distances lie at the limit itself."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    num, dimension = data.draw(st.integers(0, 90)), data.draw(st.integers(1, 4))
    vectors = rng.integers(-1, 2, (num, dimension)).astype(data.draw(st.sampled_from([np.float32, np.float16])))
    distance = data.draw(st.sampled_from([0, 0.5, 1, 2, 4, 9] if metric == "l2sq" else [0, 0.1, 0.6, 1, 2, 7]))
    alive = rng.random(num) < 0.7 if data.draw(st.booleans()) else None
    blocks = cut(vectors, data.draw(st.lists(st.integers(0, num), max_size=4)))
    with pytest.MonkeyPatch.context() as patch:
        set_sizes(
            patch,
            tile=data.draw(st.integers(6, 60)),
            strip=data.draw(st.integers(3, 20)),
            piece=data.draw(st.integers(7, 300)),
        )
        check(blocks, metric, distance, alive)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 7, 64, 65, 784, 8193])
@pytest.mark.usefixtures("small_tiles")
def test_copies_are_at_distance_zero_wherever_they_lie(metric: str, dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    base = rng.standard_normal((7, dimension), dtype=np.float32) + np.arange(7, dtype=np.float32)[:, None]
    order = rng.integers(0, 7, 99)
    found = near_groups(cut(base[order], [3, 50]), metric=metric, distance=0)
    expected = order if dimension > 1 or metric == "l2sq" else (base[order, 0] > 0).astype(int)
    np.testing.assert_array_equal(found.distance, 0)
    for number in range(found.num_groups):
        assert len(set(expected[found.rows[found.group == number]])) == 1
    assert found.num_groups == len(set(expected))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-3, 1e4, 1e18, 3e36])
@pytest.mark.usefixtures("small_tiles")
def test_tiny_and_huge_norms(metric: str, scale: float) -> None:
    vectors = (np.random.default_rng(3).standard_normal((200, 8)) * scale).astype(np.float32)
    distance = quantile(plain_distances(vectors, metric), 0.1)
    with np.errstate(over="ignore"):
        assert check([vectors], metric, distance) > 100


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("distance", [0, 1e-60, 0.3, 1e30])
@pytest.mark.usefixtures("small_tiles")
def test_norms_of_all_sizes_in_one_gallery(metric: str, distance: float) -> None:
    rng = np.random.default_rng(4)
    vectors = (rng.standard_normal((300, 3)) * 10.0 ** rng.integers(-40, 38, (300, 1))).astype(np.float32)
    check([vectors], metric, distance)


def test_distances_that_float32_cannot_tell_apart() -> None:
    """Integers near 2**13 squared lie beyond float32's 24 bits; a step of one decides all the same."""
    vectors = np.stack([np.full(64, 8192), np.arange(64) + 8100], axis=1).astype(np.float32)
    vectors = np.concatenate([vectors, np.zeros((1, 2), np.float32)])
    for limit in (8192**2 + 8130**2, 8192**2 + 8130**2 - 1):
        a, b, _ = joined(near_pairs([vectors], metric="l2sq", distance=limit))
        assert set(a[b == 64]) == set(range(31 if limit % 2 == 0 else 30))


def test_the_score_bounds_every_distance_from_below() -> None:
    """The proof's claim itself: distance * 2**scale >= score + base, for values chosen to round badly."""
    rng = np.random.default_rng(8)
    for metric in METRICS:
        for dimension in (1, 63, 700):
            vectors = (rng.random((400, dimension)) + rng.choice([0, 1e-3, 1e3], (400, 1))).astype(np.float32)
            tiles = tiles_module.Tiles([vectors], metric, None)
            tile = tiles.load(0)
            out = np.empty((100, len(tile.values)), np.float32)
            base, scale = pairs_module._score(tile, slice(0, 100), tile, 0, metric, out)
            true = np.ldexp(plain_distances(vectors, metric)[np.ix_(tile.first[:100], tile.first)], scale)
            lower = out + base[:, None]
            assert (lower <= true).all()
            slack = 2.1 * tiles_module.gamma_of(dimension) * np.ldexp(tile.squares, scale).max(initial=1)
            assert (true - lower <= slack).all()  # a bound that were never near would be no test


@pytest.mark.parametrize("metric", METRICS)
def test_a_crowd_of_identical_rows(metric: str) -> None:
    """20,000 rows are 199,990,000 pairs; they are folded as they come."""
    rows = np.broadcast_to(np.arange(1, 9, dtype=np.float32), (20_000, 8))
    found = near_groups([rows], metric=metric, distance=0.01)
    assert (found.num_groups, len(found.rows)) == (1, 20_000)
    np.testing.assert_array_equal(found.distance, 0)


def test_all_pairs_of_a_crowd_come_in_pieces() -> None:
    rows = np.ones((6000, 2), np.float32)
    num_pairs = 0
    for rows_a, _, _ in near_pairs([rows], metric="cos", distance=0):
        assert len(rows_a) <= 1 << 20
        num_pairs += len(rows_a)
    assert num_pairs == 6000 * 5999 // 2


def test_a_crowd_of_nearly_identical_rows_is_hardly_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4.5 million near pairs only those that may change a group get a distance in float64."""
    rows = (1 + np.random.default_rng(2).standard_normal((3000, 16)) * 0.2).astype(np.float32)
    settled: list[int] = []
    plain = pairs_module._distances

    def counted(left, a, right, b, metric):
        settled.append(len(a))
        return plain(left, a, right, b, metric)

    monkeypatch.setattr(pairs_module, "_distances", counted)
    found = near_groups([rows], metric="cos", distance=0.5)
    assert (found.num_groups, len(found.rows)) == (1, 3000)
    assert sum(settled) < 500_000
    distances = plain_distances(rows, "cos")
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(found.distance, distances.min(axis=1), rtol=1e-6)


def test_a_memory_map_is_read_in_parts(tmp_path: Path) -> None:
    vectors = np.random.default_rng(6).integers(-2, 3, (900, 3)).astype(np.float16)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    for one, other in zip(
        joined(near_pairs([mapped], metric="l2sq", distance=1)),
        joined(near_pairs([vectors[:5], vectors[5:]], metric="l2sq", distance=1)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_and_one_row(metric: str) -> None:
    for blocks in ([], [np.empty((0, 4), np.float32)], [np.ones((1, 4), np.float32)]):
        assert joined(near_pairs(blocks, metric=metric, distance=9))[0].shape == (0,)
        found = near_groups(blocks, metric=metric, distance=9)
        assert found.rows.shape == found.group.shape == found.distance.shape == found.is_first.shape == (0,)
        assert found.num_groups == 0


@pytest.mark.usefixtures("small_tiles")
def test_rows_that_are_left_out() -> None:
    """All of a tile, all of everything, and what would have held a group together."""
    vectors = np.arange(100, dtype=np.float32)[:, None]
    alive = np.ones(100, bool)
    alive[10:80] = False
    assert check([vectors], "l2sq", 1, alive) == 9 + 19
    assert near_groups([vectors], metric="l2sq", distance=1, alive=alive).num_groups == 2
    assert check([vectors], "l2sq", 1, np.zeros(100, bool)) == 0


@pytest.mark.usefixtures("small_tiles")
def test_progress_ends_at_its_total() -> None:
    calls: list[tuple[int, int]] = []
    vectors = np.ones((100, 2), np.float32)
    list(near_pairs([vectors], metric="cos", distance=0, progress=lambda done, total: calls.append((done, total))))
    assert calls == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ("blocks", "options", "says"),
    [
        ([np.ones((3, 2), np.float32)], {"metric": "ip"}, "metric must be 'cos' or 'l2sq', is 'ip'"),
        ([np.ones((3, 2), np.float32)], {"distance": -0.1}, "distance must be a finite number .*, is -0.1"),
        ([np.ones((3, 2), np.float32)], {"distance": np.nan}, "distance must be a finite number"),
        ([np.ones((3, 2), np.float32)], {"distance": np.inf}, "distance must be a finite number"),
        ([np.ones((3, 2), np.float32)], {"distance": "1"}, "distance must be a finite number"),
        ([np.ones((3, 2), np.float32)], {"alive": np.ones(4, bool)}, r"alive must be bool \[3\], is bool \[4\]"),
        ([np.ones((3, 2), np.float32)], {"alive": np.ones(3)}, r"alive must be bool \[3\], is float64 \[3\]"),
        ([np.ones((3, 2))], {}, "block 0 is float64; convert it"),
        ([np.ones(3, np.float32)], {}, r"block 0 is \[3\]"),
        ([np.ones((3, 2), np.float32), np.ones((3, 4), np.float32)], {}, "block 1 has 4 dimensions, those before it 2"),
        ([np.array([[1], [np.nan]], np.float32)], {}, "vectors must be finite, row 1 holds"),
        ([np.array([[1]], np.float32), np.array([[1], [np.inf]], np.float16)], {}, "vectors must be finite, row 2"),
    ],
)
def test_what_it_refuses(blocks: list[NDArray], options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        list(near_pairs(blocks, **{"metric": "cos", "distance": 0.1, **options}))


# Groups --------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_groups_of_any_graph(data: st.DataObject) -> None:
    """Pairs in any order and number of pieces, twice and both ways round."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    num_rows, num_pairs = data.draw(st.integers(2, 60)), data.draw(st.integers(0, 80))
    a, b = rng.integers(0, num_rows, (2, num_pairs))
    a, b = a[a != b], b[a != b]
    found = rng.integers(0, 5, len(a)).astype(np.float32)
    distances = np.full((num_rows, num_rows), np.inf)
    np.minimum.at(distances, (a, b), found)
    distances = np.minimum(distances, distances.T)
    pieces = np.array_split(np.arange(len(a)), data.draw(st.integers(1, 5)))
    pairs = ((a[piece], b[piece], found[piece]) for piece in pieces)
    assert_same_groups(group(pairs, num_rows), plain_groups(distances, np.isfinite(distances)))


@pytest.mark.parametrize("kind", ["chain", "shuffled chain", "star", "bridge"])
def test_a_million_rows_in_one_group(kind: str) -> None:
    """The shapes that make naive label spreading slow: each would take a million rounds."""
    num = 1_000_000
    a, b = np.arange(num - 1), np.arange(1, num)
    if kind == "shuffled chain":
        order = np.random.default_rng(0).permutation(num)
        a, b = order[a], order[b]
    if kind == "star":
        a = np.full(num - 1, num - 1)
        b = np.arange(num - 1)
    if kind == "bridge":
        a, b = a[np.argsort(a % 2, kind="stable")], b[np.argsort(a % 2, kind="stable")]
    found = group([(a, b, np.zeros(num - 1, np.float32))], num)
    assert found.num_groups == 1
    np.testing.assert_array_equal(found.rows, np.arange(num))


# By an index ---------------------------------------------------------------------------------------------------------


def exact_search(vectors: NDArray, metric: str, calls: list[int] | None = None):
    """An index that misses nothing, with its answer's form: padded where there are fewer than k."""

    def search(queries: NDArray[np.float32], k: int) -> tuple[NDArray, NDArray, NDArray]:
        if calls is not None:
            calls.append(k)
        most = min(k, len(vectors))
        rows, distances = search_exact(queries, vectors, k=most, metric=metric)
        rows = np.pad(rows, ((0, 0), (0, k - most)), constant_values=-1)
        distances = np.pad(distances, ((0, 0), (0, k - most)), constant_values=np.inf)
        return rows, distances, np.full(len(queries), most)

    return search


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 2, 16])
def test_an_index_that_misses_nothing_gives_the_same_groups(metric: str, k: int) -> None:
    """k doubles until every row has seen past the distance, so dense groups are found to the end."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((12, 6))
    vectors = (centres[rng.integers(0, 12, 300)] + rng.standard_normal((300, 6)) * 0.05).astype(np.float32)
    alive = rng.random(300) < 0.8
    options = {"metric": metric, "distance": 0.01, "alive": alive}
    pairs = near_pairs_by_index(exact_search(vectors, metric), cut(vectors, [7, 100]), k=k, most=2000, **options)
    pieces = list(pairs)
    assert_same_groups(group(pieces, 300), near_groups([vectors], **options))
    a, b, _ = joined(pieces)
    expected = joined(near_pairs([vectors], **options))
    assert set(zip(a, b, strict=True)) == set(zip(expected[0], expected[1], strict=True))


def test_by_index_no_more_than_most_are_asked_for() -> None:
    vectors, calls = np.ones((500, 2), np.float32), []
    pairs = near_pairs_by_index(
        exact_search(vectors, "cos", calls), [vectors], metric="cos", distance=1e-6, k=16, most=50
    )
    a, b, _ = joined(pairs)
    assert sorted(set(calls)) == [16, 32, 50]
    assert (a < b).all()


def test_by_index_zero_vectors_are_not_asked_for_under_cos() -> None:
    vectors = np.array([[0, 0], [1, 0], [1, 0]], np.float32)
    for metric, expected in (("cos", [(1, 2)]), ("l2sq", [(1, 2)])):
        pairs = near_pairs_by_index(exact_search(vectors, metric), [vectors], metric=metric, distance=0.5)
        a, b, _ = joined(pairs)
        assert sorted(set(zip(a.tolist(), b.tolist(), strict=True))) == expected
    assert list(near_pairs_by_index(exact_search(vectors, "cos"), [], metric="cos", distance=1)) == []
    with pytest.raises(InputError, match="distance must be a finite number"):
        list(near_pairs_by_index(exact_search(vectors, "cos"), [vectors], metric="cos", distance=-1))


# The report ----------------------------------------------------------------------------------------------------------


def sample() -> tuple[Groups, dict]:
    groups = Groups(np.array([0, 4, 1, 2]), np.array([0, 0, 1, 1]), np.array([0.5, 0.5, 0, 0.25], np.float32))
    facts = {
        "keys": np.array([10, 14, 11, 12]),
        "uris": ["a.jpg", 'b, "c".jpg', "ü\n.jpg", "d.jpg"],
        "labels": ["x", None, "", "y"],
    }
    return groups, facts


def test_a_report_as_parquet_and_csv(tmp_path: Path) -> None:
    groups, facts = sample()
    write_report(tmp_path / "report.parquet", groups, **facts)
    write_report(tmp_path / "report.CSV", groups, **facts)
    expected = {
        "group": [0, 0, 1, 1],
        "key": [10, 14, 11, 12],
        "uri": facts["uris"],
        "label": facts["labels"],
        "distance": [0.5, 0.5, 0.0, 0.25],
        "keep": [True, False, True, False],
    }
    assert pq.read_table(tmp_path / "report.parquet").to_pydict() == expected
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    newlines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(tmp_path / "report.CSV", convert_options=options, parse_options=newlines)
    assert table.to_pydict() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.CSV", "report.parquet"]


def test_a_report_of_nothing(tmp_path: Path) -> None:
    nothing = group([], 5)
    write_report(tmp_path / "report.csv", nothing, keys=np.empty(0, np.int64), uris=[], labels=[])
    assert (tmp_path / "report.csv").read_text().strip() == '"group","key","uri","label","distance","keep"'


def test_reports_that_cannot_be_written(tmp_path: Path) -> None:
    groups, facts = sample()
    for name in ("report.xlsx", "report"):
        with pytest.raises(InputError, match=r"written as .csv or .parquet"):
            write_report(tmp_path / name, groups, **facts)
    with pytest.raises(InputError, match=r"the folder of .* does not exist"):
        write_report(tmp_path / "no/report.csv", groups, **facts)
    assert not list(tmp_path.iterdir())
