"""Real matches against their true homography, planted models, degenerate and random pairs, and repetition."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.local.geometry import Geometry, verify
from semblance.local.matching import match
from semblance.local.sift import SiftOptions, extract
from tests.semblance.local.conftest import Pair

MODELS = ["homography", "fundamental", "similarity"]
Points = NDArray[np.float32]
TRUE = np.array([[0.9, -0.2, 50], [0.1, 1.1, -20], [2e-4, 1e-4, 1]])


def matched(pair: Pair, options: SiftOptions) -> tuple[Points, Points]:
    """Points of a and b whose descriptors pass Lowe's test at 0.8."""
    a, b = extract(pair.a, options), extract(pair.b, options)
    near = cv2.BFMatcher().knnMatch(a.descriptors.astype(np.float32), b.descriptors.astype(np.float32), k=2)
    kept = [first for first, second in near if first.distance < 0.8 * second.distance]
    return a.points[[each.queryIdx for each in kept]], b.points[[each.trainIdx for each in kept]]


def project(matrix: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.c_[points, np.ones(len(points))] @ matrix.T
    return out[:, :2] / out[:, 2:]


def scattered(count: int, seed: int = 0) -> Points:
    return np.random.default_rng(seed).uniform(0, 1000, (count, 2)).astype(np.float32)


def planted(matrix: NDArray[np.float64], num_true: int, num_false: int) -> tuple[Points, Points, NDArray[np.bool_]]:
    """Pairs that follow `matrix` to within half a pixel, pairs at random, in random order, and which is which."""
    rng = np.random.default_rng(7)
    a, b = scattered(num_true + num_false, 1), scattered(num_true + num_false, 2)
    b[:num_true] = project(matrix, a[:num_true]) + rng.uniform(-0.35, 0.35, (num_true, 2))
    order = rng.permutation(len(a))
    return a[order], b[order], order < num_true


def assert_none(found: Geometry, count: int) -> None:
    assert found.matrix is None
    assert found.num_inliers == 0
    assert found.inlier_ratio == 0.0
    assert found.is_inlier.shape == (count,)
    assert found.is_inlier.dtype == np.bool_


@pytest.mark.parametrize(
    ("name", "share", "least"),
    [
        ("graf", 0.94, 200), ("adam", 0.98, 100), ("boat", 0.98, 300), ("Brussels", 0.98, 500), ("city", 0.98, 55),
        ("WhiteBoard", 0.98, 150),
    ],
)  # fmt: skip
def test_inliers_of_real_pairs_are_where_the_true_homography_puts_them(
    pair: Callable[[str], Pair], name: str, share: float, least: int
) -> None:
    real = pair(name)
    a, b = matched(real, SiftOptions(max_keypoints=9000, longest_side=None))  # all but of Brussels
    found = verify(a, b)
    assert found.num_inliers >= least
    assert found.inlier_ratio == found.num_inliers / len(a)
    assert (real.errors(a[found.is_inlier], b[found.is_inlier]) < 5).mean() >= share


@pytest.mark.parametrize("options", [SiftOptions(), SiftOptions(max_keypoints=None, longest_side=None)])
def test_a_competing_model_is_not_taken_whatever_the_order(pair: Callable[[str], Pair], options: SiftOptions) -> None:
    real = pair("graf")
    a, b = matched(real, options)
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(a))
        is_inlier = verify(a[order], b[order]).is_inlier
        assert (real.errors(a[order][is_inlier], b[order][is_inlier]) < 5).mean() >= 0.94


def test_a_flat_thing_has_a_fundamental_matrix(sift_pairs_dir: Path) -> None:
    """One of many that fit a plane; OpenCV's USAC ends with an assertion there."""
    a, b = (extract(sift_pairs_dir / f"{name}.png") for name in ("box", "box_in_scene"))
    found = match(a.descriptors, b.descriptors)
    geometry = verify(a.points[found.query], b.points[found.train], model="fundamental")
    assert geometry.num_inliers >= 30


