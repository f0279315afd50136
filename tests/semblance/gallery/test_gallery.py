"""An open gallery: neighbours, what is known of them, and what damage says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from semblance.errors import GalleryError, InputError
from semblance.gallery import filters
from semblance.gallery.build import build
from semblance.gallery.exact import search_exact
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Manifest
from semblance.gallery.mapped import MappedTable
from semblance.gallery.shards import Row
from semblance.gallery.upkeep import choose, compact, remove
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource, Item
from semblance.metrics import neighbour_overlap


def test_what_it_knows(gallery: VectorGallery) -> None:
    assert len(gallery) == 300
    assert gallery.vectors.shape == (300, 16)
    assert gallery.uris[299] == "squares#000299"
    assert gallery.labels[:4] == [None, "class 1", "class 2", None]
    assert (gallery.sources, gallery.card.name, gallery.fingerprint) == (
        ["squares"],
        "blocks",
        gallery.card.fingerprint,
    )
    facts = gallery.describe()
    assert (facts["images"], facts["unusable"], facts["shards"], facts["dimension"]) == (300, 0, 3, 16)
    assert facts["bytes"] == sum(
        file.stat().st_size for file in gallery.path.rglob("*") if file.is_file() and file.name != "manifest.json"
    )


def test_exact_and_approximate_neighbours(gallery: VectorGallery) -> None:
    queries = gallery.vectors[:40] + 3
    exact, found = gallery.search(queries, k=10, exact=True), gallery.search(queries, k=10)
    rows, distances = search_exact(queries, gallery.vectors, k=10, metric="cos")
    np.testing.assert_array_equal(exact.keys, rows)
    np.testing.assert_array_equal(exact.distances, distances)
    np.testing.assert_array_equal(exact.counts, 10)
    assert neighbour_overlap(found.keys, exact.keys).mean() >= 0.98
    np.testing.assert_array_equal(found.counts, 10)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("num_queries", [0, 1, 3])
def test_batches_stay_batches(gallery: VectorGallery, exact: bool, num_queries: int) -> None:
    found = gallery.search(gallery.vectors[:num_queries], k=2, exact=exact)
    assert found.keys.shape == found.distances.shape == (num_queries, 2)
    assert found.counts.shape == (num_queries,)
    assert found.keys[:, 0].tolist() == list(range(num_queries))
    assert (found.keys.dtype, found.distances.dtype, found.counts.dtype) == (np.int64, np.float32, np.int64)


def test_all_of_it_can_be_asked_for(gallery: VectorGallery) -> None:
    found = gallery.search(gallery.vectors[:1], k=300, exact=True)
    assert sorted(found.keys[0]) == list(range(300))


def test_keys_are_not_rows(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    """Unusable pictures leave gaps: neighbours are named by key, rows follow from them."""
    items = [Item(f"{i}", image) for i, image in enumerate(make_pictures(20))]
    items[0] = items[7] = Item("bad", b"")
    build(make_items(items), encoder, tmp_path / "g")
    gallery = VectorGallery.open(tmp_path / "g")
    for exact in (True, False):
        keys = gallery.search(gallery.vectors, k=1, exact=exact).keys[:, 0]
        np.testing.assert_array_equal(keys, [*range(1, 7), *range(8, 20)])
        np.testing.assert_array_equal(gallery.rows_of(keys), np.arange(18))
    assert gallery.rows_of(np.array([[19, 1], [8, 8]])).tolist() == [[17, 0], [6, 6]]
    assert gallery.uris[int(gallery.rows_of(np.array([8]))[0])] == "8"
    for unknown in (0, 7, 20, -1):
        with pytest.raises(InputError, match=rf"key {unknown} is not in .* 18 pictures"):
            gallery.rows_of(np.array([1, unknown]))


def test_squared_distances_where_the_card_says_so(tmp_path: Path, euclidean, make_pictures) -> None:
    build(ArraySource(make_pictures(50)), euclidean, tmp_path / "g")
    gallery = VectorGallery.open(tmp_path / "g")
    for exact in (True, False):
        found = gallery.search(gallery.vectors[:1], k=50, exact=exact)
        expected = np.sort(((gallery.vectors - gallery.vectors[0]) ** 2).sum(axis=1))
        np.testing.assert_allclose(found.distances[0, : found.counts[0]], expected[: found.counts[0]], rtol=0.01)


@pytest.mark.parametrize("k", [0, -1, 301, 2.0, 2.5, True, np.True_, "3", None])
def test_a_k_that_cannot_be(gallery: VectorGallery, k: int) -> None:
    with pytest.raises(InputError, match=r"k must be an integer in 1\.\.300") as caught:
        gallery.search(gallery.vectors[:1], k=k)
    assert str(caught.value) == (
        f"k must be an integer in 1..300, the gallery's size, is {k!r}; give a k in that range (-k on the command line)"
    )


@pytest.mark.parametrize("exact", [True, False])
def test_a_k_of_numpy(gallery: VectorGallery, exact: bool) -> None:
    assert gallery.search(gallery.vectors[:2], k=np.int64(3), exact=exact).keys.shape == (2, 3)
    assert type(gallery.check_k(np.int64(3))) is int


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        (np.ones((2, 15), np.float32), "queries have 15 dimensions, the gallery's vectors 16"),
        (np.ones(16, np.float32), r"float32 \[Q, 16\], are float32 \[16\]"),
        (np.ones((2, 16)), r"are float64 \[2, 16\]"),
        ([[1.0] * 16], "are list"),
        (np.full((1, 16), np.nan, np.float32), "finite, row 0"),
        (np.zeros((1, 16), np.float32), "zero under cosine, row 0"),
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_queries_that_cannot_be(gallery: VectorGallery, queries, says: str, exact: bool) -> None:
    with pytest.raises(InputError, match=says):
        gallery.search(queries, k=1, exact=exact)


def test_missing_short_and_altered_files_are_named(gallery_path: Path) -> None:
    for name in ("shards/000001.parquet", "index/000001.usearch"):
        path = gallery_path / name
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(GalleryError, match=rf"{name} is missing"):
            VectorGallery.open(gallery_path)
        path.write_bytes(whole[:-1])
        with pytest.raises(GalleryError, match=rf"{name} is damaged"):
            VectorGallery.open(gallery_path)
        path.write_bytes(whole)
        VectorGallery.open(gallery_path)


def test_a_flipped_byte_is_found_before_it_is_read(gallery_path: Path) -> None:
    path = gallery_path / "shards/000002.parquet"
    whole = bytearray(path.read_bytes())
    first = VectorGallery.open(gallery_path).vectors[200].tobytes()
    at = bytes(whole).find(first)
    assert at > 0
    whole[at] ^= 1
    path.write_bytes(whole)
    queries = np.ones((1, 16), np.float32)
    for use in (
        lambda gallery: gallery.vectors,
        lambda gallery: gallery.keys,
        lambda gallery: gallery.labels,
        lambda gallery: gallery.search(queries, k=300),
        lambda gallery: gallery.search(queries, k=1, exact=True),
        lambda gallery: gallery.search(queries, k=1, where="label = 'class 1'"),
    ):
        gallery = VectorGallery.open(gallery_path)  # its size is right
        with pytest.raises(GalleryError, match=r"000002\.parquet is damaged \(its sha256"):
            use(gallery)


def test_shards_of_another_gallery_are_refused(gallery_path: Path) -> None:
    (gallery_path / "shards/000001.parquet").write_bytes((gallery_path / "errors.parquet").read_bytes())
    with pytest.raises(GalleryError, match=r"000001\.parquet is damaged \(it has \d+ bytes, the manifest says \d+\)"):
        VectorGallery.open(gallery_path)


def test_what_is_no_key_names_no_picture(gallery: VectorGallery, gallery_path: Path) -> None:
    """2.5 is not cut to 2, nor 2**64 - 1 wrapped to -1."""
    for keys in ([2.0], [2.5], ["2"], [2**63], np.array([2**64 - 1], np.uint64), [True]):
        for use in (gallery.rows_of, gallery.vectors_of, lambda keys: choose(gallery, keys)):
            with pytest.raises(InputError, match="keys must be integers of 64 bits"):
                use(keys)
        with pytest.raises(InputError, match="keys must be integers of 64 bits"):
            remove(gallery_path, keys)
    assert gallery.rows_of(np.array([7], np.uint64)).tolist() == [7]
    assert gallery.vectors_of(np.empty(0, np.int64)).shape == (0, 16)
    assert len(VectorGallery.open(gallery_path)) == 300


@pytest.mark.parametrize("compacted", [False, True])
def test_an_emptied_gallery_is_a_gallery_of_nothing(gallery_path: Path, compacted: bool) -> None:
    remove(gallery_path, where="true")
    if compacted:
        compact(gallery_path, threads=1)
    gallery = VectorGallery.open(gallery_path)
    assert (len(gallery), gallery.uris, gallery.labels, gallery.keys.tolist()) == (0, [], [], [])
    assert gallery.vectors.shape == (0, 16)
    assert gallery.vectors_of(np.empty(0, np.int64)).shape == (0, 16)
    assert gallery.matching("label = 'class 1'").shape == (0,)
    assert gallery.describe()["images"] == 0
    for exact in (True, False):
        with pytest.raises(InputError, match=r"k must be an integer in 1\.\.0, the gallery's size, is 1"):
            gallery.search(np.ones((1, 16), np.float32), k=1, exact=exact)
    with pytest.raises(InputError, match=r"key 3 is not in .*, which has 0 pictures"):
        gallery.rows_of(np.array([3]))


@pytest.mark.parametrize("exact", [True, False])
def test_conditions_leave_out_and_fill_up(gallery: VectorGallery, exact: bool) -> None:
    """Of no picture, of one, of a few and of nearly all: min(k, matches) come, whatever the index finds."""
    queries = gallery.vectors[:5] + 1
    for where, passes in (
        ("false", np.zeros(300, np.bool_)),
        ("key = 17", gallery.keys == 17),
        ("key < 0 OR key = 299", gallery.keys == 299),
        ("label = 'class 1'", np.array([label == "class 1" for label in gallery.labels])),
        ("label IS NULL", np.array([label is None for label in gallery.labels])),
        ("key <> 5", gallery.keys != 5),
        ("uri LIKE 'squares#%'", np.ones(300, np.bool_)),
    ):
        num = int(passes.sum())
        found = gallery.search(queries, k=40, exact=exact, where=where)
        count = min(40, num)
        assert found.keys.shape == found.distances.shape == (5, 40)
        assert found.counts.tolist() == [count] * 5
        assert (found.keys[:, count:] == -1).all()
        assert np.isinf(found.distances[:, count:]).all()
        assert set(found.keys[:, :count].ravel()) <= set(gallery.keys[passes])
        if count:
            rows, distances = search_exact(queries, gallery.vectors[passes], k=count, metric="cos")
            np.testing.assert_array_equal(found.keys[:, :count], gallery.keys[passes][rows])
            np.testing.assert_array_equal(found.distances[:, :count], distances)


def test_conditions_are_judged_once_and_never_mixed_up(gallery: VectorGallery) -> None:
    """The last ones are kept; more than are kept give the same as asked anew."""
    expected = {f"key % {n} = 1": int((gallery.keys % n == 1).sum()) for n in range(2, 24)}
    for _ in range(2):
        for where, num in expected.items():
            assert gallery.search(gallery.vectors[:1], k=300, where=where).counts.tolist() == [num]
    assert len(gallery._matching) <= 16


def test_a_query_gets_its_answer_whoever_asks_beside_it(gallery: VectorGallery) -> None:
    """Of a condition that passes what is far from some queries: those ask on, and the others need not."""
    wheres = [f"key % 3 != {i % 3} AND key > {i}" for i in range(0, 290, 29)]
    for where in wheres:
        together = gallery.search(gallery.vectors, k=12, where=where, threads=2)
        for number in range(0, 300, 37):
            alone = gallery.search(gallery.vectors[number : number + 1], k=12, where=where)
            np.testing.assert_array_equal(together.keys[number], alone.keys[0])
            np.testing.assert_array_equal(together.distances[number], alone.distances[0])


def test_many_conditions_from_many_threads(gallery: VectorGallery) -> None:
    def ask(number: int) -> int:
        return int(gallery.search(gallery.vectors[:1], k=300, where=f"key < {number % 40 + 1}").counts[0])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(200))) == [number % 40 + 1 for number in range(200)]


# Refreshed --------------------------------------------------------------------------------------------------------


def put(writer: GalleryWriter, keys: list[int], label: str = "new") -> None:
    rows = [Row(key, f"{key}.jpg", "0" * 64, 9, 9, label) for key in keys]
    writer.change(rows, np.random.default_rng(keys[0]).standard_normal((len(keys), 16), dtype=np.float32))


def test_an_unchanged_gallery_is_itself(gallery: VectorGallery) -> None:
    assert gallery.refreshed() is gallery
    assert gallery.refreshed().refreshed() is gallery


def test_only_what_is_new_is_opened(gallery: VectorGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old files are not even looked at: their names may be gone."""
    queries, before = gallery.vectors[:3], gallery.search(gallery.vectors[:3], k=5)
    with GalleryWriter.open(gallery.path) as writer:
        put(writer, [1000, 1001])
        for shard in gallery.manifest.shards:
            (gallery.path / shard.file).unlink()
        (gallery.path / gallery.manifest.index.file).unlink()  # type: ignore[union-attr]
        opened: list[str] = []
        monkeypatch.setattr(
            "semblance.gallery.rows.MappedTable",
            lambda path, file: (opened.append(file.file), MappedTable(path, file))[1],
        )
        after = gallery.refreshed()
    assert opened == ["shards/000003.parquet"]
    assert (len(gallery), len(after)) == (300, 302)
    assert after.index is gallery.index
    np.testing.assert_array_equal(after.vectors_of(np.array([0, 1, 2])), queries)
    assert after.facts(np.array([1001, 0]))[0].uri == "1001.jpg"
    found = gallery.search(queries, k=5)
    np.testing.assert_array_equal(found.keys, before.keys)


