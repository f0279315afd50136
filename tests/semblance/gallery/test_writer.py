"""What a writer commits and what it refuses: nothing by halves, no key mixed up, and an index that keeps up."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.gallery.build import add, build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.generation import open_index
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.manifest import LARGEST_KEY, Manifest, Part
from semblance.gallery.shards import Row, read_columns
from semblance.gallery.stored_keypoints import StoredKeypoints
from semblance.gallery.upkeep import rebuild
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource, Item
from tests.semblance.gallery.conftest import MANY, described, joined

SHA256 = "0" * 64


def row(key: int, **fields: Any) -> Row:
    return replace(Row(key, f"{key}.jpg", SHA256, 9, 9, "new"), **fields)


def rows(keys: list[int]) -> list[Row]:
    return [row(key) for key in keys]


def vectors(num: int, dimension: int = 16, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((num, dimension), dtype=np.float32)


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


# Rows that come and go ---------------------------------------------------------------------------------------------


def test_new_rows_stand_behind_and_replace_those_of_their_key(gallery_path: Path) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert(rows([1000, 7]), vectors(2))
        assert len(writer) == 301
        assert writer.alive_keys().tolist() == [*range(7), *range(8, 300), 1000, 7]
    gallery = VectorGallery.open(gallery_path)
    np.testing.assert_array_equal(gallery.vectors_of(np.array([7, 1000])), vectors(2)[::-1])
    assert (gallery.uris[-1], gallery.labels[-1]) == ("7.jpg", "new")
    assert verify(gallery_path) == []


@pytest.mark.parametrize("vector_type", ["float32", "float16"])
def test_any_integer_of_64_bits_is_a_key(tmp_path: Path, encoder, make_pictures, vector_type: str) -> None:
    """USearch loses its key 2**64 - 1, to which -1 wraps; a gallery's keys are never USearch's."""
    build(ArraySource(make_pictures(5)), encoder, tmp_path / "g", vector_type=vector_type)
    odd = [-1, -(2**63), LARGEST_KEY, LARGEST_KEY - 1, 2**53 + 1, -(2**53) - 1, 2**32, -2]
    stored = vectors(len(odd)).astype(vector_type).astype(np.float32)
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.upsert(rows(odd), stored)
    for change in ("nothing", "changed", "fresh", "compacted"):
        with GalleryWriter.open(tmp_path / "g") as writer:
            if change == "compacted":
                writer.remove(np.array([2, -2]))
                writer.compact(threads=1)
            elif change != "nothing":
                writer.update_index(threads=1, fresh=change == "fresh")
            there = writer.alive_keys().tolist()
        gallery = VectorGallery.open(tmp_path / "g")
        known = [key for key in odd if key in there]
        assert gallery.keys.tolist() == there
        assert len(known) == len(odd) - (change == "compacted")
        for exact in (True, False):
            found = gallery.search(stored[: len(known)], k=1, exact=exact).keys[:, 0]
            assert found.tolist() == known, (change, exact)
        assert verify(tmp_path / "g") == []
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.upsert(rows([LARGEST_KEY]), vectors(1, seed=2))  # also where no key is left above
        assert writer.remove(np.array([LARGEST_KEY, -1, 77])) == 2


def test_a_row_that_was_removed_comes_back_under_its_key(gallery_path: Path) -> None:
    """The library under the index mistakes a key that was removed for one that is there."""
    with GalleryWriter.open(gallery_path) as writer:
        for turn in range(3):
            assert writer.remove(np.array([5, 6, 5, 1000])) == 2
            writer.update_index(threads=1)
            writer.upsert(rows([6, 5]), vectors(2, seed=turn))
            writer.update_index(threads=1)
    gallery = VectorGallery.open(gallery_path)
    found = gallery.search(gallery.vectors, k=300)
    assert gallery.index is not None
    assert len(gallery.index) == 300
    assert all(len(set(keys)) == 300 for keys in found.keys.tolist())
    assert gallery.search(vectors(2, seed=2), k=1).keys[:, 0].tolist() == [6, 5]


def test_removing_what_is_not_there_commits_nothing(gallery_path: Path) -> None:
    before = tree(gallery_path)
    with GalleryWriter.open(gallery_path) as writer:
        assert writer.remove(np.array([300, -1, LARGEST_KEY])) == 0
        assert writer.remove(np.empty(0, np.int64)) == 0
        assert writer.remove([]) == 0  # type: ignore[arg-type]
        writer.upsert([], vectors(0))
        writer.update_index(threads=1)
    assert tree(gallery_path) == before


@pytest.mark.parametrize(
    "keys", [[2.0], [2.5], np.array([2**64 - 1], np.uint64), [2**63], [-(2**63) - 1], ["2"], [None], np.array([True])]
)
def test_what_is_no_key_removes_nothing(gallery_path: Path, keys: Any) -> None:
    """2**64 - 1 would wrap to key -1, and 2.5 be cut to key 2."""
    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert([row(-1)], vectors(1))
        with pytest.raises(InputError, match="keys must be integers of 64 bits"):
            writer.remove(keys)
        assert len(writer) == 301


# What is refused ---------------------------------------------------------------------------------------------------

GOOD = vectors(2)
BIG = np.full((2, 16), 1e6, np.float32)


@pytest.mark.parametrize(
    ("given", "values", "says"),
    [
        (rows([1, 1]), GOOD, "each key must be given once"),
        (rows([400, 400]), GOOD, "each key must be given once"),
        (rows([1, 2]), GOOD * np.float32(np.nan), r"1\.jpg: its embedding is not finite"),
        (rows([1, 2]), np.stack([GOOD[0], GOOD[1] * np.float32(np.inf)]), r"2\.jpg: its embedding is not finite"),
        (rows([1, 2]), GOOD * 0, r"1\.jpg: its embedding is zero, which has no direction"),
        (rows([1, 2]), GOOD.astype(np.float64), r"float32 \[2, 16\], one for each row, are float64 \[2, 16\]"),
        (rows([1, 2]), GOOD.astype(np.uint8), r"are uint8 \[2, 16\]"),
        (rows([1, 2]), GOOD.astype(">f4"), "are >f4"),
        (rows([1, 2]), GOOD.tolist(), "are list"),
        (rows([1, 2]), GOOD[:, :15], r"are float32 \[2, 15\]"),
        (rows([1, 2]), GOOD[:1], r"are float32 \[1, 16\]"),
        (rows([1, 2]), GOOD[0], r"are float32 \[16\]"),
        ([row(1), row(True)], GOOD, "True.jpg: its key is True; expected an integer in -9223372036854775808.."),
        ([row(1), row(2**63)], GOOD, "its key is 9223372036854775808"),
        ([row(1), row(-(2**63) - 1)], GOOD, "its key is -9223372036854775809"),
        ([row(1), row(1.5)], GOOD, r"its key is 1\.5"),  # type: ignore[arg-type]
        ([row(1), row(2, width=-1)], GOOD, r"its width is -1; expected an integer in 0\.\.2147483647"),
        ([row(1), row(2, height=2**31)], GOOD, "its height is 2147483648"),
        ([row(1), row(2, sha256="abc")], GOOD, "its sha256 is 'abc'; expected 64 hex digits"),
        ([row(1), row(2, sha256=None)], GOOD, "its sha256 is None"),
        ([row(1), row(2, label=3)], GOOD, "its label is 3; expected a string or None"),
        ([row(1), row(2, uri="\udcff")], GOOD, "lone surrogates"),
        ([row(1), row(2, uri=None)], GOOD, "its uri is None; expected a string"),
        ([row(1), row(2, columns=None)], GOOD, "its columns are None; expected a mapping"),
        ([row(1), row(2, columns={"year": 1})], GOOD, "column 'year' is not among the gallery's"),
    ],
)
def test_a_refused_batch_leaves_nothing_half_applied(gallery_path: Path, given: Any, values: Any, says: str) -> None:
    before = tree(gallery_path)
    with GalleryWriter.open(gallery_path) as writer:
        with pytest.raises(InputError, match=says):
            writer.upsert(given, values)
        assert len(writer) == 300
    assert tree(gallery_path) == before


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ([None], "its columns are None; expected a mapping"),
        ([{"year": 1}, {"year": "x"}], r"column 'year' holds \['int64', 'string'\]"),
        ([{"key": 1}], r"columns \['key'\] have names that every gallery uses itself"),
        ([{"year": [1]}], "column 'year' holds"),
        ([{1: "x"}], r"its columns are named \[1\]; expected strings"),
        ([{"year": 2**63}], "beyond 64 bits"),
    ],
)
def test_columns_of_the_first_rows_that_no_gallery_can_hold(
    tmp_path: Path, encoder, make_pictures, columns: list[Any], says: str
) -> None:
    """The first rows decide the gallery's columns, so that nothing is there yet to compare them with."""
    build(ArraySource(make_pictures(1), name="one"), encoder, tmp_path / "g")
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.manifest = replace(writer.manifest, columns=None)
        with pytest.raises(InputError, match=says):
            writer.upsert([row(5 + at, columns=each) for at, each in enumerate(columns)], vectors(len(columns)))
        assert len(writer) == 1


