"""Pictures and their neighbours as one picture: images in, image out.

In: query and neighbour pictures as arrays, with captions and, where it is known, whether a neighbour is of the query's
class. Out: an [H, W, 3] uint8 RGB sheet. Nothing here knows of files (but for saving a PNG), models or galleries. Right
and wrong are told by a tick or a cross as well as by colour, for those who cannot tell green from red.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.draw_text import FAINT, INK, Color, put_text, shorten, text_width
from semblance.errors import ImageError, InputError, SemblanceError
from semblance.files import write_whole

_WHITE: Color = (255, 255, 255)
_RULE: Color = (226, 229, 232)
_MAT: Color = (243, 244, 246)  # behind a picture that does not fill its square
RIGHT: Color = (22, 140, 84)
WRONG: Color = (208, 52, 52)

_MARGIN, _GAP, _QUERY_GAP, _ROW_GAP = 26, 16, 44, 20
_CAPTION_PX, _HEADER_PX, _TITLE_PX = 14, 13, 22
_MAX_TITLE_PX = 720  # a title may widen a narrow sheet as far as this
_LINE_PX = 19  # from one line of a caption to the next


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a sheet: uint8 [H, W], [H, W, 1] or [H, W, 3] RGB."""

    image: NDArray[np.uint8]
    caption: str = ""
    is_right: bool | None = None  # of the query's class; None: not known, or the query itself
    detail: str = ""  # a second line, in grey


Row = tuple[Cell, Sequence[Cell]]  # a query and its neighbours, nearest first


