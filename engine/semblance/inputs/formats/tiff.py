"""TIFF, and the orientation in EXIF, which is a TIFF without pixels.

In: the bytes of a file, or of an EXIF block. Out: its `Header`, or the orientation. Only the first of a file's pictures
counts. TIFF is a family of formats; those that OpenCV would show wrongly are refused here by name.
"""

from __future__ import annotations

from struct import calcsize, error, unpack_from

from semblance.errors import ImageError
from semblance.inputs.formats.base import MOST_PARTS, Header

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian; with + of 64-bit offsets

_FORMS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # field types that hold whole numbers
_WIDTH, _HEIGHT, _BITS, _COLOR, _ORIENTATION, _SAMPLES, _PLANES = 256, 257, 258, 262, 274, 277, 284
_STRIPS, _TILE_SIZE, _TILES, _EXTRA, _SAMPLE_FORMAT = (273, 279), (322, 323), (324, 325), 338, 339
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_WANTED = frozenset({_WIDTH, _HEIGHT, _BITS, _COLOR, _ORIENTATION, _SAMPLES, _PLANES, _EXTRA, _SAMPLE_FORMAT})
_WANTED |= {*_STRIPS, *_TILE_SIZE, *_TILES}
_ONLY_ORIENTATION = frozenset({_ORIENTATION})
_MOST_VALUES = 1_000_000  # of one field: a strip for each row of a very high picture
_MOST_TILE = 4096  # pixels a side; a tile is decoded whole, however small the picture is


def exif_orientation(block: bytes) -> int:
    """The orientation, 1-8, that an EXIF block holds; 1 where there is none or the block is damaged."""
    try:
        (value,) = _fields(block.removeprefix(b"Exif\0\0"), _ONLY_ORIENTATION).get(_ORIENTATION, (1,))
    except (error, ValueError):  # ImageError is one
        return 1
    return value if 1 <= value <= 8 else 1


def read(encoded: bytes) -> Header:
    """The header of a TIFF. Raises ImageError or struct.error where it is damaged, cut short or of a kind not read."""
    fields = _fields(encoded)
    if not {_WIDTH, _HEIGHT, _COLOR} <= fields.keys():
        raise ImageError("damaged: its size or its colours are not declared")
    height, width, color, samples = (_one(fields, field, 1) for field in (_HEIGHT, _WIDTH, _COLOR, _SAMPLES))
    bits = max(fields.get(_BITS, (1,)))
    extra = _one(fields, _EXTRA, 0)
    _check_kind(color, samples, bits, extra, fields)
    _check_whole(encoded, fields)
    if any(side > max(_MOST_TILE, height, width) for field in _TILE_SIZE for side in fields.get(field, ())):
        raise ImageError("damaged: its tiles are far larger than the picture")
    orientation = _one(fields, _ORIENTATION, 1)
    has_alpha = extra in (1, 2)
    # libtiff hands 8-bit colours over as multiplied by alpha, whatever the file says; 16 bits as they are stored
    is_premultiplied = has_alpha and (bits == 8 or extra == 1)
    return Header(
        "TIFF", height, width,
        "cmyk" if color == _CMYK else "palette" if color == _PALETTE else "grey" if samples <= 2 else "rgb",
        bits,
        "premultiplied" if is_premultiplied else "straight" if has_alpha else "none",
        orientation=orientation if 1 <= orientation <= 8 else 1,
    )  # fmt: skip


def _check_kind(color: int, samples: int, bits: int, extra: int, fields: dict[int, tuple[int, ...]]) -> None:
    if set(fields.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise ImageError("of pixels that are signed or floating-point; expected unsigned ones; convert it to PNG first")
    if bits not in (1, 8, 16):
        raise ImageError(f"of {bits} bits a sample; expected 1, 8 or 16; convert it to PNG first")
    if extra in (1, 2) and (color, samples) != (_RGB, 4):
        raise ImageError("of alpha with other than RGB; convert it to PNG first")
    is_plain = (color, samples) in ((_BLACK_IS_ZERO, 1), (_RGB, 3), (_RGB, 4)) and _one(fields, _PLANES, 1) == 1
    if bits == 16 and not is_plain:
        raise ImageError("of 16 bits in other than plain grey, RGB or RGBA; convert it to PNG first")


def _check_whole(encoded: bytes, fields: dict[int, tuple[int, ...]]) -> None:
    """That the pixels' strips or tiles lie inside the file."""
    starts, lengths = next(((fields[a], fields[b]) for a, b in (_STRIPS, _TILES) if {a, b} <= fields.keys()), ((), ()))
    if not starts or len(starts) != len(lengths):
        raise ImageError("damaged: where its pixels lie is not declared")
    if max(map(int.__add__, starts, lengths)) > len(encoded):
        raise ImageError("cut short: its pixels lie beyond its end")


def _one(fields: dict[int, tuple[int, ...]], field: int, default: int) -> int:
    return fields.get(field, (default,))[0]


def _fields(encoded: bytes, wanted: frozenset[int] = _WANTED) -> dict[int, tuple[int, ...]]:
    """The whole numbers in the `wanted` fields of the first directory, by field."""
    if not encoded.startswith(SIGNATURES):
        raise ImageError("damaged: it does not begin as a TIFF")
    order = "<" if encoded[:1] == b"I" else ">"
    is_big = b"+" in encoded[2:4]
    offset, count, entry, step = ("Q", "Q", "HHQ", 20) if is_big else ("I", "H", "HHI", 12)
    entry, room = order + entry, step - calcsize(f"<{entry}")
    (start,) = unpack_from(order + offset, encoded, 8 if is_big else 4)
    if start > len(encoded):  # of numbers beyond 63 bits struct says another error
        raise ImageError("cut short: its directory lies beyond its end")
    (num_fields,) = unpack_from(order + count, encoded, start)
    start += calcsize(f"<{count}")
    if num_fields > MOST_PARTS or start + num_fields * step > len(encoded):
        raise ImageError("cut short: its directory goes beyond its end")
    fields: dict[int, tuple[int, ...]] = {}
    for at in range(start, start + num_fields * step, step):
        field, kind, num_values = unpack_from(entry, encoded, at)
        if kind not in _FORMS or field not in wanted or not num_values or field in fields:
            continue
        size = num_values * calcsize(_FORMS[kind])
        place = at + step - room
        if size > room:
            (place,) = unpack_from(order + offset, encoded, place)
        if place + size > len(encoded):
            raise ImageError("cut short: a field of its directory lies beyond its end")
        if num_values > _MOST_VALUES:
            raise ImageError(f"damaged: a field of more than {_MOST_VALUES:,} numbers")
        fields[field] = unpack_from(f"{order}{num_values}{_FORMS[kind]}", encoded, place)
    return fields
