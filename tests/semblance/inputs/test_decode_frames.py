"""Of several frames the first, layers of scan as any other, and large JPEGs at a part of their size."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from semblance.inputs.decode import Limits, decode
from semblance.inputs.header import read_header
from tests.semblance.inputs.damaged import png
from tests.semblance.inputs.pictures import (
    COLOR,
    GREY,
    HAS_AVIF,
    OTHER,
    Image,
    assert_close,
    cmyk_picture,
    encode,
    opened,
)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_several_frames_the_first_is_taken(form: str) -> None:
    if form == "AVIF" and not HAS_AVIF:
        pytest.skip("this OpenCV was built without AVIF")
    frames = [COLOR.quantize(64), OTHER.quantize(64)] if form == "GIF" else [COLOR, OTHER]
    content = encode(frames[0], form, save_all=True, append_images=frames[1:])
    first = np.asarray(opened(content).convert("RGB"))
    assert np.abs(first.astype(int) - np.asarray(COLOR)).mean() < 10  # not the other one
    np.testing.assert_array_equal(decode(content, channels=3), first)


def test_an_animated_png_is_the_still_picture_that_others_show() -> None:
    content = encode(COLOR, "PNG", save_all=True, append_images=[OTHER, GREY.convert("RGB")], default_image=True)
    np.testing.assert_array_equal(decode(content, channels=3), np.asarray(COLOR))


def test_interlaced_pngs_are_put_together() -> None:
    pixels = np.asarray(COLOR)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [b"\0" + row.tobytes() for y, x, down, across in passes for row in pixels[y::down, x::across]]
    content = png(pixels.shape[1], pixels.shape[0], 8, 2, zlib.compress(b"".join(rows)))
    header = content[16:28] + b"\1"  # interlaced
    content = content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:]
    np.testing.assert_array_equal(np.asarray(opened(content)), pixels)
    np.testing.assert_array_equal(decode(content, channels=3), pixels)


def test_interlaced_gifs_are_put_together() -> None:
    image = COLOR.quantize(64)
    content = encode(image, "GIF", interlace=1)
    np.testing.assert_array_equal(decode(content, channels=3), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("image", [COLOR, GREY, cmyk_picture()], ids=["colour", "grey", "cmyk"])
def test_progressive_jpegs_are_decoded_to_the_last_scan(image: Any) -> None:
    content = encode(image, "JPEG", progressive=True)
    expected = np.asarray(opened(content).convert("RGB"))
    assert_close(decode(content, channels=3), expected, most=2 if image.mode == "CMYK" else 0)


# --- large JPEGs


@pytest.mark.parametrize(("side", "factor"), [(400, 8), (399, 4), (200, 4), (100, 2), (99, 1)])
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(side: int, factor: int) -> None:
    content = encode(COLOR.resize((side, side + 8)), "JPEG", quality=95)
    limits = Limits(is_scaled=True)
    part = decode(content, channels=3, limits=limits, reduce_to=(25, 25))
    assert part.shape == (-(-(side + 8) // factor), -(-side // factor), 3)
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (side // factor, (side + 8) // factor))  # Pillow asks libjpeg for the same part
    np.testing.assert_array_equal(part, np.asarray(image))
    for other in (decode(content, channels=3, limits=limits), decode(content, channels=3, reduce_to=(25, 25))):
        np.testing.assert_array_equal(other, np.asarray(opened(content)))


def test_only_jpegs_are_decoded_at_a_part_of_their_size() -> None:
    large = COLOR.resize((600, 500))
    for form in ("PNG", "WEBP", "TIFF", "BMP"):
        content = encode(large, form)
        assert read_header(content, "any").format != "JPEG"
        assert decode(content, channels=3, limits=Limits(is_scaled=True), reduce_to=(9, 9)).shape == (500, 600, 3)
