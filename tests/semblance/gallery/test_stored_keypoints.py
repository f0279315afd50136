"""Keypoints fetched by row: those that each picture was found to have, whatever became of the gallery, or an error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.errors import GalleryError
from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Manifest
from semblance.gallery.stored_keypoints import PictureKeypoints, StoredKeypoints
from semblance.gallery.upkeep import compact, remove
from semblance.inputs.sources import ArraySource
from tests.semblance.gallery.conftest import MANY, described, joined, pictures


def expected(rows: Any) -> list[PictureKeypoints]:
    images = pictures(300)
    images[150, 0, 0] = 255
    return [described(images[row]) for row in rows]


def opened(path: Path) -> StoredKeypoints:
    return StoredKeypoints.open(path, Manifest.read(path))


ROWS = [
    list(range(300)), [], [150], [299, 0, 150, 0, 100, 99], [7] * 20,
    np.random.default_rng(0).integers(0, 300, 100).tolist(),
]  # fmt: skip


@pytest.mark.parametrize("rows", ROWS)
def test_each_row_has_the_keypoints_of_its_picture(sift_path: Path, rows: list[int]) -> None:
    stored, wanted = opened(sift_path), expected(rows) or [described(np.zeros((8, 8), np.uint8))]
    at = np.array(rows, np.int64)
    counts = [len(each) for each in expected(rows)]
    descriptors, offsets = stored.take(at)
    assert (offsets.dtype, offsets.tolist()) == (np.int64, [0, *np.cumsum(counts).tolist()])
    assert (descriptors.dtype, descriptors.flags.writeable) == (np.uint8, True)
    np.testing.assert_array_equal(descriptors, joined(wanted)[-1])
    points = stored.points(at)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, joined(wanted)[0])
    assert stored.counts(at).tolist() == counts
    for found in (stored.keypoints(at), PictureKeypoints(*joined([*stored.pieces(at)] or wanted))):  # type: ignore[arg-type]
        assert len(found) == sum(counts)
        for one, other in zip(joined([found]), joined(wanted), strict=True):
            np.testing.assert_array_equal(one, other)


def test_pictures_have_none_one_two_or_many() -> None:
    assert {len(each) for each in expected(range(300))} == {0, 1, 2, 3, MANY}


def test_a_gallery_of_nothing_but_featureless_pictures(tmp_path: Path, encoder, extractor) -> None:
    images = np.full((5, 8, 8), 4, np.uint8)
    build(ArraySource(images), encoder, tmp_path / "g", shard_rows=2, extractor=extractor)
    stored = opened(tmp_path / "g")
    descriptors, offsets = stored.take(np.arange(5))
    assert (descriptors.shape, offsets.tolist()) == ((0, 128), [0] * 6)
    assert stored.points(np.arange(5)).shape == (0, 2)
    assert len(stored.keypoints(np.array([3]))) == 0


def test_an_opened_gallery_reads_on_while_a_writer_compacts(sift_path: Path) -> None:
    gallery = VectorGallery.open(sift_path)
    assert gallery.keypoints is not None
    remove(sift_path, where="key % 2 = 0")
    compact(sift_path, threads=1)
    np.testing.assert_array_equal(gallery.keypoints.take(np.arange(300))[0], joined(expected(range(300)))[-1])
    again = VectorGallery.open(sift_path)
    assert again.keypoints is not None
    np.testing.assert_array_equal(again.keypoints.take(np.arange(150))[0], joined(expected(range(1, 300, 2)))[-1])


def test_a_gallery_without_them_has_none(gallery: VectorGallery) -> None:
    assert gallery.keypoints is None


def test_many_threads_may_ask_first(sift_path: Path) -> None:
    stored, found = opened(sift_path), list[np.ndarray]()
    threads = [threading.Thread(target=lambda: found.append(stored.take(np.arange(300))[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all((each == found[0]).all() for each in found)


USES: list[Callable[[StoredKeypoints], Any]] = [
    lambda stored: stored.take(np.array([150])),
    lambda stored: stored.points(np.array([150])),
    lambda stored: stored.keypoints(np.array([150])),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_a_flipped_byte_is_found_whatever_is_read_first(sift_path: Path, use: Callable[..., Any], share: float) -> None:
    path = sift_path / "sift" / "000001.parquet"
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    stored = opened(sift_path)
    for _ in range(2):
        with pytest.raises(GalleryError, match=r"sift/000001\.parquet is damaged \(its sha256 begins") as caught:
            use(stored)
    assert str(caught.value).endswith(f"; `semblance verify {sift_path}` says what is left and what to do")
    assert len(stored.take(np.array([0, 299]))[1]) == 3  # the others are whole


def test_missing_and_short_files_are_refused_when_the_gallery_is_opened(sift_path: Path) -> None:
    path = sift_path / "sift" / "000001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(GalleryError, match=r"sift/000001\.parquet is damaged \(it has"):
        VectorGallery.open(sift_path)
    path.unlink()
    with pytest.raises(GalleryError, match=r"sift/000001\.parquet is missing"):
        VectorGallery.open(sift_path)


def test_files_that_are_not_of_their_shards(sift_path: Path) -> None:
    """Each is what was written, and they do not belong together."""
    manifest = Manifest.read(sift_path)
    first, second, third = manifest.sift
    stored = StoredKeypoints.open(sift_path, replace(manifest, sift=(second, first, third)))
    with pytest.raises(GalleryError, match=r"sift/000001\.parquet is damaged \(it has \d+ keypoints, its shard says"):
        stored.take(np.array([0]))
