"""ResNet50's average-pooled features of a photograph, 2048-d."""

from __future__ import annotations

from models.applications import photographs
from models.base import Original


def resnet50() -> Original:
    """He et al. 2015, "Deep Residual Learning for Image Recognition", as Keras Applications trained it."""
    return photographs("resnet50", builder="ResNet50", layer="conv5_block3_out", preprocess="caffe")


ORIGINALS = {"resnet50": resnet50}
