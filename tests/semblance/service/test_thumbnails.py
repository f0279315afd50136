"""Small pictures of the gallery's own: of what was embedded, as long as it is there; and what they may cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from semblance.inference.encoder import Encoder
from semblance.inputs.limits import Limits
from semblance.inputs.sources import ArraySource
from semblance.search import Gallery
from semblance.service import thumbnails as module
from semblance.service.live import LiveGallery
from semblance.service.thumbnails import Thumbnail, Thumbnails
from tests.semblance.service.drawn import Held, detailed, picture


def pixels(made: Thumbnail | None) -> Any:
    assert made is not None
    return cv2.imdecode(np.frombuffer(made.content, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def folder(tmp_path: Path, tiny_encoder: Encoder) -> Path:
    """A gallery of three pictures in a folder: a small one, a wide photograph, and one of a single pixel."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(picture(1))
    (tmp_path / "pictures" / "b.jpg").write_bytes(picture(2, 100, 1000, ".jpg"))
    (tmp_path / "pictures" / "c.png").write_bytes(picture(3, 1, 1))
    Gallery.build(tmp_path / "pictures", tiny_encoder, tmp_path / "gallery")
    return tmp_path / "gallery"


def shown(path: Path, encoder: Encoder, *roots: Path, **limits: int) -> Thumbnails:
    return Thumbnails(LiveGallery(path, encoder), roots, Limits(**limits))


def test_sizes_and_kinds(folder: Path, tiny_encoder: Encoder) -> None:
    found = shown(folder, tiny_encoder)
    small, wide, dot = (found.thumbnail(key, 256) for key in range(3))
    assert small is not None
    assert small.media_type == "image/png"
    assert np.array_equal(pixels(small), cv2.imdecode(np.frombuffer(picture(1), np.uint8), cv2.IMREAD_COLOR))
    assert wide is not None
    assert wide.media_type == "image/jpeg"
    assert pixels(wide).shape == (26, 256, 3)
    assert pixels(dot).shape == (1, 1, 3)  # never made larger
    assert pixels(found.thumbnail(1, 8)).shape == (1, 8, 3)
    assert found.thumbnail(99, 256) is None
    assert found.content(99) is None


def test_made_once(folder: Path, tiny_encoder: Encoder) -> None:
    found = shown(folder, tiny_encoder)
    first = found.thumbnail(1, 256)
    assert found.thumbnail(1, 256) is first
    assert found.thumbnail(1, 128) is not first


def test_what_is_remembered_has_a_limit(folder: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown(folder, tiny_encoder)
    first = found.thumbnail(1, 256)
    assert first is not None
    monkeypatch.setattr(module, "_MOST_CACHED_BYTES", 2 * len(first.content))
    for size in range(200, 256):
        assert found.thumbnail(1, size) is not None
        assert found._cached_bytes == sum(len(each.content) for each in found._cache.values()) <= 2 * len(first.content)
    assert found.thumbnail(1, 256) is not first


def test_one_that_several_make_at_a_time_is_counted_once(
    folder: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shown(folder, tiny_encoder)
    together, make = threading.Barrier(4), module._small

    def at_once(*args: Any) -> Thumbnail:
        together.wait(10)
        return make(*args)

    monkeypatch.setattr(module, "_small", at_once)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: found.thumbnail(1, 256), range(4)))
    assert all(each == made[0] for each in made)
    assert found._cached_bytes == sum(len(each.content) for each in found._cache.values())


def test_a_file_that_is_another_by_now_is_not_shown(folder: Path, tiny_encoder: Encoder) -> None:
    found = shown(folder, tiny_encoder)
    for content in (picture(9), b"no picture", b""):
        (folder.parent / "pictures" / "a.png").write_bytes(content)
        assert found.thumbnail(0, 256) is None
    (folder.parent / "pictures" / "a.png").unlink()
    assert found.thumbnail(0, 256) is None
    assert found.has(0)  # which is not looked for at each search
    (folder.parent / "pictures" / "a.png").write_bytes(picture(1))
    assert found.thumbnail(0, 256) is not None


