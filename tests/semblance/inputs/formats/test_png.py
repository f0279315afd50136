"""PNG data beyond the pixels: found to the byte, whatever the form of the picture."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image

from semblance import ImageError
from semblance.inputs.decode import decode
from semblance.inputs.formats import png

# colours' number -> samples a pixel, bits
_KINDS = [
    (0, 1, 1),
    (0, 1, 2),
    (0, 1, 8),
    (0, 1, 16),
    (2, 3, 8),
    (2, 3, 16),
    (3, 1, 4),
    (4, 2, 8),
    (6, 4, 8),
    (6, 4, 16),
]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def made(
    raw: bytes, *, width: int, height: int, color: int, bits: int, interlaced: bool = False, cuts: int = 1
) -> bytes:
    """A PNG of these bytes before compression, in `cuts` chunks."""
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)
    packed = zlib.compress(raw, 9)
    at = [len(packed) * number // cuts for number in range(cuts + 1)]
    palette = chunk(b"PLTE", bytes(range(48))) if color == 3 else b""
    pixels = b"".join(chunk(b"IDAT", packed[a:b]) for a, b in pairwise(at))
    return png.SIGNATURE + chunk(b"IHDR", head) + palette + pixels + chunk(b"IEND", b"")


def lines_of(width: int, height: int, bits_per_pixel: int) -> int:
    """The plain reference: every line by itself."""
    return sum(1 + (width * bits_per_pixel + 7) // 8 for _ in range(height)) if width else 0


def interlaced_bytes(width: int, height: int, bits_per_pixel: int) -> int:
    """The plain reference: every pixel asked which pass it is in, as the specification draws it."""
    pattern = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
    total = 0
    for number in "1234567":
        lines = [sum(pattern[y % 8][x % 8] == number for x in range(width)) for y in range(height)]
        total += sum(1 + (columns * bits_per_pixel + 7) // 8 for columns in lines if columns)
    return total


@pytest.fixture(autouse=True)
def look_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "_NOT_WORTH_A_LOOK", -(1 << 60))


@pytest.mark.parametrize("is_interlaced", [False, True])
@pytest.mark.parametrize(("color", "samples", "bits"), _KINDS)
def test_one_byte_too_many_is_found(color: int, samples: int, bits: int, is_interlaced: bool) -> None:
    for width, height in [(1, 1), (1, 9), (2, 3), (5, 1), (8, 8), (13, 21), (64, 3)]:
        count = interlaced_bytes if is_interlaced else lines_of
        num = count(width, height, samples * bits)
        form = {"width": width, "height": height, "color": color, "bits": bits, "interlaced": is_interlaced}
        for surplus, is_found in [(0, False), (1, True), (100_000, True)]:
            encoded = made(bytes(num + surplus), **form)  # type: ignore[arg-type]
            assert png.has_surplus(encoded) is is_found, (form, surplus)


def test_chunks_of_any_length_are_one_stream() -> None:
    for cuts in (1, 2, 7, 40):
        assert not png.has_surplus(made(bytes(65), width=64, height=1, color=0, bits=8, cuts=cuts))
        assert png.has_surplus(made(bytes(66), width=64, height=1, color=0, bits=8, cuts=cuts))


@pytest.mark.parametrize("seed", range(5))
def test_what_encoders_write_has_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 200, 2)
    for channels in (1, 3, 4):
        pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
        assert not png.has_surplus(cv2.imencode(".png", pixels)[1].tobytes())
        deep = rng.integers(0, 65536, (height, width, channels), np.uint16)
        assert not png.has_surplus(cv2.imencode(".png", deep)[1].tobytes())
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        buffer = io.BytesIO()
        Image.new(mode, (int(width), int(height))).save(buffer, "PNG")
        assert not png.has_surplus(buffer.getvalue()), mode


def test_damage_is_left_to_the_decoder() -> None:
    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    encoded = png.SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", b"no zlib") + chunk(b"IEND", b"")
    assert not png.has_surplus(encoded)


def test_strangers_are_refused_and_ones_own_pictures_are_not() -> None:
    encoded = made(bytes(8 * 9 + 1), width=8, height=8, color=0, bits=8)
    assert decode(encoded, channels=1).shape == (8, 8, 1)
    with pytest.raises(ImageError, match="holds more data than its pixels"):
        decode(encoded, channels=1, is_trusted=False)


def test_little_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    encoded = made(bytes(8 * 9 + 1), width=8, height=8, color=0, bits=8)
    assert not png.has_surplus(encoded)
    assert png.has_surplus(made(bytes(40 << 20), width=8, height=8, color=0, bits=8))
