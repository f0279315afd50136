"""What all originals from Keras Applications have in common: a photograph in, one average-pooled unit vector out.

In: the facts that differ (network, size, recipe). Out: an `Original`, whose ImageNet weights Keras downloads itself.
The average pooling stands outside the network, so the kept layer is the last convolutional one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from models.base import Original
from models.preprocess import RECIPES

if TYPE_CHECKING:
    import keras


def photographs(
    name: str,
    *,
    builder: str,
    layer: str,
    preprocess: str,
    size: int = 224,
    architecture: str | None = None,
    **options: Any,
) -> Original:
    """The original behind `keras.applications.<builder>`, without its classifier, for `size` x `size` RGB photographs.

    `preprocess` is a name in `models.preprocess.RECIPES`; `options` go to the builder (MobileNet's `alpha`).
    """
    build = partial(_build, builder, size, options)
    return Original(
        name=name,
        height=size,
        width=size,
        channels=3,
        metric="cos",
        unit_length=True,
        architecture=architecture or name,
        layer=layer,
        pooling="average",
        preprocess_name=preprocess,
        preprocess=RECIPES[preprocess],
        network=partial(build, None),
        imagenet=partial(build, "imagenet"),
        weights="imagenet",
    )


def _build(builder: str, size: int, options: dict[str, Any], weights: str | None) -> keras.Model:
    import keras

    build = getattr(keras.applications, builder)
    return build(include_top=False, input_shape=(size, size, 3), weights=weights, **options)
