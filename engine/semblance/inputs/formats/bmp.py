"""BMP: its size, bits and alpha, in any of its headers, and whether its rows are there.

In: the bytes of a file. Out: its `Header`. Alpha counts only where a header has a mask for it: without one the fourth
byte of a pixel is filling, most often zero, and would make the picture vanish. Masks behind a short header OpenCV does
not look at, so those of another order than usual are refused.
"""

from __future__ import annotations

from struct import unpack_from

from semblance.errors import ImageError
from semblance.inputs.formats.base import Header

SIGNATURE = b"BM"
_CORE, _INFO, _WITH_ALPHA_MASK = 12, 40, 56  # bytes of a header
_PLAIN, _MASKS = 0, 3  # compressions whose rows have a fixed length; 1 and 2 are run lengths
_USUAL, _GREEN_OF_6 = (0xFF0000, 0xFF00, 0xFF), 0x7E0


def read(encoded: bytes) -> Header:
    """The header of a BMP. Raises ImageError or struct.error where it is damaged or cut short."""
    start, header_bytes = unpack_from("<II", encoded, 10)
    compression = size = 0
    if header_bytes == _CORE:
        width, height, bits = unpack_from("<HH2xH", encoded, 18)
    elif header_bytes >= _INFO:
        width, height, bits, compression, size = unpack_from("<ii2xHII", encoded, 18)
    else:
        raise ImageError(f"damaged: a header of {header_bytes} bytes")
    height = abs(height)  # negative: from the top down
    if bits not in (1, 4, 8, 16, 24, 32) or compression > _MASKS:
        raise ImageError(f"of {bits} bits a pixel and compression {compression}; convert it to PNG first")
    if start < 14 + header_bytes:
        raise ImageError("damaged: its pixels lie in its header")
    if width > 0 and compression in (_PLAIN, _MASKS):
        size = (width * bits + 31) // 32 * 4 * height
    if start + size > len(encoded):
        raise ImageError(f"cut short: {len(encoded):,} bytes of {start + size:,}")
    masks = unpack_from("<III", encoded, 54) if compression == _MASKS else _USUAL
    if bits == 32 and header_bytes < _WITH_ALPHA_MASK and masks != _USUAL:
        raise ImageError("of colours in an unusual order; convert it to PNG first")
    has_alpha = bits == 32 and compression == _MASKS and header_bytes >= _WITH_ALPHA_MASK
    has_alpha = has_alpha and unpack_from("<I", encoded, 66)[0] != 0
    sample_bits = (6 if masks[1] == _GREEN_OF_6 else 5) if bits == 16 else 8
    return Header(
        "BMP", height, width, "palette" if bits <= 8 else "rgb", sample_bits, "straight" if has_alpha else "none"
    )
