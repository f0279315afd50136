"""Every source: order, names, labels, laziness, and what is wrong with a place."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from semblance.errors import ImageError, InputError, SourceError
from semblance.inputs.datasets import CLASSES
from semblance.inputs.decode import decode
from semblance.inputs.sources import (
    ArraySource,
    FileSource,
    FolderSource,
    IdxSource,
    JoinedSource,
    NpySource,
    Source,
    open_source,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)


def write_images(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(cv2.imencode(".png", PIXELS[number])[1].tobytes())


def write_idx(path: Path, array: np.ndarray) -> Path:
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def uris(source: Source) -> list[str]:
    return [item.uri for item in source]


def assert_sorted_and_repeatable(source: Source) -> None:
    first = uris(source)
    assert first == sorted(first) == uris(source)
    assert len(first) == len(source) == len(set(first))


# --- folders and files


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


# --- arrays


@pytest.mark.parametrize("images", [PIXELS, PIXELS[:1], PIXELS[:0], PIXELS[..., None], np.stack([PIXELS] * 3, -1)])
def test_an_array_gives_its_pictures_in_order(images: np.ndarray) -> None:
    source = ArraySource(images, labels=range(len(images)), name="mine")
    assert uris(source) == [f"mine#{row:06d}" for row in range(len(images))]
    assert [item.label for item in source] == [str(row) for row in range(len(images))]
    for item, image in zip(source, images, strict=True):
        np.testing.assert_array_equal(item.content, image)
    assert_sorted_and_repeatable(source)


def test_more_than_a_million_pictures_still_sort() -> None:
    source = ArraySource(np.zeros((1_000_001, 1, 1), np.uint8))
    names = uris(source)
    assert (names[0], names[-1]) == ("array#0000000", "array#1000000")
    assert names == sorted(names)


def test_an_array_without_labels_has_none() -> None:
    assert {item.label for item in ArraySource(PIXELS)} == {None}
    assert [item.label for item in ArraySource(PIXELS[:2], labels=["x", None])] == ["x", None]


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((2, 3, 3)), r"float64 \[2, 3, 3\]"),
        (np.zeros((3, 3), np.uint8), r"uint8 \[3, 3\]"),
        (np.zeros((2, 3, 3, 4), np.uint8), r"\[2, 3, 3, 4\]"),
        (np.zeros((2, 0, 3), np.uint8), r"\[2, 0, 3\]"),
        ([[1]], "a list"),
    ],
)
def test_other_arrays_are_refused(images: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=rf"{reason}.*; expected|{reason}; expected"):
        ArraySource(images)


def test_labels_must_be_as_many_as_pictures() -> None:
    with pytest.raises(InputError, match="2 labels for 12 pictures"):
        ArraySource(PIXELS, labels=["a", "b"])


# --- idx


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("labels_suffix", ["", ".gz"])
def test_idx_finds_its_labels_beside_it(tmp_path: Path, suffix: str, labels_suffix: str) -> None:
    path = write_idx(tmp_path / f"some-images-idx3-ubyte{suffix}", PIXELS)
    assert {item.label for item in IdxSource(path)} == {None}
    write_idx(tmp_path / f"some-labels-idx1-ubyte{labels_suffix}", np.arange(12, dtype=np.uint8) % 3)
    source = IdxSource(path)
    assert [item.label for item in source] == list("012" * 4)
    assert uris(source)[11] == "some-images-idx3-ubyte#000011"
    assert [item.label for item in IdxSource(path, classes="abc")] == list("abc" * 4)
    assert_sorted_and_repeatable(source)


def test_idx_labels_must_fit(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "images-idx3-ubyte", PIXELS)
    write_idx(tmp_path / "labels-idx1-ubyte", np.full(12, 7, np.uint8))
    with pytest.raises(SourceError, match="label 7, there are 3 classes"):
        IdxSource(path, classes="abc")
    write_idx(tmp_path / "labels-idx1-ubyte", np.zeros(11, np.uint8))
    with pytest.raises(SourceError, match=r"labels of shape \[11\] for 12 pictures"):
        IdxSource(path)


def test_idx_of_labels_or_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"uint8 \[12\].*images-idx3"):
        IdxSource(write_idx(tmp_path / "labels-idx1-ubyte", np.zeros(12, np.uint8)))
    path = write_idx(tmp_path / "images.idx", PIXELS)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SourceError, match="cut short"):
        IdxSource(path)


def test_the_real_idx_files_are_read(fashion_mnist_dir: Path) -> None:
    source = open_source(fashion_mnist_dir / "t10k-images-idx3-ubyte.gz")
    first = next(iter(source))
    assert (len(source), first.uri, first.label) == (10_000, "t10k-images-idx3-ubyte#000000", "9")
    assert decode(first.content, channels=1).shape == (28, 28, 1)


# --- npy


@pytest.mark.parametrize("images", [PIXELS, PIXELS[:0], np.stack([PIXELS] * 3, -1), np.asfortranarray(PIXELS)])
def test_npy_files_are_read(tmp_path: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "mine.npy", images)
    source = NpySource(tmp_path / "mine.npy")
    assert uris(source) == [f"mine.npy#{row:06d}" for row in range(len(images))]
    for item, image in zip(source, images, strict=True):
        np.testing.assert_array_equal(item.content, image)
    assert_sorted_and_repeatable(source)


def test_other_npy_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    with pytest.raises(SourceError, match=r"mine\.npy: cannot be read"):
        NpySource(path)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match="cannot be read"):
        NpySource(path)
    np.save(path, PIXELS.astype(np.float32))
    with pytest.raises(SourceError, match="float32"):
        NpySource(path)
    np.save(path, PIXELS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SourceError, match="cannot be read"):
        NpySource(path)
    for content in (b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(SourceError, match="cannot be read"):
            NpySource(path)
    with path.open("wb") as file:
        np.savez(file, images=PIXELS)
    with pytest.raises(SourceError, match="expected an array"):
        NpySource(path)


# --- by name


def test_joined_sources_follow_each_other() -> None:
    joined = JoinedSource([ArraySource(PIXELS[:2], name="a"), ArraySource(PIXELS[:1], name="b")], name="both")
    assert uris(joined) == ["a#000000", "a#000001", "b#000000"]
    assert_sorted_and_repeatable(joined)


def test_open_source_knows_each_kind(tmp_path: Path) -> None:
    write_images(tmp_path, "photos/1.png")
    np.save(tmp_path / "mine.npy", PIXELS)
    idx_path = write_idx(tmp_path / "some.idx", PIXELS)
    assert isinstance(open_source(str(tmp_path / "photos")), FolderSource)
    assert isinstance(open_source(tmp_path / "mine.npy"), NpySource)
    assert isinstance(open_source(idx_path), IdxSource)
    single = open_source(tmp_path / "photos" / "1.png")
    assert uris(single) == [(tmp_path / "photos" / "1.png").as_posix()]


def test_fashion_mnist_is_opened_by_name(fashion_mnist_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_DATA", str(fashion_mnist_dir.parent))
    both, test = open_source("fashion-mnist"), open_source("fashion-mnist:test")
    assert (len(both), len(test), test.name) == (70_000, 10_000, "fashion-mnist:test")
    assert next(iter(test)).label == "Ankle boot"
    assert {item.label for item in test} == set(CLASSES)
    assert_sorted_and_repeatable(both)
    with pytest.raises(SourceError, match="fashion-mnist:train"):
        open_source("fashion-mnist:valid")


def test_the_stand_in_is_opened_by_name_as_large_as_it_is_wanted() -> None:
    source = open_source("drawn-fashion:test:30")
    assert (len(source), source.name) == (30, "drawn-fashion:test:30")
    assert {item.label for item in source} == set(CLASSES)
    assert len(open_source("drawn-fashion:test")) == 10_000
    for spec in ("drawn-fashion", "drawn-fashion:valid", "drawn-fashion:test:x"):
        with pytest.raises(SourceError, match="drawn-fashion:train"):
            open_source(spec)


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(SourceError, match="empty name"):
        open_source("")


def test_names_of_places_hold_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "photos/1.png")
    np.save(tmp_path / "mine.npy", PIXELS)
    write_idx(tmp_path / "some.idx", PIXELS)
    monkeypatch.chdir(tmp_path)
    names = {spec: open_source(spec).name for spec in ("photos", "mine.npy", "some.idx", "photos/1.png")}
    monkeypatch.chdir("/")
    for spec, name in names.items():
        assert name == str(tmp_path / spec)
        assert len(open_source(name)) > 0


def test_what_is_no_source_is_told_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for path in (tmp_path / "gone", tmp_path / "notes.txt", tmp_path / "gone.npy"):
        with pytest.raises(SourceError, match=r"expected a folder of images, .*\.npy file"):
            open_source(path)
