"""ResNet101's features of a photograph, average-pooled to 2048-d, or as the published experiment took them.

The published experiment divides Fashion-MNIST by 255, enlarges it to 224x224, repeats grey to RGB and then applies
ResNet's preprocessing, which expects 0..255: the network sees values in about [-124, -103]. Its 7x7x2048 features are
not pooled. `resnet101-published` copies that, since the published figures come from it; `resnet101` does it right.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from models.applications import photographs
from models.base import Original
from models.preprocess import caffe_of_floats, rescale_255
from semblance.inputs.datasets import CLASSES

if TYPE_CHECKING:
    import tensorflow as tf


def resnet101() -> Original:
    """He et al. 2015, "Deep Residual Learning for Image Recognition", as Keras Applications trained it."""
    return photographs("resnet101", builder="ResNet101", layer="conv5_block3_out", preprocess="caffe")


def published() -> Original:
    """The same network on Fashion-MNIST, flattened to 100,352-d."""
    return dataclasses.replace(
        resnet101(),
        name="resnet101-published",
        height=28,
        width=28,
        channels=1,
        pooling="flatten",
        preprocess_name="rescale-255,bilinear-224,grey-to-rgb,caffe",
        preprocess=preprocess_published,
        classes=CLASSES,
    )


def preprocess_published(images: tf.Tensor) -> tf.Tensor:
    """uint8 [N, 28, 28, 1] -> float32 [N, 224, 224, 3] BGR in about [-124, -103]."""
    import tensorflow as tf

    enlarged = tf.image.resize(rescale_255(images), (224, 224), method="bilinear", antialias=False)
    return caffe_of_floats(tf.image.grayscale_to_rgb(enlarged))


ORIGINALS = {"resnet101": resnet101, "resnet101-published": published}
