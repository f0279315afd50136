"""Bits, palettes and masks as decode's table has them, against Pillow or pixels worked out by hand."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from semblance.errors import ImageError
from semblance.inputs.decode import decode
from tests.semblance.inputs.damaged import png, tiff
from tests.semblance.inputs.pictures import COLOR, assert_close, encode, opened, packed_rows, run_lengths


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_pngs_of_all_bits_are_scaled_to_8(bits: int) -> None:
    top = (1 << bits) - 1
    samples = np.random.default_rng(bits).integers(0, top + 1, (11, 13))
    content = png(13, 11, bits, 0, packed_rows(samples, bits))
    np.testing.assert_array_equal(decode(content, channels=1)[..., 0], np.rint(samples * (255 / top)))
    if bits <= 8:
        np.testing.assert_array_equal(decode(content, channels=1)[..., 0], np.asarray(opened(content).convert("L")))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_pngs_are_looked_up(bits: int) -> None:
    rng = np.random.default_rng(bits)
    palette = rng.integers(0, 256, (1 << bits, 3), dtype=np.uint8)
    samples = rng.integers(0, 1 << bits, (11, 13))
    content = png(13, 11, bits, 3, packed_rows(samples, bits), PLTE=palette.tobytes())
    np.testing.assert_array_equal(decode(content, channels=3), palette[samples])


@pytest.mark.parametrize(
    ("form", "channels"),
    [(form, channels) for form in ("PNG", "TIFF") for channels in (1, 3, 4)] + [("PNM", 1), ("PNM", 3)],
)
def test_16_bits_are_rounded_to_8(form: str, channels: int) -> None:
    samples = np.random.default_rng(channels).integers(0, 65536, (9, 11, channels))
    flat = samples.reshape(9, -1)
    if form == "PNG":
        content = png(11, 9, 16, {1: 0, 3: 2, 4: 6}[channels], packed_rows(flat, 16))
    elif form == "TIFF":
        fields: dict[str, Any] = {"tag338": 2} if channels == 4 else {}
        color = 1 if channels == 1 else 2
        content = tiff(
            11, 9, samples.astype("<u2").tobytes(), samples=channels, bits=[16] * channels, color=color, **fields
        )
    else:
        content = f"P{5 if channels == 1 else 6} 11 9 65535\n".encode() + samples.astype(">u2").tobytes()
    eight = np.rint(samples * (255 / 65535))
    if channels == 4:
        eight = np.rint(eight[..., :3] * eight[..., 3:] / 255 + 255 - eight[..., 3:])
    assert_close(decode(content, channels=1 if channels == 1 else 3), eight, most=0 if channels < 4 else 1)


@pytest.mark.parametrize(
    "kind", ["palette BMP", "1-bit BMP", "palette TIFF", "1-bit TIFF", "palette GIF", "2-colour GIF"]
)
def test_palettes_and_single_bits_of_other_formats(kind: str) -> None:
    image = COLOR.convert("1") if kind[0] == "1" else COLOR.quantize(2 if kind[0] == "2" else 50)
    content = encode(image, kind.split()[-1])
    np.testing.assert_array_equal(decode(content, channels=3), np.asarray(opened(content).convert("RGB")))


def test_run_lengths_of_a_bmp() -> None:
    samples = np.arange(8, dtype=np.uint8).reshape(2, 4)
    content, palette = run_lengths(samples)
    expected = palette[np.repeat(samples, 3, axis=1)[::-1]][..., ::-1]
    np.testing.assert_array_equal(decode(content, channels=3), expected)
    np.testing.assert_array_equal(decode(content, channels=3), np.asarray(opened(content).convert("RGB")))


@pytest.mark.parametrize("green_bits", [5, 6])
def test_a_bmp_of_16_bits_a_pixel_is_scaled_to_8_a_sample(green_bits: int) -> None:
    """White is 255, not 248."""
    rng = np.random.default_rng(green_bits)
    red, green, blue = (rng.integers(0, 1 << bits, (6, 8)) for bits in (5, green_bits, 5))
    red[0, 0] = blue[0, 0] = 31
    green[0, 0] = (1 << green_bits) - 1
    packed = (red << (5 + green_bits) | green << 5 | blue).astype("<u2")
    masks = struct.pack("<III", 31 << (5 + green_bits), (1 << green_bits) - 1 << 5, 31)
    for compression, between in ((3, masks), (0, b"")) if green_bits == 5 else ((3, masks),):
        header = struct.pack("<IiiHHIIiiII", 40, 8, -6, 1, 16, compression, packed.nbytes, 0, 0, 0, 0)
        start = 54 + len(between)
        content = b"BM" + struct.pack("<IHHI", start + packed.nbytes, 0, 0, start) + header + between + packed.tobytes()
        samples = [plane * 255 / ((1 << bits) - 1) for plane, bits in ((red, 5), (green, green_bits), (blue, 5))]
        found = decode(content, channels=3)
        assert_close(found, np.rint(np.dstack(samples)), most=1)
        assert_close(found, np.asarray(opened(content).convert("RGB")), most=1)
        assert found[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("header_bytes", [40, 52, 56, 108, 124])
@pytest.mark.parametrize("order", ["BGRX", "RGBX", "XBGR"])
def test_masks_of_a_bmp_are_followed_or_it_is_refused(order: str, header_bytes: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    masks = [0xFF << 8 * order.index(color) for color in "RGB"]
    fields = struct.pack("<IiiHHIIiiII", header_bytes, 6, -4, 1, 32, 3, pixels.size, 0, 0, 0, 0)
    header = fields + struct.pack("<III", *masks)
    header += bytes(max(0, header_bytes - len(header)))
    start = 14 + len(header)
    content = b"BM" + struct.pack("<IHHI", start + pixels.size, 0, 0, start) + header + pixels.tobytes()
    if header_bytes < 56 and order != "BGRX":
        with pytest.raises(ImageError, match="colours in an unusual order"):
            decode(content, channels=3)
    else:
        expected = pixels[..., [order.index(color) for color in "RGB"]]
        np.testing.assert_array_equal(decode(content, channels=3), expected)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressions_of_a_tiff(compression: str) -> None:
    content = encode(COLOR, "TIFF", compression=compression)
    np.testing.assert_array_equal(decode(content, channels=3), np.asarray(opened(content).convert("RGB")))
