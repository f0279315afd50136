"""Parameters, shapes and layers of every original; the big networks are built once, at random."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.base import find
from models.fill import draw_images
from models.train import embed_all, leave_one_out
from models.weights import SHIPPED, kept, open_original, own_path
from semblance.card import read_card
from semblance.errors import InputError
from semblance.inference.models import zoo_folder
from semblance.inputs.idx import read_idx


@pytest.mark.parametrize(
    ("name", "whole", "layer", "dimension"),
    [
        ("autoencoder", 12_785, "bottleneck", 128),
        ("autoencoder-published", 12_785, "decode_1", 128),
        ("siamese", 492_736, "embedding", 64),
        ("siamese-published", 492_736, "embedding", 64),
    ],
)
def test_small_networks_are_the_published_ones(name: str, whole: int, layer: str, dimension: int) -> None:
    original = find(name)
    network = original.network()
    assert network.count_params() == whole
    assert original.layer == layer
    assert np.prod(kept(network, layer).output_shape[1:]) == dimension


def test_normalisation_and_metric_are_the_published_ones() -> None:
    facts = {name: (find(name).metric, find(name).unit_length) for name in ("autoencoder", "siamese", "resnet101")}
    assert facts == {"autoencoder": ("l2sq", False), "siamese": ("cos", True), "resnet101": ("cos", True)}
    assert (find("siamese-published").metric, find("siamese-published").unit_length) == ("l2sq", False)


# Parameters without classifier, as keras.io/api/applications gives them or its builders count them
PHOTOGRAPHS = [
    ("resnet50", 23_587_712, 224, 2048, "caffe"),
    ("inception_v3", 21_802_784, 299, 2048, "tf"),
    ("inception_resnet_v2", 54_336_736, 299, 1536, "tf"),
    ("mobilenet", 1_832_976, 224, 768, "tf"),
]


@pytest.mark.parametrize(("name", "parameters", "size", "dimension", "recipe"), PHOTOGRAPHS)
def test_photograph_networks(name: str, parameters: int, size: int, dimension: int, recipe: str) -> None:
    original = find(name)
    network = original.network()
    assert network.count_params() == parameters
    assert network.input_shape == (None, size, size, 3)
    assert (original.height, original.width, original.preprocess_name) == (size, size, recipe)
    assert network.layers[-1].name == original.layer
    assert network.output_shape[-1] == dimension


def test_mobilenet_names_its_width() -> None:
    assert find("mobilenet").architecture == "mobilenet_0.75"
    assert find("mobilenet", alpha=1).architecture == "mobilenet_1"
    assert (find("mobilenet").name, find("mobilenet", alpha=0.25).name) == ("mobilenet", "mobilenet-0.25")
    with pytest.raises(InputError, match="above 0"):
        find("mobilenet", alpha=-1)
    assert find("mobilenet", alpha=0.25).network().output_shape[-1] == 256


def test_mobilenet_takes_pretrained_weights_from_a_file(weights_dir: Path) -> None:
    opened = open_original("mobilenet", weights_dir / "mobilenet_v1_075_224_notop.weights.h5")
    images = draw_images(4, 224, 224, 3, seed=0)
    embeddings = own_path(opened.original, opened.network)(tf.constant(images)).numpy()
    assert embeddings.shape == (4, 768)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, rtol=1e-5)
    assert opened.weights_sha256 != open_original("mobilenet", "random").weights_sha256


def test_both_resnet101_share_a_network_and_differ_around_it() -> None:
    plain, published = find("resnet101"), find("resnet101-published")
    assert (plain.architecture, plain.layer) == (published.architecture, published.layer)
    assert (plain.pooling, published.pooling) == ("average", "flatten")
    opened = open_original(published, "random")
    assert opened.network.count_params() == 42_658_176
    assert opened.network.layers[-1].name == "conv5_block3_out"
    flat = own_path(published, opened.network)(tf.constant(draw_images(2, 28, 28, 1, seed=0))).numpy()
    pooled = own_path(plain, opened.network)(tf.constant(draw_images(2, 224, 224, 3, seed=0))).numpy()
    assert (flat.shape, pooled.shape) == ((2, 100_352), (2, 2048))
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1.0, rtol=1e-5)


def test_inception_resnet_differs_from_its_published_use_in_scaling_only() -> None:
    plain, published = find("inception_resnet_v2"), find("inception_resnet_v2-published")
    assert (plain.preprocess_name, published.preprocess_name) == ("tf", "rescale-255")
    assert (plain.architecture, plain.layer, plain.height) == (published.architecture, published.layer, 299)


@pytest.mark.parametrize(
    ("name", "precision_at_1", "precision_at_5"), [("autoencoder", 0.80, 0.775), ("siamese", 0.895, 0.895)]
)
def test_shipped_weights_are_worth_what_they_should_be(
    name: str, precision_at_1: float, precision_at_5: float, fashion_mnist_dir: Path
) -> None:
    images = read_idx(fashion_mnist_dir / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(fashion_mnist_dir / "t10k-labels-idx1-ubyte.gz")
    opened = open_original(name)
    vectors = embed_all(opened.original, opened.network, images[..., None])
    hits = leave_one_out(vectors, labels, k=5, metric=opened.original.metric)
    assert hits[:, 0].mean() >= precision_at_1
    assert hits.mean() >= precision_at_5


@pytest.mark.parametrize("name", ["autoencoder", "siamese"])
def test_shipped_files_are_the_documented_ones(name: str) -> None:
    file = SHIPPED / f"{name}.weights.h5"
    readme = (SHIPPED.parent / "README.md").read_text()
    assert hashlib.sha256(file.read_bytes()).hexdigest() in readme
    opened = open_original(name)
    assert opened.weights_sha256 in readme
    exported = zoo_folder() / f"{name}.onnx"
    assert hashlib.sha256(exported.read_bytes()).hexdigest() in readme
    assert read_card(exported).weights_sha256 == opened.weights_sha256