def test_one_that_is_removed_meanwhile(folder: Path, tiny_encoder: Encoder) -> None:
    live = LiveGallery(folder, tiny_encoder)
    found = Thumbnails(live, (), Limits())
    assert found.thumbnail(0, 256) is not None
    Gallery.open(folder).remove([0])
    live.refresh()
    assert found.thumbnail(0, 256) is None
    assert found.content(0) is None


def test_more_bytes_or_pixels_than_may_be(folder: Path, tiny_encoder: Encoder) -> None:
    from semblance.errors import ImageTooLarge

    assert shown(folder, tiny_encoder, max_bytes=10).thumbnail(0, 256) is None
    with pytest.raises(ImageTooLarge):
        shown(folder, tiny_encoder, max_pixels=10).thumbnail(0, 256)


def test_other_folders_than_the_allowed(folder: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert shown(folder, tiny_encoder, tmp_path / "elsewhere").thumbnail(0, 256) is None
    assert shown(folder, tiny_encoder, tmp_path / "elsewhere", tmp_path / "pictures").thumbnail(0, 256) is not None


def test_rows_of_an_array(tmp_path: Path, tiny_encoder: Encoder) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16), np.uint8)
    np.save(tmp_path / "images.npy", images)
    Gallery.build(str(tmp_path / "images.npy"), tiny_encoder, tmp_path / "gallery")
    found = shown(tmp_path / "gallery", tiny_encoder)
    assert np.array_equal(pixels(found.thumbnail(2, 256))[:, :, 0], images[2])


def test_a_list_of_files(tmp_path: Path, tiny_encoder: Encoder) -> None:
    (tmp_path / "x.png").write_bytes(picture(1))
    (tmp_path / "list.csv").write_text("image,label\nx.png,one\n")
    Gallery.build(str(tmp_path / "list.csv"), tiny_encoder, tmp_path / "gallery")
    found = shown(tmp_path / "gallery", tiny_encoder)
    assert pixels(found.thumbnail(0, 256)).shape == (24, 32, 3)


def test_a_list_that_cannot_be_read_is_read_again(tmp_path: Path, tiny_encoder: Encoder) -> None:
    (tmp_path / "x.png").write_bytes(picture(1))
    told = "image,label\nx.png,one\n"
    (tmp_path / "list.csv").write_text(told)
    Gallery.build(str(tmp_path / "list.csv"), tiny_encoder, tmp_path / "gallery")
    (tmp_path / "list.csv").unlink()
    found = shown(tmp_path / "gallery", tiny_encoder)
    assert found.thumbnail(0, 256) is None
    (tmp_path / "list.csv").write_text(told)  # as a disk that is there again
    assert found.thumbnail(0, 256) is not None


def test_a_source_that_is_listed_for_long_holds_up_no_other(
    tmp_path: Path, tiny_encoder: Encoder, hold: Callable[..., Held]
) -> None:
    for number, name in enumerate(("one", "two")):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(number).integers(0, 256, (2, 8, 8), np.uint8))
    gallery = Gallery.build(str(tmp_path / "one.npy"), tiny_encoder, tmp_path / "gallery")
    gallery.add(str(tmp_path / "two.npy"))
    found = shown(tmp_path / "gallery", tiny_encoder)
    list_it = found._list
    held = hold(found, "_list")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(found.thumbnail, 0, 256)
        held.wait()
        found._list = list_it  # type: ignore[method-assign]  # the other one's takes no time
        assert found.thumbnail(2, 256) is not None
        assert not first.done()
        held.let_go()
        assert first.result() is not None


def test_what_came_from_no_place(tmp_path: Path, tiny_encoder: Encoder) -> None:
    images = np.zeros((2, 8, 8), np.uint8)
    Gallery.build(ArraySource(images, name="made up"), tiny_encoder, tmp_path / "gallery")
    assert shown(tmp_path / "gallery", tiny_encoder).thumbnail(0, 256) is None


def test_content_is_the_whole_picture(folder: Path, tiny_encoder: Encoder, drawn_sift_gallery: Path) -> None:
    assert shown(folder, tiny_encoder).content(0) == picture(1)
    assert shown(drawn_sift_gallery, tiny_encoder).content(4) == detailed(4)
