"""The kernels against plain arithmetic, the crop against its definition, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.errors import ImageError, InputError
from semblance.inputs.resize import fit, resize

RGB = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
KERNELS = ["area", "bilinear", "bicubic", "nearest"]


def area_reference(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Mean over whole blocks: what INTER_AREA is where the factor is a whole number."""
    rows, columns, channels = image.shape
    blocks = image.reshape(height, rows // height, width, columns // width, channels)
    return blocks.mean(axis=(1, 3))


def bilinear_reference(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Two-tap interpolation at half-pixel centres, edges repeated, pixel by pixel."""
    out = np.zeros((height, width, image.shape[2]))
    for y in range(height):
        for x in range(width):
            row = np.clip((y + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
            column = np.clip((x + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
            top, left = int(row), int(column)
            bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
            fy, fx = row - top, column - left
            upper = image[top, left] * (1 - fx) + image[top, right] * fx
            lower = image[bottom, left] * (1 - fx) + image[bottom, right] * fx
            out[y, x] = upper * (1 - fy) + lower * fy
    return out


@pytest.mark.parametrize("resize_by", KERNELS)
@pytest.mark.parametrize("crop", ["none", "center"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 9), (30, 4), (40, 50), (1, 60)])
def test_every_size_keeps_shape_dtype_and_channels(
    resize_by: str, crop: str, channels: int, size: tuple[int, int]
) -> None:
    out = resize(RGB[:, :, :channels], height=size[0], width=size[1], resize=resize_by, crop=crop)  # type: ignore[arg-type]
    assert out.shape == (*size, channels)
    assert out.dtype == np.uint8


def test_the_right_size_is_returned_as_it_is() -> None:
    assert resize(RGB, height=12, width=18) is RGB
    assert resize(RGB, height=12, width=18, resize="nearest", crop="center") is RGB


def test_area_averages_where_it_shrinks() -> None:
    assert np.abs(resize(RGB, height=4, width=6) - area_reference(RGB, 4, 6)).max() <= 0.51


def test_area_is_bilinear_where_it_grows() -> None:
    np.testing.assert_array_equal(resize(RGB, height=24, width=40), resize(RGB, height=24, width=40, resize="bilinear"))


def test_area_averages_along_the_one_axis_that_shrinks() -> None:
    expected = bilinear_reference(np.rint(area_reference(RGB, 12, 3)).astype(np.uint8), 24, 3)
    assert np.abs(resize(RGB, height=24, width=3) - expected).max() <= 1.01


@pytest.mark.parametrize("seed", range(4))
def test_area_by_floats_is_area_by_bytes(seed: int) -> None:
    """Noise, black and white, and one colour, to any smaller size: whole numbers of pixels under one are among them."""
    rng = np.random.default_rng(seed)
    for turn in range(60):
        (rows, columns), channels = rng.integers(1, 400, 2), (1, 3)[turn % 2]
        height, width = int(rng.integers(1, rows + 1)), int(rng.integers(1, columns + 1))
        image = rng.integers(0, 256, (rows, columns, channels), dtype=np.uint8)
        if turn % 3:
            image = (image > 127).astype(np.uint8) * 255 if turn % 3 == 1 else np.full_like(image, image[0, 0, 0])
        expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, channels)
        np.testing.assert_array_equal(resize(image, height=height, width=width), expected)


@pytest.mark.parametrize("size", [(24, 36), (7, 5), (3, 40)])
def test_bilinear_is_two_taps_at_half_pixel_centres(size: tuple[int, int]) -> None:
    out = resize(RGB, height=size[0], width=size[1], resize="bilinear")
    assert np.abs(out - bilinear_reference(RGB, *size)).max() <= 1.0


@pytest.mark.parametrize("size", [(24, 36), (7, 5), (3, 40)])
def test_nearest_takes_the_pixel_under_the_centre(size: tuple[int, int]) -> None:
    rows = ((np.arange(size[0]) + 0.5) * 12 / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * 18 / size[1]).astype(int)
    out = resize(RGB, height=size[0], width=size[1], resize="nearest")
    np.testing.assert_array_equal(out, RGB[rows][:, columns])


def test_bicubic_passes_through_a_constant_and_overshoots_an_edge() -> None:
    assert (resize(np.full((5, 5, 1), 77, np.uint8), height=9, width=11, resize="bicubic") == 77).all()
    edge = np.full((8, 8, 1), 60, np.uint8)
    edge[:, 4:] = 180
    out = resize(edge, height=8, width=16, resize="bicubic")
    assert out.min() < 60
    assert out.max() > 180


def test_center_keeps_the_middle_of_the_long_side() -> None:
    wide = np.zeros((10, 30, 1), np.uint8)
    wide[:, 10:20] = 200
    assert (resize(wide, height=5, width=5, crop="center") == 200).all()
    assert (resize(wide.transpose(1, 0, 2), height=5, width=5, crop="center") == 200).all()


def test_center_is_scaling_to_cover_and_cutting_then() -> None:
    """On a smooth picture the two orders differ by less than the slope over a pixel."""
    y, x = np.mgrid[:120, :200]
    smooth = np.dstack([x, y, x / 2 + y / 2]).astype(np.uint8)
    covered = cv2.resize(smooth, (round(200 * 64 / 120), 64), interpolation=cv2.INTER_AREA)
    left = (covered.shape[1] - 64) // 2
    out = resize(smooth, height=64, width=64, crop="center")
    assert np.abs(out.astype(int) - covered[:, left : left + 64]).max() <= 2


def test_a_thread_thin_picture_is_cut_before_it_is_scaled() -> None:
    thread = np.zeros((1, 60_000, 3), np.uint8)
    thread[0, 30_000] = 255
    assert (resize(thread, height=224, width=224, crop="center").shape) == (224, 224, 3)
    assert resize(thread, height=224, width=224).shape == (224, 224, 3)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_of_another_form_are_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match=r"expected uint8 \[H, W, 1\]"):
        resize(image, height=2, width=2)


def test_unknown_options_and_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1, are 0 and 2"):
        resize(RGB, height=0, width=2)
    with pytest.raises(InputError, match=r"'area', 'bilinear'.*'lanczos'"):
        resize(RGB, height=2, width=2, resize="lanczos")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="crop must be"):
        resize(RGB, height=2, width=2, crop="left")  # type: ignore[arg-type]


def test_fit_takes_all_four_from_the_card() -> None:
    card = ModelCard(
        name="any", height=5, width=7, channels=3, dimension=4, metric="cos", unit_length=False,
        architecture="any", layer="any", pooling="flatten", preprocess="none", weights_sha256="0" * 64,
    )  # fmt: skip
    for kernel in KERNELS:
        for crop in ("none", "center"):
            given = replace(card, resize=kernel, crop=crop)  # type: ignore[arg-type]
            expected = resize(RGB, height=5, width=7, resize=kernel, crop=crop)  # type: ignore[arg-type]
            np.testing.assert_array_equal(fit(RGB, given), expected)
    with pytest.raises(ImageError, match=r"expected uint8 \[H, W, 1\]"):
        fit(RGB[0], card)