def test_half_floats_are_stored_only_where_they_can_be(tmp_path: Path, euclidean, make_pictures) -> None:
    build(ArraySource(make_pictures(5)), euclidean, tmp_path / "g", vector_type="float16")
    with GalleryWriter.open(tmp_path / "g") as writer:
        with pytest.raises(InputError, match=r"7\.jpg: its embedding is not finite as float16"):
            writer.upsert(rows([6, 7]), np.stack([GOOD[0], BIG[0]]))
        writer.upsert([row(8)], np.zeros((1, 16), np.float32))  # zero is a place, where lengths count
        writer.update_index(threads=1)
    gallery = VectorGallery.open(tmp_path / "g")
    assert gallery.search(np.zeros((1, 16), np.float32), k=1).keys.tolist() == [[8]]


def test_strided_vectors_are_taken_as_they_are_read(gallery_path: Path) -> None:
    wide = vectors(4, 32)
    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert(rows([400, 401]), wide[::2, ::2])
        writer.upsert(rows([402, 403]), np.asfortranarray(wide[1::2, 1::2]))
        writer.update_index(threads=1)
    gallery = VectorGallery.open(gallery_path)
    expected = np.concatenate([wide[::2, ::2], wide[1::2, 1::2]])
    np.testing.assert_array_equal(gallery.vectors_of(np.arange(400, 404)), expected)
    assert gallery.search(expected, k=1).keys[:, 0].tolist() == [400, 401, 402, 403]


