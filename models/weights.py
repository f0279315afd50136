"""From an original's name to its network, ready to call: weights from a file, from ImageNet, or random but alive.

In: an original, and which weights. Out: the network up to the kept layer, words on where its weights came from, and a
hash of them that does not depend on the file they lay in. `own_path` joins all that happens to an image in the
original: what it computes is what an exported graph must equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.base import Original, find
from models.fill import WeightsError, fill_from_file, fill_from_imagenet, fill_randomly
from semblance.errors import ModelNotFound

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

__all__ = ["SHIPPED", "Opened", "WeightsError", "kept", "load", "open_original", "own_path", "weights_sha256"]

SHIPPED = Path(__file__).with_name("weights")


@dataclass(frozen=True, slots=True)
class Opened:
    """An original with its weights: `network` runs from the preprocessed input to the kept layer's output."""

    original: Original
    network: keras.Model
    source: str  # where the weights came from, for the card
    weights_sha256: str


def open_original(original: str | Original, weights: str | Path | None = None, *, seed: int = 0) -> Opened:
    """The original of that name, filled with weights and cut behind its kept layer.

    Raises ModelNotFound (unknown name or layer) and WeightsError, see `load`.
    """
    original = find(original) if isinstance(original, str) else original
    network = original.network()
    source = load(network, original, weights, seed=seed)
    network = kept(network, original.layer)
    return Opened(original, network, source, weights_sha256(network))


def load(network: keras.Model, original: Original, weights: str | Path | None, *, seed: int = 0) -> str:
    """Fill the whole network with weights, in place, and return in words where they came from.

    `weights` is None (the original's default), "imagenet", "random" (drawn from `seed`), or a file: .weights.h5, a
    whole model's .h5, or .keras. Of a file only arrays are read, never a configuration, so it cannot run anything.

    Raises WeightsError where there is no default, the file is missing or does not fit, or the download fails.
    """
    chosen = original.weights if weights is None else weights
    if chosen == "":
        raise WeightsError(
            f"{original.name} has no weights of its own here; give a file with --weights FILE (.weights.h5, .h5 or "
            ".keras), or --weights random"
        )
    if chosen == "imagenet":
        fill_from_imagenet(network, original)
        return "imagenet, Keras Applications"
    if chosen == "random":
        fill_randomly(network, original, seed)
        return f"random, seed {seed}"
    path = SHIPPED / chosen if weights is None else Path(chosen)
    fill_from_file(network, path)
    return f"models/weights/{path.name}" if weights is None else path.name


def kept(network: keras.Model, layer: str) -> keras.Model:
    """The part of the network from its input to the output of `layer`, sharing its weights.

    Raises ModelNotFound where there is no such layer.
    """
    import keras

    known = [each.name for each in network.layers]
    if layer not in known:
        raise ModelNotFound(f"no layer {layer!r} in {network.name}; from the last it has: {', '.join(known[::-1])}")
    inputs = network.inputs[0] if len(network.inputs) == 1 else network.inputs
    return keras.Model(inputs, network.get_layer(layer).output, name=network.name)


def weights_sha256(model: keras.Model) -> str:
    """sha256 over each weight array in order: its dtype, its shape, its little-endian bytes; no names, no container."""
    import keras

    digest = hashlib.sha256()
    for variable in model.weights:
        array = keras.ops.convert_to_numpy(variable)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def own_path(original: Original, network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The original's whole way, uint8 [N, height, width, channels] -> float32 [N, D].

    Preprocessing, the kept network in inference mode, pooling, and L2 normalisation where the original has one.
    N is at least 1: TensorFlow's convolutions fail on an empty batch.
    """
    import tensorflow as tf

    def embed(images: tf.Tensor) -> tf.Tensor:
        features = network(original.preprocess(images), training=False)  # [N, h, w, c] or [N, D]
        if original.pooling == "flatten":
            features = tf.reshape(features, [-1, int(np.prod(features.shape[1:]))])
        elif original.pooling == "average":
            features = tf.reduce_mean(features, axis=[1, 2])
        return tf.math.l2_normalize(features, axis=-1) if original.unit_length else features

    return embed
