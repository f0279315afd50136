"""Two pictures side by side and lines between the points that were matched: images in, image out.

In: two pictures as arrays, their keypoints, which of these are matched, and which matches one geometry explains. Out:
an [H, W, 3] uint8 RGB picture. Nothing here knows of files, or of how points are found. Small pictures are enlarged by
whole factors, so that their pixels stay crisp, large ones averaged down. What is explained is blue and thick, what is
not orange and thin: two colours that colour-blind people tell apart (Okabe and Ito, "Color Universal Design", 2008).
Both have a dark edge, since what they cross may be of any colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.draw import as_rgb
from semblance.draw_text import FAINT, INK, Color, put_text, shorten, text_width
from semblance.errors import InputError

INLIER: Color = (86, 180, 233)
OUTLIER: Color = (230, 159, 0)
_WHITE: Color = (255, 255, 255)

_MARGIN, _GAP, _TEXT_PX, _LINE_PX = 26, 16, 14, 22
_LARGEST_PX, _SMALLEST_PX = 800, 448  # a picture's longer side: no more, and about as much where it can be enlarged
_NARROWEST_PX = 200  # of a column, for its caption
_BITS = 4  # of a pixel's fraction, in OpenCV's coordinates
_FARTHEST = 1e7  # pixels; OpenCV's coordinates end at 2^31 / 2^4


@dataclass(frozen=True, slots=True)
class Marked:
    """A picture and its K keypoints."""

    image: NDArray[np.uint8]  # [H, W], [H, W, 1] or [H, W, 3] RGB
    points: NDArray[np.float32]  # [K, 2] x and y in its pixels; the top-left pixel's centre is 0, 0
    caption: str = ""


def matches_picture(
    a: Marked,
    b: Marked,
    pairs: NDArray[np.int64],
    is_inlier: NDArray[np.bool_],
    *,
    outline: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """`a` and `b` with a line for each of M matches: int [M, 2] are which point of `a` and which of `b`.

    `is_inlier` [M] are those that the geometry explains, drawn above the others. `outline` [n, 2] is a polygon in `b`'s
    pixels, as of `a`'s edge where it was found; of what lies outside of `b` nothing is seen. Raises ImageError for a
    picture of another form, InputError for pairs that are no pairs of these points.
    """
    _check(a, b, pairs, is_inlier)
    images = [as_rgb(a.image), as_rgb(b.image)]
    sides = [max(image.shape[:2]) for image in images]
    target = max(_SMALLEST_PX, *(min(side, _LARGEST_PX) for side in sides))
    scaled = [_scaled(image, target) for image in images]
    widths = [max(image.shape[1], _NARROWEST_PX) for image in scaled]
    bottom = _MARGIN + max(len(image) for image in scaled)
    sheet = np.full((bottom + 2 * _LINE_PX + _MARGIN, sum(widths) + 2 * _MARGIN + _GAP, 3), 255, np.uint8)
    placed = []
    for marked, image, original, x in zip((a, b), scaled, images, (_MARGIN, _MARGIN + widths[0] + _GAP), strict=True):
        part = sheet[_MARGIN : _MARGIN + image.shape[0], x : x + image.shape[1]]
        part[:] = image
        scale = (image.shape[1] / original.shape[1], image.shape[0] / original.shape[0])
        placed.append(_Placed(part, scale, (x, _MARGIN)))
        for point in placed[-1].inside(marked.points):
            _dot(part, point, 2, _WHITE)
        caption = shorten(marked.caption, max(image.shape[1], _NARROWEST_PX), _TEXT_PX)
        put_text(sheet, caption, x, bottom + 8, _TEXT_PX, INK)
    if outline is not None:
        _outline(placed[1].part, placed[1].inside(outline))
    ends = np.stack([placed[0].on_sheet(a.points[pairs[:, 0]]), placed[1].on_sheet(b.points[pairs[:, 1]])], axis=1)
    _lines(sheet, ends[~is_inlier], OUTLIER, thickness=1)
    _lines(sheet, ends[is_inlier], INLIER, thickness=2)
    _legend(sheet, bottom + 8 + _LINE_PX, int(is_inlier.sum()), int((~is_inlier).sum()))
    return sheet


def _check(a: Marked, b: Marked, pairs: NDArray[np.int64], is_inlier: NDArray[np.bool_]) -> None:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise InputError(f"pairs must be int [M, 2], are {pairs.dtype} {list(pairs.shape)}")
    if is_inlier.dtype != np.bool_ or is_inlier.shape != pairs.shape[:1]:
        raise InputError(f"is_inlier must be bool [{len(pairs)}], is {is_inlier.dtype} {list(is_inlier.shape)}")
    for name, marked, which in (("a", a, pairs[:, 0]), ("b", b, pairs[:, 1])):
        if marked.points.ndim != 2 or marked.points.shape[1] != 2:
            raise InputError(f"points of {name} must be [K, 2], are {list(marked.points.shape)}")
        if len(which) and not 0 <= which.min() <= which.max() < len(marked.points):
            raise InputError(f"pairs name a point that is none of the {len(marked.points)} of {name}")


# ------------------------------------------------------------------------------------------------------------------
# Pictures


class _Placed(NamedTuple):
    """One picture on the sheet."""

    part: NDArray[np.uint8]  # [h, w, 3], the sheet's own pixels
    scale: tuple[float, float]  # x and y
    corner: tuple[int, int]  # x and y on the sheet

    def inside(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """[n, 2] in pixels of the original -> in pixels of `part`."""
        return (points.astype(np.float64) + 0.5) * self.scale - 0.5

    def on_sheet(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        return self.inside(points) + self.corner


def _scaled(image: NDArray[np.uint8], target: int) -> NDArray[np.uint8]:
    """[H, W, 3] whose longer side is `target`, or the largest multiple of its own below that."""
    rows, columns = image.shape[:2]
    longer = max(rows, columns)
    if longer <= target:
        return image.repeat(target // longer, axis=0).repeat(target // longer, axis=1)
    size = (max(1, round(columns * target / longer)), max(1, round(rows * target / longer)))
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


# ------------------------------------------------------------------------------------------------------------------
# Points and lines


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(np.clip(point, -_FARTHEST, _FARTHEST) * (1 << _BITS)).astype(int).tolist()
    return x, y


def _dot(sheet: NDArray[np.uint8], point: NDArray[np.float64], radius: int, color: Color) -> None:
    for size, tint in ((radius + 1, INK), (radius, color)):
        cv2.circle(sheet, _fixed(point), size << _BITS, tint, cv2.FILLED, cv2.LINE_AA, _BITS)


def _lines(sheet: NDArray[np.uint8], ends: NDArray[np.float64], color: Color, *, thickness: int) -> None:
    """A line between the two points of each of [n, 2, 2]."""
    for start, end in ends:
        for width, tint in ((thickness + 2, INK), (thickness, color)):
            cv2.line(sheet, _fixed(start), _fixed(end), tint, width, cv2.LINE_AA, _BITS)
    for point in ends.reshape(-1, 2):
        _dot(sheet, point, thickness + 1, color)


def _outline(part: NDArray[np.uint8], polygon: NDArray[np.float64]) -> None:
    points = np.array([_fixed(point) for point in polygon], np.int32)
    for width, tint in ((5, INK), (3, _WHITE)):
        cv2.polylines(part, [points], True, tint, width, cv2.LINE_AA, _BITS)


def _legend(sheet: NDArray[np.uint8], y: int, num_inliers: int, num_outliers: int) -> None:
    """How many lines there are of each colour; it is drawn as they are."""
    x = _MARGIN
    entries = ((f"{num_inliers} inliers", INLIER, 2), (f"{num_outliers} other matches", OUTLIER, 1))
    for text, color, thickness in entries:
        middle = y + _TEXT_PX // 2
        _lines(sheet, np.array([[(x + 3, middle), (x + 31, middle)]], np.float64), color, thickness=thickness)
        put_text(sheet, text, x + 42, y, _TEXT_PX, FAINT)
        x += 42 + text_width(text, _TEXT_PX) + 28
