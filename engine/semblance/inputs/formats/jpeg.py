"""JPEG: the frame's size, EXIF orientation, Adobe's marker, how its colours are stored, and whether its end is there.

In: the bytes of a file. Out: its `Header`, and the same file without its notes. A JPEG without its end decodes to a
picture that is half grey, so all markers are walked to the end of the image; not to the end of the file, since cameras
put more behind it, nor to the first bytes that look like an end, since the thumbnail inside EXIF has one too.
"""

from __future__ import annotations

import re
from struct import unpack_from
from typing import Literal

from semblance.errors import ImageError
from semblance.inputs.formats.base import MOST_PARTS, Header
from semblance.inputs.formats.tiff import exif_orientation

SIGNATURE = b"\xff\xd8\xff"

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # no stuffed zero, restart or fill byte: those stand amid pixels
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15; not DHT, JPG, DAC
_START, _END, _SCAN, _JFIF, _EXIF, _ADOBE = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # frames of the codes that nearly all files have
_NOTES = frozenset((*range(0xE0, 0xF0), 0xFE))  # APP0-15, and comments
_MOST_SCANS = 100  # each is a walk over the whole picture, for a few bytes; honest files have no more than about 20
_MOST_PIXELS_PER_BYTE = 1024  # Huffman's codes are of a bit or more, and each block of 64 pixels has one or two of them
_COLORS: dict[int, Literal["grey", "rgb", "cmyk"]] = {1: "grey", 3: "rgb", 4: "cmyk"}


def read(encoded: bytes) -> Header:
    """The header of a JPEG. Raises ImageError or struct.error where it is damaged or cut short."""
    frame: tuple[int, int, int, int] | None = None
    orientation, has_adobe_marker, has_huffman, num_scans = 1, False, False, 0
    has_jfif, transform, components = False, None, b""
    position = len(SIGNATURE) - 1
    for _ in range(MOST_PARTS):
        found = _MARKER.search(encoded, position)
        if found is None:
            raise ImageError("cut short: it has no end of image")
        position = found.end()
        marker = encoded[position - 1]
        if marker == _END:
            break
        if marker in (0x01, _START):  # no more than a marker
            continue
        (length,) = unpack_from(">H", encoded, position)
        if length < 2:
            raise ImageError("damaged: a segment that is shorter than its own length")
        if marker in _FRAMES:
            if frame:
                raise ImageError("damaged: it declares two sizes")
            frame, has_huffman = unpack_from(">BHHB", encoded, position + 2), marker in _HUFFMAN
            components = encoded[position + 8 : position + length : 3]
        elif marker == _JFIF and length >= 16 and encoded.startswith(b"JFIF\0", position + 2):
            has_jfif = True
        elif marker == _EXIF and orientation == 1 and encoded.startswith(b"Exif\0\0", position + 2):
            orientation = exif_orientation(encoded[position + 8 : position + length])
        elif marker == _ADOBE and encoded.startswith(b"Adobe", position + 2):
            has_adobe_marker = True
            transform = encoded[position + 13] if length >= 14 else transform
        elif marker == _SCAN:
            num_scans += 1
        position += length
    else:
        raise ImageError(f"damaged: more than {MOST_PARTS:,} segments")
    if frame is None or not num_scans:
        raise ImageError("damaged: it ends before its pixels")
    if num_scans > _MOST_SCANS:
        raise ImageError(f"damaged: {num_scans:,} scans")
    bits, height, width, num_components = frame
    if num_components not in _COLORS:
        raise ImageError(f"of {num_components} components; expected 1 (grey), 3 (colour) or 4 (CMYK)")
    if bits != 8:
        raise ImageError(f"of {bits} bits a sample; expected 8; convert it to PNG first")
    if has_huffman and height * width > len(encoded) * _MOST_PIXELS_PER_BYTE:
        raise ImageError(f"damaged: {height:,} x {width:,} pixels in {len(encoded):,} bytes")
    return Header(
        "JPEG", height, width, _COLORS[num_components], bits,
        orientation=orientation, has_adobe_marker=has_adobe_marker,
        has_luminance=num_components == 3 and (has_jfif or not _is_rgb(transform, components)),
    )  # fmt: skip


def _is_rgb(transform: int | None, components: bytes) -> bool:
    """Of three components that JFIF says nothing of, as libjpeg takes them: by Adobe's marker, else by their names."""
    return components == b"RGB" if transform is None else transform == 0


def without_notes(encoded: bytes) -> bytes:
    """A JPEG that `read` took without what its APPn segments and comments say before its pixels."""
    kept, position = [SIGNATURE[:2]], 2
    while True:
        found = _MARKER.search(encoded, position)
        assert found is not None  # `read` came to the end
        marker = encoded[found.end() - 1]
        if marker == _SCAN:
            return b"".join((*kept, encoded[found.start() :]))
        start, position = found.start(), found.end()
        if marker not in (0x01, _START):
            position += unpack_from(">H", encoded, position)[0]
        if marker not in _NOTES:
            kept.append(encoded[start:position])
