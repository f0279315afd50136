"""Choosing, removing, compacting and building the index anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semblance.errors import GalleryError, InputError
from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Manifest
from semblance.gallery.upkeep import choose, compact, rebuild, remove
from semblance.gallery.verify import verify
from semblance.inputs.sources import ArraySource, Item


def test_keys_uris_and_conditions_add_up(gallery: VectorGallery) -> None:
    assert choose(gallery).tolist() == []
    assert choose(gallery, [7, 3, 7, 999, -1]).tolist() == [3, 7]
    assert choose(gallery, np.array([5])).tolist() == [5]
    assert choose(gallery, uris=["squares#000002", "no"]).tolist() == [2]
    assert choose(gallery, [298, 1], uris=["squares#000001"], where="key > 297").tolist() == [1, 298, 299]
    with pytest.raises(InputError, match="where"):
        choose(gallery, where="; DROP")


def test_a_uri_that_two_sources_share_names_both(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    from semblance.gallery.build import add

    first, second = make_pictures(2)
    build(make_items([Item("same", first)]), encoder, tmp_path / "g")
    other = make_items([Item("same", second)])
    other.name = "another list"
    add(other, encoder, tmp_path / "g")
    assert choose(VectorGallery.open(tmp_path / "g"), uris=["same"]).tolist() == [0, 1]


def test_remove_says_how_many_there_were(gallery_path: Path) -> None:
    assert remove(gallery_path, [1, 2, 999], where="key = 2 OR key = 8") == 3
    assert remove(gallery_path, [1, 2, 8]) == 0
    assert VectorGallery.open(gallery_path).keys.tolist() == [0, *range(3, 8), *range(9, 300)]


def test_compact_drops_what_does_not_count_and_nothing_else(gallery_path: Path) -> None:
    remove(gallery_path, where="key % 3 = 0")
    before = VectorGallery.open(gallery_path)
    answer = before.search(before.vectors[:5], k=200, exact=True)
    done = compact(gallery_path, threads=1)
    assert (done.num_images, done.num_dropped) == (200, 100)
    assert done.bytes_after < done.bytes_before
    after = VectorGallery.open(gallery_path)
    np.testing.assert_array_equal(after.keys, before.keys)
    np.testing.assert_array_equal(after.search(before.vectors[:5], k=200, exact=True).keys, answer.keys)
    assert verify(gallery_path) == []
    manifest = Manifest.read(gallery_path)
    assert compact(gallery_path, threads=1).num_dropped == 0
    assert Manifest.read(gallery_path) == manifest


def test_rebuild_does_not_look_at_the_present_index(gallery_path: Path) -> None:
    (index,) = (gallery_path / "index").iterdir()
    index.unlink()
    heard: list[tuple[int, int]] = []
    assert rebuild(gallery_path, threads=1, progress=lambda *at: heard.append(at)) == 300
    assert heard[-1] == (300, 300)
    assert verify(gallery_path) == []
    (index,) = (gallery_path / "index").iterdir()
    index.write_bytes(b"no index")
    assert rebuild(gallery_path, threads=1) == 300
    assert verify(gallery_path) == []


def test_an_unfinished_gallery_can_be_searched_once_it_has_an_index(tmp_path: Path, encoder, make_pictures) -> None:
    class Breaks(ArraySource):
        def __iter__(self):
            for number, item in enumerate(super().__iter__()):
                if number == 150:
                    raise KeyboardInterrupt
                yield item

    path, images = tmp_path / "g", make_pictures(200)
    with pytest.raises(KeyboardInterrupt):
        build(Breaks(images, name="squares"), encoder, path, shard_rows=50, batch=8, workers=0)
    with pytest.raises(GalleryError, match="unfinished"):
        VectorGallery.open(path)
    assert rebuild(path, threads=1) == len(VectorGallery.open(path)) > 7
    assert remove(path, [7]) == 1
    with pytest.raises(GalleryError, match="unfinished"):
        compact(path, threads=1)
    build(ArraySource(images, name="squares"), encoder, path, shard_rows=50, batch=8, workers=0)
    assert len(VectorGallery.open(path)) == 199
    assert verify(path) == []