def test_a_write_that_fails_leaves_the_gallery_as_it_was(gallery_path: Path) -> None:
    before = tree(gallery_path)
    (in_the_way := gallery_path / "shards" / "000003.parquet").mkdir()
    with GalleryWriter.open(gallery_path) as writer:
        with pytest.raises(GalleryError, match=r"cannot be written .*carries on from what was committed"):
            writer.upsert([row(400)], GOOD[:1])
        assert (len(writer), tree(gallery_path).keys() - {"lock"}) == (300, before.keys())
        in_the_way.rmdir()
        writer.upsert([row(400)], GOOD[:1])
    assert len(VectorGallery.open(gallery_path)) == 301


def test_what_is_not_finished_takes_no_rows_of_ones_own(tmp_path: Path, encoder, make_pictures) -> None:
    class Breaks(ArraySource):
        def __iter__(self):
            for number, item in enumerate(super().__iter__()):
                if number == 60:
                    raise KeyboardInterrupt
                yield item

    with pytest.raises(KeyboardInterrupt):
        build(Breaks(make_pictures(100), name="squares"), encoder, tmp_path / "g", shard_rows=50, batch=10, workers=0)
    with GalleryWriter.open(tmp_path / "g") as writer:
        for change in (lambda: writer.upsert([row(400)], GOOD[:1]), lambda: writer.compact(threads=1)):
            with pytest.raises(GalleryError, match="is unfinished: squares was not taken to its end; finish it first"):
                change()
        assert len(writer) == 50


# Sources, one after the other --------------------------------------------------------------------------------------


def test_a_further_source_gets_keys_above_all_that_were_there(
    gallery_path: Path, encoder, make_pictures, make_items
) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert(rows([1000]), GOOD[:1])
        writer.remove(np.array([1000]))
    items = [Item(f"{i}", image) for i, image in enumerate(make_pictures(5, seed=1))]
    items[2] = Item("2", b"")
    other = make_items(items)
    report = add(other, encoder, gallery_path)
    assert (report.num_images, report.num_added, report.num_taken, report.num_errors) == (304, 4, 5, 1)
    manifest = Manifest.read(gallery_path)
    assert manifest.parts == (Part("squares", 0, 300, True), Part("a list", 1001, 5, True))
    assert manifest.next_key == 1006
    gallery = VectorGallery.open(gallery_path)
    assert gallery.keys[300:].tolist() == [1001, 1002, 1004, 1005]
    (error,) = read_columns(gallery_path / "errors.parquet", ["key", "uri"]).to_pylist()
    assert error == {"key": 1003, "uri": "2"}
    assert verify(gallery_path) == []


