"""The convolutional autoencoder's encoder for Fashion-MNIST, cut at the bottleneck or where the original cut it.

The published code takes `layers[-7]` as "encoder". In the published file that is not the bottleneck (the last pooling,
`layers[6]`) but the first decoder convolution behind it; both are 4x4x8, so 128-d. `autoencoder` is the bottleneck,
`autoencoder-published` the published cut. Both rank by Euclidean distance on vectors that are not normalised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import Original
from models.preprocess import rescale_255
from semblance.inputs.datasets import CLASSES

if TYPE_CHECKING:
    import keras


def network() -> keras.Model:
    """The whole autoencoder, 12,785 parameters: 28x28x1 -> bottleneck 4x4x8 -> 28x28x1."""
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu", padding="same", name="encode_1"),
            layers.MaxPooling2D(2, padding="same", name="pool_1"),
            layers.Conv2D(16, 3, activation="relu", padding="same", name="encode_2"),
            layers.MaxPooling2D(2, padding="same", name="pool_2"),
            layers.Conv2D(8, 3, activation="relu", padding="same", name="encode_3"),
            layers.MaxPooling2D(2, padding="same", name="bottleneck"),
            layers.Conv2D(8, 3, activation="relu", padding="same", name="decode_1"),
            layers.UpSampling2D(2),
            layers.Conv2D(16, 3, activation="relu", padding="same", name="decode_2"),
            layers.UpSampling2D(2),
            layers.Conv2D(32, 3, activation="relu", name="decode_3"),
            layers.UpSampling2D(2),
            layers.Conv2D(1, 3, activation="sigmoid", padding="same", name="pixels"),
        ],
        name="autoencoder",
    )


def _original(name: str, layer: str, weights: str) -> Original:
    return Original(
        name=name,
        height=28,
        width=28,
        channels=1,
        metric="l2sq",
        unit_length=False,
        architecture="fashion_mnist_autoencoder",
        layer=layer,
        pooling="flatten",
        preprocess_name="rescale-255",
        preprocess=rescale_255,
        network=network,
        weights=weights,
        classes=CLASSES,
    )


def bottleneck() -> Original:
    """Cut at the last pooling, with the weights trained here."""
    return _original("autoencoder", "bottleneck", "autoencoder.weights.h5")


def published() -> Original:
    """Cut at the first decoder convolution; its weights are the published file, which is not shipped."""
    return _original("autoencoder-published", "decode_1", "")


ORIGINALS = {"autoencoder": bottleneck, "autoencoder-published": published}