@pytest.mark.parametrize("name", ["adam", "boat", "city"])
def test_inliers_are_those_within_the_threshold(pair: Callable[[str], Pair], name: str) -> None:
    a, b = matched(pair(name), SiftOptions())
    for threshold in (0.8, 1.5, 4.0):
        found = verify(a, b, threshold=threshold)
        assert found.matrix is not None
        errors = np.linalg.norm(project(found.matrix, a) - b, axis=1)
        assert errors[found.is_inlier].max() <= threshold + 0.01
        assert errors[~found.is_inlier].min() >= threshold - 0.01


def test_a_planted_homography_is_found() -> None:
    a, b, is_true = planted(TRUE, 100, 300)
    found = verify(a, b)
    assert found.matrix is not None
    assert found.matrix.dtype == np.float64
    assert np.linalg.norm(project(found.matrix, a[is_true]) - project(TRUE, a[is_true]), axis=1).max() < 1
    assert (found.is_inlier == is_true).mean() > 0.98


def test_a_planted_similarity_is_found() -> None:
    turned = np.array([[0.6, -0.8, 300], [0.8, 0.6, -20], [0, 0, 1]]) * [[1.5], [1.5], [1]]
    a, b, is_true = planted(turned, 100, 300)
    found = verify(a, b, model="similarity")
    assert found.matrix is not None
    np.testing.assert_array_equal(found.matrix[2], [0, 0, 1])
    np.testing.assert_allclose(found.matrix[:, :2], turned[:, :2], atol=0.002)
    assert (found.is_inlier == is_true).mean() > 0.98


def test_a_planted_fundamental_matrix_is_found() -> None:
    """Points in space before two cameras: Sampson's distance, worked out here, says who the inliers are."""
    rng = np.random.default_rng(0)
    space = rng.uniform([-2, -2, 4], [2, 2, 8], (120, 3))
    turn = cv2.Rodrigues(np.array([0.05, -0.1, 0.02]))[0]
    moved = space @ turn.T + [0.8, 0.1, 0.2]
    a, b = ((500 + 700 * each[:, :2] / each[:, 2:]).astype(np.float32) for each in (space, moved))
    b[90:] = scattered(30)
    found = verify(a, b, model="fundamental")
    assert found.matrix is not None
    assert found.is_inlier[:90].mean() > 0.95
    assert found.is_inlier[90:].mean() < 0.2
    a1, b1 = np.c_[a, np.ones(120)], np.c_[b, np.ones(120)]
    lines_b, lines_a = a1 @ found.matrix.T, b1 @ found.matrix
    slopes = np.hypot(np.hypot(*lines_a[:, :2].T), np.hypot(*lines_b[:, :2].T))
    sampson = np.abs((b1 * lines_b).sum(axis=1)) / slopes
    assert sampson[found.is_inlier].max() <= 1.51
    assert sampson[~found.is_inlier].min() >= 1.49


@pytest.mark.parametrize(("model", "minimal"), [("homography", 4), ("fundamental", 7), ("similarity", 2)])
def test_no_more_pairs_than_determine_a_model_are_no_evidence(model: Any, minimal: int) -> None:
    for count in range(minimal + 1):
        points = scattered(count)
        assert_none(verify(points, points + 3, model=model), count)
        doubled = np.repeat(points, 5, axis=0)  # and no more places
        assert_none(verify(doubled, doubled + 3, model=model), 5 * count)


