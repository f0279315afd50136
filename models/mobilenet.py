"""MobileNet v1's average-pooled features of a photograph: 768-d at the default width of 0.75."""

from __future__ import annotations

from models.applications import photographs
from models.base import Original
from semblance.errors import InputError


def mobilenet(alpha: float = 0.75) -> Original:
    """Howard et al. 2017, "MobileNets"; `alpha` scales the number of channels (ImageNet weights: .25, .5, .75, 1).

    Raises InputError for an alpha that is not positive. Another width than the default is another model by name too.
    """
    alpha = float(alpha)
    if not alpha > 0:
        raise InputError(f"alpha scales the number of channels and must be above 0, is {alpha:g}; usual are .25 to 1")
    return photographs(
        "mobilenet" if alpha == 0.75 else f"mobilenet-{alpha:g}",
        builder="MobileNet",
        layer="conv_pw_13_relu",
        preprocess="tf",
        architecture=f"mobilenet_{alpha:g}",
        alpha=alpha,
    )


ORIGINALS = {"mobilenet": mobilenet}
