"""Each recipe against Keras's own and plain numpy; the published ResNet101 path against an enlargement by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from keras.applications import imagenet_utils
from numpy.typing import NDArray

from models.preprocess import RECIPES
from models.resnet101 import preprocess_published


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), np.uint8)  # [N, H, W, 3]


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_recipe_equals_keras(mode: str, photographs: NDArray[np.uint8]) -> None:
    expected = imagenet_utils.preprocess_input(photographs.astype(np.float32), mode=mode)
    got = RECIPES[mode](tf.constant(photographs))
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_plain_recipes(photographs: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(RECIPES["none"](tf.constant(photographs)), photographs.astype(np.float32))
    np.testing.assert_array_equal(RECIPES["rescale-255"](tf.constant(photographs)), photographs / np.float32(255))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_no_images_give_no_inputs(name: str) -> None:
    assert RECIPES[name](tf.zeros([0, 4, 4, 3], tf.uint8)).shape == (0, 4, 4, 3)


def test_published_resnet_preprocessing_is_the_one_by_hand() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 1), np.uint8)
    got = preprocess_published(tf.constant(images)).numpy()
    expected = _enlarge_by_hand(images[..., 0] / 255.0)[..., None] - np.array([103.939, 116.779, 123.68])
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)
    assert -124.0 < got.min() < got.max() < -102.9


def _enlarge_by_hand(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 28, 28] -> [N, 224, 224]: bilinear between half-pixel centres, the border repeated."""
    place = np.clip((np.arange(224) + 0.5) / 8 - 0.5, 0, 27)
    low = np.minimum(place.astype(int), 26)
    matrix = np.zeros((224, 28))
    matrix[np.arange(224), low] = 1 - (place - low)
    matrix[np.arange(224), low + 1] = place - low
    return matrix @ images @ matrix.T
