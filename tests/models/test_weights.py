"""Opening originals: where weights come from, what the hash depends on, and the original's whole way by plain numpy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.base import find
from models.fill import WeightsError, draw_images
from models.weights import kept, load, open_original, own_path, weights_sha256
from semblance.errors import ModelNotFound


def test_published_autoencoder_opens_and_its_two_cuts_differ(originals_dir: Path) -> None:
    file = originals_dir / "autoencoder_model.h5"
    bottleneck, published = open_original("autoencoder", file), open_original("autoencoder-published", file)
    assert bottleneck.source == published.source == "autoencoder_model.h5"
    assert bottleneck.weights_sha256 != published.weights_sha256
    whole = keras.saving.load_model(file, compile=False)
    images = draw_images(4, 28, 28, 1, seed=1)
    for opened, layer in ((bottleneck, 6), (published, 7)):
        inputs = images.astype(np.float32) / 255
        cut = keras.Model(whole.input, whole.layers[layer + (len(whole.layers) == 15)].output)
        expected = np.asarray(cut(inputs)).reshape(4, 128)
        got = own_path(opened.original, opened.network)(tf.constant(images))
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_default_may_be_none_at_all() -> None:
    for name in ("autoencoder-published", "siamese-published"):
        with pytest.raises(WeightsError, match=f"{name} has no weights.*--weights FILE"):
            open_original(name)


@pytest.mark.parametrize("name", ["autoencoder", "siamese"])
def test_shipped_weights_are_the_default(name: str) -> None:
    opened = open_original(name)
    assert opened.source == f"models/weights/{name}.weights.h5"
    assert opened.weights_sha256 != open_original(name, "random").weights_sha256


def test_same_seed_same_hash_another_seed_another() -> None:
    first, again, other = (open_original("siamese", "random", seed=seed).weights_sha256 for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_hash_does_not_depend_on_the_container(suffix: str, tmp_path: Path) -> None:
    original = find("siamese")
    network = original.network()
    load(network, original, "random", seed=5)
    if suffix == ".weights.h5":
        network.save_weights(tmp_path / f"it{suffix}")
    else:
        network.compile("adam", "mse")
        network.save(tmp_path / f"it{suffix}")
    assert open_original("siamese", tmp_path / f"it{suffix}").weights_sha256 == weights_sha256(network)


def test_hash_sees_values_and_shapes_but_no_names() -> None:
    def dense(name: str, units: int, value: float) -> keras.Model:
        network = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(units, use_bias=False, name=name)])
        network.set_weights([np.full((2, units), value, np.float32)])
        return network

    hashes = [weights_sha256(dense(*args)) for args in (("a", 2, 1.0), ("b", 2, 1.0), ("a", 2, 2.0), ("a", 4, 1.0))]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_unknown_layer_says_which_there_are() -> None:
    with pytest.raises(ModelNotFound, match=r"no layer 'neck' in autoencoder.*pixels.*bottleneck"):
        kept(find("autoencoder").network(), "neck")


def test_own_path_flattens_averages_and_normalises() -> None:
    images = draw_images(3, 28, 28, 1, seed=0)
    opened = open_original("autoencoder", "random")
    features = np.asarray(opened.network(images.astype(np.float32) / 255))  # [3, 4, 4, 8]
    ways = {"none": features, "flatten": features.reshape(3, 128), "average": features.mean((1, 2))}
    for pooling, expected in ways.items():
        original = dataclasses.replace(opened.original, pooling=pooling)
        np.testing.assert_allclose(own_path(original, opened.network)(images), expected, rtol=1e-5)
    original = dataclasses.replace(opened.original, unit_length=True)
    expected = ways["flatten"] / np.linalg.norm(ways["flatten"], axis=1, keepdims=True)
    np.testing.assert_allclose(own_path(original, opened.network)(images), expected, rtol=1e-5)


def test_one_image_is_a_batch_of_one() -> None:
    opened = open_original("siamese", "random")
    images = tf.constant(draw_images(5, 28, 28, 1, seed=0))
    embed = own_path(opened.original, opened.network)
    assert embed(images[:1]).dtype == tf.float32
    np.testing.assert_allclose(embed(images[:1]), embed(images)[:1], rtol=0, atol=1e-5)
