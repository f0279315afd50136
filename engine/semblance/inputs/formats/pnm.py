"""PBM, PGM and PPM: a few words of text before the pixels.

In: the bytes of a file. Out: its `Header`, and the bytes as OpenCV wants them. It takes samples as they are, so a file
whose largest sample is neither 255 nor 65535 would come out too dark, and is refused.
"""

from __future__ import annotations

import re

from semblance.errors import ImageError
from semblance.inputs.formats.base import Header

SIGNATURES = tuple(b"P%d%c" % (number, space) for number in range(1, 7) for space in b" \t\r\n#")

_MOST_HEADER = 4096
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"  # a comment lasts to the end of its line
_HEADER = re.compile(rb"P([1-6])" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})(?:" + _SPACE + rb"(\d{1,9}))?\s")


def read(encoded: bytes) -> Header:
    """The header of a PBM, PGM or PPM. Raises ImageError where it is damaged, cut short or of a kind not read."""
    found = _HEADER.match(encoded[:_MOST_HEADER])
    if found is None:
        raise ImageError("damaged: its size cannot be read")
    kind, width, height = (int(each) for each in found.groups()[:3])
    is_bitmap = kind in (1, 4)
    most = 255 if is_bitmap else int(found[4] or 0)
    if most not in (255, 65535):
        raise ImageError(f"of samples up to {most}; expected 255 or 65535; convert it to PNG first")
    num_samples = height * width * (3 if kind in (3, 6) else 1)
    row_bytes = (width + 7) // 8
    needed = row_bytes * height if kind == 4 else num_samples * (2 if most > 255 and kind > 4 else 1)
    if found.end() + needed > len(encoded) and kind > 3:
        raise ImageError(f"cut short: {len(encoded) - found.end():,} bytes of pixels, of {needed:,}")
    return Header("PNM", height, width, "rgb" if kind in (3, 6) else "grey", 16 if most > 255 else 8)


def with_end_of_line(encoded: bytes) -> bytes:
    """The file with a space behind its last number where it is written in words, which OpenCV reads no further than."""
    return encoded + b"\n" if encoded[1:2] in b"123" else encoded
