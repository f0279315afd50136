"""GIF: the size of its screen, and whether its blocks come to their end.

In: the bytes of a file. Out: its `Header`. Frames are counted to tell an animation; which frame is transparent does
not matter here, since alpha is asked for anyway.
"""

from __future__ import annotations

from struct import unpack_from

from semblance.errors import ImageError
from semblance.inputs.formats.base import Header

SIGNATURES = (b"GIF87a", b"GIF89a")
_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B
_MOST_BLOCKS = 2_000_000  # of at most 255 bytes: 500 MB


def read(encoded: bytes) -> Header:
    """The header of a GIF. Raises ImageError or struct.error where it is damaged or cut short."""
    width, height, packed = unpack_from("<HHB", encoded, 6)
    position = 13 + _palette_bytes(packed)
    num_frames = num_blocks = 0
    while True:
        (kind,) = unpack_from("B", encoded, position)
        if kind == _TRAILER:
            break
        if kind == _FRAME:
            num_frames += 1
            left, top, columns, rows, packed = unpack_from("<HHHHB", encoded, position + 1)
            if num_frames == 1 and (left + columns > width or top + rows > height):
                raise ImageError("damaged: its first frame is larger than its screen")
            position += 10 + _palette_bytes(packed) + 1  # and the size of LZW's codes
        elif kind == _EXTENSION:
            position += 2
        else:
            raise ImageError("damaged: a block of no known kind")
        while True:
            (size,) = unpack_from("B", encoded, position)
            position += 1 + size
            num_blocks += 1
            if not size:
                break
            if num_blocks > _MOST_BLOCKS:
                raise ImageError(f"damaged: more than {_MOST_BLOCKS:,} blocks")
    if not num_frames:
        raise ImageError("damaged: it has no pixels")
    return Header("GIF", height, width, "palette", alpha="straight", is_animated=num_frames > 1)


def _palette_bytes(packed: int) -> int:
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0