def test_a_source_that_is_looked_through_again_and_gives_nothing_is_forgotten(
    gallery_path: Path, encoder, make_pictures
) -> None:
    images = make_pictures(300)
    labels = [None if i % 3 == 0 else f"class {i % 5}" for i in range(300)]
    before = tree(gallery_path)
    report = add(ArraySource(images, labels=labels, name="squares"), encoder, gallery_path)
    assert (report.num_images, report.num_added) == (300, 0)
    assert tree(gallery_path).keys() == before.keys()
    assert Manifest.read(gallery_path).parts == (Part("squares", 0, 300, True),)
    images[7] = make_pictures(1, seed=5)[0]
    report = add(ArraySource(images, labels=labels, name="squares"), encoder, gallery_path)
    assert (report.num_images, report.num_added) == (300, 0)
    gallery = VectorGallery.open(gallery_path)
    assert gallery.keys.tolist() == [*range(7), *range(8, 300), 7]  # changed: embedded anew, under the key it has
    np.testing.assert_array_equal(gallery.vectors[-1:], encoder.run(images[7:8, ..., None]))
    assert verify(gallery_path) == []


def test_a_source_of_which_nothing_was_usable_is_remembered_by_its_errors(
    gallery_path: Path, encoder, make_items
) -> None:
    add(make_items([Item("a", b""), Item("b", b"no")]), encoder, gallery_path)
    manifest = Manifest.read(gallery_path)
    assert manifest.parts[1:] == (Part("a list", 300, 2, True),)
    assert (manifest.num_images, manifest.errors.num_rows) == (300, 2)
    assert verify(gallery_path) == []


def test_a_source_that_was_stopped_is_carried_on_before_any_other(gallery_path: Path, encoder, make_pictures) -> None:
    class Breaks(ArraySource):
        def __iter__(self):
            for number, item in enumerate(super().__iter__()):
                if number == 250:
                    raise KeyboardInterrupt
                yield item

    images = make_pictures(290, seed=1)
    with pytest.raises(KeyboardInterrupt):
        add(Breaks(images, name="more"), encoder, gallery_path, workers=0)
    manifest = Manifest.read(gallery_path)
    taken = manifest.parts[1].num_items
    assert manifest.parts[1] == Part("more", 300, taken, False)
    assert taken in (100, 200)
    assert len(VectorGallery.open(gallery_path)) == 300 + taken  # beside the index
    with pytest.raises(GalleryError, match="more was not taken to its end; finish that first"):
        add(ArraySource(images, name="another"), encoder, gallery_path)
    assert add(ArraySource(images, name="more"), encoder, gallery_path).num_taken == 290 - taken
    gallery = VectorGallery.open(gallery_path)
    assert gallery.keys.tolist() == list(range(590))
    np.testing.assert_array_equal(gallery.vectors[300:], encoder.run(images[..., None]))
    assert verify(gallery_path) == []


@pytest.mark.parametrize("key", [LARGEST_KEY, LARGEST_KEY - 1])
def test_no_source_is_begun_where_no_key_is_left_for_it(gallery_path: Path, encoder, make_pictures, key: int) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert([row(key)], GOOD[:1])
    before = tree(gallery_path)
    with pytest.raises(GalleryError, match=r"has no keys left above 9223372036854775806; build a new gallery"):
        add(ArraySource(make_pictures(3), name="more"), encoder, gallery_path)
    assert tree(gallery_path) == before


# The index ---------------------------------------------------------------------------------------------------------


def test_a_few_changes_change_the_index_and_many_build_it_anew(gallery_path: Path) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        for turn, num in enumerate([1, 20, 250]):
            writer.upsert(rows([1000 * turn + each for each in range(1000, 1000 + num)]), vectors(num, seed=turn))
            writer.remove(np.arange(10) + 20 * turn)
            assert writer.manifest.index is not None
            assert writer.manifest.index.generation == turn + 1
            writer.update_index(threads=2)
            assert (writer.manifest.index.generation, writer.manifest.index.num_rows) == (turn + 2, len(writer.rows))
            assert sorted(path.name for path in (gallery_path / "index").iterdir()) == [f"{turn + 2:06d}.usearch"]
            assert verify(gallery_path) == []
    gallery = VectorGallery.open(gallery_path)
    assert gallery.index is not None
    assert len(gallery.index) == len(gallery) == 300 + 271 - 30
    assert gallery.search(gallery.vectors, k=1).keys[:, 0].tolist() == gallery.keys.tolist()


