"""Everything that can be wrong with a gallery is found, named by its file, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.files import sha256_of
from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index import VectorIndex
from semblance.gallery.keypoints import write_keypoints
from semblance.gallery.manifest import IndexFile, Manifest
from semblance.gallery.shards import Row, write_shard
from semblance.gallery.stored_keypoints import PictureKeypoints
from semblance.gallery.upkeep import compact, rebuild, remove
from semblance.gallery.verify import Finding, verify
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource
from tests.semblance.gallery.conftest import described, joined


@pytest.fixture
def changed_path(gallery_path: Path) -> Path:
    """300 pictures of which one was removed and one replaced, with an index that does not cover the last one."""
    remove(gallery_path, [250])
    with GalleryWriter.open(gallery_path) as writer:
        writer.upsert([Row(7, "young", "0" * 64, 8, 8)], np.full((1, 16), 5, np.float32))
    return gallery_path


def tree(path: Path) -> dict[str, tuple[bytes, int]]:
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize("state", ["built", "removed", "replaced", "updated", "compacted", "emptied", "no rows"])
def test_nothing_is_wrong_with_what_a_writer_leaves(gallery_path: Path, state: str) -> None:
    if state != "built":
        remove(gallery_path, [3, 299])
    with GalleryWriter.open(gallery_path) as writer:
        if state in ("replaced", "updated", "compacted"):
            keys = [5, -1, -(2**63), 2**63 - 1]
            rows = [Row(key, str(key), "0" * 64, 8, 8) for key in keys]
            writer.upsert(rows, np.random.default_rng(0).standard_normal((4, 16), dtype=np.float32))
        if state in ("updated", "compacted"):
            writer.update_index(threads=1)
        if state in ("emptied", "no rows"):
            writer.remove(np.arange(300))
    if state in ("compacted", "no rows"):
        compact(gallery_path, threads=1)
    before = tree(gallery_path)
    assert verify(gallery_path) == []
    assert tree(gallery_path) == before


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
def test_no_number_type_of_the_index_looks_damaged(tmp_path: Path, encoder, make_pictures, dtype: str) -> None:
    from semblance.gallery.index_options import IndexOptions

    build(ArraySource(make_pictures(200)), encoder, tmp_path / "g", index=IndexOptions(dtype))  # type: ignore[arg-type]
    assert verify(tmp_path / "g") == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 100), flip])
@pytest.mark.parametrize("again", [False, True])
def test_each_damaged_file_is_found(changed_path: Path, damage: Callable[[Path], None], again: bool) -> None:
    files = [file.file for file in Manifest.read(changed_path).files]
    assert len(files) == 7
    for number, name in enumerate(files):
        path = changed_path / name
        whole = path.read_bytes()
        damage(path)
        if again and number:  # and the first shard too
            first = changed_path / files[0]
            before = first.read_bytes()
            damage(first)
        found = verify(changed_path)
        assert [finding.file for finding in found] == ([files[0], name] if again and number else [name])
        assert all(finding.problem.count(finding.file) for finding in found)
        # an index can be made anew where all shards are whole
        is_remade = name.endswith(".usearch") and not again
        assert found[-1].remedy.startswith("`semblance rebuild" if is_remade else "restore it from a copy")
        if again and number:
            first.write_bytes(before)
        path.write_bytes(whole)
    assert verify(changed_path) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_damaged_manifest_is_a_finding_and_a_missing_one_no_gallery(gallery_path: Path, content: bytes) -> None:
    (gallery_path / "manifest.json").write_bytes(content)
    (found,) = verify(gallery_path)
    assert found.file == "manifest.json"
    assert f"{gallery_path / 'manifest.json'} " in found.problem
    assert found.remedy.startswith("restore it from a copy, or embed the pictures again")
    (gallery_path / "manifest.json").unlink()
    with pytest.raises(GalleryError, match="is no gallery"):
        verify(gallery_path)
    with pytest.raises(GalleryError, match="no gallery at"):
        verify(gallery_path / "nowhere")


# Files as they were written, and wrong all the same ----------------------------------------------------------------


def with_shard(path: Path, vectors: NDArray[np.float32]) -> None:
    """The gallery with its second shard of other vectors."""
    manifest = Manifest.read(path)
    rows = [Row(100 + i, f"{i}", "0" * 64, 8, 8) for i in range(len(vectors))]
    shard = write_shard(path, 9, rows, vectors, columns={})
    replace(manifest, shards=(manifest.shards[0], shard, *manifest.shards[2:])).write(path)


def test_vectors_that_cannot_be_compared(gallery_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((100, 16), dtype=np.float32)
    for value, says in ((np.nan, "not finite"), (np.inf, "not finite"), (0, "zero embeddings, which have no")):
        vectors[7] = value
        with_shard(gallery_path, vectors)
        found = verify(gallery_path)
        assert found[0].file == "shards/000009.parquet"
        assert says in found[0].problem


def test_vectors_that_are_not_those_of_the_index(gallery_path: Path) -> None:
    with_shard(gallery_path, np.random.default_rng(0).standard_normal((100, 16), dtype=np.float32))
    rebuilt = f"`semblance rebuild {gallery_path}` makes it anew from the shards"
    assert verify(gallery_path) == [
        Finding("index/000001.usearch", "100 of its vectors are not those of the shards", rebuilt)
    ]
    rebuild(gallery_path, threads=1)
    assert verify(gallery_path) == []


def test_embeddings_of_another_dimension(gallery_path: Path) -> None:
    with_shard(gallery_path, np.ones((100, 15), np.float32))
    found = verify(gallery_path)
    assert [finding.file for finding in found] == ["shards/000009.parquet"]
    assert "its embeddings have 15 dimensions, the model 16" in found[0].problem


def with_index(path: Path, index: VectorIndex, num_rows: int) -> None:
    written = index.save(path / "index" / "000009.usearch")
    manifest = Manifest.read(path)
    file = IndexFile(9, "index/000009.usearch", num_rows, written.num_bytes, written.sha256)
    replace(manifest, index=file).write(path)


def test_rows_that_are_not_in_the_index(gallery_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 16), dtype=np.float32)
    with_index(gallery_path, VectorIndex.build(vectors[:280], metric="cos"), 290)
    (missing, off) = verify(gallery_path)
    assert missing.problem == "10 rows that it should cover are not in it"
    assert off.problem == "280 of its vectors are not those of the shards"
    with_index(gallery_path, VectorIndex.build(vectors[:, :15], metric="cos"), 300)
    (found,) = verify(gallery_path)
    assert "indexes 15-d vectors, the manifest says 16" in found.problem
    assert found.remedy.startswith("`semblance rebuild")


def test_an_index_under_a_right_checksum_that_is_none(gallery_path: Path) -> None:
    path = gallery_path / "index" / "000001.usearch"
    path.write_bytes(b"no index")
    manifest = Manifest.read(gallery_path)
    assert manifest.index is not None
    replace(manifest, index=replace(manifest.index, num_bytes=8, sha256=sha256_of(path))).write(gallery_path)
    (found,) = verify(gallery_path)
    assert (found.file, found.remedy.startswith("`semblance rebuild")) == ("index/000001.usearch", True)


def test_keys_that_are_there_twice_or_beyond_the_next(changed_path: Path) -> None:
    manifest = Manifest.read(changed_path)
    replace(manifest, removed=None).write(changed_path)  # key 7 stands in the first shard and in the last
    assert "some keys are there twice" in [finding.problem for finding in verify(changed_path)]
    replace(manifest, next_key=298).write(changed_path)
    assert [finding.problem for finding in verify(changed_path)] == ["key 299 is above its next_key"]


def test_a_gallery_that_changes_meanwhile_is_read_again(gallery_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the manifest that was read first are gone when they are looked at."""
    read, turns = Manifest.read.__func__, []  # type: ignore[attr-defined]

    def read_then_changed(path: Path) -> Manifest:
        manifest: Manifest = read(Manifest, path)
        if not turns:
            turns.append(manifest)
            monkeypatch.setattr(Manifest, "read", classmethod(read))
            remove(gallery_path, [5])
            compact(gallery_path, threads=1)
        return manifest

    monkeypatch.setattr(Manifest, "read", staticmethod(read_then_changed))
    assert verify(gallery_path) == []
    assert len(turns) == 1
    assert Manifest.read(gallery_path) != turns[0]