def test_what_was_worked_out_is_carried_on(gallery: VectorGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition is judged over the new rows alone, and rows that were removed since do not pass."""
    where = "label = 'class 1'"
    before = gallery.matching(where)
    asked: list[int] = []
    real = filters.matching
    monkeypatch.setattr(
        filters, "matching", lambda files, where, **how: (asked.append(len(files)), real(files, where, **how))[1]
    )
    with GalleryWriter.open(gallery.path) as writer:
        put(writer, [1000, 1001], "class 1")
        writer.remove(gallery.keys[before][:2])
    after = gallery.refreshed()
    assert after.keys[after.matching(where)].tolist() == [*gallery.keys[before][2:], 1000, 1001]
    assert asked == [1]
    np.testing.assert_array_equal(gallery.matching(where), before)


def test_compacted_and_merged_meanwhile(gallery: VectorGallery) -> None:
    where = "label = 'class 1'"
    _ = gallery.matching(where), gallery.keys, 7 in gallery
    for change in ("removed", "merged", "compacted"):
        with GalleryWriter.open(gallery.path) as writer:
            if change == "removed":
                put(writer, [7, 1000])
                put(writer, [8, 1001], "class 1")
                writer.remove(np.arange(100, 150))
            elif change == "merged":
                assert writer.merge() == 1
            else:
                writer.compact(threads=1)
        gallery, opened = gallery.refreshed(), VectorGallery.open(gallery.path)
        assert gallery.keys.tolist() == opened.keys.tolist()
        assert gallery.facts(gallery.keys) == opened.facts(opened.keys)
        np.testing.assert_array_equal(gallery.matching(where), opened.matching(where))
        np.testing.assert_array_equal(gallery.vectors_of(gallery.keys), opened.vectors)


def test_a_gallery_that_changes_while_it_is_refreshed(gallery: VectorGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the manifest that was read first are gone when they are opened."""
    read, turns = Manifest.read.__func__, []  # type: ignore[attr-defined]
    with GalleryWriter.open(gallery.path) as writer:
        put(writer, [1000])

    def read_then_changed(path: Path) -> Manifest:
        manifest: Manifest = read(Manifest, path)
        if not turns:
            turns.append(manifest)
            monkeypatch.setattr(Manifest, "read", classmethod(read))
            remove(path, [5])
            compact(path, threads=1)
        return manifest

    monkeypatch.setattr(Manifest, "read", staticmethod(read_then_changed))
    assert 5 not in gallery.refreshed()
    assert len(turns) == 1


def test_a_gallery_that_is_gone_says_so(gallery: VectorGallery) -> None:
    (gallery.path / "manifest.json").unlink()
    with pytest.raises(GalleryError, match=r"is no gallery: it has no manifest\.json"):
        gallery.refreshed()


# Single pictures --------------------------------------------------------------------------------------------------


def test_facts_of_single_pictures(gallery: VectorGallery) -> None:
    keys = np.array([299, 0, 150, 0, *range(50)])
    rows = gallery.facts(keys)
    assert [each.key for each in rows] == keys.tolist()
    assert [each.uri for each in rows] == [gallery.uris[key] for key in keys]
    assert [each.label for each in rows] == [gallery.labels[key] for key in keys]
    assert {(each.width, each.height, len(each.sha256), len(each.columns)) for each in rows} == {(8, 8, 64, 0)}
    assert gallery.facts(np.empty(0, np.int64)) == []
    with pytest.raises(InputError, match="key 300 is not in"):
        gallery.facts(np.array([1, 300]))
    with pytest.raises(InputError, match="keys must be integers"):
        gallery.facts(np.array([1.0]))


def test_facts_are_read_of_the_shards_concerned_alone(gallery: VectorGallery) -> None:
    tables = gallery.all_rows.tables
    _ = 5 in gallery
    gallery.facts(np.array([150, 199]))
    assert [bool(table._kept) for table in tables] == [False, True, False]


def test_whether_a_key_is_there(gallery_path: Path) -> None:
    remove(gallery_path, [7])
    gallery = VectorGallery.open(gallery_path)
    assert [key in gallery for key in (0, 7, 299, 300, -1, np.int64(5), 2**64, 2**63 - 1, -(2**63), 2.0, "5")] == [
        True, False, True, False, False, True, False, False, False, False, False,
    ]  # fmt: skip


def test_an_older_copy_that_was_put_back(gallery: VectorGallery) -> None:
    """Fewer rows than were there, of which the same were removed."""
    remove(gallery.path, [7])
    older, manifest = gallery.refreshed(), (gallery.path / "manifest.json").read_bytes()
    with GalleryWriter.open(gallery.path) as writer:
        put(writer, [1000])
    newer = older.refreshed()
    (gallery.path / "manifest.json").write_bytes(manifest)
    again = newer.refreshed()
    assert (len(older), len(newer), len(again)) == (299, 300, 299)
    assert again.keys.tolist() == older.keys.tolist()
    assert (1000 in newer, 1000 in again, 7 in again) == (True, False, False)
