"""The picture of matches: what is where, in which colour, at any size, and what cannot be drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.draw_matches import INLIER, OUTLIER, Marked, matches_picture
from semblance.errors import ImageError, InputError

GREEN = (10, 200, 20)
NO_PAIRS, NO_MASK = np.empty((0, 2), np.int64), np.empty(0, np.bool_)
NO_POINTS = np.empty((0, 2), np.float32)


def plain(*shape: int, value: int = 90, points: Any = NO_POINTS, caption: str = "") -> Marked:
    return Marked(np.full(shape, value, np.uint8), np.array(points, np.float32).reshape(-1, 2), caption)


def where(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (picture == np.array(color, np.uint8)).all(axis=2)


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is True."""
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def above_the_legend(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture[: -26 - 2 * 22]


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    a = np.random.default_rng(0).integers(0, 200, (28, 28), dtype=np.uint8)
    picture = matches_picture(Marked(a, NO_POINTS), plain(28, 28), NO_PAIRS, NO_MASK)
    assert picture.dtype == np.uint8
    side = 16 * 28
    enlarged = picture[26 : 26 + side, 26 : 26 + side]
    np.testing.assert_array_equal(
        enlarged, np.broadcast_to(np.kron(a, np.ones((16, 16), int))[..., None], (side, side, 3))
    )
    assert box_of(where(picture, (90, 90, 90))) == (26, 26 + side - 1, 26 + side + 16, 26 + side + 16 + side - 1)


@pytest.mark.parametrize(
    ("shapes", "drawn"),
    [
        (((28, 28), (500, 250)), ((476, 476), (500, 250))),  # a small one about as large as the other
        (((223, 324), (384, 512)), ((223, 324), (384, 512))),
        (((3000, 4000), (640, 800)), ((600, 800), (640, 800))),
        (((1, 1), (1, 5000)), ((800, 800), (1, 800))),
        (((448, 30), (447, 30)), ((448, 30), (447, 30))),
    ],
)
def test_sizes(shapes: tuple[tuple[int, int], tuple[int, int]], drawn: tuple[tuple[int, int], tuple[int, int]]) -> None:
    picture = matches_picture(plain(*shapes[0], value=90), plain(*shapes[1], value=70), NO_PAIRS, NO_MASK)
    for value, shape in zip((90, 70), drawn, strict=True):
        top, bottom, left, right = box_of(where(picture, (value, value, value)))
        assert (bottom - top + 1, right - left + 1) == shape
        assert top == 26


def test_lines_run_between_the_points_and_inliers_lie_above() -> None:
    a, b = plain(100, 100, points=[(10, 20), (10, 80)]), plain(100, 100, points=[(90, 20), (90, 80), (50, 50)])
    crossed = np.array([[0, 1], [1, 0], [0, 0]])
    picture = above_the_legend(matches_picture(a, b, crossed, np.array([True, False, False])))
    blue, orange = where(picture, INLIER), where(picture, OUTLIER)
    near = 8
    # each picture is 400 pixels wide: point (x, y) lies at 26 + 4 (x + 0.5) - 0.5 from the left
    for mask in (blue, orange):
        assert abs(box_of(mask)[2] - 67.5) <= near
        assert abs(box_of(mask)[3] - 803.5) <= near
    assert abs(box_of(blue)[0] - 107.5) <= near
    assert abs(box_of(blue)[1] - 347.5) <= near
    middle = picture[227, 435]  # of both diagonals
    np.testing.assert_array_equal(middle, INLIER)
    assert blue.sum() > orange.sum() / 2  # thicker, though there are two of the others


@pytest.mark.parametrize(
    "seen",
    [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ],
    ids=["protanopia", "deuteranopia", "tritanopia"],
)
def test_colour_blind_people_tell_the_two_apart(seen: list[list[float]]) -> None:
    """By the matrices of Machado, Oliveira and Fernandes, IEEE TVCG 2009, on linear light."""
    linear = (np.array([INLIER, OUTLIER]) / 255) ** 2.2
    inlier, outlier = np.clip(linear @ np.array(seen).T, 0, 1) ** (1 / 2.2) * 255
    assert np.linalg.norm(inlier - outlier) > 100


def test_keypoints_without_a_match_are_marked() -> None:
    b = plain(100, 100)
    bare = above_the_legend(matches_picture(plain(100, 100), b, NO_PAIRS, NO_MASK))
    marked = above_the_legend(matches_picture(plain(100, 100, points=[(50, 50)]), b, NO_PAIRS, NO_MASK))
    top, bottom, left, right = box_of((bare != marked).any(axis=2))
    assert 3 <= bottom - top <= 8
    assert abs((top + bottom) / 2 - 227.5) <= 1
    assert abs((left + right) / 2 - 227.5) <= 1


def test_an_outline_is_seen_inside_of_b_alone() -> None:
    a, b = plain(100, 100), plain(100, 100)
    bare = matches_picture(a, b, NO_PAIRS, NO_MASK)
    inside = np.array([(10, 10), (90, 10), (90, 90), (10, 90)], np.float64)
    drawn = matches_picture(a, b, NO_PAIRS, NO_MASK, outline=inside)
    top, bottom, left, right = box_of((bare != drawn).any(axis=2))
    assert abs(top - 67) <= 6
    assert abs(bottom - 387) <= 6
    assert abs(left - 483) <= 6
    assert abs(right - 803) <= 6
    for outside in (inside * 3 - 100, inside * 1e12, inside - 1e300):
        changed = (bare != matches_picture(a, b, NO_PAIRS, NO_MASK, outline=outside)).any(axis=2)
        changed[26:426, 442:842] = False
        assert not changed.any()


def test_captions_stay_in_their_columns() -> None:
    long = "a/very/long/folder/of/pictures/image_0001.jpg, 512 keypoints " * 3
    bare = matches_picture(plain(100, 3), plain(100, 100), NO_PAIRS, NO_MASK)
    drawn = matches_picture(plain(100, 3, caption=long), plain(100, 100, caption=long), NO_PAIRS, NO_MASK)
    assert bare.shape == drawn.shape
    differs = (bare != drawn).any(axis=2)
    assert differs[:, : 26 + 200].any()
    assert differs[:, 26 + 200 + 16 :].any()
    assert not differs[:, 26 + 200 : 26 + 200 + 16].any()
    assert not differs[:, -26:].any()


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 3)])
def test_any_form_of_picture(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    points = np.array([(0, 0), (8, 7)], np.float32)
    before = image.copy()
    picture = matches_picture(
        Marked(image, points), Marked(image, points), np.array([[0, 0], [1, 1]]), np.ones(2, bool)
    )
    assert picture.shape[2] == 3
    np.testing.assert_array_equal(image, before)  # what is given stays as it is


def test_what_cannot_be_drawn_is_refused() -> None:
    a = plain(9, 9, points=[(1, 1)])
    one, yes = np.array([[0, 0]]), np.ones(1, np.bool_)
    with pytest.raises(ImageError, match="cannot be drawn"):
        matches_picture(Marked(np.zeros((4, 4)), a.points), a, one, yes)  # type: ignore[arg-type]
    for pairs, mask, message in (
        (np.array([0, 0]), yes, "pairs must be int"),
        (np.array([[0.0, 0.0]]), yes, "pairs must be int"),
        (one, np.ones(2, np.bool_), "is_inlier must be bool"),
        (one, np.ones(1), "is_inlier must be bool"),
        (np.array([[0, 1]]), yes, "none of the 1 of b"),
        (np.array([[-1, 0]]), yes, "none of the 1 of a"),
    ):
        with pytest.raises(InputError, match=message):
            matches_picture(a, a, pairs, mask)
    with pytest.raises(InputError, match=r"points of b must be \[K, 2\]"):
        matches_picture(a, Marked(a.image, np.zeros((3, 3), np.float32)), NO_PAIRS, NO_MASK)