@pytest.mark.parametrize("model", ["homography", "similarity"])
def test_one_pair_more_is_evidence(model: Any) -> None:
    points = scattered(5)
    found = verify(points, points + 3, model=model)
    assert found.matrix is not None
    assert found.is_inlier.all()
    np.testing.assert_allclose(found.matrix, [[1, 0, 3], [0, 1, 3], [0, 0, 1]], atol=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_one_place_in_either_picture_is_none(model: Any) -> None:
    place, points = np.full((30, 2), 7, np.float32), scattered(30)
    assert_none(verify(place, place, model=model), 30)
    assert_none(verify(points, place, model=model), 30)
    assert_none(verify(place, points, model=model), 30)


@pytest.mark.parametrize("model", ["homography", "fundamental"])
@pytest.mark.parametrize("noise", [0, 0.3])
def test_a_line_determines_neither_homography_nor_fundamental_matrix(model: Any, noise: float) -> None:
    along = np.arange(40) * 11.0
    line = np.c_[along, 2 * along + 5] + np.random.default_rng(0).normal(0, noise, (40, 2))
    assert_none(verify(line.astype(np.float32), (line + 3).astype(np.float32), model=model), 40)


def test_a_line_determines_a_similarity() -> None:
    along = np.arange(40, dtype=np.float32)
    found = verify(np.c_[along, 2 * along], np.c_[along + 3, 2 * along], model="similarity")
    assert found.is_inlier.all()


@pytest.mark.parametrize(("model", "most"), [("homography", 7), ("fundamental", 20), ("similarity", 4)])
@pytest.mark.parametrize("count", [20, 100, 400])
def test_pairs_at_random_agree_on_little(model: Any, most: int, count: int) -> None:
    for seed in range(3):
        found = verify(scattered(count, seed), scattered(count, seed + 100), model=model)
        assert found.num_inliers <= most
        assert (found.matrix is None) == (found.num_inliers == 0)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MODELS), st.integers(0, 30), st.sampled_from([1e-30, 1.0, 40.0, 1e6, 1e30]), st.data())
def test_whatever_comes_there_is_an_answer(model: Any, count: int, scale: float, data: st.DataObject) -> None:
    coordinate = st.integers(-4, 4)
    pairs = data.draw(st.lists(st.tuples(*[coordinate] * 4), min_size=count, max_size=count))
    both = (np.array(pairs, np.float64).reshape(-1, 4) * scale).astype(np.float32)
    found = verify(both[:, :2], both[:, 2:], model=model)
    assert found.is_inlier.shape == (count,)
    assert (found.matrix is None) == (found.num_inliers == 0)
    if found.matrix is not None:
        assert found.matrix.shape == (3, 3)
        assert np.isfinite(found.matrix).all()
        for points in (both[found.is_inlier, :2], both[found.is_inlier, 2:]):
            assert len(np.unique(points, axis=0)) > {"homography": 4, "fundamental": 7, "similarity": 2}[model]


@pytest.mark.parametrize("model", MODELS)
def test_it_repeats_in_any_thread_and_after_any_seed(model: Any) -> None:
    a, b, _ = planted(TRUE, 60, 140)
    first = verify(a, b, model=model)
    assert first.matrix is not None

    def again(seed: int) -> Geometry:
        cv2.setRNGSeed(seed)
        return verify(a.copy(), b.copy(), model=model)

    with ThreadPoolExecutor(4) as pool:
        for other in [again(3), *pool.map(again, range(24))]:
            np.testing.assert_array_equal(other.matrix, first.matrix)
            np.testing.assert_array_equal(other.is_inlier, first.is_inlier)


def test_views_are_taken_as_they_are() -> None:
    a, b, _ = planted(TRUE, 60, 40)
    wide = np.c_[a, b, a]
    found, expected = verify(wide[:, :2], wide[:, 2:4]), verify(a, b)
    np.testing.assert_array_equal(found.matrix, expected.matrix)


def test_opencvs_refusal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise cv2.error("sample_size <= points_size_")

    monkeypatch.setattr(cv2, "findHomography", refuse)
    assert_none(verify(scattered(20), scattered(20)), 20)


@pytest.mark.parametrize(
    "wrong",
    [
        scattered(6).astype(np.float64), scattered(6).reshape(-1), scattered(6).reshape(3, 4), scattered(5),
        scattered(6).tolist(), None,
    ],
)  # fmt: skip
def test_points_of_another_form_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="points_b must be"):
        verify(scattered(6), wrong)
    with pytest.raises(InputError, match=r"points_[ab]"):
        verify(wrong, scattered(6))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_points_that_are_nowhere_are_refused(value: float) -> None:
    points = scattered(6)
    points[4, 1] = value
    with pytest.raises(InputError, match="points_b must be finite, row 4"):
        verify(scattered(6), points)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "affine"}, {"threshold": 0}, {"threshold": float("nan")}, {"threshold": "1"}, {"threshold": True},
        {"confidence": 0}, {"confidence": 1}, {"max_iterations": 0}, {"max_iterations": 2**31},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        verify(scattered(6), scattered(6), **wrong)
