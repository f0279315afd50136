"""The Siamese base network for Fashion-MNIST: images of one class lie close together in its 64 dimensions.

`siamese` is trained here with a contrastive loss and compared by cosine, as that loss does. `siamese-published` is the
same network as its experiment used it: trained with triplets, Euclidean distance on vectors that are not normalised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.base import Original
from models.preprocess import rescale_255
from semblance.inputs.datasets import CLASSES

if TYPE_CHECKING:
    import keras


def network() -> keras.Model:
    """The published base, 492,736 parameters: 28x28x1 -> 64-d."""
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(64, 3, activation="relu", name="conv_1"),
            layers.MaxPooling2D(2, name="pool_1"),
            layers.Conv2D(128, 3, activation="relu", name="conv_2"),
            layers.MaxPooling2D(2, name="pool_2"),
            layers.Flatten(name="flatten"),
            layers.Dense(128, activation="relu", name="dense_1"),
            layers.Dropout(0.2, name="dropout"),
            layers.Dense(64, activation="relu", name="dense_2"),
            layers.BatchNormalization(name="embedding"),
        ],
        name="siamese",
    )


def _original(**differences: Any) -> Original:
    return Original(
        height=28,
        width=28,
        channels=1,
        architecture="fashion_mnist_siamese",
        layer="embedding",
        pooling="none",
        preprocess_name="rescale-255",
        preprocess=rescale_255,
        network=network,
        classes=CLASSES,
        **differences,
    )


def siamese() -> Original:
    """Cosine on unit vectors, with the weights trained here."""
    return _original(name="siamese", metric="cos", unit_length=True, weights="siamese.weights.h5")


def published() -> Original:
    """Euclidean distance on vectors as they come; the published file is not shipped, and it was never trained."""
    return _original(name="siamese-published", metric="l2sq", unit_length=False, weights="")


ORIGINALS = {"siamese": siamese, "siamese-published": published}
