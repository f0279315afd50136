"""Arrays in memory, in npy files and in idx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semblance.errors import InputError, SourceError
from semblance.inputs.arrays import ArraySource, IdxSource, NpySource
from semblance.inputs.decode import decode
from semblance.inputs.sources import open_source
from tests.semblance.inputs.packing import PIXELS, assert_sorted_and_repeatable, uris, write_idx


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
