"""What a TensorFlow original is to the exporter: how it preprocesses, its network, and the facts for its card.

In: a file `models/NAME.py` that maps names to factories in `ORIGINALS`. Out: `Original`s by name. Nothing here imports
TensorFlow until a network is built, so names can be listed without it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semblance.card import Crop, Metric, Resize
from semblance.errors import ModelNotFound

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """One TensorFlow original, exactly as the experiment that published it runs it.

    Its own path, which the exported graph must equal: `preprocess`, `network`, then pooling and normalisation as the
    card says.
    """

    name: str
    height: int  # of the uint8 image it is given, pixels
    width: int
    channels: int  # 1 grey, 3 RGB
    metric: Metric
    unit_length: bool  # the embedding is L2-normalised
    architecture: str
    layer: str  # the Keras layer whose output is the feature
    pooling: Literal["none", "flatten", "average"]  # from that output to [N, D]; "none": it is [N, D] already
    preprocess_name: str
    preprocess: Callable[[tf.Tensor], tf.Tensor]  # uint8 [N, height, width, channels] -> float32, the network's input
    network: Callable[[], keras.Model]  # whole network up to `layer` (or further), freshly initialised
    weights: str  # the default: a file name in models/weights/, or "imagenet", or "" where a file must be given
    imagenet: Callable[[], keras.Model] | None = None  # the same network with weights that Keras downloads
    resize: Resize = "area"
    crop: Crop = "none"
    classes: tuple[str, ...] = ()


_FOLDER = Path(__file__).parent
_TOOLS = {  # files of this folder that are no models
    "applications", "backbones", "base", "batches", "classifier", "cnn", "contrastive", "curves", "facts", "fill",
    "keep_best", "losses", "pairs", "pictures", "preprocess", "recipes", "safe", "train", "train_pictures", "weights",
}  # fmt: skip


def names() -> list[str]:
    """Every original's name, sorted."""
    return sorted(_factories())


def find(name: str, **options: Any) -> Original:
    """The original of that name; `options` go to its factory (`find("mobilenet", alpha=0.5)`).

    Raises ModelNotFound for an unknown name, or for an option that the model does not have.
    """
    factories = _factories()
    if name not in factories:
        raise ModelNotFound(f"unknown original {name!r}; models/ has: {', '.join(sorted(factories))}")
    known = set(inspect.signature(factories[name]).parameters)
    if unknown := sorted(options.keys() - known):
        raise ModelNotFound(f"{name} has no option {', '.join(unknown)}; it has: {', '.join(sorted(known)) or 'none'}")
    return factories[name](**options)


def _factories() -> dict[str, Callable[..., Original]]:
    """Every file here that has a table `ORIGINALS` adds its rows: a new model is one new file."""
    found: dict[str, Callable[..., Original]] = {}
    for module in pkgutil.iter_modules([str(_FOLDER)]):
        if module.name not in _TOOLS:
            found.update(importlib.import_module(f"models.{module.name}").ORIGINALS)
    return found
