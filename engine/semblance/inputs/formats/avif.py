"""AVIF: size, bits, alpha and orientation of its primary picture, from the properties in its boxes.

In: the bytes of a file. Out: its `Header`. Boxes lie in boxes, each with its length; a property belongs to the pictures
that `ipma` names. Turns and mirrors are properties too; EXIF inside an AVIF only repeats them.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

from semblance.errors import ImageError
from semblance.inputs.formats.base import MOST_PARTS, Header

BRANDS = (b"avif", b"avis")
_Box = tuple[bytes, int, int]  # kind, start and end of its content

# Quarter turns anticlockwise, then mirrored: not, top to bottom (0), left to right (1)
_ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6, (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def is_avif(encoded: bytes) -> bool:
    """Whether it begins with the box that names the format, and that names AVIF."""
    if encoded[4:8] != b"ftyp":
        return False
    (length,) = unpack_from(">I", encoded)
    return any(encoded[at : at + 4] in BRANDS for at in (8, *range(16, min(length, 256, len(encoded)) - 3, 4)))


def read(encoded: bytes) -> Header:
    """The header of an AVIF. Raises ImageError or struct.error where it is damaged or cut short."""
    boxes: list[_Box] = []
    wanted = {b"meta", b"mdat"}
    for box in _boxes(encoded, 0, len(encoded)):
        boxes.append(box)
        wanted.discard(box[0])
        if not wanted:  # what follows need not be boxes
            break
    _, start, end = _only(boxes, b"meta")
    inside = list(_boxes(encoded, start + 4, end))
    primary = _primary(encoded, _only(inside, b"pitm"))
    properties = _only(inside, b"iprp")
    parts = list(_boxes(encoded, *properties[1:]))
    listed = list(_boxes(encoded, *_only(parts, b"ipco")[1:]))
    numbers = [each for part in parts if part[0] == b"ipma" for each in _numbers_of(encoded, part, primary)]
    own = [listed[number - 1] for number in numbers if 0 < number <= len(listed)]
    _, start, _ = _only(own, b"ispe")
    width, height = unpack_from(">4xII", encoded, start)
    bits, is_grey, turn, mirror = 8, False, 0, None
    for kind, start, _ in own:
        if kind == b"av1C":
            packed = encoded[start + 2]  # seq_tier, high_bitdepth, twelve_bit, monochrome, ...
            bits, is_grey = (12 if packed & 0x20 else 10) if packed & 0x40 else 8, bool(packed & 0x10)
        elif kind == b"irot":
            turn = encoded[start] & 3
        elif kind == b"imir":
            mirror = encoded[start] & 1
    has_alpha = any(b"auxid:1\0" in encoded[s:e] or b":alpha\0" in encoded[s:e] for k, s, e in listed if k == b"auxC")
    return Header(
        "AVIF", height, width, "grey" if is_grey else "rgb", bits, "straight" if has_alpha else "none",
        orientation=_ORIENTATIONS[turn, mirror], is_animated=encoded[8:12] == b"avis",
    )  # fmt: skip


def _boxes(encoded: bytes, start: int, end: int) -> Iterator[_Box]:
    for _ in range(MOST_PARTS):
        if start >= end:
            return
        length, kind = unpack_from(">I4s", encoded, start)
        content = start + 8
        if length == 1:
            (length,) = unpack_from(">Q", encoded, content)
            content += 8
        following = start + length if length else end  # 0: to the end
        if following > end:
            raise ImageError("cut short: a box goes beyond its end")
        if following < content:
            raise ImageError("damaged: a box that is shorter than its own length")
        yield kind, content, following
        start = following
    raise ImageError(f"damaged: more than {MOST_PARTS:,} boxes")


def _only(boxes: list[_Box], kind: bytes) -> _Box:
    found = [box for box in boxes if box[0] == kind]
    if len(found) != 1:
        raise ImageError(f"damaged: {len(found)} boxes {kind.decode()} where one is due")
    return found[0]


def _primary(encoded: bytes, box: _Box) -> int:
    _, start, _ = box
    (item,) = unpack_from(">I" if encoded[start] else ">H", encoded, start + 4)
    return int(item)


def _numbers_of(encoded: bytes, box: _Box, item: int) -> Iterator[int]:
    """The numbers, from 1, of the properties that belong to `item`."""
    _, start, _ = box
    version, flags, count = unpack_from(">B2xBI", encoded, start)
    position = start + 8
    item_form, number_form, bits = ">I" if version else ">H", ">H" if flags & 1 else ">B", 15 if flags & 1 else 7
    for _ in range(min(count, MOST_PARTS)):
        (found,) = unpack_from(item_form, encoded, position)
        position += 4 if version else 2
        num_numbers = encoded[position]
        position += 1
        for _ in range(num_numbers):
            (number,) = unpack_from(number_form, encoded, position)  # its highest bit: must be understood
            position += 2 if flags & 1 else 1
            if found == item:
                yield number & ((1 << bits) - 1)
