"""Small pictures made by Pillow, the other decoder, which knows nothing of our rules; or packed by hand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

Image = pytest.importorskip("PIL.Image", reason="Pillow is the other decoder; pip install pillow")
ImageOps = pytest.importorskip("PIL.ImageOps")

Pixels = NDArray[np.uint8]
HAS_AVIF = cv2.haveImageWriter(".avif")  # whoever built OpenCV with one half of libavif did so with the other


def smooth(seed: int = 0, height: int = 40, width: int = 56) -> Pixels:
    """A picture [H, W, 3] of soft blots that has no symmetry, from black to white."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 3)
    return cv2.normalize(noise, np.empty_like(noise), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


COLOR = Image.fromarray(smooth())
GREY = COLOR.convert("L")
ALPHA = Image.fromarray(smooth(1)[..., 0])
RGBA = COLOR.copy()
RGBA.putalpha(ALPHA)
OTHER = Image.fromarray(smooth(2))


def encode(image: Any, form: str, **options: object) -> bytes:
    """By Pillow's encoder."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Any:
    """By Pillow's decoder, the first frame."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def over_white(image: Any) -> Pixels:
    """[H, W, 3] of what Pillow sees, its alpha laid over white in whole numbers."""
    rgba = np.asarray(image.convert("RGBA")).astype(int)
    color, alpha = rgba[..., :3], rgba[..., 3:]
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def assert_close(found: Pixels, expected: NDArray[Any], most: int = 0) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= most


def cmyk_picture() -> Any:
    """Four unlike planes."""
    return Image.merge("CMYK", [*COLOR.split(), ALPHA.point(lambda value: value // 2)])


def without_adobe(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    (length,) = struct.unpack_from(">H", jpeg, start + 2)
    return jpeg[:start] + jpeg[start + 2 + length :]


def run_lengths(samples: Pixels) -> tuple[bytes, Pixels]:
    """Samples [H, W], the bottom row first -> a BMP with each of them three times, and its palette [256, BGR]."""
    runs = b"".join(b"".join(bytes([3, each]) for each in row) + b"\0\0" for row in samples) + b"\0\1"
    palette = np.random.default_rng(0).integers(0, 256, (256, 4), dtype=np.uint8)
    height, width = samples.shape
    header = struct.pack("<IiiHHIIiiII", 40, 3 * width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 54 + palette.size
    content = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + palette.tobytes() + runs
    return content, palette[:, :3]


def packed_rows(samples: NDArray[np.int_], bits: int) -> bytes:
    """[H, W] samples -> the zlib stream of a PNG's rows."""
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    elif bits == 8:
        rows = [row.astype(np.uint8).tobytes() for row in samples]
    else:
        single = (samples[..., None] >> np.arange(bits)[::-1]) & 1  # [H, W, bits]
        rows = [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in single]
    return zlib.compress(b"".join(b"\0" + row for row in rows))