# Keypoints ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["built", "removed", "replaced", "compacted", "no rows"])
def test_nothing_is_wrong_with_the_keypoints_that_a_writer_leaves(sift_path: Path, state: str) -> None:
    if state != "built":
        remove(sift_path, [3, 299])
    with GalleryWriter.open(sift_path) as writer:
        if state in ("replaced", "compacted"):
            writer.upsert([Row(5, "5", "0" * 64, 8, 8)], np.ones((1, 16), np.float32))
        if state == "no rows":
            writer.remove(np.arange(300))
    if state in ("compacted", "no rows"):
        compact(sift_path, threads=1)
    assert verify(sift_path) == []


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 100), flip])
def test_each_damaged_file_of_keypoints_is_found(sift_path: Path, damage: Callable[[Path], None]) -> None:
    shard = sift_path / "shards" / "000001.parquet"
    for file in Manifest.read(sift_path).sift:
        path = sift_path / file.file
        whole, shard_whole = path.read_bytes(), shard.read_bytes()
        damage(path)
        (found,) = verify(sift_path)
        assert (found.file, found.problem.count(file.file)) == (file.file, 1)
        assert found.remedy.startswith("restore it from a copy")
        damage(shard)  # then there is nothing to compare them with, but their checksum
        assert {found.file for found in verify(sift_path)} == {file.file, "shards/000001.parquet"}
        path.write_bytes(whole)
        assert [found.file for found in verify(sift_path)] == ["shards/000001.parquet"]
        shard.write_bytes(shard_whole)
    assert verify(sift_path) == []


def test_a_flipped_bit_anywhere_in_a_file_of_keypoints_is_found(sift_path: Path) -> None:
    path = sift_path / "sift" / "000001.parquet"
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 40).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        assert [found.file for found in verify(sift_path)] == ["sift/000001.parquet"], at


def test_keypoints_that_are_not_of_the_shards_pictures(sift_path: Path) -> None:
    manifest = Manifest.read(sift_path)
    shard = VectorGallery.open(sift_path).all_rows.tables[1].columns(["key", "num_keypoints"])
    keys, counts = shard.column("key").to_numpy(), shard.column("num_keypoints").to_pylist()
    none = described(np.zeros((8, 8), np.uint8))
    for number, (wrong_keys, wrong_counts, says) in enumerate(
        [(keys + 1, counts, "its keypoints are not those of its shard's pictures"), (keys, [0] * 100, "its shard says")]
    ):
        given = [described(np.full((8, 8), 255, np.uint8))] * (sum(wrong_counts) // 300 + 1)
        found = PictureKeypoints(*(each[: sum(wrong_counts)] for each in joined([none, *given])))  # type: ignore[arg-type]
        file = write_keypoints(sift_path, 1, wrong_keys, wrong_counts, [found])
        replace(manifest, sift=(manifest.sift[0], file, manifest.sift[2])).write(sift_path)
        (finding,) = verify(sift_path)
        assert (finding.file, says in finding.problem) == ("sift/000001.parquet", True), number
