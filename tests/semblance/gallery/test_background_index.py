"""An index made beside the writer: done and named, failed and said, or abandoned and nothing left of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.errors import GalleryError
from semblance.gallery.background_index import BackgroundIndex
from semblance.gallery.index import VectorIndex
from semblance.gallery.index_update import IndexUpdate
from semblance.gallery.shards import Row
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter


def changed(writer: GalleryWriter, num: int = 20) -> IndexUpdate:
    rows = [Row(1000 + at, f"{at}.jpg", "0" * 64, 9, 9) for at in range(num)]
    writer.change(rows, 1 + np.random.default_rng(0).random((num, 16), np.float32), removed_keys=[5])
    return writer.index_update()


def test_it_is_there_for_the_writer_to_commit(gallery_path: Path) -> None:
    is_done = threading.Event()
    with GalleryWriter.open(gallery_path) as writer:
        index = BackgroundIndex(changed(writer), threads=1, on_done=is_done.set)
        assert is_done.wait(20)
        assert index.is_done
        assert index.error is None
        assert index.file is not None
        assert writer.num_younger == 20
        writer.commit_index(index.file)
        assert writer.num_younger == 0
        index.abandon()  # too late, and no harm
    assert verify(gallery_path) == []


def test_an_index_that_is_right_is_left(gallery_path: Path) -> None:
    is_done = threading.Event()
    with GalleryWriter.open(gallery_path) as writer:
        index = BackgroundIndex(writer.index_update(), threads=1, on_done=is_done.set)
        assert is_done.wait(20)
        assert (index.file, index.error) == (None, None)


def test_a_failure_is_kept_for_the_writer(gallery_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: IndexUpdate, index: Any) -> None:
        raise GalleryError("no room")

    monkeypatch.setattr(IndexUpdate, "saved", fail)
    is_done = threading.Event()
    with GalleryWriter.open(gallery_path) as writer:
        index = BackgroundIndex(changed(writer), threads=1, on_done=is_done.set)
        assert is_done.wait(20)
    assert index.file is None
    assert str(index.error) == "no room"


@pytest.mark.parametrize("where", ["add", "build", "repair"])
def test_what_is_abandoned_ends_and_leaves_nothing(
    gallery_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """While vectors are added, while they are looked for again, and in the middle of building."""
    goes_on, is_busy, is_told = threading.Event(), threading.Event(), threading.Event()
    real = getattr(VectorIndex, "_put" if where == "build" else where)

    def slow(self: VectorIndex, *given: Any, **options: Any) -> Any:
        is_busy.set()
        assert goes_on.wait(20)
        return real(self, *given, **options)

    monkeypatch.setattr(VectorIndex, "_put" if where == "build" else where, slow)
    with GalleryWriter.open(gallery_path) as writer:
        update = changed(writer, 400 if where == "build" else 20)
        before = sorted(path.name for path in gallery_path.rglob("*"))
        index = BackgroundIndex(update, threads=1, on_done=is_told.set)
        assert is_busy.wait(20)
        threading.Timer(0.1, goes_on.set).start()
        index.abandon()
        assert sorted(path.name for path in gallery_path.rglob("*")) == before
        assert (index.is_done, index.file, is_told.is_set()) == (False, None, False)
