"""Every rule of decode's table and every picture it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import ImageError, InputError
from semblance.inputs.decode import decode

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (5, 7), dtype=np.uint8)


def encoded(pixels: NDArray[np.generic], suffix: str = ".png") -> bytes:
    """OpenCV's own encoder: pixels are BGR or BGRA."""
    return cv2.imencode(suffix, pixels)[1].tobytes()


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an APP1 segment that holds nothing but the orientation tag (0x0112, short)."""
    tiff = b"MM\0\x2a\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation, 0, 0]) + bytes(4)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_png_bytes_and_files_decode_to_rgb(tmp_path: Path) -> None:
    content = encoded(RGB[:, :, ::-1])
    (tmp_path / "näme.png").write_bytes(content)
    np.testing.assert_array_equal(decode(content, channels=3), RGB)
    np.testing.assert_array_equal(decode(tmp_path / "näme.png", channels=3), RGB)
    np.testing.assert_array_equal(decode(str(tmp_path / "näme.png"), channels=3), RGB)


def test_colours_convert_both_ways() -> None:
    luma = np.rint(RGB @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    for content in (RGB, encoded(RGB[:, :, ::-1])):
        assert np.abs(decode(content, channels=1) - luma).max() <= 1
    for content in (GREY, GREY[:, :, None], encoded(GREY)):
        np.testing.assert_array_equal(decode(content, channels=3), np.repeat(GREY[:, :, None], 3, axis=2))
        np.testing.assert_array_equal(decode(content, channels=1), GREY[:, :, None])


def test_arrays_in_the_right_form_are_not_copied() -> None:
    assert decode(RGB, channels=3) is RGB
    assert np.shares_memory(decode(GREY, channels=1), GREY)


def test_arrays_need_not_be_contiguous() -> None:
    turned = RGB[::-1, ::2]
    np.testing.assert_array_equal(decode(turned, channels=1), decode(turned.copy(), channels=1))


# Where the stored picture's bright corner (top left) must appear, by EXIF 2.3 table 4
@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (5, (0, 0)), (6, (0, -1)), (7, (-1, -1)), (8, (-1, 0))],
)
def test_exif_orientation_is_applied(orientation: int, corner: tuple[int, int]) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :16] = 255
    pixels = decode(with_exif(encoded(picture, ".jpg"), orientation), channels=1)
    assert pixels.shape == ((48, 32, 1) if orientation >= 5 else (32, 48, 1))
    corners = {(y, x): int(pixels[y, x, 0]) for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=corners.__getitem__) == corner
    assert corners[corner] > 200


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_transparency_is_laid_over_white(suffix: str) -> None:
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:8] = 0
    picture = np.dstack([np.zeros((16, 16, 3), np.uint8), alpha])
    content = cv2.imencode(suffix, picture, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])[1].tobytes()
    pixels = decode(content, channels=3)
    assert (pixels[:8] == 255).all()
    assert (pixels[8:] == 0).all()


def test_half_transparency_mixes_evenly() -> None:
    picture = np.full((2, 2, 4), (100, 50, 0, 128), np.uint8)  # BGRA
    expected = np.rint(np.array([0, 50, 100]) * 128 / 255 + 255 * 127 / 255)
    np.testing.assert_array_equal(decode(encoded(picture), channels=3)[0, 0], expected)


@pytest.mark.parametrize("mode", ["P", "LA"])
def test_a_palette_or_grey_with_transparency_is_laid_over_white_too(mode: str) -> None:
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    if mode == "LA":
        image.merge("LA", [image.new("L", (4, 4), 10), image.new("L", (4, 4), 0)]).save(buffer, "PNG")
    else:
        image.new("P", (4, 4), 0).save(buffer, "PNG", transparency=0)
    assert (decode(buffer.getvalue(), channels=3) == 255).all()


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    np.testing.assert_array_equal(decode(encoded(deep), channels=1)[0, :, 0], np.rint(deep[0] / 257))


def test_all_of_caltechs_first_photographs_decode(caltech_photos: list[bytes]) -> None:
    for content in caltech_photos:
        pixels = decode(content, channels=3)
        reference = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        np.testing.assert_array_equal(pixels, reference)
        grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(decode(content, channels=1)[..., 0], grey)


BROKEN_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "zero bytes"),
    "text": (lambda: b"no picture at all", "not an image"),
    "png cut short": (lambda: encoded(RGB)[:-30], "cut short"),
    "jpeg cut short": (lambda: encoded(np.tile(RGB, (20, 20, 1)), ".jpg")[:2000], "cut short"),
    "png damaged": (lambda: encoded(RGB).replace(b"IDAT", b"IDAX"), "damaged"),
    "header only": (lambda: b"\x89PNG\r\n\x1a\n", "cut short"),
    "webp header only": (lambda: b"RIFF\x04\0\0\0WEBPVP8X", "cut short"),
    "floating point": (lambda: encoded(np.ones((4, 4, 3), np.float32), ".hdr"), "Radiance.*convert"),
}


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_what_is_no_usable_picture_is_refused_by_name(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, reason = BROKEN_FILES[case]
    path = tmp_path / "broken.png"
    path.write_bytes(make())
    with pytest.raises(ImageError, match=rf"broken\.png.*{reason}"):
        decode(path, channels=3)
    with pytest.raises(ImageError, match=rf"{len(make())} bytes.*{reason}"):
        decode(make(), channels=3)
    assert capfd.readouterr().err == ""


def test_opencvs_log_level_is_restored() -> None:
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(ImageError):
        decode(b"nothing", channels=1)
    assert cv2.utils.logging.getLogLevel() == level


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        decode(tmp_path / "gone.png", channels=3)
    with pytest.raises(ImageError, match="a folder"):
        decode(tmp_path, channels=3)
    with pytest.raises(ImageError, match="cannot be read"):
        decode("a\0b", channels=3)


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((5, 7, 3), np.float32, r"float32 \[5, 7, 3\].*astype"),
        ((5, 7), np.int64, r"int64 \[5, 7\]"),
        ((5, 7), np.bool_, "bool"),
        ((7,), np.uint8, r"uint8 \[7\]"),
        ((), np.uint8, r"uint8 \[\]"),
        ((1, 5, 7, 3), np.uint8, "a batch"),
        ((5, 7, 2), np.uint8, r"\[5, 7, 2\]"),
        ((5, 7, 4), np.uint8, r"\[5, 7, 4\]"),
        ((0, 7, 3), np.uint8, "no pixels"),
        ((5, 0), np.uint8, "no pixels"),
    ],
)
def test_arrays_of_another_form_are_refused(shape: tuple[int, ...], dtype: type, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(np.zeros(shape, dtype), channels=3)


def test_other_things_are_refused() -> None:
    with pytest.raises(ImageError, match="cannot be a list"):
        decode([[1, 2]], channels=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="channels must be 1"):
        decode(RGB, channels=4)
