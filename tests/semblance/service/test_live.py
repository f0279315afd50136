"""The gallery as it is now: what others write is seen, what cannot be read is tried again, what is open stays open."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.errors import GalleryError, SpaceMismatch
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import MANIFEST_NAME
from semblance.inference.encoder import Encoder
from semblance.search import Gallery
from semblance.service.live import LiveGallery
from tests.conftest import make_tiny_model
from tests.semblance.service.drawn import wait_for


@pytest.fixture
def live(own_gallery: Path, tiny_encoder: Encoder) -> Iterator[LiveGallery]:
    found = LiveGallery(own_gallery, tiny_encoder)
    found.start()
    yield found
    found.stop()


def test_what_another_process_writes_is_seen(live: LiveGallery, own_gallery: Path) -> None:
    before = live.now
    seen = list[Gallery]()
    live.on_refresh = seen.append
    Gallery.open(own_gallery).remove([3])
    wait_for(lambda: len(live.now) == 11)
    wait_for(lambda: seen)
    assert seen == [live.now]
    assert len(before) == 12  # whoever still searches it
    assert 3 in before.vectors
    assert before.search_keys([3], 1).keys.tolist() == [[3]]


def test_refreshed_at_once(own_gallery: Path, tiny_encoder: Encoder) -> None:
    live = LiveGallery(own_gallery, tiny_encoder)
    before = live.now
    live.refresh()
    assert live.now is before
    Gallery.open(own_gallery).remove([3])
    live.refresh()
    assert len(live.now) == 11


def test_a_change_right_after_it_was_opened_is_seen(
    own_gallery: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Gallery.open

    def then_changed(path: Any, encoder: Any = None) -> Gallery:
        found = opened(path, encoder)
        monkeypatch.undo()
        opened(path).remove([3])
        return found

    monkeypatch.setattr(Gallery, "open", then_changed)
    live = LiveGallery(own_gallery, tiny_encoder)
    assert len(live.now) == 12
    live.start()
    try:
        wait_for(lambda: len(live.now) == 11)
    finally:
        live.stop()


def test_what_cannot_be_read_is_told_once_and_tried_again(
    live: LiveGallery, own_gallery: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refreshed, failures = VectorGallery.refreshed, list[int]()

    def failing(self: VectorGallery) -> VectorGallery:
        if len(failures) < 3:
            failures.append(1)
            raise GalleryError("too many open files")
        return refreshed(self)

    monkeypatch.setattr(VectorGallery, "refreshed", failing)
    with caplog.at_level(logging.ERROR):
        Gallery.open(own_gallery).remove([3])
        wait_for(lambda: len(live.now) == 11)
    assert len(failures) == 3
    assert caplog.text.count("too many open files") == 1


def test_a_gallery_that_has_gone_is_searched_on(
    live: LiveGallery, own_gallery: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = own_gallery / MANIFEST_NAME
    content = manifest.read_bytes()
    with caplog.at_level(logging.ERROR):
        manifest.unlink()
        wait_for(lambda: "cannot be opened again" in caplog.text)
    assert live.now.search_keys([3], 1).keys.tolist() == [[3]]
    manifest.write_bytes(content)
    Gallery.open(own_gallery).remove([3])
    wait_for(lambda: len(live.now) == 11)


def test_another_space_is_not_taken(own_gallery: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other.onnx", seed=1)
    with pytest.raises(SpaceMismatch):
        LiveGallery(own_gallery, Encoder.load(str(other.path)))
    with pytest.raises(GalleryError):
        LiveGallery(tmp_path / "none", Encoder.load(str(other.path)))


def test_it_may_be_stopped_without_having_started(own_gallery: Path, tiny_encoder: Encoder) -> None:
    LiveGallery(own_gallery, tiny_encoder).stop()


def test_searches_go_on_while_it_changes(live: LiveGallery, own_gallery: Path) -> None:
    writer = Gallery.open(own_gallery)
    for key in (0, 1, 2):
        writer.remove([key])
        live.refresh()
        gallery = live.now
        assert len(gallery) == len(gallery.vectors.keys)
        found = gallery.search_vectors(np.ones((1, 16), np.float32), len(gallery))
        assert sorted(found.keys[0].tolist()) == sorted(gallery.vectors.keys.tolist())
