"""What a header says, and the way a parser says that it is damaged.

In: nothing. Out: `Header`, which every parser fills in, and `MOST_PARTS`. A parser takes all bytes of a file, looks at
no place outside them, and ends: `struct.unpack_from` raises where the bytes end, and loops count their steps.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

MOST_PARTS = 100_000  # segments, chunks or boxes of one file; honest ones have a few, or one per 8 KiB


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header declares. Sizes are those of the stored pixels, before they are turned."""

    format: str  # as people write it
    height: int
    width: int
    color: Literal["grey", "rgb", "palette", "cmyk"]
    bits: int = 8  # per sample, after a palette is looked up; 5 or, with 6 for green, 6 of a BMP of 16 bits a pixel
    alpha: Literal["none", "straight", "premultiplied"] = "none"  # as OpenCV hands the colours over
    _: KW_ONLY  # what follows is mostly whole numbers, which would be taken for one another
    transparent_grey: int | None = None  # of a grey PNG: the one value, as OpenCV decodes it, that is transparent
    orientation: int = 1  # as EXIF numbers them, 1-8
    is_animated: bool = False
    has_adobe_marker: bool = False  # of a JPEG: its CMYK is stored inverted
    has_luminance: bool = False  # of a JPEG in colour: stored as YCbCr, and so with a grey picture of its own

    @property
    def weight(self) -> int:
        """How many pixels of 8-bit RGB one of these counts for, by the memory that decoders take for it."""
        is_deep = self.bits > 8 and (self.color != "grey" or self.alpha != "none")
        is_costly = (self.format, self.color) == ("JPEG", "cmyk") or (self.format, self.is_animated) == ("WebP", True)
        return 2 if is_deep or is_costly or self.format == "AVIF" else 1
