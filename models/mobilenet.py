"""MobileNet v1's average-pooled features of a photograph: 768-d at the default width of 0.75."""

from __future__ import annotations

from models.applications import photographs
from models.base import Original


def mobilenet(alpha: float = 0.75) -> Original:
    """Howard et al. 2017, "MobileNets"; `alpha` scales the number of channels (ImageNet weights: .25, .5, .75, 1)."""
    alpha = float(alpha)
    return photographs(
        "mobilenet",
        builder="MobileNet",
        layer="conv_pw_13_relu",
        preprocess="tf",
        architecture=f"mobilenet_{alpha:g}",
        alpha=alpha,
    )


ORIGINALS = {"mobilenet": mobilenet}
