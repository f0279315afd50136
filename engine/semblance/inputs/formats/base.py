"""What a header says, and the way a parser says that it is damaged.

In: nothing. Out: `Header`, which every parser fills in, and `MOST_PARTS`. A parser takes all bytes of a file, looks at
no place outside them, and ends: `struct.unpack_from` raises where the bytes end, and loops count their steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MOST_PARTS = 100_000  # segments, chunks or boxes of one file; honest ones have a few, or one per 8 KiB


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header declares. Sizes are those of the stored pixels, before they are turned."""

    format: str  # as people write it
    height: int
    width: int
    color: Literal["grey", "rgb", "palette", "cmyk"]
    bits: int = 8  # per sample
    alpha: Literal["none", "straight", "premultiplied"] = "none"  # as OpenCV hands the colours over
    transparent_grey: int | None = None  # of a grey PNG: the one value, as OpenCV decodes it, that is transparent
    orientation: int = 1  # as EXIF numbers them, 1-8
    is_animated: bool = False
    has_adobe_marker: bool = False  # of a JPEG: its CMYK is stored inverted
