"""Two pictures joined: the parts' own answers, a box found in a scene, and pictures that have nothing in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import ImageError, InputError
from semblance.local.geometry import Geometry, verify
from semblance.local.matching import match, score
from semblance.local.pair import PicturePair, match_pictures
from semblance.local.sift import SiftOptions, extract
from tests.semblance.local.conftest import Pair


def test_it_is_what_the_parts_give(sift_pairs_dir: Path) -> None:
    paths, options = (sift_pairs_dir / "adamA.png", sift_pairs_dir / "adamB.png"), SiftOptions(max_keypoints=300)
    found = match_pictures(*paths, options, ratio=0.8, mutual=True, model="similarity", threshold=4.0, threads=1)
    a, b = (extract(path, options) for path in paths)
    matches = match(a.descriptors, b.descriptors, ratio=0.8, mutual=True, threads=1)
    geometry = verify(a.points[matches.query], b.points[matches.train], model="similarity", threshold=4.0)
    np.testing.assert_array_equal(found.a.descriptors, a.descriptors)
    np.testing.assert_array_equal(found.b.points, b.points)
    np.testing.assert_array_equal(found.pairs, np.c_[matches.query, matches.train])
    np.testing.assert_array_equal(found.geometry.is_inlier, geometry.is_inlier)
    np.testing.assert_array_equal(found.geometry.matrix, geometry.matrix)
    assert found.score == score(len(matches), len(a), len(b))
    assert (found.size_a, found.size_b) == ((450, 600), (450, 600))


def test_the_box_is_found_in_the_scene(sift_pairs_dir: Path) -> None:
    found = match_pictures(sift_pairs_dir / "box.png", sift_pairs_dir / "box_in_scene.png")
    assert found.geometry.num_inliers >= 30
    assert found.geometry.inlier_ratio > 0.9
    assert found.outline is not None
    corners = found.outline.astype(np.float32)  # [4, 2]
    height, width = found.size_b
    assert (corners >= 0).all()
    assert (corners < (width, height)).all()
    assert cv2.isContourConvex(corners)
    assert cv2.contourArea(corners, oriented=True) > 0  # clockwise as before: not mirrored
    assert 0.1 < cv2.contourArea(corners) / (height * width) < 0.15
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    assert max(sides[0] / sides[2], sides[2] / sides[0], sides[1] / sides[3], sides[3] / sides[1]) < 1.3
    # the two corners of the box that nothing hides, read off the scene by eye
    np.testing.assert_allclose(corners[[0, 2]], [(119, 162), (266, 296)], atol=5)


@pytest.mark.parametrize("name", ["graf", "adam", "boat", "WhiteBoard"])
def test_inliers_are_where_they_truly_are(pair: Callable[[str], Pair], name: str) -> None:
    real = pair(name)
    found = match_pictures(real.a, real.b, SiftOptions(max_keypoints=2000))
    inliers = found.pairs[found.geometry.is_inlier]
    assert len(inliers) >= 60
    assert (real.errors(found.a.points[inliers[:, 0]], found.b.points[inliers[:, 1]]) < 5).mean() >= 0.94


def test_points_and_outline_are_of_the_whole_picture(sift_pairs_dir: Path) -> None:
    box = cv2.imread(str(sift_pairs_dir / "box.png"), cv2.IMREAD_GRAYSCALE)
    assert box is not None
    large = cv2.resize(box, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    found = match_pictures(large, box, SiftOptions(longest_side=400))
    assert found.size_a == (892, 1296)
    assert found.outline is not None
    np.testing.assert_allclose(found.outline, [(-0.5, -0.5), (323.5, -0.5), (323.5, 222.5), (-0.5, 222.5)], atol=1)


@pytest.mark.parametrize("model", ["homography", "fundamental", "similarity"])
def test_pictures_without_keypoints_have_nothing_in_common(model: Any, sift_pairs_dir: Path) -> None:
    flat, box = np.zeros((28, 28), np.uint8), sift_pairs_dir / "box.png"
    for a, b in ((flat, flat), (flat, box), (box, flat)):
        found = match_pictures(a, b, model=model)
        assert len(found.matches) == 0
        assert found.pairs.shape == (0, 2)
        assert found.score == 0.0
        assert found.geometry.matrix is None
        assert found.outline is None


def of_matrix(matrix: NDArray[np.float64], model: Any = "homography") -> PicturePair:
    flat = match_pictures(np.zeros((21, 41), np.uint8), np.zeros((9, 9), np.uint8))
    geometry = Geometry(matrix, np.empty(0, np.bool_))
    return PicturePair(flat.a, flat.b, flat.matches, geometry, model, flat.size_a, flat.size_b)


def test_an_outline_is_of_the_corners_in_front() -> None:
    shift = np.array([[1.0, 0, 10], [0, 1, 20], [0, 0, 1]])
    expected = [(9.5, 19.5), (50.5, 19.5), (50.5, 40.5), (9.5, 40.5)]
    for matrix in (shift, -shift):  # a homography has no sign
        np.testing.assert_allclose(of_matrix(matrix).outline, expected)
    np.testing.assert_allclose(of_matrix(shift, "similarity").outline, expected)
    assert of_matrix(shift, "fundamental").outline is None
    assert of_matrix(np.array([[1.0, 0, 0], [0, 1, 0], [-0.05, 0, 1]])).outline is None  # the horizon crosses a


def test_what_is_wrong_is_told_by_the_part_that_it_is_for(tmp_path: Path, sift_pairs_dir: Path) -> None:
    box = sift_pairs_dir / "box.png"
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for broken, message in ((tmp_path / "broken.png", "not an image"), (tmp_path / "none.png", "no such file")):
        for pictures in ((box, broken), (broken, box)):
            with pytest.raises(ImageError, match=message):
                match_pictures(*pictures)
    wrong: dict[str, Any]
    for wrong in ({"ratio": 1.5}, {"model": "affine"}, {"threshold": 0}, {"threads": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            match_pictures(box, box, **wrong)
