"""InceptionResNetV2's average-pooled features of a photograph, 1536-d, with its own scaling or the published one.

The published experiment scaled photographs to 0..1; the network was trained on -1..1, which `inception_resnet_v2` does.
"""

from __future__ import annotations

from models.applications import photographs
from models.base import Original


def _original(name: str, preprocess: str) -> Original:
    return photographs(
        name,
        builder="InceptionResNetV2",
        layer="conv_7b_ac",
        preprocess=preprocess,
        size=299,
        architecture="inception_resnet_v2",
    )


def inception_resnet_v2() -> Original:
    """Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning"."""
    return _original("inception_resnet_v2", "tf")


def published() -> Original:
    """The same network on 0..1, as the published experiment ran it."""
    return _original("inception_resnet_v2-published", "rescale-255")


ORIGINALS = {"inception_resnet_v2": inception_resnet_v2, "inception_resnet_v2-published": published}
