"""InceptionV3's average-pooled features of a photograph, 2048-d."""

from __future__ import annotations

from models.applications import photographs
from models.base import Original


def inception_v3() -> Original:
    """Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision"."""
    return photographs("inception_v3", builder="InceptionV3", layer="mixed10", preprocess="tf", size=299)


ORIGINALS = {"inception_v3": inception_v3}
