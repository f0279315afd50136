"""WebP: its size, alpha and orientation, from the first chunk and the EXIF one.

In: the bytes of a file. Out: its `Header`. A simple file begins with its pixels (VP8, or VP8L without loss), an
extended one (VP8X) with its canvas.
"""

from __future__ import annotations

from struct import unpack_from

from semblance.errors import ImageError
from semblance.inputs.formats.base import MOST_PARTS, Header
from semblance.inputs.formats.tiff import exif_orientation

SIGNATURE = b"RIFF"
_ANIMATION, _EXIF, _ALPHA = 0x02, 0x08, 0x10  # flags of VP8X


def read(encoded: bytes) -> Header:
    """The header of a WebP. Raises ImageError or struct.error where it is damaged or cut short."""
    (size, _, kind) = unpack_from("<I4s4s", encoded, 4)
    if 8 + size > len(encoded):
        raise ImageError(f"cut short: {len(encoded):,} bytes of {8 + size:,}")
    if kind == b"VP8X":
        (flags, w0, w1, w2, h0, h1, h2) = unpack_from("<B3x6B", encoded, 20)
        orientation = exif_orientation(_chunk(encoded, b"EXIF")) if flags & _EXIF else 1
        return Header(
            "WebP", 1 + h0 + (h1 << 8) + (h2 << 16), 1 + w0 + (w1 << 8) + (w2 << 16), "rgb",
            alpha="straight" if flags & _ALPHA else "none", orientation=orientation,
            is_animated=bool(flags & _ANIMATION),
        )  # fmt: skip
    if kind == b"VP8L":
        (mark, packed) = unpack_from("<BI", encoded, 20)
        if mark != 0x2F:
            raise ImageError("damaged: its pixels do not begin as they should")
        alpha = packed >> 28 & 1
        return Header(
            "WebP", 1 + (packed >> 14 & 0x3FFF), 1 + (packed & 0x3FFF), "rgb", alpha="straight" if alpha else "none"
        )
    if kind == b"VP8 ":
        (start, width, height) = unpack_from("<3x3sHH", encoded, 20)
        if start != b"\x9d\x01\x2a":
            raise ImageError("damaged: its pixels do not begin as they should")
        return Header("WebP", height & 0x3FFF, width & 0x3FFF, "rgb")
    raise ImageError("damaged: it does not begin with pixels or a canvas")


def _chunk(encoded: bytes, wanted: bytes) -> bytes:
    """The content of the first chunk of that name, or b""."""
    start = 12
    for _ in range(MOST_PARTS):
        if start + 8 > len(encoded):
            return b""
        (kind, size) = unpack_from("<4sI", encoded, start)
        if kind == wanted:
            return encoded[start + 8 : start + 8 + size]
        start += 8 + size + size % 2
    raise ImageError(f"damaged: more than {MOST_PARTS:,} chunks")
