"""The manifest there and back, and what a damaged one says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semblance.errors import GalleryError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import MANIFEST_NAME, Manifest, Part


def test_there_and_back(gallery_path: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(gallery_path)
    assert [shard.num_rows for shard in manifest.shards] == [100, 100, 100]
    assert (manifest.num_images, manifest.errors.num_rows) == (300, 0)
    assert manifest.parts == (Part("squares", 0, 300, is_complete=True),)
    assert manifest.card.name == "blocks"
    before = (gallery_path / MANIFEST_NAME).read_bytes()
    manifest.write(tmp_path)
    assert (tmp_path / MANIFEST_NAME).read_bytes() == before
    assert Manifest.read(tmp_path.parent / tmp_path.name / "g") == manifest


def test_it_is_plain_json_with_what_a_reader_wants(gallery_path: Path) -> None:
    raw = json.loads((gallery_path / MANIFEST_NAME).read_text())
    assert raw["format"] == 2
    assert raw["fingerprint"] == Manifest.read(gallery_path).card.fingerprint
    assert raw["shards"][1]["file"] == "shards/000001.parquet"
    assert raw["index"]["file"] == "index/000001.usearch"
    assert (raw["num_images"], raw["num_errors"]) == (300, 0)
    assert raw["options"]["shard_rows"] == 100


def test_what_a_source_was_opened_with_is_there_where_it_was_given(gallery_path: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(gallery_path)
    raw = json.loads((gallery_path / MANIFEST_NAME).read_text())
    assert raw["parts"] == [{"source": "squares", "first_key": 0, "num_items": 300, "is_complete": True}]
    part = Part("squares", 0, 300, True, image_column="front", labels_sha256="ab")
    chosen = replace(manifest, parts=(part,))
    chosen.write(tmp_path)
    assert Manifest.read(tmp_path) == chosen
    assert json.loads((tmp_path / MANIFEST_NAME).read_text())["parts"][0]["image_column"] == "front"


def drop(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda raw: raw.pop(name)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (drop("shards"), "no 'shards'"),
        (drop("format"), "no 'format'"),
        (lambda raw: raw.update(format=1), "format 1, this semblance reads formats 2 and 3"),
        (lambda raw: raw.update(fingerprint="0" * 64), "fingerprint is"),
        (lambda raw: raw.update(num_images=301), "num_images is 301, its other fields say 300"),
        (lambda raw: raw["card"].update(dimension=17), "fingerprint"),
        (lambda raw: raw["shards"][0].update(file="../elsewhere"), "inside the gallery"),
        (lambda raw: raw["shards"][0].update(file="/etc/passwd"), "inside the gallery"),
        (lambda raw: raw["shards"][0].update(sha256="abc"), "64 hex digits"),
        (lambda raw: raw["shards"][0].update(num_rows=-1), "num_rows must be a count"),
        (lambda raw: raw["shards"][0].pop("sha256"), "sha256"),
        (lambda raw: raw["index"].update(generation="1"), "generation must be a count"),
        (lambda raw: raw.update(shards={}), "shards must be a list"),
        (lambda raw: raw["options"].update(index=3), "index of options must be a dict, is 3"),
        (lambda raw: raw["options"].pop("index"), "no 'index'"),
        (lambda raw: raw["options"]["index"].update(expansion_search="x"), "expansion_search must be an integer"),
        (lambda raw: raw["options"]["index"].update(dtype=[]), r"dtype must be one of .*, is \[\]"),
        (lambda raw: raw["options"]["index"].pop("expansion_search"), "no 'expansion_search'"),
        (lambda raw: raw["options"]["index"].update(deterministic=1), "deterministic must be a bool"),
        (lambda raw: raw["options"].update(shard_rows="x"), "shard_rows must be a count"),
        (lambda raw: raw["parts"][0].update(label_column=3), "label_column must be a str, is 3"),
    ],
)
def test_damage_is_named(gallery_path: Path, damage: Callable[[dict[str, Any]], Any], says: str) -> None:
    path = gallery_path / MANIFEST_NAME
    raw = json.loads(path.read_text())
    damage(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(GalleryError, match=says) as caught:
        VectorGallery.open(gallery_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe"])
def test_what_is_no_manifest_at_all(gallery_path: Path, content: bytes) -> None:
    (gallery_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(GalleryError, match=r"restore it from a copy"):
        Manifest.read(gallery_path)


def test_no_folder_and_another_folder(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=r"no gallery at .*semblance embed"):
        Manifest.read(tmp_path / "none")
    with pytest.raises(GalleryError, match=r"is no gallery: it has no manifest\.json"):
        Manifest.read(tmp_path)


def test_a_gallery_without_keypoints_has_no_word_of_them(gallery_path: Path) -> None:
    """As galleries were written before there were any."""
    assert "sift" not in (gallery_path / MANIFEST_NAME).read_text()
    manifest = Manifest.read(gallery_path)
    assert (manifest.sift, manifest.has_keypoints) == ((), False)


def test_files_of_keypoints_are_named_beside_their_shards(sift_path: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(sift_path)
    assert [file.file for file in manifest.sift] == [f"sift/00000{number}.parquet" for number in range(3)]
    assert {*manifest.sift} < {*manifest.files}
    assert manifest.has_keypoints
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (drop("sift"), "its files of keypoints are not one for each shard"),
        (lambda raw: raw["sift"].reverse(), "its files of keypoints are not one for each shard"),
        (lambda raw: raw["sift"].pop(), "its files of keypoints are not one for each shard"),
        (lambda raw: raw["options"].pop("sift"), "its files of keypoints are not one for each shard"),
        (lambda raw: raw["options"].update(sift=3), "sift of options must be a dict, is 3"),
        (lambda raw: raw["options"]["sift"].pop("max_keypoints"), "no 'max_keypoints'"),
        (lambda raw: raw["options"]["sift"].update(max_keypoints="x"), "max_keypoints must be a count"),
        (lambda raw: raw["sift"][0].update(file="../elsewhere"), "inside the gallery"),
        (lambda raw: raw.update(sift={}), "sift must be a list"),
    ],
)
def test_damage_to_what_is_said_of_keypoints_is_named(
    sift_path: Path, damage: Callable[[dict[str, Any]], Any], says: str
) -> None:
    test_damage_is_named(sift_path, damage, says)


@pytest.mark.parametrize("fixture", ["gallery_path", "sift_path"])
def test_it_is_written_as_json_would_be(request: pytest.FixtureRequest, fixture: str) -> None:
    """Its lists of files are put together by hand, since there may be thousands of them."""
    manifest = Manifest.read(request.getfixturevalue(fixture))
    odd = replace(manifest.shards[0], file='shards/ü"x.parquet')
    for each in (manifest, replace(manifest, shards=(), sift=()), replace(manifest, shards=(odd,))):
        assert each.to_json() == json.dumps(json.loads(each.to_json()), indent=1, sort_keys=True) + "\n"