@pytest.mark.parametrize("seed", [0, 4, 6])
def test_every_picture_is_found_after_others_were_replaced(tmp_path: Path, euclidean, seed: int) -> None:
    """USearch puts a new row in the place of a removed one, and what was linked to through that place alone is lost."""
    rng = np.random.default_rng(seed)
    euclidean.card = replace(euclidean.card, height=1, width=3, dimension=3)
    euclidean.run = lambda images: images.reshape(-1, 3).astype(np.float32)
    points = rng.integers(0, 256, (400, 1, 3), dtype=np.uint8)
    build(ArraySource(points, name="points"), euclidean, tmp_path / "g", index=IndexOptions("f32"))
    for turn in range(4):
        with GalleryWriter.open(tmp_path / "g") as writer:
            replaced = rng.choice(400, 80, replace=False).tolist()
            writer.upsert(rows(replaced), rng.uniform(0, 256, (80, 3)).astype(np.float32))
            writer.update_index(threads=1)
            assert writer.manifest.index is not None
            assert writer.manifest.index.generation == turn + 2
        gallery = VectorGallery.open(tmp_path / "g")
        assert gallery.index is not None
        assert len(gallery.index) == 400
        nearest, _, _ = gallery.index.search(gallery.vectors, 1)
        np.testing.assert_array_equal(gallery.all_rows.gather(nearest[:, 0]), gallery.vectors)


def test_options_of_the_index_are_kept_through_its_changes(tmp_path: Path, encoder, make_pictures) -> None:
    """A file remembers connectivity and number type; how many candidates adding and searching keep it forgets."""
    options = IndexOptions("bf16", connectivity=7, expansion_add=33, expansion_search=21)
    build(ArraySource(make_pictures(50)), encoder, tmp_path / "g", index=options)
    for fresh in (False, True):
        with GalleryWriter.open(tmp_path / "g") as writer:
            writer.upsert([row(100 + fresh)], GOOD[:1])
            writer.update_index(threads=1, fresh=fresh)
        for mmap in (True, False):
            index = open_index(tmp_path / "g", Manifest.read(tmp_path / "g"), mmap=mmap)
            assert index is not None
            assert (index.dtype, index.expansion_add, index.expansion_search) == ("bf16", 33, 21)
            assert index.connectivity == 7


def test_a_type_that_cannot_hold_a_new_vector_makes_way(tmp_path: Path, euclidean, make_pictures) -> None:
    build(ArraySource(make_pictures(50)), euclidean, tmp_path / "g")
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.upsert([row(50)], BIG[:1])
        writer.update_index(threads=1)
    gallery = VectorGallery.open(tmp_path / "g")
    assert gallery.index is not None
    assert gallery.index.dtype == "f32"
    assert gallery.search(BIG[:1], k=1).keys.tolist() == [[50]]


def test_a_type_that_was_asked_for_is_kept_or_refused(tmp_path: Path, euclidean, make_pictures) -> None:
    """Until the vector is gone again the rows beside the index are compared one by one."""
    build(ArraySource(make_pictures(50)), euclidean, tmp_path / "g", index=IndexOptions("f16"))
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.upsert([row(50)], BIG[:1])
        with pytest.raises(InputError, match="half floats do not hold well; index them as f32 or bf16"):
            writer.update_index(threads=1)
        gallery = VectorGallery.open(tmp_path / "g")
        assert gallery.search(gallery.vectors_of(np.array([3])), k=51).counts.tolist() == [51]
        writer.remove(np.array([50]))
        writer.update_index(threads=1)
    assert verify(tmp_path / "g") == []


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_an_index_that_cannot_be_read_is_built_anew(gallery_path: Path, caplog, damage: str) -> None:
    path = gallery_path / "index" / "000001.usearch"
    path.unlink() if damage == "missing" else path.write_bytes(b"no index")
    with caplog.at_level(logging.WARNING, "semblance"), GalleryWriter.open(gallery_path) as writer:
        writer.upsert([row(300)], GOOD[:1])
        writer.update_index(threads=1)
    assert [damage in record.getMessage() for record in caplog.records] == [True]
    assert verify(gallery_path) == []


@pytest.mark.parametrize("damage", ["none", "missing", "damaged"])
@pytest.mark.parametrize("fresh", [False, True])
def test_an_emptied_gallery_can_be_opened_whatever_became_of_its_index(
    gallery_path: Path, damage: str, fresh: bool
) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        writer.remove(np.arange(300))
    path = gallery_path / "index" / "000001.usearch"
    if damage != "none":
        path.unlink() if damage == "missing" else path.write_bytes(b"no index")
    with GalleryWriter.open(gallery_path) as writer:
        writer.update_index(threads=1, fresh=fresh)
    assert len(VectorGallery.open(gallery_path)) == 0
    assert verify(gallery_path) == []
    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert([row(3)], GOOD[:1])
        writer.update_index(threads=1)
    assert VectorGallery.open(gallery_path).search(GOOD[:1], k=1).keys.tolist() == [[3]]


