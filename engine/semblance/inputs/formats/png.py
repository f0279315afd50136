"""PNG: its size and colours, transparency, orientation, and whether all that makes its pixels is there and unharmed.

In: the bytes of a file. Out: its `Header`, and the same file with only the chunks that make its pixels. Checksums and
the fields of the header are looked at here, because libpng writes its complaints to stderr; and the rest is left out
for the same reason, which also makes an animated PNG the still picture that it shows elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import unpack_from
from typing import Literal

from semblance.errors import ImageError
from semblance.inputs.formats.base import MOST_PARTS, Header
from semblance.inputs.formats.tiff import exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_MAY_BE_IGNORED = 0x20  # of the first byte of a chunk's name: it is a small letter
_COLORS: dict[int, Literal["grey", "rgb", "palette"]] = {0: "grey", 2: "rgb", 3: "palette", 4: "grey", 6: "rgb"}
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by the colours' number

_MOST_INFLATED = 1032  # bytes that one byte of deflate may become (https://zlib.net/zlib_tech.html)
_NOT_WORTH_A_LOOK = 16 << 20  # bytes, inflated in hundredths of a second
_INFLATED_AT_ONCE = 1 << 16
# the passes of an interlaced picture: first column and line, and how far apart the next are (PNG, 8.1)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def read(encoded: bytes) -> Header:
    """The header of a PNG. Raises ImageError or struct.error where it is damaged or cut short."""
    kinds = set()
    orientation, transparent_grey = 1, None
    width, height, bits, color_type = _fields(encoded)
    view = memoryview(encoded)
    for kind, start, end in _chunks(encoded):
        kinds.add(kind)
        if kind in _PIXELS and zlib.crc32(view[start + 4 : end - 4]) != unpack_from(">I", encoded, end - 4)[0]:
            raise ImageError(f"damaged: the checksum of {kind.decode()} is not that of its content")
        if kind not in _PIXELS and not kind[0] & _MAY_BE_IGNORED:
            raise ImageError(f"damaged: a chunk {kind.decode('latin-1')!r} that must be understood")
        if kind == b"eXIf":
            orientation = exif_orientation(encoded[start + 8 : end - 4])
        elif kind == b"tRNS" and color_type == 0 and end - start >= 14:
            (sample,) = unpack_from(">H", encoded, start + 8)
            most = (1 << bits) - 1
            transparent_grey = (sample & most) * (255 // most if most < 255 else 1)  # OpenCV scales up to 8 bits
    if b"IDAT" not in kinds:
        raise ImageError("damaged: it has no pixels")
    if color_type == 3 and b"PLTE" not in kinds:
        raise ImageError("damaged: it has no palette")
    has_alpha = color_type >= 4 or (b"tRNS" in kinds and color_type != 0)
    return Header(
        "PNG", height, width, _COLORS[color_type], bits, "straight" if has_alpha else "none",
        orientation=orientation, transparent_grey=transparent_grey, is_animated=b"acTL" in kinds,
    )  # fmt: skip


def only_pixels(encoded: bytes) -> bytes:
    """The file without the chunks that do not make its pixels: text, colour profiles, times, further frames."""
    wanted = _PIXELS - {b"tRNS"} if _is_grey(encoded) else _PIXELS  # of a grey picture OpenCV ignores it
    chunks = list(_chunks(encoded))
    if all(kind in wanted for kind, _, _ in chunks):
        return encoded
    return SIGNATURE + b"".join(encoded[start:end] for kind, start, end in chunks if kind in wanted)


def has_surplus(encoded: bytes) -> bool:
    """Whether its compressed data hold more than its pixels, which a decoder inflates to its end, in vain.

    390 KB may hold 400 MB of it, a second of a processor's time. It is inflated here to the end of the pixels, a piece
    at a time, so to know takes about half as long as to decode. What little cannot hold much is not looked at.
    """
    chunks = [(start + 8, end - 4) for kind, start, end in _chunks(encoded) if kind == b"IDAT"]
    left = _num_raw_bytes(encoded)
    if sum(end - start for start, end in chunks) * _MOST_INFLATED <= left + _NOT_WORTH_A_LOOK:
        return False
    view, stream = memoryview(encoded), zlib.decompressobj()
    try:
        for start, end in chunks:
            for first in range(start, end, _INFLATED_AT_ONCE):
                piece: bytes | memoryview = view[first : min(end, first + _INFLATED_AT_ONCE)]
                while len(piece) and not stream.eof:
                    left -= len(stream.decompress(piece, _INFLATED_AT_ONCE))
                    if left < 0:
                        return True
                    piece = stream.unconsumed_tail
    except zlib.error:  # which the decoder says
        pass
    return False


def _num_raw_bytes(encoded: bytes) -> int:
    """How many bytes its pixels are before they are compressed: a filter's number and the samples of each line."""
    width, height, bits, color_type = _fields(encoded)
    bits_per_pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    passes = _ADAM7 if encoded[28] else ((0, 0, 1, 1),)
    total = 0
    for x, y, step_x, step_y in passes:
        columns, lines = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and lines > 0:
            total += lines * (1 + -(-columns * bits_per_pixel // 8))
    return total


def _fields(encoded: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits a sample and the number of its colours, of a header that a decoder understands."""
    width, height, bits, color_type, compression, filters, interlace = unpack_from(">IIBBBBB", encoded, 16)
    if bits not in _BITS.get(color_type, ()):
        raise ImageError(f"damaged: {bits} bits a sample in colours of type {color_type}")
    if compression or filters or interlace > 1:
        raise ImageError(f"damaged: compression {compression}, filter {filters}, interlace {interlace}")
    return width, height, bits, color_type


def _is_grey(encoded: bytes) -> bool:
    return encoded[25] == 0


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk, from IHDR to IEND."""
    start = len(SIGNATURE)
    for number in range(MOST_PARTS):
        length, kind = unpack_from(">I4s", encoded, start)
        end = start + 12 + length
        if end > len(encoded):
            raise ImageError(f"cut short: it ends {end - len(encoded):,} bytes before its chunk does")
        if number == 0 and (kind != b"IHDR" or length != 13):
            raise ImageError("damaged: it does not begin with its header")
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end
    raise ImageError(f"damaged: more than {MOST_PARTS:,} chunks")
