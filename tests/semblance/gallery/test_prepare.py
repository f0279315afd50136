"""One item becomes a picture, what is known already, or an error row that names it; whatever it is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from semblance.gallery.prepare import Known, Picture, misfit, prepare
from semblance.gallery.shards import ErrorRow, Row
from semblance.gallery.stored_keypoints import PictureKeypoints
from semblance.inputs.decode import decode
from semblance.inputs.limits import Limits
from semblance.inputs.sources import Item
from tests.semblance.gallery.conftest import CARD, described

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)


def encoded(suffix: str = ".png", pixels: np.ndarray = COLOURS) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def test_an_array_is_hashed_by_its_pixels_and_taken_as_it_is() -> None:
    found = prepare(7, Item("a", PIXELS, "ant", {"year": 3}), CARD)
    assert isinstance(found, Picture)
    assert found.row == Row(7, "a", hashlib.sha256(PIXELS.tobytes()).hexdigest(), 8, 8, "ant", {"year": 3})
    np.testing.assert_array_equal(found.pixels, PIXELS[..., None])
    strided = np.repeat(np.repeat(PIXELS, 2, axis=0), 2, axis=1)[::2, ::2]
    again = prepare(7, Item("a", strided, "ant", {"year": 3}), CARD)
    assert isinstance(again, Picture)
    assert again.row == found.row


@pytest.mark.parametrize("is_file", [True, False])
def test_a_file_and_its_bytes_are_the_same_picture(tmp_path: Path, is_file: bool) -> None:
    """Width and height are those before the resize, the hash is that of the bytes."""
    content = encoded()
    (tmp_path / "a.png").write_bytes(content)
    found = prepare(7, Item("a", tmp_path / "a.png" if is_file else content), replace(CARD, channels=3))
    assert isinstance(found, Picture)
    assert found.row == Row(7, "a", hashlib.sha256(content).hexdigest(), 50, 30)
    assert (found.pixels.shape, found.pixels.dtype) == ((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "stage", "error", "says"),
    [
        (b"", "decode", "ImageError", "0 bytes"),
        (b"not a picture", "decode", "ImageError", "not an image"),
        (encoded()[:200], "decode", "ImageError", ""),
        (np.zeros((8, 8), np.float32), "decode", "ImageError", "is not a picture; expected uint8"),
        (np.zeros((0, 8), np.uint8), "decode", "ImageError", ""),
        ("a.png", "decode", "ImageError", "its content is a str; expected a pathlib.Path, encoded bytes or a uint8"),
        (None, "decode", "ImageError", "its content is a NoneType"),
        (Path("nowhere/a.png"), "read", "FileNotFoundError", "no such file"),
        (Path("."), "read", "IsADirectoryError", ""),
    ],
)
def test_what_is_no_picture_is_an_error_row(content: Any, stage: str, error: str, says: str) -> None:
    found = prepare(9, Item("some/uri", content), CARD)
    assert isinstance(found, ErrorRow)
    assert (found.key, found.uri, found.stage, found.error) == (9, "some/uri", stage, error)
    assert found.message.startswith("some/uri: ")
    assert says in found.message


@pytest.mark.parametrize("where", ["read_file", "decode_measured", "fit"])
@pytest.mark.parametrize(
    ("error", "name", "says"),
    [
        (MemoryError(), "MemoryError", "MemoryError"),
        (AssertionError("two\n  lines\n"), "AssertionError", "two lines"),
        (cv2.error("OpenCV(4): resize failed"), "error", "OpenCV(4): resize failed"),
        (ValueError("\udcff"), "ValueError", "\\udcff"),
    ],
)
def test_what_nobody_expected_of_a_picture_is_an_error_row_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, name: str, says: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    (tmp_path / "a.png").write_bytes(encoded())
    monkeypatch.setattr(f"semblance.gallery.prepare.{where}", fail)
    found = prepare(9, Item("some/uri", tmp_path / "a.png"), CARD)
    stage = "read" if where == "read_file" else "decode"
    assert found == ErrorRow(9, "some/uri", stage, name, f"some/uri: {says}")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_stops_the_run_is_heard(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("semblance.gallery.prepare.fit", fail)
    with pytest.raises(error):
        prepare(9, Item("some/uri", PIXELS), CARD)


def test_pictures_beyond_the_limits_are_error_rows(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    for content in (encoded(), tmp_path / "a.png"):
        found = prepare(0, Item("a", content), CARD, limits=Limits(max_pixels=30 * 50 - 1))
        assert isinstance(found, ErrorRow)
        assert (found.stage, found.error) == ("decode", "ImageTooLarge")
        assert isinstance(prepare(0, Item("a", content), CARD, limits=Limits(max_pixels=30 * 50)), Picture)


def test_the_same_bytes_under_the_same_name_are_known() -> None:
    sha256 = hashlib.sha256(PIXELS.tobytes()).hexdigest()
    known = {"a": (3, sha256), "b": (4, "0" * 64)}
    assert prepare(90, Item("a", PIXELS), CARD, known=known) == Known(3)
    changed = prepare(91, Item("b", PIXELS), CARD, known=known)  # replaces what was there, under its key
    assert isinstance(changed, Picture)
    assert (changed.row.key, changed.row.sha256) == (4, sha256)
    other = prepare(92, Item("c", PIXELS), CARD, known=known)
    assert isinstance(other, Picture)
    assert other.row.key == 92
    broken = prepare(93, Item("b", b""), CARD, known=known)
    assert isinstance(broken, ErrorRow)
    assert broken.key == 93


UNICODE = "with lone surrogates, which UTF-8 cannot hold; give it as valid Unicode"


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (Item("a", b""), ""),
        (Item("", b"", "", {"": ""}), ""),
        (Item("a", b"", None, {"n": None, "i": 2**63 - 1, "j": -(2**63), "f": float("nan"), "b": True}), ""),
        (Item(3, b""), "its uri is 3; expected a string"),  # type: ignore[arg-type]
        (Item("a", b"", 3), "its label is 3; expected a string or None"),  # type: ignore[arg-type]
        (Item("a", b"", None, [1]), "its columns are [1]; expected a mapping of names to values"),  # type: ignore[arg-type]
        (Item("a", b"", None, {1: "x"}), "its columns are named [1]; expected strings"),  # type: ignore[dict-item]
        (Item("a", b"", None, {"n": 2**63}), "column 'n' is an integer beyond 64 bits; give it as a string"),
        (Item("a", b"", None, {"n": -(2**63) - 1}), "column 'n' is an integer beyond 64 bits; give it as a string"),
        (Item("\ud800", b""), f"its uri is '\\ud800', {UNICODE}"),
        (Item("a", b"", "\ud800"), f"its label is '\\ud800', {UNICODE}"),
        (Item("a", b"", None, {"\ud800": 1}), f"its column '\\ud800' is '\\ud800', {UNICODE}"),
        (Item("a", b"", None, {"n": "\ud800"}), f"its value of column 'n' is '\\ud800', {UNICODE}"),
    ],
)
def test_what_columns_cannot_hold(item: Item, says: str) -> None:
    assert misfit(item) == says
    found = prepare(1, item, CARD)
    assert isinstance(found, ErrorRow)
    assert (found.stage == "columns") == bool(says)
    found.message.encode()
    found.uri.encode()


@pytest.mark.parametrize("channels", [1, 3])
def test_keypoints_are_those_of_the_picture_before_it_is_resized(channels: int) -> None:
    seen: list[np.ndarray] = []

    def describe(pixels: np.ndarray) -> PictureKeypoints:
        seen.append(pixels)
        return described(pixels)

    found = prepare(7, Item("a", encoded()), replace(CARD, channels=channels), describe=describe)
    assert isinstance(found, Picture)
    assert [(each.shape, each.dtype) for each in seen] == [((30, 50, 1), np.uint8)]
    assert found.keypoints is not None
    np.testing.assert_array_equal(found.keypoints.descriptors, described(seen[0]).descriptors)
    without = prepare(7, Item("a", encoded()), replace(CARD, channels=channels))
    assert isinstance(without, Picture)
    assert without.keypoints is None
    np.testing.assert_array_equal(found.pixels, without.pixels)


def test_keypoints_are_found_in_a_jpegs_own_grey_as_those_of_a_query_are() -> None:
    seen: list[np.ndarray] = []

    def describe(pixels: np.ndarray) -> PictureKeypoints:
        seen.append(pixels)
        return described(pixels)

    jpeg = encoded(".jpg")
    assert isinstance(prepare(7, Item("a", jpeg), replace(CARD, channels=3), describe=describe), Picture)
    grey, of_colour = decode(jpeg, channels=1), decode(decode(jpeg, channels=3), channels=1)
    assert (grey != of_colour).any(), "this picture shows nothing"
    np.testing.assert_array_equal(seen[0], grey)


def test_a_picture_whose_keypoints_cannot_be_found_is_an_error_row() -> None:
    def fail(pixels: np.ndarray) -> PictureKeypoints:
        raise cv2.error("OpenCV(4): no memory")

    found = prepare(9, Item("some/uri", PIXELS), CARD, describe=fail)
    assert found == ErrorRow(9, "some/uri", "describe", "error", "some/uri: OpenCV(4): no memory")
    broken = prepare(9, Item("some/uri", b""), CARD, describe=fail)
    assert isinstance(broken, ErrorRow)
    assert broken.stage == "decode"  # nothing to look for keypoints in


def test_known_pictures_are_not_described_again() -> None:
    def fail(pixels: np.ndarray) -> PictureKeypoints:
        raise AssertionError

    known = {"a": (3, hashlib.sha256(PIXELS.tobytes()).hexdigest())}
    assert prepare(90, Item("a", PIXELS), CARD, known=known, describe=fail) == Known(3)
