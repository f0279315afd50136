"""Which rows count: there and back, for us and for any reader of Parquet, and what damage says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from semblance.errors import GalleryError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.removed import read_alive, removed_name, write_removed
from semblance.gallery.upkeep import remove


@pytest.mark.parametrize("dead", [[], [0], [299], [99, 100, 200], list(range(300))])
def test_there_and_back(gallery: VectorGallery, dead: list[int]) -> None:
    rows = gallery.all_rows
    written = write_removed(gallery.path, 7, np.array(dead, np.int64), rows, gallery.keys)
    assert (written.file, written.num_rows) == ("removed-000007.parquet", len(dead))
    expected = np.ones(300, np.bool_)
    expected[dead] = False
    np.testing.assert_array_equal(read_alive(gallery.path, written, 300), expected)


def test_nothing_was_removed_yet(tmp_path: Path) -> None:
    assert read_alive(tmp_path, None, 3).tolist() == [True] * 3
    assert read_alive(tmp_path, None, 0).tolist() == []


def test_any_reader_finds_them_by_shard_and_by_key(gallery: VectorGallery) -> None:
    """The file says in three ways what to leave out, and they agree."""
    rng = np.random.default_rng(0)
    keys = {shard.file: pq.read_table(gallery.path / shard.file, columns=["key"]) for shard in gallery.manifest.shards}
    for num in (0, 1, 7, 150, 300):
        rows = np.sort(rng.choice(300, num, replace=False))
        written = write_removed(gallery.path, num, rows, gallery.all_rows, gallery.keys)
        listed = pq.read_table(gallery.path / written.file).to_pylist()
        assert [each["row"] for each in listed] == rows.tolist()
        for each in listed:
            key = keys[each["shard"]].column("key")[each["row_in_shard"]].as_py()
            assert key == each["key"] == int(gallery.keys[each["row"]])


def test_a_row_that_replaced_one_is_not_the_one_that_was_removed(gallery_path: Path) -> None:
    """By key alone the young one would go too."""
    from semblance.gallery.shards import Row
    from semblance.gallery.writer import GalleryWriter

    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert([Row(5, "young", "0" * 64, 8, 8)], np.ones((1, 16), np.float32))
        assert writer.manifest.removed is not None
        listed = pq.read_table(gallery_path / writer.manifest.removed.file).to_pylist()
    assert listed == [{"row": 5, "key": 5, "shard": "shards/000000.parquet", "row_in_shard": 5}]
    gallery = VectorGallery.open(gallery_path)
    assert (len(gallery), gallery.uris[-1]) == (300, "young")


def test_what_is_damaged_or_of_another_gallery_is_named(gallery_path: Path) -> None:
    remove(gallery_path, [3, 4])
    gallery = VectorGallery.open(gallery_path)
    removed = gallery.manifest.removed
    assert removed is not None
    assert removed.file == removed_name(1)
    with pytest.raises(GalleryError, match="names rows that the shards do not have; restore the gallery"):
        read_alive(gallery_path, removed, 4)
    path = gallery_path / removed.file
    whole = path.read_bytes()
    for content, says in ((whole[:-1], "bytes, the manifest says"), (whole[:-1] + b"x", "its sha256 begins")):
        path.write_bytes(content)
        with pytest.raises(GalleryError, match=rf"removed-000001\.parquet is damaged \(.*{says}"):
            VectorGallery.open(gallery_path)
    path.unlink()
    with pytest.raises(GalleryError, match=r"removed-000001\.parquet is missing.*semblance verify"):
        VectorGallery.open(gallery_path)
    path.write_bytes(whole)
    with pytest.raises(GalleryError, match=r"removed-000001\.parquet is damaged \(it has 2 rows, the manifest says 3"):
        read_alive(gallery_path, replace(removed, num_rows=3), 300)
