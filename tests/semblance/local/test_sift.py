"""Keypoints against plain OpenCV on real pictures; order, scale, bytes, threads, and pictures without any keypoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semblance.errors import ImageError, InputError
from semblance.inputs.datasets import fashion_mnist
from semblance.local import sift
from semblance.local.sift import Features, SiftOptions, extract, extract_all

ALL = SiftOptions(max_keypoints=None, longest_side=None)


def plain(grey: NDArray[np.uint8]) -> tuple[list[tuple[float, ...]], NDArray[np.float32]]:
    """cv2.SIFT as it comes: (-response, y, x, size, angle) of each keypoint, and descriptors, sorted by the former."""
    keypoints, descriptors = cv2.SIFT.create().detectAndCompute(grey, None)
    rows = [(-each.response, each.pt[1], each.pt[0], each.size, each.angle) for each in keypoints]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return [rows[at] for at in order], np.array([descriptors[at] for at in order], np.float32).reshape(-1, 128)


def rows_of(features: Features) -> list[tuple[float, ...]]:
    columns = (-features.responses, features.points[:, 1], features.points[:, 0], features.sizes, features.angles)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def assert_same(one: Features, other: Features) -> None:
    for name in ("points", "sizes", "angles", "responses", "descriptors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def assert_well_formed(features: Features, num_most: int | None = None) -> None:
    count = len(features)
    assert num_most is None or count <= num_most
    assert features.points.shape == (count, 2)
    assert features.descriptors.shape == (count, 128)
    assert features.descriptors.dtype == np.uint8
    for name in ("points", "sizes", "angles", "responses"):
        values = getattr(features, name)
        assert values.dtype == np.float32
        assert values.flags.c_contiguous
        assert name == "points" or values.shape == (count,)
    assert rows_of(features) == sorted(rows_of(features))


def blobs(height: int, width: int, *centres: tuple[float, float], spread: float = 4) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    light = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * spread**2)) for cx, cy in centres)
    return np.asarray(40 + 180 * light).round().astype(np.uint8)


@pytest.mark.parametrize("name", ["graf1.png", "box.png", "cityA.png", "messi5.jpg", "fruits.jpg"])
@pytest.mark.parametrize("most", [None, 1, 2, 100, 512])
def test_they_are_the_strongest_of_plain_opencv(sift_pairs_dir: Path, name: str, most: int | None) -> None:
    grey = cv2.imread(str(sift_pairs_dir / name), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    rows, descriptors = plain(grey.astype(np.uint8))
    features = extract(grey.astype(np.uint8), SiftOptions(max_keypoints=most, longest_side=None))
    assert_well_formed(features, most)
    assert rows_of(features) == rows[:most]
    np.testing.assert_array_equal(features.descriptors, descriptors[:most])


@pytest.mark.usefixtures("fashion_mnist_dir")
def test_fashion_mnist_has_the_descriptors_of_plain_opencv() -> None:
    """The published experiment: from none to seventeen keypoints a picture."""
    images = fashion_mnist("train")[0][:600]
    counts = set()
    for image, features in zip(images, extract_all(images, workers=2), strict=True):
        descriptors = plain(image)[1]
        assert Counter(map(bytes, features.descriptors)) == Counter(map(bytes, descriptors.astype(np.uint8)))
        assert_well_formed(features)
        counts.add(len(features))
    assert {0, 1, 2} <= counts


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (28, 28), (1, 3000), (3000, 2), (28, 28, 1), (9, 9, 3)])
@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_flat_picture_has_none(shape: tuple[int, ...], value: int) -> None:
    for options in (SiftOptions(), ALL, SiftOptions(is_root=True), SiftOptions(longest_side=1)):
        features = extract(np.full(shape, value, np.uint8), options)
        assert len(features) == 0
        assert_well_formed(features)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 1, 17, 100]), st.booleans(),
)  # fmt: skip
def test_noise_of_any_size(
    height: int, width: int, seed: int, most: int | None, side: int | None, is_root: bool
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    options = SiftOptions(max_keypoints=most, longest_side=side, is_root=is_root)
    features = extract(noise, options)
    assert_well_formed(features, most)
    assert_same(features, extract(noise, options))


def test_ties_go_by_y_then_x_and_are_cut_to_the_number_asked_for() -> None:
    """Four equal blobs, far enough apart to be alike to the last bit: OpenCV keeps all that tie with the last one."""
    picture = blobs(256, 256, (64, 64), (192, 64), (64, 192), (192, 192))
    features = extract(picture, ALL)
    tied = features.responses == features.responses[0]
    places = [tuple(place) for place in features.points[tied].round().astype(int).tolist()]
    assert list(dict.fromkeys(places)) == [(64, 64), (192, 64), (64, 192), (192, 192)]
    assert_well_formed(features)
    for most in range(1, int(tied.sum()) + 1):
        first = extract(picture, SiftOptions(max_keypoints=most, longest_side=None))
        assert len(first) == most
        assert rows_of(first) == rows_of(features)[:most]
        np.testing.assert_array_equal(first.descriptors, features.descriptors[:most])


def test_a_shrunk_picture_has_points_of_the_whole_one() -> None:
    """Each axis by its own factor: 403 x 301 becomes 100 x 75."""
    picture = blobs(301, 403, (101.3, 87.6), (290.2, 200.9), spread=24)
    small = cv2.resize(picture.astype(np.float32), (100, 75), interpolation=cv2.INTER_AREA).round().astype(np.uint8)
    rows = np.array(plain(small)[0])
    features = extract(picture, SiftOptions(longest_side=100))
    np.testing.assert_allclose(features.points[:, 0], (rows[:, 2] + 0.5) * 4.03 - 0.5, rtol=1e-6)
    np.testing.assert_allclose(features.points[:, 1], (rows[:, 1] + 0.5) * (301 / 75) - 0.5, rtol=1e-6)
    np.testing.assert_allclose(features.sizes, rows[:, 3] * np.sqrt(4.03 * 301 / 75), rtol=1e-6)
    places = {tuple(place) for place in np.round(features.points - 1).tolist()}  # OpenCV's shift of .25 pixels, times 4
    assert places == {(101, 88), (290, 201)}


def test_a_picture_is_never_grown() -> None:
    picture = blobs(50, 64, (30, 20))
    assert_same(extract(picture, SiftOptions(longest_side=64)), extract(picture, ALL))
    assert_same(extract(picture, SiftOptions(longest_side=5000)), extract(picture, ALL))


def test_the_form_a_picture_comes_in_makes_no_difference(sift_pairs_dir: Path) -> None:
    path = sift_pairs_dir / "box.png"
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    pixels, expected = grey.astype(np.uint8), extract(path)
    spread = np.zeros((pixels.shape[0], 2 * pixels.shape[1]), np.uint8)
    spread[:, ::2] = pixels
    for form in (str(path), path.read_bytes(), pixels, pixels[:, :, None], spread[:, ::2]):
        assert_same(extract(form), expected)
    assert_same(extract(np.dstack([pixels] * 3)), expected)


def test_a_lower_threshold_finds_more(sift_pairs_dir: Path) -> None:
    path = sift_pairs_dir / "box.png"
    counts = [
        len(extract(path, SiftOptions(max_keypoints=None, contrast_threshold=value)))
        for value in (0, 0.01, 0.04, 0.1, 9)
    ]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 5
    assert counts[-1] == 0


def test_root_descriptors_are_square_roots_of_shares(sift_pairs_dir: Path) -> None:
    plainly, rooted = (extract(sift_pairs_dir / "box.png", SiftOptions(is_root=is_root)) for is_root in (False, True))
    np.testing.assert_array_equal(plainly.points, rooted.points)
    shares = plainly.descriptors / plainly.descriptors.sum(axis=1, keepdims=True, dtype=np.float64)
    assert np.abs(rooted.descriptors - np.minimum(512 * np.sqrt(shares), 255)).max() <= 0.5
    lengths = np.linalg.norm(rooted.descriptors.astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, 512, atol=4)  # the square roots of shares are a unit vector


def test_a_root_descriptor_of_zeros_stays_zero() -> None:
    descriptors = np.zeros((2, 128), np.uint8)
    descriptors[1, 5] = 200
    np.testing.assert_array_equal(sift._to_root(descriptors)[0], 0)
    assert sift._to_root(descriptors)[1, 5] == 255


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("value", [0.5, -1, 256, np.nan])
def test_descriptors_that_are_no_bytes_are_a_bug_and_not_rounded(value: float) -> None:
    floats = np.zeros((3, 128), np.float32)
    np.testing.assert_array_equal(sift._to_bytes(floats), floats)
    floats[1, 7] = value
    with pytest.raises(AssertionError, match="whole numbers"):
        sift._to_bytes(floats)
    with pytest.raises(AssertionError, match="128"):
        sift._to_bytes(np.zeros((3, 64), np.float32))


@pytest.mark.parametrize("workers", [0, 1, 2, 4, None])
def test_threads_change_nothing_and_keep_the_order(sift_pairs_dir: Path, workers: int | None) -> None:
    rng = np.random.default_rng(0)
    pictures: list[Any] = [rng.integers(0, 256, (28, 28), dtype=np.uint8) for _ in range(150)]
    pictures[3], pictures[70], pictures[149] = (
        sift_pairs_dir / "box.png",
        np.zeros((1, 1), np.uint8),
        blobs(300, 400, (90, 80)),
    )
    pictures[4] = (sift_pairs_dir / "box_in_scene.png").read_bytes()
    every = list(extract_all(iter(pictures), workers=workers))
    assert len(every) == len(pictures)
    for picture, features in zip(pictures, every, strict=True):
        assert_same(features, extract(picture))


def test_opencvs_own_threads_change_nothing(sift_pairs_dir: Path) -> None:
    before = cv2.getNumThreads()
    try:
        found = []
        for num_threads in (1, 2, 4):
            cv2.setNumThreads(num_threads)
            found.append(extract(sift_pairs_dir / "graf1.png"))
    finally:
        cv2.setNumThreads(before)
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def test_no_picture_gives_nothing() -> None:
    assert list(extract_all([])) == []


def test_a_damaged_picture_is_raised_in_its_place() -> None:
    good = blobs(40, 40, (20, 20))
    stream = extract_all([good, good, b"no picture", good], workers=2)
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(ImageError):
        next(stream)


def test_pictures_are_not_taken_far_ahead() -> None:
    taken = 0

    def large() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield np.zeros((300, 300), np.uint8)

    stream = extract_all(large(), workers=2)
    next(stream)
    assert taken <= 6


@pytest.mark.parametrize("picture", [np.zeros((4, 4)), np.zeros((0, 4), np.uint8), b"", "no/such/file.png"])
def test_what_is_no_picture_is_refused(picture: Any) -> None:
    with pytest.raises(ImageError):
        extract(picture)


def test_opencvs_refusal_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def detectAndCompute(self, *_: object) -> None:  # noqa: N802
            raise cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes\n")

    monkeypatch.setattr(sift.cv2.SIFT, "create", lambda **_: Full())
    with pytest.raises(
        ImageError, match=r"4 x 6 pixels: OpenCV refuses it \(\(-4:Insuff.* 9 bytes\); give a smaller longest_side"
    ):
        extract(np.zeros((4, 6), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_keypoints": 0}, {"max_keypoints": 1.5}, {"max_keypoints": True}, {"longest_side": 0},
        {"longest_side": "big"}, {"contrast_threshold": -0.1}, {"contrast_threshold": float("nan")},
        {"contrast_threshold": float("inf")}, {"contrast_threshold": "low"}, {"is_root": 1},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        SiftOptions(**wrong)


def test_workers_are_checked_at_once() -> None:
    with pytest.raises(InputError, match="workers"):
        extract_all([], workers=-1)


def test_any_number_of_keypoints_may_be_asked_for() -> None:
    picture = blobs(40, 40, (20, 20))
    assert_same(extract(picture, SiftOptions(max_keypoints=10**12)), extract(picture, ALL))
