"""A gallery as one file: what other programs find in it, row by row, after removals and replacements too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from semblance.card import ModelCard
from semblance.errors import GalleryError, InputError
from semblance.gallery.build import build
from semblance.gallery.export import export
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.shards import Row
from semblance.gallery.upkeep import rebuild, remove
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource


@pytest.fixture
def thinned(gallery_path: Path, make_pictures) -> VectorGallery:
    """300 pictures in three shards: the second shard removed but for one, key 5 replaced, 40 numbers left as keys."""
    remove(gallery_path, where="key BETWEEN 100 AND 198")
    remove(gallery_path, [0, 299])
    with GalleryWriter.open(gallery_path) as writer:
        row = Row(5, "another", "0" * 64, 9, 9, "new")
        writer.append([row], np.full((1, 16), 7, np.float32))
    return VectorGallery.open(gallery_path)


@pytest.mark.parametrize("is_thinned", [False, True])
def test_a_table_has_every_picture_that_counts(
    gallery_path: Path, request: pytest.FixtureRequest, tmp_path: Path, is_thinned: bool
) -> None:
    gallery = request.getfixturevalue("thinned") if is_thinned else VectorGallery.open(gallery_path)
    out = tmp_path / "all.parquet"
    assert export(gallery, out) == [out]
    table = pq.read_table(out)
    assert table.column("key").to_pylist() == gallery.keys.tolist()
    assert table.column("uri").to_pylist() == gallery.uris
    assert table.column("label").to_pylist() == gallery.labels
    stored = np.array(table.column("embedding").to_pylist(), np.float32)
    np.testing.assert_array_equal(stored, gallery.vectors)
    file = pq.ParquetFile(out)
    assert file.num_row_groups == (4 if is_thinned else 3)  # each shard that has some
    assert ModelCard.from_json(file.schema_arrow.metadata[b"semblance.card"].decode(), where="") == gallery.card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.parquet", "g"]


@pytest.mark.parametrize("vector_type", ["float32", "float16"])
def test_arrays_are_the_embeddings_as_they_are_stored(tmp_path: Path, encoder, make_pictures, vector_type: str) -> None:
    source = ArraySource(make_pictures(70), name="squares")
    build(source, encoder, tmp_path / "g", shard_rows=30, vector_type=vector_type)
    remove(tmp_path / "g", [3, 31, 69])
    gallery = VectorGallery.open(tmp_path / "g")
    assert export(gallery, tmp_path / "a.b.NPY") == [tmp_path / "a.b.NPY", tmp_path / "a.b.keys.npy"]
    embeddings, keys = np.load(tmp_path / "a.b.NPY", mmap_mode="r"), np.load(tmp_path / "a.b.keys.npy")
    assert (embeddings.shape, embeddings.dtype, keys.dtype) == ((67, 16), np.dtype(vector_type), np.int64)
    np.testing.assert_array_equal(embeddings.astype(np.float32), gallery.vectors)
    np.testing.assert_array_equal(keys, gallery.keys)


@pytest.mark.parametrize("dtype", [None, "f32", "bf16", "i8"])
@pytest.mark.parametrize("is_thinned", [False, True])
def test_an_index_finds_every_picture_by_its_key(
    gallery_path: Path, request: pytest.FixtureRequest, tmp_path: Path, encoder, make_pictures, dtype, is_thinned: bool
) -> None:
    from usearch.index import Index

    if dtype is not None:
        build(
            ArraySource(make_pictures(300), name="squares"), encoder, tmp_path / "other", shard_rows=100,
            index=IndexOptions(dtype),
        )  # fmt: skip
        path = tmp_path / "other"
        if is_thinned:
            remove(path, where="key < 50 OR key = 123")
        gallery = VectorGallery.open(path)
    else:
        gallery = request.getfixturevalue("thinned") if is_thinned else VectorGallery.open(gallery_path)
    out = tmp_path / "all.usearch"
    assert export(gallery, out, threads=2) == [out]
    index = Index.restore(out, view=True)
    assert len(index) == len(gallery)
    assert index.contains(gallery.keys.astype(np.uint64)).all()
    assert str(index.dtype.name).lower() != "i8"
    found = index.search(gallery.vectors, 1, threads=1)
    np.testing.assert_array_equal(found.keys[:, 0].astype(np.int64), gallery.keys)
    np.testing.assert_allclose(found.distances[:, 0], 0, atol=1e-2)


def test_keys_that_are_rows_of_others_are_not_mixed_up(tmp_path: Path, gallery_path: Path) -> None:
    """Row 300 gets key 3, whose row 3 is gone: renamed one after the other they would collide."""
    from usearch.index import Index

    with GalleryWriter.open(gallery_path) as writer:
        rows = [Row(key, str(key), "0" * 64, 9, 9) for key in (3, 2, 301, 300)]
        writer.append(rows, np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32))
    rebuild(gallery_path, threads=1)
    gallery = VectorGallery.open(gallery_path)
    export(gallery, tmp_path / "x.usearch")
    index = Index.restore(tmp_path / "x.usearch", view=True)
    np.testing.assert_array_equal(index.search(gallery.vectors, 1).keys[:, 0].astype(np.int64), gallery.keys)


def test_negative_keys_are_refused_for_an_index_alone(gallery_path: Path, tmp_path: Path) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        writer.append([Row(-4, "below", "0" * 64, 9, 9)], np.ones((1, 16), np.float32))
    gallery = VectorGallery.open(gallery_path)
    with pytest.raises(InputError, match=r"the key -4.*never negative.*\.parquet"):
        export(gallery, tmp_path / "x.usearch")
    assert not (tmp_path / "x.usearch").exists()
    export(gallery, tmp_path / "x.npy")
    assert -4 in np.load(tmp_path / "x.keys.npy")


def test_what_cannot_be_exported(gallery_path: Path, tmp_path: Path) -> None:
    gallery = VectorGallery.open(gallery_path)
    with pytest.raises(InputError, match=r"\.parquet, \.npy, \.usearch"):
        export(gallery, tmp_path / "x.csv")
    for name in ("x.parquet", "x.npy", "x.usearch"):
        with pytest.raises(InputError, match="cannot be written"):
            export(gallery, tmp_path / "no" / name)
    remove(gallery_path, where="true")
    with pytest.raises(InputError, match="no pictures"):
        export(VectorGallery.open(gallery_path), tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


@pytest.mark.parametrize("name", ["x.parquet", "x.npy", "x.usearch"])
def test_a_file_that_was_there_is_replaced_whole_or_not_at_all(
    gallery_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"before")
    gallery = VectorGallery.open(gallery_path)
    shard = gallery_path / "shards" / "000001.parquet"
    content = bytearray(shard.read_bytes())
    content[-200] ^= 1
    with shard.open("r+b") as file:  # in place: the gallery has it mapped
        file.write(content)
    with pytest.raises(GalleryError, match="damaged"):
        export(gallery, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g", name]


def test_a_table_says_how_many_keypoints_each_picture_has(sift_path: Path, tmp_path: Path) -> None:
    remove(sift_path, where="num_keypoints = 2")
    gallery = VectorGallery.open(sift_path)
    export(gallery, tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    assert gallery.keypoints is not None
    counts = gallery.keypoints.counts(np.flatnonzero(gallery.alive)).tolist()
    assert table.column("num_keypoints").to_pylist() == counts
    assert (2 in counts, len(counts) > 200) == (False, True)
    assert "descriptor" not in table.column_names
