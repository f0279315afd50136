"""Weights that do not fit are told, ImageNet fails in words without a network, random networks are alive."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.base import find
from models.fill import WeightsError, draw_images, fill_from_file, fill_from_imagenet
from models.weights import open_original, own_path


def test_file_of_another_network_is_refused(originals_dir: Path) -> None:
    with pytest.raises(WeightsError, match=r"does not fit autoencoder: expected 14 arrays of 12,785 .* 12 of 492,736"):
        fill_from_file(find("autoencoder").network(), originals_dir / "siamese_model.keras")


def test_file_with_a_layer_too_many_is_refused(tmp_path: Path) -> None:
    network = find("siamese").network()
    network.add(keras.layers.Dense(10, name="one_more"))
    network.save_weights(tmp_path / "more.weights.h5")
    with pytest.raises(WeightsError, match=r"too much is for example shape"):
        fill_from_file(find("siamese").network(), tmp_path / "more.weights.h5")


def test_same_shapes_in_another_kind_of_layer_are_refused(tmp_path: Path) -> None:
    def network(convolution: type[keras.layers.Layer]) -> keras.Model:
        return keras.Sequential([keras.layers.Input((8, 8, 4)), convolution(4, 3)])

    network(keras.layers.Conv2DTranspose).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(WeightsError, match="other layers"):
        fill_from_file(network(keras.layers.Conv2D), tmp_path / "other.weights.h5")


def test_missing_damaged_and_foreign_files_are_told(tmp_path: Path) -> None:
    network = find("siamese").network()
    with pytest.raises(WeightsError, match="no weights file at"):
        fill_from_file(network, tmp_path / "absent.weights.h5")
    for name, reason in (("a.weights.h5", "not a readable"), ("a.keras", "not a readable"), ("a.pkl", r"not '\.pkl'")):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(WeightsError, match=reason):
            fill_from_file(network, tmp_path / name)


def test_cut_short_file_is_told(tmp_path: Path) -> None:
    find("siamese").network().save_weights(tmp_path / "whole.weights.h5")
    whole = (tmp_path / "whole.weights.h5").read_bytes()
    (tmp_path / "short.weights.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="not a readable"):
        fill_from_file(find("siamese").network(), tmp_path / "short.weights.h5")


def test_weights_of_a_hostile_model_are_read_without_running_it(tmp_path: Path) -> None:
    trace = str(tmp_path / "it-ran")
    payload = keras.layers.Lambda(lambda x: (open(trace, "w").close(), x)[1], output_shape=(28, 28, 1))
    hostile = keras.Sequential([keras.layers.Input((28, 28, 1)), payload, *find("siamese").network().layers])
    for name in ("hostile.keras", "hostile.h5"):
        hostile.save(tmp_path / name)
        Path(trace).unlink(missing_ok=True)
        network = find("siamese").network()
        fill_from_file(network, tmp_path / name)
        assert not Path(trace).exists()
        for got, expected in zip(network.get_weights(), hostile.get_weights(), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_imagenet_without_a_network_fails_in_words(tmp_path: Path) -> None:
    # A proxy on a closed port is what a machine without network looks like, wherever this test runs
    code = "from models.weights import open_original; open_original('mobilenet', 'imagenet')"
    nowhere = dict.fromkeys(["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"], "http://127.0.0.1:9")
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": "", **nowhere}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "WeightsError: the ImageNet weights of mobilenet cannot be downloaded" in last
    assert "--weights FILE" in last


def test_imagenet_only_where_there_is_any() -> None:
    original = find("siamese")
    with pytest.raises(WeightsError, match="siamese has no ImageNet weights"):
        fill_from_imagenet(original.network(), original)


def test_imagenet_weights_come_from_the_original(tmp_path: Path) -> None:
    source = find("siamese").network()
    network = find("siamese").network()
    fill_from_imagenet(network, dataclasses.replace(find("siamese"), imagenet=lambda: source))
    np.testing.assert_array_equal(network.get_weights()[0], source.get_weights()[0])


@pytest.mark.parametrize("name", ["autoencoder", "siamese", "mobilenet"])
def test_random_networks_tell_images_apart(name: str) -> None:
    opened = open_original(name, "random")
    original = opened.original
    images = draw_images(8, original.height, original.width, original.channels, seed=99)
    embeddings = own_path(original, opened.network)(tf.constant(images)).numpy()  # [8, D]
    assert np.isfinite(embeddings).all()
    assert embeddings.std(axis=0).max() > 1e-3
    cosine = np.corrcoef(embeddings)[np.triu_indices(8, 1)]
    assert cosine.max() < 0.99, "some images got nearly the same vector"
    assert (np.linalg.norm(embeddings, axis=1) > 0).all()


def test_random_filling_leaves_training_settings_as_they_were() -> None:
    network = open_original("siamese", "random").network
    assert network.get_layer("embedding").momentum == 0.99
    assert network.get_layer("dropout").rate == 0.2


def test_drawn_images_are_smooth_and_repeatable() -> None:
    images = draw_images(5, 40, 30, 3, seed=1)
    assert images.shape == (5, 40, 30, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, draw_images(5, 40, 30, 3, seed=1))
    step = np.abs(np.diff(images.astype(float), axis=1)).mean()
    assert step < images.astype(float).std() / 3