def contact_sheet(rows: Sequence[Row], *, title: str = "", cell_px: int = 140) -> NDArray[np.uint8]:
    """A sheet [H, W, 3] uint8 RGB with a row for each query, set apart on the left, and its neighbours beside it.

    Rows may be of different lengths, or none. Pictures keep their proportions in squares of `cell_px` pixels; captions
    that are too long are shortened in the middle. Raises ImageError for a picture of another form, InputError for
    squares of less than 32 pixels.
    """
    if cell_px < 32:
        raise InputError(f"cell_px must be at least 32, is {cell_px}")
    plan = _Plan.of(rows, title, cell_px)
    sheet = np.full((plan.height, plan.width, 3), 255, np.uint8)
    title = shorten(title, plan.width - 2 * _MARGIN, _TITLE_PX, weight=600)
    put_text(sheet, title, _MARGIN, _MARGIN, _TITLE_PX, INK, weight=600)
    if not rows:
        put_text(sheet, "nothing to show", _MARGIN, plan.top, _CAPTION_PX, FAINT)
    elif plan.num_neighbours:
        _header(sheet, plan)
    for which, (query, neighbours) in enumerate(rows):
        y = plan.row_y(which)
        if which:
            cv2.line(sheet, (_MARGIN, y - _ROW_GAP // 2), (plan.width - _MARGIN, y - _ROW_GAP // 2), _RULE, 1)
        _cell(sheet, query, plan.left, y, cell_px, frame=INK)
        for rank, neighbour in enumerate(neighbours):
            frame = {True: RIGHT, False: WRONG, None: _RULE}[neighbour.is_right]
            _cell(sheet, neighbour, plan.neighbour_x(rank), y, cell_px, frame=frame)
    return sheet


def save_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W], [H, W, 1] or [H, W, 3] RGB as a PNG, whole or not at all; missing folders are made.

    Raises ImageError for another array, SemblanceError where it cannot be written.
    """
    path = Path(path)
    rgb = as_rgb(image)
    encoded = cv2.imencode(".png", rgb[:, :, ::-1] if image.shape[2:] == (3,) else rgb[:, :, 0])[1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, encoded.tobytes())
    except OSError as error:
        raise SemblanceError(f"{path}: cannot be written ({error}); name another file or folder") from error


# ------------------------------------------------------------------------------------------------------------------
# Where things go


@dataclass(frozen=True, slots=True)
class _Plan:
    """All positions of a sheet, in pixels."""

    num_rows: int
    num_neighbours: int  # of the longest row
    num_lines: int  # of the longest caption
    cell_px: int
    left: int
    top: int  # of the header, or of the rows where there is none
    min_width: int

    @classmethod
    def of(cls, rows: Sequence[Row], title: str, cell_px: int) -> _Plan:
        cells = [cell for query, neighbours in rows for cell in (query, *neighbours)]
        return cls(
            num_rows=len(rows),
            num_neighbours=max((len(neighbours) for _, neighbours in rows), default=0),
            num_lines=max((2 if cell.detail else 1 if cell.caption else 0 for cell in cells), default=1),
            cell_px=cell_px,
            left=_MARGIN,
            top=_MARGIN + (_TITLE_PX + 18 if title else 0),
            min_width=2 * _MARGIN + max(120, min(_MAX_TITLE_PX, text_width(title, _TITLE_PX, weight=600))),
        )

    @property
    def width(self) -> int:
        return max(self.min_width, self.neighbour_x(self.num_neighbours) - _GAP + _MARGIN)

    @property
    def height(self) -> int:
        return self.row_y(max(self.num_rows, 1)) - _ROW_GAP + _MARGIN if self.num_rows else self.top + 2 * _MARGIN

    def neighbour_x(self, rank: int) -> int:
        beside = self.left + self.cell_px + (_QUERY_GAP if self.num_neighbours else _GAP)
        return beside + rank * (self.cell_px + _GAP)

    def row_y(self, which: int) -> int:
        rows_top = self.top + (_HEADER_PX + 12 if self.num_neighbours else 0)
        return rows_top + which * (self.cell_px + 8 + self.num_lines * _LINE_PX + _ROW_GAP)


def _header(sheet: NDArray[np.uint8], plan: _Plan) -> None:
    put_text(sheet, "Query", plan.left, plan.top, _HEADER_PX, FAINT)
    for rank in range(plan.num_neighbours):
        put_text(sheet, str(rank + 1), plan.neighbour_x(rank), plan.top, _HEADER_PX, FAINT)
    x = plan.neighbour_x(0) - _QUERY_GAP // 2
    cv2.line(sheet, (x, plan.top), (x, plan.height - _MARGIN), _RULE, 2)


# ------------------------------------------------------------------------------------------------------------------
# One cell


def _cell(sheet: NDArray[np.uint8], cell: Cell, x: int, y: int, size: int, *, frame: Color) -> None:
    width = 1 if frame == _RULE else 3
    cv2.rectangle(sheet, (x - width, y - width), (x + size - 1 + width, y + size - 1 + width), frame, cv2.FILLED)
    cv2.rectangle(sheet, (x, y), (x + size - 1, y + size - 1), _MAT, cv2.FILLED)
    picture = _fit(as_rgb(cell.image), size)
    top, left = y + (size - picture.shape[0]) // 2, x + (size - picture.shape[1]) // 2
    sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    if cell.is_right is not None:
        _mark(sheet, x + size - 2, y + 2, is_right=cell.is_right)
    put_text(sheet, shorten(cell.caption, size, _CAPTION_PX), x, y + size + 9, _CAPTION_PX, INK)
    put_text(sheet, shorten(cell.detail, size, _CAPTION_PX), x, y + size + 9 + _LINE_PX, _CAPTION_PX, FAINT)


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] -> [H, W, 3]."""
    shape = image.shape
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0 or shape[2:] not in ((), (1,), (3,)):
        raise ImageError(
            f"an array of {image.dtype} {list(shape)} cannot be drawn; expected uint8 [H, W], [H, W, 1] or [H, W, 3]"
        )
    return np.broadcast_to(image.reshape(*shape[:2], -1), (*shape[:2], 3))


def _fit(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scaled into a square of `size`: averaged down; small ones enlarged by whole pixels, so that they stay crisp."""
    rows, columns = image.shape[:2]
    factor = size / max(rows, columns)
    if factor >= 2:
        return image.repeat(int(factor), axis=0).repeat(int(factor), axis=1)
    target = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    kernel = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), target, interpolation=kernel).astype(np.uint8, copy=False)


def _mark(sheet: NDArray[np.uint8], x: int, y: int, *, is_right: bool) -> None:
    """A disc around (x, y) with a tick or a cross."""
    cv2.circle(sheet, (x, y), 11, _WHITE, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(sheet, (x, y), 9, RIGHT if is_right else WRONG, cv2.FILLED, cv2.LINE_AA)
    tick = [[(-4, 0), (-1, 3), (4, -3)]]
    cross = [[(-3, -3), (3, 3)], [(-3, 3), (3, -3)]]
    for stroke in tick if is_right else cross:
        points = np.array([(x + dx, y + dy) for dx, dy in stroke], np.int32)
        cv2.polylines(sheet, [points], False, _WHITE, 2, cv2.LINE_AA)
