"""Any Keras classifier from a file, cut at a named layer, exported and compared."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from export.keras_file import open_keras
from export.simplify import shape_arithmetic
from export.write import export
from models.fill import WeightsError
from semblance.card import read_card
from semblance.errors import InputError, ModelNotFound


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """A small trained-looking classifier: conv, batch normalisation with statistics, pooling, dense."""
    keras.utils.set_random_seed(5)
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((32, 40, 3)),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, strides=2, name="stem"),
            layers.BatchNormalization(name="stem_bn"),
            layers.ReLU(),
            layers.ZeroPadding2D(1),
            layers.MaxPooling2D(3, 2),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("swish", name="features"),
            layers.GlobalAveragePooling2D(name="pooled"),
            layers.Dense(12, activation="relu", name="penultimate"),
            layers.Dropout(0.3),
            layers.Dense(5, activation="softmax", name="classes"),
        ],
        name="classifier",
    )
    rng = np.random.default_rng(5)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, each.shape) for each in layer.get_weights()])
    path = tmp_path_factory.mktemp("keras") / "classifier.keras"
    network.save(path)
    return path


@pytest.mark.parametrize(
    ("layer", "pooling", "dimension"),
    [("pooled", None, 8), ("features", None, 8), ("features", "flatten", 640), ("penultimate", None, 12)],
)
@pytest.mark.parametrize("preprocess", ["caffe", "torch"])
def test_a_classifier_cut_at_a_layer(classifier, tmp_path, caltech_dir, layer, pooling, dimension, preprocess):
    opened = open_keras(classifier, layer=layer, preprocess=preprocess, pooling=pooling, name="mine")
    card, parity = export(opened, tmp_path / "mine.onnx", num_images=40)
    assert read_card(tmp_path / "mine.onnx") == card
    assert (card.name, card.layer, card.dimension, card.height, card.width) == ("mine", layer, dimension, 32, 40)
    assert (card.preprocess, card.unit_length, card.metric) == (preprocess, True, "cos")
    assert parity.max_unit_error <= 1e-5
    model = onnx.load(tmp_path / "mine.onnx")
    assert not shape_arithmetic(model)
    kinds = [each.op_type for each in model.graph.node]
    assert kinds[:6] == ["Transpose", "Cast", "Sub", "Conv", "Relu", "MaxPool"]
    assert "Pad" not in kinds


def test_an_embedding_that_is_not_normalised(classifier, tmp_path, caltech_dir):
    opened = open_keras(classifier, layer="penultimate", preprocess="tf", unit_length=False, metric="l2sq")
    card, _ = export(opened, tmp_path / "mine.onnx", num_images=20)
    assert (card.name, card.unit_length, card.metric) == ("classifier", False, "l2sq")


def test_what_a_user_can_do_wrong(classifier, tmp_path):
    with pytest.raises(ModelNotFound, match="no layer 'nope'"):
        open_keras(classifier, layer="nope", preprocess="tf")
    with pytest.raises(ModelNotFound, match=r"'imagenet'.*caffe"):
        open_keras(classifier, layer="pooled", preprocess="imagenet")
    with pytest.raises(InputError, match="--pooling average"):
        open_keras(classifier, layer="pooled", preprocess="tf", pooling="average")
    with pytest.raises(InputError, match="--pooling none"):
        open_keras(classifier, layer="features", preprocess="tf", pooling="none")
    with pytest.raises(InputError, match="--name"):
        open_keras(classifier, layer="pooled", preprocess="tf", name="../up")
    with pytest.raises(WeightsError, match="no model file"):
        open_keras(tmp_path / "none.keras", layer="pooled", preprocess="tf")


def test_an_input_without_a_fixed_size(tmp_path):
    network = keras.Sequential(
        [keras.layers.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(name="pooled")]
    )
    network.save(tmp_path / "free.keras")
    with pytest.raises(InputError, match="fixed size"):
        open_keras(tmp_path / "free.keras", layer="pooled", preprocess="tf")


def saved(path: Path, *layers: keras.layers.Layer, channels: int = 3) -> Path:
    keras.Sequential([keras.layers.Input((16, 16, channels)), *layers], name="small").save(path)
    return path


def test_layers_without_weights_are_part_of_the_space(tmp_path):
    """The same weights behind another scaling or activation give other vectors, and must not pass for the same."""
    digests = set()
    for number, (scaling, activation) in enumerate(
        [((1 / 255, 0.0), "relu"), ((1 / 127.5, -1.0), "relu"), ((1 / 255, 0.0), "tanh")]
    ):
        scale, offset = scaling
        path = saved(
            tmp_path / f"{number}.keras",
            keras.layers.Rescaling(scale, offset, name="scaled"),
            keras.layers.Conv2D(4, 3, activation=activation, kernel_initializer="ones", name="conv"),
            keras.layers.GlobalAveragePooling2D(name="pooled"),
        )
        opened = open_keras(path, layer="pooled", preprocess="none", name="mine")
        digests.add((opened.weights_sha256, opened.original.architecture))
    assert len({weights for weights, _ in digests}) == 1
    assert len({architecture for _, architecture in digests}) == 3


def test_branches_and_padded_average_pooling(tmp_path, caltech_dir):
    """What the Inception networks are made of: an average that leaves the padding out, and branches joined."""
    image = keras.layers.Input((16, 16, 3))
    left = keras.layers.AveragePooling2D(3, 1, padding="same")(image)
    right = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    joined = keras.layers.Concatenate(name="joined")([left, right])
    keras.Model(image, joined).save(tmp_path / "branches.keras")
    opened = open_keras(tmp_path / "branches.keras", layer="joined", preprocess="tf")
    _, parity = export(opened, tmp_path / "branches.onnx", num_images=20)
    assert parity.max_unit_error <= 1e-5


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_refused_naming_the_layer(tmp_path, policy):
    path = saved(tmp_path / "mixed.keras", keras.layers.Conv2D(4, 3, name="conv", dtype=policy))
    with pytest.raises(InputError, match=rf"'conv' computes in {policy[6:]}"):
        open_keras(path, layer="conv", preprocess="tf")


@pytest.mark.parametrize("preprocess", ["caffe", "torch"])
def test_a_grey_model_does_not_take_a_recipe_for_color(tmp_path, preprocess):
    path = saved(tmp_path / "grey.keras", keras.layers.Conv2D(4, 3, name="conv"), channels=1)
    with pytest.raises(InputError, match="takes RGB"):
        open_keras(path, layer="conv", preprocess=preprocess)
