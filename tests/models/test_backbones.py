"""Every network is there, and is preprocessed as Keras Applications itself does it."""

from __future__ import annotations

import inspect
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.backbones import find_backbone, names, open_application, open_backbone
from models.fill import WeightsError
from models.weights import own_path
from semblance.errors import InputError, ModelNotFound


def _module_of(builder: str) -> types.ModuleType:
    modules = [each for _, each in inspect.getmembers(keras.applications, inspect.ismodule)]
    return next(each for each in modules if hasattr(each, builder) and hasattr(each, "preprocess_input"))


@pytest.mark.parametrize("name", names())
def test_the_recipe_is_that_of_keras(name: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    expected = _module_of(name).preprocess_input(images.astype(np.float32))
    got = find_backbone(name).preprocess(tf.constant(images))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_spelling_does_not_matter() -> None:
    assert find_backbone("inception_resnet_v2").height == 299
    assert find_backbone("InceptionResNetV2").preprocess_name == "tf"
    assert (find_backbone("resnet50", size=96).width, find_backbone("resnet50").width) == (96, 224)


def test_what_a_user_can_do_wrong() -> None:
    with pytest.raises(ModelNotFound, match=r"'resnt50'.*ResNet50"):
        find_backbone("resnt50")
    with pytest.raises(InputError, match="resnet50 has no --alpha"):
        find_backbone("resnet50", alpha=0.5)
    with pytest.raises(InputError, match="must be above 0"):
        find_backbone("mobilenet", alpha=-1)
    with pytest.raises(InputError, match="mobilenet of 16 pixels"):
        open_backbone(find_backbone("mobilenet", size=16), "random")
    with pytest.raises(WeightsError, match="no weights file at"):
        open_backbone(find_backbone("mobilenet", size=32), "nowhere.h5")


def test_features_of_any_of_them_are_unit_vectors_of_its_last_layer() -> None:
    opened = open_application("MobileNetV2", "random", size=32, alpha=0.35)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    vectors = own_path(opened.original, opened.network)(tf.constant(images)).numpy()
    assert vectors.shape == (3, 1280)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert opened.original.layer == "out_relu"
    assert opened.source == "random, seed 0"
