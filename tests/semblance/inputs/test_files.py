"""Folders and single files: order, names, labels, laziness, and what is wrong with a place."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from semblance.errors import ImageError, InputError, SourceError
from semblance.inputs.decode import decode
from semblance.inputs.files import FileSource, FolderSource
from tests.semblance.inputs.packing import PIXELS, assert_sorted_and_repeatable, png, uris, write_images


def test_a_folder_is_walked_sorted_and_labelled(tmp_path: Path) -> None:
    write_images(tmp_path, "b/2.png", "a/10.JPG", "a/2.jpeg", "top.webp", "a-b/1.png", "a/deep/x.tiff")
    write_images(tmp_path, ".hidden/1.png", "a/.hidden.png")
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    source = FolderSource(tmp_path)
    assert [(item.uri, item.label) for item in source] == [
        ("a-b/1.png", "a-b"),
        ("a/10.JPG", "a"),
        ("a/2.jpeg", "a"),
        ("a/deep/x.tiff", "deep"),
        ("b/2.png", "b"),
        ("top.webp", None),
    ]
    assert_sorted_and_repeatable(source)
    assert source.name == str(tmp_path)


def test_a_folder_reads_no_picture_before_its_turn(tmp_path: Path) -> None:
    write_images(tmp_path, "1.png", "2.png")
    (tmp_path / "1.png").write_bytes(b"damaged")
    first, second = FolderSource(tmp_path)
    with pytest.raises(ImageError, match=r"1\.png"):
        decode(first.content, channels=1)
    np.testing.assert_array_equal(decode(second.content, channels=1)[:, :, 0], PIXELS[1])


def test_links_to_folders_are_not_followed_in_circles(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert uris(FolderSource(tmp_path)) == ["a/1.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_a_file_name_that_is_no_unicode_still_has_a_valid_uri(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(name, "wb") as file:
        file.write(cv2.imencode(".png", PIXELS[0])[1].tobytes())
    (item,) = FolderSource(tmp_path)
    assert item.uri == r"caf\xe9.png"
    assert decode(item.content, channels=1).shape == (6, 5, 1)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(SourceError, match=r"without images; expected files ending in .*\.jpg .*\.png"):
        FolderSource(tmp_path)
    with pytest.raises(SourceError, match="nothing there"):
        FolderSource(tmp_path / "gone")
    with pytest.raises(SourceError, match="not a folder"):
        FolderSource(tmp_path / "notes.txt")


def test_files_are_sorted_and_fail_one_by_one(tmp_path: Path) -> None:
    write_images(tmp_path, "b.png", "a.png")
    source = FileSource([tmp_path / "b.png", tmp_path / "gone.png", str(tmp_path / "a.png")])
    assert uris(source) == [(tmp_path / name).as_posix() for name in ("a.png", "b.png", "gone.png")]
    assert_sorted_and_repeatable(source)
    with pytest.raises(ImageError, match="no such file"):
        decode(list(source)[2].content, channels=1)
    assert len(FileSource([])) == 0
    with pytest.raises(InputError, match="given twice"):
        FileSource(["a.png", "b.png", "a.png"])


def test_a_folder_is_found_when_the_working_directory_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "a/1.png")
    monkeypatch.chdir(tmp_path)
    (item,) = source = FolderSource("a")
    monkeypatch.chdir("/")
    assert list(source) == [item]
    assert item.content == tmp_path / "a" / "1.png"


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_that_of_code_points_however_the_files_were_made(tmp_path: Path, seed: int) -> None:
    names = ["10.png", "2.png", "B.png", "_.png", "a b.png", "a-b/1.png", "a.png", "a/1.png", "a/b/1.png", "b.png",
             "\u00e9.png", "\u65e5.png", "\U0001f600.png"]  # fmt: skip
    for number in np.random.default_rng(seed).permutation(len(names)):
        write_images(tmp_path, names[number])
    assert uris(FolderSource(tmp_path)) == sorted(names) == names


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_names_that_are_written_alike_stay_two(tmp_path: Path) -> None:
    (tmp_path / r"caf\xe9.png").write_bytes(png(0))
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(png(1))
    first, second = FolderSource(tmp_path)
    assert (first.uri, second.uri) == (r"caf\xe9.png", r"caf\xe9.png#000001")
    assert {decode(item.content, channels=1).tobytes() for item in (first, second)} == {
        decode(png(number), channels=1).tobytes() for number in (0, 1)
    }
