"""BMP: its size, bits and alpha, in any of its headers, and whether its rows are there.

In: the bytes of a file. Out: its `Header`. Alpha counts only where a header has a mask for it: without one the fourth
byte of a pixel is filling, most often zero, and would make the picture vanish.
"""

from __future__ import annotations

from struct import unpack_from

from semblance.errors import ImageError
from semblance.inputs.formats.base import Header

SIGNATURE = b"BM"
_CORE, _INFO, _WITH_ALPHA_MASK = 12, 40, 56  # bytes of a header
_PLAIN, _MASKS = 0, 3  # compressions whose rows have a fixed length; 1 and 2 are run lengths


def read(encoded: bytes) -> Header:
    """The header of a BMP. Raises ImageError or struct.error where it is damaged or cut short."""
    start, header_bytes = unpack_from("<II", encoded, 10)
    compression = _PLAIN
    if header_bytes == _CORE:
        width, height, bits = unpack_from("<HH2xH", encoded, 18)
    elif header_bytes >= _INFO:
        width, height, bits, compression = unpack_from("<ii2xHI", encoded, 18)
    else:
        raise ImageError(f"damaged: a header of {header_bytes} bytes")
    height = abs(height)  # negative: from the top down
    if bits not in (1, 4, 8, 16, 24, 32) or compression > _MASKS:
        raise ImageError(f"of {bits} bits a pixel and compression {compression}; convert it to PNG first")
    if width > 0 and compression in (_PLAIN, _MASKS):
        row_bytes = (width * bits + 31) // 32 * 4
        if start + row_bytes * height > len(encoded):
            raise ImageError(f"cut short: {len(encoded):,} bytes of {start + row_bytes * height:,}")
    has_alpha = bits == 32 and compression == _MASKS and header_bytes >= _WITH_ALPHA_MASK
    has_alpha = has_alpha and unpack_from("<I", encoded, 66)[0] != 0
    return Header("BMP", height, width, "palette" if bits <= 8 else "rgb", alpha="straight" if has_alpha else "none")
