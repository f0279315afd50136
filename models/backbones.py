"""Networks of Keras Applications by name, whether or not there is a file for them here: what each was trained on.

In: a name such as resnet50 or densenet121. Out: an `Original` without classifier, whose recipe of preprocessing is that
of the network's own `preprocess_input`. ConvNeXt and MobileNetV3 are left out: the first has layers of its own, which a
file that is opened safely may not name, the second takes its input in several ways.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from models.applications import photographs
from models.base import Original
from models.fill import WeightsError
from models.weights import Opened, kept, load, weights_sha256
from semblance.errors import InputError, ModelNotFound

if TYPE_CHECKING:
    import keras

_RECIPES: dict[str, tuple[str, ...]] = {
    "caffe": ("ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19"),
    "tf": (
        "InceptionV3", "InceptionResNetV2", "MobileNet", "MobileNetV2", "NASNetMobile", "NASNetLarge",
        "ResNet50V2", "ResNet101V2", "ResNet152V2", "Xception",
    ),
    "torch": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "none": (
        *(f"EfficientNetB{number}" for number in range(8)),
        *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    ),
}  # fmt: skip
_SIZES = {"InceptionV3": 299, "InceptionResNetV2": 299, "Xception": 299, "NASNetLarge": 331}  # others: 224
_WITH_ALPHA = ("MobileNet", "MobileNetV2")


def names() -> list[str]:
    """Every name, as Keras spells it."""
    return sorted(builder for builders in _RECIPES.values() for builder in builders)


def find_backbone(name: str, *, size: int | None = None, alpha: float | None = None) -> Original:
    """The network of that name, in any spelling (`inception_v3`, `InceptionV3`), for `size` x `size` photographs.

    `size` defaults to the one it was trained on, `alpha` (MobileNet's width) to 1. Its kept layer is not named: it is
    the last one. Raises ModelNotFound for an unknown name, InputError for an alpha where there is none.
    """
    builders = {_plain(builder): (builder, recipe) for recipe, group in _RECIPES.items() for builder in group}
    if _plain(name) not in builders:
        raise ModelNotFound(f"unknown backbone {name!r}; of Keras Applications there are: {', '.join(names())}")
    builder, recipe = builders[_plain(name)]
    options: dict[str, Any] = {}
    if alpha is not None:
        if builder not in _WITH_ALPHA:
            raise InputError(f"{name} has no --alpha; it is the width of {' and '.join(_WITH_ALPHA)}")
        if not alpha > 0:
            raise InputError(f"--alpha scales the number of channels and must be above 0, is {alpha:g}")
        options["alpha"] = alpha
    size = _SIZES.get(builder, 224) if size is None else size
    called = name.lower() if alpha is None else f"{name.lower()}-{alpha:g}"
    return photographs(called, builder=builder, layer="", preprocess=recipe, size=size, **options)


def open_backbone(original: Original, weights: str, *, seed: int = 0) -> tuple[keras.Model, str]:
    """The whole network filled with `weights` (imagenet, random or a file), and in words where they came from.

    Raises WeightsError where they are missing or do not fit, InputError for a size that the network cannot take.
    """
    try:
        network = original.network()
    except ValueError as error:  # Keras names the least size
        raise InputError(f"{original.name} of {original.height} pixels: {str(error).splitlines()[0]}") from error
    try:
        return network, load(network, original, weights, seed=seed)
    except WeightsError as error:
        raise WeightsError(" ".join(str(error).split())) from error  # a failed download's reason has several lines


def open_application(
    name: str, weights: str, *, size: int | None = None, alpha: float | None = None, seed: int = 0
) -> Opened:
    """The average-pooled features of any of these networks, as `open_original` opens those that have a file here."""
    original = find_backbone(name, size=size, alpha=alpha)
    network, source = open_backbone(original, weights, seed=seed)
    original = dataclasses.replace(original, layer=network.layers[-1].name)
    network = kept(network, original.layer)
    return Opened(original, network, source, weights_sha256(network))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