def test_a_gallery_that_was_emptied_and_filled_again_says_how_it_gets_an_index(gallery_path: Path) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        writer.remove(np.arange(300))
        writer.compact(threads=1)
        assert (writer.manifest.shards, writer.manifest.index, writer.manifest.removed) == ((), None, None)
        assert len(VectorGallery.open(gallery_path)) == 0
        writer.upsert(rows([7, 3]), GOOD)
    with pytest.raises(GalleryError, match=rf"`semblance rebuild {gallery_path}` indexes what is there"):
        VectorGallery.open(gallery_path)
    assert rebuild(gallery_path, threads=1) == 2
    assert VectorGallery.open(gallery_path).search(GOOD, k=1).keys[:, 0].tolist() == [7, 3]


# The folder --------------------------------------------------------------------------------------------------------


def test_compacted_shards_have_every_column_of_every_row(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    columns = [{"n": n if n % 3 else None, "f": n / 2, "b": bool(n % 2), "s": "x" * (n % 4)} for n in range(50)]
    items = [Item(f"{n}.png", image, str(n % 5), columns[n]) for n, image in enumerate(make_pictures(50))]
    build(make_items(items), encoder, tmp_path / "g", shard_rows=20, vector_type="float16")
    before = VectorGallery.open(tmp_path / "g")
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.remove(np.arange(0, 50, 7))
        writer.upsert([row(7, columns={"n": None, "f": 1, "b": True, "s": None})], GOOD[:1])
        expected = before.all_rows.columns(before.all_rows.tables[0].names).to_pylist()
        writer.compact(threads=1)
        files = [(shard.file, shard.num_rows) for shard in writer.manifest.shards]
    assert files == [("shards/000004.parquet", 20), ("shards/000005.parquet", 20), ("shards/000006.parquet", 3)]
    assert sorted(f"shards/{path.name}" for path in (tmp_path / "g" / "shards").iterdir()) == [f for f, _ in files]
    names = ["key", "uri", "sha256", "width", "height", "label", "n", "f", "b", "s", "embedding"]
    found = [each for file, _ in files for each in read_columns(tmp_path / "g" / file, names).to_pylist()]
    assert found[:-1] == [each for each in expected if each["key"] % 7]
    assert (found[-1]["key"], found[-1]["n"], found[-1]["f"], found[-1]["s"]) == (7, None, 1.0, None)
    assert verify(tmp_path / "g") == []


def test_what_a_killed_writer_left_goes_and_what_is_not_ours_stays(gallery_path: Path) -> None:
    ours = [".manifest.json.1.ab.part", "shards/000077.parquet", "index/000009.usearch", "removed-000004.parquet",
            "shards/.000003.parquet.7.cd.part"]  # fmt: skip
    theirs = ["notes.txt", "shards/mine.parquet", "index/readme", "removed-4.parquet", ".hidden"]
    for name in ours + theirs:
        (gallery_path / name).write_text("x")
    (gallery_path / "shards" / "000088.parquet").mkdir()
    before = tree(gallery_path)
    with GalleryWriter.open(gallery_path):
        pass
    assert before.keys() - tree(gallery_path).keys() == set(ours)
    assert (gallery_path / "shards" / "000088.parquet").is_dir()


def test_a_folder_that_is_no_gallery_gets_no_lock_file(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="is no gallery"), GalleryWriter.open(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


# Keypoints ---------------------------------------------------------------------------------------------------------


def test_rows_of_ones_own_have_no_keypoints_and_the_others_keep_theirs(sift_path: Path) -> None:
    before = opened_keypoints(sift_path).take(np.arange(300))
    num_many = VectorGallery.open(sift_path).matching("num_keypoints = 300").sum()
    with GalleryWriter.open(sift_path) as writer:
        writer.upsert(rows([150, 400]), vectors(2))
        writer.update_index(threads=1)
        assert writer.keypoints is not None
        assert writer.keypoints.counts(np.array([150, 300, 301])).tolist() == [MANY, 0, 0]  # 150 is removed, not gone
    assert verify(sift_path) == []
    stored = opened_keypoints(sift_path)
    assert stored.counts(np.array([300, 301])).tolist() == [0, 0]
    np.testing.assert_array_equal(stored.take(np.arange(300))[0], before[0])
    assert Manifest.read(sift_path).sift[-1].num_rows == 0
    assert VectorGallery.open(sift_path).matching("num_keypoints = 300").sum() == num_many - 1


def test_compacting_keeps_the_keypoints_of_the_rows_that_count_and_no_others(sift_path: Path) -> None:
    with GalleryWriter.open(sift_path) as writer:
        writer.remove(np.arange(0, 300, 3))
        writer.upsert(rows([7]), vectors(1))
        alive, num_before = np.flatnonzero(writer.alive), sum(file.num_rows for file in writer.manifest.sift)
        assert writer.keypoints is not None
        expected = writer.keypoints.keypoints(alive)
        writer.compact(threads=1)
        sift = writer.manifest.sift
    assert sorted(path.name for path in (sift_path / "sift").iterdir()) == [Path(file.file).name for file in sift]
    assert [file.file for file in sift] == ["sift/000004.parquet", "sift/000005.parquet"]
    found = opened_keypoints(sift_path).keypoints(np.arange(len(alive)))
    for one, other in zip(joined([found]), joined([expected]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sum(file.num_rows for file in sift) == len(expected) < num_before
    assert verify(sift_path) == []


def test_an_emptied_gallery_has_no_files_of_keypoints_and_takes_new_ones(
    sift_path: Path, encoder, extractor, make_pictures
) -> None:
    with GalleryWriter.open(sift_path) as writer:
        writer.remove(np.arange(300))
        writer.compact(threads=1)
        assert (writer.manifest.shards, writer.manifest.sift) == ((), ())
    images = make_pictures(9, seed=4)
    add(ArraySource(images, name="more"), encoder, sift_path, extractor=extractor)
    expected = joined([described(image) for image in images])[-1]
    np.testing.assert_array_equal(opened_keypoints(sift_path).take(np.arange(9))[0], expected)
    assert verify(sift_path) == []


def test_what_a_killed_writer_left_of_keypoints_goes(sift_path: Path) -> None:
    for name in ("sift/000003.parquet", "sift/.000003.parquet.7.cd.part", "sift/mine"):
        (sift_path / name).write_text("x")
    with GalleryWriter.open(sift_path):
        pass
    assert sorted(path.name for path in (sift_path / "sift").iterdir()) == [
        "000000.parquet", "000001.parquet", "000002.parquet", "mine",
    ]  # fmt: skip


def opened_keypoints(path: Path) -> StoredKeypoints:
    return StoredKeypoints.open(path, Manifest.read(path))


# Puts and removals together ----------------------------------------------------------------------------------------


def test_puts_and_removals_are_one_commit(gallery_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Manifest] = []
    write = Manifest.write
    monkeypatch.setattr(Manifest, "write", lambda self, path: (written.append(self), write(self, path))[1])
    with GalleryWriter.open(gallery_path) as writer:
        assert writer.change(rows([7, 1000]), GOOD, removed_keys=[1, 2, 2, 5000]) == 2
        assert writer.change([], vectors(0), removed_keys=[1, 3]) == 1
        assert writer.change([], vectors(0), removed_keys=[1]) == writer.change([], vectors(0)) == 0
        assert [writer.contains(key) for key in (1, 3, 7, 1000, 5000, -1)] == [False, False, True, True, False, False]
    assert len(written) == 2
    gallery = VectorGallery.open(gallery_path)
    assert gallery.keys.tolist() == [0, 4, 5, 6, *range(8, 300), 7, 1000]
    np.testing.assert_array_equal(gallery.vectors_of(np.array([7, 1000])), GOOD)
    assert verify(gallery_path) == []


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (rows([1, 2]), {"removed_keys": [2]}, "key 2 is both put and removed"),
        (rows([1, 1]), {}, "each key must be given once"),
        (rows([1, 2]), {"removed_keys": [2.5]}, "keys must be integers of 64 bits"),
        (rows([1, 2]), {"keypoints": []}, "keeps no keypoints"),
        ([row(1), row(2, sha256="")], {"removed_keys": [3]}, "expected 64 hex digits"),
    ],
)
def test_a_refused_change_changes_nothing(gallery_path: Path, given: Any, options: Any, says: str) -> None:
    before = tree(gallery_path)
    with GalleryWriter.open(gallery_path) as writer, pytest.raises(InputError, match=says):
        writer.change(given, GOOD, **options)
    assert tree(gallery_path) == before


def test_keypoints_are_those_of_their_rows(sift_path: Path) -> None:
    images = np.full((2, 8, 8), 3, np.uint8)
    images[1] = 2
    with GalleryWriter.open(sift_path) as writer:
        with pytest.raises(InputError, match="one set for each of 2 rows, are 1"):
            writer.change(rows([7, 1000]), GOOD, keypoints=[described(images[0])])
        with pytest.raises(InputError, match=r"7\.jpg: its 2 keypoints are arrays of shapes"):
            writer.change(rows([7]), GOOD[:1], keypoints=[replace(described(images[1]), sizes=np.empty(1, np.float32))])
        writer.change(rows([7, 1000]), GOOD, keypoints=[described(each) for each in images])
    gallery = VectorGallery.open(sift_path)
    assert gallery.keypoints is not None
    found = gallery.keypoints.keypoints(gallery.rows_with(np.array([7, 1000])))
    for one, other in zip(joined([found]), joined([described(each) for each in images]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert verify(sift_path) == []


def test_the_first_rows_after_all_were_dropped_can_be_read(gallery_path: Path) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        writer.remove(np.arange(300))
        writer.compact(threads=1)
        assert writer.manifest.index is None
        writer.change(rows([5, 6]), GOOD, removed_keys=[7])
    gallery = VectorGallery.open(gallery_path)
    assert gallery.search(GOOD, k=1).keys[:, 0].tolist() == [5, 6]
    assert verify(gallery_path) == []


# Small shards joined -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [None, 1])
def test_small_shards_become_one(sift_path: Path, most: int | None) -> None:
    with GalleryWriter.open(sift_path) as writer:
        for key in range(1000, 1020):
            image = np.full((8, 8), key % 4, np.uint8)
            writer.change([row(key)], vectors(1, seed=key), keypoints=[described(image)], removed_keys=[key - 900])
        before, old = VectorGallery.open(sift_path), writer.manifest
        assert writer.merge(most=most) == 19
        assert writer.merge() == 0
        assert [shard.num_rows for shard in writer.manifest.shards] == [100, 100, 100, 20]
        assert (writer.manifest.index, writer.manifest.num_rows) == (old.index, old.num_rows)
        np.testing.assert_array_equal(writer.alive, before.alive)
    gallery = VectorGallery.open(sift_path)
    for now in (gallery, before):  # whoever had it open reads on, though the files have no names any more
        assert now.keys.tolist() == [*range(100), *range(120, 300), *range(1000, 1020)]
        assert now.vectors_of(np.array([1003])).tolist() == vectors(1, seed=1003).tolist()
        assert now.facts(np.array([1007])) == [row(1007)]
        assert now.keypoints is not None
        assert now.keypoints.counts(now.rows_with(np.arange(1000, 1020))).tolist() == [key % 4 for key in range(20)]
    removed = read_columns(sift_path / gallery.manifest.removed.file, ["key", "shard", "row_in_shard"])  # type: ignore[union-attr]
    for key, shard, at in zip(*(removed.column(name).to_pylist() for name in removed.column_names), strict=True):
        assert read_columns(sift_path / shard, ["key"]).column("key")[at].as_py() == key
    assert verify(sift_path) == []


def test_removed_rows_of_a_merged_shard_stay_known_by_shard(gallery_path: Path) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        for key in range(1000, 1006):
            writer.change([row(key)], vectors(1, seed=key))
        writer.remove(np.array([1001, 1004, 5]))
        writer.merge()
        removed = read_columns(gallery_path / writer.manifest.removed.file, ["key", "shard", "row_in_shard"])  # type: ignore[union-attr]
    assert removed.to_pylist() == [
        {"key": 5, "shard": "shards/000000.parquet", "row_in_shard": 5},
        {"key": 1001, "shard": "shards/000009.parquet", "row_in_shard": 1},
        {"key": 1004, "shard": "shards/000009.parquet", "row_in_shard": 4},
    ]
    assert VectorGallery.open(gallery_path).keys[-4:].tolist() == [1000, 1002, 1003, 1005]


def test_numbers_of_seven_digits(gallery_path: Path) -> None:
    """A service that commits a hundred times a second comes to them within hours."""
    with GalleryWriter.open(gallery_path) as writer:
        writer.remove(np.array([5]))
        manifest = writer.manifest
        assert manifest.removed is not None
        (gallery_path / manifest.removed.file).rename(gallery_path / "removed-999999.parquet")
        (gallery_path / manifest.shards[-1].file).rename(gallery_path / "shards/999999.parquet")
        last = replace(manifest.shards[-1], file="shards/999999.parquet")
        replace(
            manifest, removed=replace(manifest.removed, file="removed-999999.parquet"),
            shards=(*manifest.shards[:-1], last),
        ).write(gallery_path)  # fmt: skip
        writer.reload()
        for key in (6, 7, 8):
            writer.change([row(key + 1000)], vectors(1), removed_keys=[key])
        assert writer.manifest.shards[-1].file == "shards/1000002.parquet"
        assert writer.merge() == 2
    assert [path.name for path in gallery_path.glob("removed-*")] == ["removed-1000003.parquet"]
    assert sorted(path.name for path in (gallery_path / "shards").iterdir()) == [
        "000000.parquet", "000001.parquet", "1000003.parquet", "999999.parquet",
    ]  # fmt: skip
    assert verify(gallery_path) == []
