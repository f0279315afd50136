"""Any Keras model from a file, as an original: cut behind a named layer, with a named preprocessing.

In: a .keras or whole-model .h5 file and what nothing in it says. Out: an `Opened`, like those that models/ opens, so
that the rest of an export knows no difference.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.base import Original
from models.preprocess import RECIPES
from models.safe import open_keras_file
from models.weights import Opened, kept, weights_sha256
from semblance.card import Metric
from semblance.errors import InputError, ModelNotFound

if TYPE_CHECKING:
    import keras

Pooling = Literal["none", "flatten", "average"]
_OF_COLOR = ("caffe", "torch")  # recipes with a constant for each of three channels


def open_keras(
    path: Path,
    *,
    layer: str,
    preprocess: str,
    name: str | None = None,
    pooling: Pooling | None = None,
    unit_length: bool = True,
    metric: Metric = "cos",
) -> Opened:
    """The network in `path` up to `layer`, with the recipe `preprocess` of models/preprocess.py before it.

    `name` defaults to the file's, `pooling` to none for a layer that gives [N, D] and average for a feature map.
    Raises WeightsError or UnsafeModelError (the file), ModelNotFound (layer, recipe), InputError (shapes, options).
    """
    if preprocess not in RECIPES:
        raise ModelNotFound(f"unknown preprocessing {preprocess!r}; models/preprocess.py has: {', '.join(RECIPES)}")
    network = kept(open_keras_file(path), layer)
    _require_float32(network, path)
    height, width, channels = _image_size(network, path)
    if channels == 1 and preprocess in _OF_COLOR:
        raise InputError(f"--preprocess {preprocess} takes RGB, {path} takes grey; give none, rescale-255 or tf")
    rank = len(network.output_shape)
    chosen: Pooling = pooling or ("average" if rank == 4 else "none")
    _check_pooling(chosen, rank, network.output_shape, layer)
    digest = weights_sha256(network)
    original = Original(
        name=_file_name(name or path.stem),
        height=height,
        width=width,
        channels=channels,
        metric=metric,
        unit_length=unit_length,
        architecture=f"keras:{network.name}:{_structure_sha256(network)[:16]}",
        layer=layer,
        pooling=chosen,
        preprocess_name=preprocess,
        preprocess=RECIPES[preprocess],
        network=lambda: network,
        weights="",
    )
    return Opened(original, network, path.name, digest)


def _structure_sha256(network: keras.Model) -> str:
    """Over every layer's configuration: activations, strides and layers without weights shape the space as well."""
    config = json.dumps(network.get_config(), sort_keys=True, default=str)
    return hashlib.sha256(config.encode()).hexdigest()


def _require_float32(network: keras.Model, path: Path) -> None:
    for layer in network.layers:
        if layer.compute_dtype != "float32":
            raise InputError(
                f"{path}: its layer {layer.name!r} computes in {layer.compute_dtype}, and parity is proven in float32; "
                "rebuild the model with keras.config.set_dtype_policy('float32'), copy its weights and save it again"
            )


def _image_size(network: keras.Model, path: Path) -> tuple[int, int, int]:
    shape: Any = network.input_shape
    if len(network.inputs) != 1 or len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3):
        raise InputError(
            f"{path}: its input is {shape}; expected one input (None, height, width, 1 or 3) with a fixed size; build "
            "the model with such an Input and save it again"
        )
    return shape[1], shape[2], shape[3]


def _check_pooling(pooling: Pooling, rank: int, shape: tuple[int | None, ...], layer: str) -> None:
    needed = {"none": rank == 2, "average": rank == 4, "flatten": rank > 2}
    if None in shape[1:] or not needed[pooling]:
        raise InputError(
            f"layer {layer!r} gives {shape}, which --pooling {pooling} does not bring to [N, D]; average takes "
            "(None, h, w, c) and flatten anything of fixed size; none needs (None, D)"
        )


def _file_name(name: str) -> str:
    """Names are file names: what is none is refused and not repaired."""
    if not name or name.startswith(".") or not all(each.isalnum() or each in "._-" for each in name):
        raise InputError(f"{name!r} cannot be a model's name; give letters, digits, '.', '_' and '-' with --name")
    return name
