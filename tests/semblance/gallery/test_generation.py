"""The index that a manifest names, opened; and what is said of one that is not what was written."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semblance.errors import GalleryError
from semblance.files import sha256_of
from semblance.gallery import index as index_module
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.generation import open_index
from semblance.gallery.index import VectorIndex
from semblance.gallery.manifest import IndexFile, Manifest


@pytest.mark.parametrize("mmap", [True, False])
def test_it_is_opened_with_the_options_of_the_gallery(gallery_path: Path, mmap: bool) -> None:
    manifest = Manifest.read(gallery_path)
    options = {**manifest.options, "index": {**manifest.options["index"], "expansion_add": 31, "expansion_search": 17}}
    index = open_index(gallery_path, replace(manifest, options=options), mmap=mmap)
    assert index is not None
    assert (len(index), index.metric, index.dimension, index.dtype) == (300, "cos", 16, "i8")
    assert (index.expansion_add, index.expansion_search, index.connectivity) == (31, 17, 16)


def test_the_manifest_knows_by_what_vectors_became_bytes(gallery_path: Path) -> None:
    manifest = Manifest.read(gallery_path)
    assert manifest.index is not None
    index = open_index(gallery_path, manifest)
    assert index is not None
    assert index.factor == manifest.index.factor
    estimated = open_index(gallery_path, replace(manifest, index=replace(manifest.index, factor=None)))
    assert estimated is not None
    assert estimated.factor == pytest.approx(index.factor, rel=0.02)


def test_only_one_in_memory_can_be_changed(gallery_path: Path) -> None:
    for mmap in (True, False):
        index = open_index(gallery_path, Manifest.read(gallery_path), mmap=mmap)
        assert index is not None
        if mmap:
            with pytest.raises(GalleryError, match="is mapped and can only be searched"):
                index.remove(np.array([1]))
        else:
            assert index.remove(np.array([1])) == 1


def test_there_is_none_yet(gallery_path: Path) -> None:
    assert open_index(gallery_path, replace(Manifest.read(gallery_path), index=None)) is None


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "folder"])
def test_a_file_that_is_not_what_was_written_says_how_to_make_it_anew(
    gallery_path: Path, damage: str, mmap: bool
) -> None:
    path = gallery_path / "index" / "000001.usearch"
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        path.write_bytes({"empty": b"", "cut": whole[:-7], "flipped": bytes(flipped)}[damage])
    with pytest.raises(GalleryError) as caught:
        open_index(gallery_path, Manifest.read(gallery_path), mmap=mmap)
    said = str(caught.value)
    assert said.startswith(f"index {path} is {'missing' if damage in ('missing', 'folder') else 'damaged'}")
    assert said.endswith(f"; `semblance rebuild {gallery_path}` makes it anew from the shards")


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("seen", ["by its checksum", "by USearch"])
def test_a_file_that_a_writer_takes_away_while_it_is_opened(
    gallery_path: Path, monkeypatch: pytest.MonkeyPatch, seen: str, mmap: bool
) -> None:
    """USearch opens it by name, again and again, and has a ValueError for one that went; whoever reads must be told."""
    exists = os.path.exists

    def checked(path: Path) -> str:
        checksum = sha256_of(path)
        path.unlink()
        return checksum

    def existed(path: str) -> bool:
        was_there = exists(path)
        if str(path).endswith(".usearch"):
            os.unlink(path)
        return was_there

    manifest = Manifest.read(gallery_path)
    if seen == "by USearch":
        monkeypatch.setattr(os.path, "exists", existed)
    else:
        monkeypatch.setattr(index_module, "sha256_of", checked)
    with pytest.raises(GalleryError, match=r"(cannot be read|is no USearch file).*; `semblance rebuild"):
        open_index(gallery_path, manifest, mmap=mmap)


def test_a_right_checksum_of_something_else(gallery_path: Path) -> None:
    manifest = Manifest.read(gallery_path)

    def named(content: bytes) -> Manifest:
        (path := gallery_path / "index" / "000002.usearch").write_bytes(content)
        return replace(manifest, index=IndexFile(2, "index/000002.usearch", 300, len(content), sha256_of(path)))

    for content in (b"no index at all", b"", b"usearch" + bytes(100), bytes(5000)):
        with pytest.raises(GalleryError, match=r"000002\.usearch (cannot be read|is no USearch file).*rebuild"):
            open_index(gallery_path, named(content))
    for vectors, metric, says in (
        (np.ones((3, 15), np.float32), "cos", "indexes 15-d vectors, the manifest says 16"),
        (np.ones((3, 16), np.float32), "l2sq", "compares by l2sq, which is no index of cos"),
    ):
        VectorIndex.build(vectors, metric=metric).save(gallery_path / "other")  # type: ignore[arg-type]
        with pytest.raises(GalleryError, match=rf"{says}.*; `semblance rebuild"):
            open_index(gallery_path, named((gallery_path / "other").read_bytes()))


def test_a_reader_takes_the_newer_generation_where_its_own_is_gone(
    gallery_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer commits between the reader's looks at the manifest and at the index."""
    from semblance.gallery.upkeep import compact, remove

    turns = []

    def checked(path: Path) -> str:
        checksum = sha256_of(path)
        if path.parent.name == "index" and not turns:
            turns.append(path.name)
            remove(gallery_path, [3])
            compact(gallery_path, threads=1)
        return checksum

    monkeypatch.setattr(index_module, "sha256_of", checked)
    gallery = VectorGallery.open(gallery_path)
    assert (len(gallery), turns) == (299, ["000001.usearch"])
    assert gallery.manifest.index is not None
    assert gallery.manifest.index.generation == 2
    assert gallery.is_current
