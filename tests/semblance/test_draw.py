"""Contact sheets: what is where, in which colour, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance import draw_text
from semblance.draw import RIGHT, WRONG, Cell, contact_sheet, save_png
from semblance.errors import ImageError, InputError, SemblanceError

GREY = np.full((28, 28), 90, np.uint8)
BLUE = np.full((30, 90, 3), (10, 20, 250), np.uint8)


def num_pixels(sheet: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    return int((sheet == np.array(color, np.uint8)).all(axis=2).sum())


def box_of(sheet: NDArray[np.uint8], color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of all pixels of that colour."""
    rows, columns = np.nonzero((sheet == np.array(color, np.uint8)).all(axis=2))
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_a_sheet_is_rgb_on_white_and_the_same_every_time() -> None:
    rows = [(Cell(GREY, "query"), [Cell(BLUE, "a  0.1", True), Cell(GREY, "b  0.2", False)])] * 3
    sheet = contact_sheet(rows, title="A title")
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    border = np.concatenate([sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]])
    assert (border == 255).all()
    np.testing.assert_array_equal(sheet, contact_sheet(rows, title="A title"))


def test_rows_and_neighbours_make_it_higher_and_wider() -> None:
    def shape(num_rows: int, num_neighbours: int) -> tuple[int, ...]:
        return contact_sheet([(Cell(GREY, "q"), [Cell(GREY, "n")] * num_neighbours)] * num_rows, cell_px=64).shape

    heights = [shape(rows, 3)[0] for rows in (1, 2, 3, 4)]
    widths = [shape(2, neighbours)[1] for neighbours in (2, 3, 4, 5)]
    assert set(np.diff(heights)) == {heights[1] - heights[0]}
    assert heights[1] - heights[0] > 64
    assert set(np.diff(widths)) == {64 + 16}


def test_pictures_keep_their_pixels_and_colours() -> None:
    sheet = contact_sheet([(Cell(GREY), [Cell(BLUE)])], cell_px=140)
    assert num_pixels(sheet, (90, 90, 90)) == 140 * 140  # 28 pixels, five times
    top, bottom, left, right = box_of(sheet, (10, 20, 250))
    assert (right - left + 1, bottom - top + 1) == (140, 47)  # 90 x 30, proportions kept
    top_query, bottom_query, _, right_query = box_of(sheet, (90, 90, 90))
    assert left > right_query + 30
    assert abs((top + bottom) - (top_query + bottom_query)) <= 2  # centred in its square


def test_small_pictures_are_enlarged_by_whole_pixels() -> None:
    checks = (np.indices((4, 4)).sum(axis=0) % 2 * 200).astype(np.uint8)
    sheet = contact_sheet([(Cell(checks), [])], cell_px=40)
    assert num_pixels(sheet, (200, 200, 200)) == 40 * 40 // 2


def test_frames_say_right_and_wrong_and_nothing_where_it_is_not_known() -> None:
    def drawn(is_right: bool | None) -> NDArray[np.uint8]:
        return contact_sheet([(Cell(GREY), [Cell(GREY, is_right=is_right)])], cell_px=140)

    ring = 146 * 146 - 140 * 140
    right, wrong, unknown = drawn(True), drawn(False), drawn(None)
    for sheet, present, absent in ((right, RIGHT, WRONG), (wrong, WRONG, RIGHT)):
        assert num_pixels(sheet, present) > ring - 200  # the mark lies over a corner
        assert num_pixels(sheet, absent) == 0
    assert num_pixels(unknown, RIGHT) == num_pixels(unknown, WRONG) == 0


def test_right_and_wrong_differ_without_colour() -> None:
    right, wrong = (
        contact_sheet([(Cell(GREY), [Cell(GREY, is_right=is_right)])], cell_px=140) for is_right in (True, False)
    )
    white = [(sheet == 255).all(axis=2) for sheet in (right, wrong)]
    assert (white[0] != white[1]).sum() > 10


@pytest.mark.parametrize("has_font", [True, False])
def test_captions_stay_within_their_cell(has_font: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_font:
        monkeypatch.setattr(draw_text, "_font", lambda: None)  # as with OpenCV 4
    long = "a/folder/with/a/very/long/name/image_0001.jpg  0.123"
    sheet = contact_sheet([(Cell(GREY, long), [Cell(GREY, long, detail=long), Cell(GREY)])], cell_px=140)
    plain = contact_sheet([(Cell(GREY), [Cell(GREY, detail=" "), Cell(GREY)])], cell_px=140)
    assert sheet.shape == plain.shape
    differs = (sheet != plain).any(axis=2)
    query, neighbour = differs[:, : 26 + 140], differs[:, 26 + 140 + 44 : 26 + 140 + 44 + 140]
    assert query.any()
    assert neighbour.any()
    assert differs.sum() == query.sum() + neighbour.sum()


def test_nothing_to_show_says_so() -> None:
    empty = contact_sheet([])
    assert empty.shape[2] == 3
    assert (empty < 200).any()
    assert contact_sheet([], title="A title").shape[0] > empty.shape[0]


def test_a_query_without_neighbours_and_rows_of_different_lengths_are_drawn() -> None:
    alone = contact_sheet([(Cell(GREY, "alone"), [])])
    assert num_pixels(alone, (90, 90, 90)) == 140 * 140
    uneven = contact_sheet([(Cell(GREY), [Cell(BLUE)] * 3), (Cell(GREY), [])])
    assert num_pixels(uneven, (90, 90, 90)) == 2 * 140 * 140
    assert num_pixels(uneven, (10, 20, 250)) == 3 * 140 * 47


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1, 3), (139, 140, 1), (141, 30, 3), (1000, 900)])
def test_every_size_is_drawn(shape: tuple[int, ...]) -> None:
    sheet = contact_sheet([(Cell(np.full(shape, 77, np.uint8)), [])])
    assert num_pixels(sheet, (77, 77, 77)) > 0


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)],
)
def test_other_arrays_cannot_be_drawn(image: NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be drawn; expected uint8"):
        contact_sheet([(Cell(image), [])])
    with pytest.raises(ImageError, match="cannot be drawn; expected uint8"):
        save_png(tmp_path / "x.png", image)
    assert list(tmp_path.iterdir()) == []


def test_tiny_cells_are_refused() -> None:
    with pytest.raises(InputError, match="at least 32, is 8"):
        contact_sheet([], cell_px=8)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 3)])
def test_a_png_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "new" / "folder" / "x.png"
    for _ in range(2):  # the second time over the first
        save_png(path, image)
    assert [found.name for found in path.parent.iterdir()] == ["x.png"]
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read, image[:, :, ::-1] if shape[2:] == (3,) else image.reshape(3, 4))


def test_a_png_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "x.png", tmp_path / "file" / "y.png"):
        with pytest.raises(SemblanceError, match="cannot be written"):
            save_png(path, GREY)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "x.png"]
