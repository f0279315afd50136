"""Lines of text on a picture, of a width that is known before: text in, pixels changed.

OpenCV 5 brings a TrueType font; OpenCV 4 has only stroked ASCII letters, which stand in for it.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]  # RGB

INK: Color = (33, 37, 41)
FAINT: Color = (120, 126, 132)

_KEPT_AT_THE_END = 7  # characters: a distance or a file's suffix survives shortening


@functools.cache
def _font() -> Any:
    """OpenCV 5's own sans serif, or None."""
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None


def put_text(
    sheet: NDArray[np.uint8], text: str, x: int, y: int, size_px: int, color: Color, *, weight: int = 400
) -> None:
    """One line with its top left at (x, y)."""
    if not text:
        return
    origin = (x, y + round(size_px * 0.8))
    if (font := _font()) is not None:
        cv2.putText(sheet, text, origin, color, font, size_px, weight)
    else:
        thickness = 2 if weight > 500 else 1
        cv2.putText(sheet, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size_px / 33, color, thickness, cv2.LINE_AA)


def text_width(text: str, size_px: int, *, weight: int = 400) -> int:
    """How many pixels wide that line is."""
    if (font := _font()) is not None:
        return int(cv2.getTextSize((0, 0), text, (0, 0), font, size_px, weight)[2])
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size_px / 33, 2 if weight > 500 else 1)[0][0])


def shorten(text: str, width: int, size_px: int, *, weight: int = 400) -> str:
    """`text` on one line of at most `width` pixels, its middle replaced by an ellipsis where it is longer."""
    text = " ".join(text.splitlines())
    if text_width(text, size_px, weight=weight) <= width:
        return text
    ellipsis = "…" if _font() is not None else "..."
    for kept in range(len(text) - 1, 0, -1):
        end = min(_KEPT_AT_THE_END, kept // 2)
        shorter = text[: kept - end].rstrip() + ellipsis + text[len(text) - end :]
        if text_width(shorter, size_px, weight=weight) <= width:
            return shorter
    return ellipsis
