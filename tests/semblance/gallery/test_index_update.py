"""The next index of a gallery from one state of it, whatever the writer does meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semblance.errors import GalleryError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.shards import Row
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter


def put(writer: GalleryWriter, first: int, num: int) -> None:
    rows = [Row(first + at, f"{at}.jpg", "0" * 64, 9, 9) for at in range(num)]
    writer.change(rows, 1 + np.random.default_rng(first).random((num, 16), np.float32))


@pytest.mark.parametrize(("num", "is_changed"), [(20, True), (500, False)])
def test_it_is_changed_or_built_anew(gallery_path: Path, num: int, is_changed: bool) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        put(writer, 1000, num)
        writer.remove(np.array([3, 1001]))
        update = writer.index_update()
        present = update.opened()
        index = update.updated(present, threads=1)
        assert index is not None
        assert (index is present) == is_changed
        assert len(index) == 300 + num - 2
        assert index.contains(np.array([3, 301, 302])).tolist() == [False, False, True]


def test_what_came_and_went_since_then_is_right_too(gallery_path: Path) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        put(writer, 1000, 20)
        update = writer.index_update()
        index = update.updated(update.opened(), threads=1)
        assert index is not None
        writer.is_indexing = True
        file = update.saved(index)
        put(writer, 2000, 5)
        put(writer, 1003, 4)
        writer.remove(np.array([7, 1005]))
        assert writer.merge() > 0
        writer.is_indexing = False
        writer.commit_index(file)
        assert writer.num_younger == 8
        assert [path.name for path in (gallery_path / "index").iterdir()] == ["000002.usearch"]
        gallery = VectorGallery.open(gallery_path)
        assert gallery.search(gallery.vectors, k=1).keys[:, 0].tolist() == gallery.keys.tolist()
        assert verify(gallery_path) == []
        writer.update_index(threads=1)
        assert writer.num_younger == 0
    assert verify(gallery_path) == []


def test_a_damaged_index_is_none(gallery_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with GalleryWriter.open(gallery_path) as writer:
        update, index = writer.index_update(), writer.manifest.index
        assert index is not None
        assert update.updated(update.opened(), threads=1) is None
        (gallery_path / index.file).write_bytes(b"nothing")
        assert update.opened() is None
        assert "is damaged" in caplog.text
        built = update.updated(None, threads=1)
        assert built is not None
        assert len(built) == 300
        elsewhere = replace(update, path=gallery_path / "missing")
        with pytest.raises(GalleryError, match="cannot be written"):
            elsewhere.saved(built)
