"""Recipes that turn an image's bytes into a network's input, as operations of the graph.

In: uint8 [N, H, W, 3] RGB (or [N, H, W, 1] grey for the recipes that treat all channels alike), 0-255. Out: float32 of
the same shape, in the range the network was trained on. The names are those of keras.applications where it has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
_TORCH_STD_RGB = (0.229, 0.224, 0.225)


def none(images: tf.Tensor) -> tf.Tensor:
    """0 to 255, as it comes: for networks that scale inside."""
    import tensorflow as tf

    return tf.cast(images, tf.float32)


def rescale_255(images: tf.Tensor) -> tf.Tensor:
    """0 to 1."""
    return none(images) / 255.0


def tf_range(images: tf.Tensor) -> tf.Tensor:
    """-1 to 1: Inception, InceptionResNet, MobileNet."""
    return none(images) / 127.5 - 1.0


def caffe(images: tf.Tensor) -> tf.Tensor:
    """RGB to BGR, minus the mean colour of ImageNet, no scaling: ResNet, VGG."""
    return caffe_of_floats(none(images))


def caffe_of_floats(pixels: tf.Tensor) -> tf.Tensor:
    """The same for float32 [N, H, W, 3] RGB of any range."""
    import tensorflow as tf

    return tf.reverse(pixels, axis=[-1]) - tf.constant(_CAFFE_MEAN_BGR)


def torch(images: tf.Tensor) -> tf.Tensor:
    """0 to 1, then minus the mean and over the deviation of each colour in ImageNet: DenseNet, most PyTorch models."""
    import tensorflow as tf

    return (rescale_255(images) - tf.constant(_TORCH_MEAN_RGB)) / tf.constant(_TORCH_STD_RGB)


RECIPES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "none": none,
    "rescale-255": rescale_255,
    "tf": tf_range,
    "caffe": caffe,
    "torch": torch,
}
