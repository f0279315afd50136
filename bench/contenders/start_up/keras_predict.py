"""The original from nothing as the experiments run it: `load_img`, `img_to_array` and `model.predict`."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.programs import OPEN_ORIGINAL, original_options, running

TITLE = "Keras, model.predict"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras", "pillow")

_PROGRAM = (
    OPEN_ORIGINAL
    + """
import numpy as np
from keras.utils import img_to_array, load_img
picture = img_to_array(load_img(
    path, color_mode="grayscale" if original.channels == 1 else "rgb", target_size=(original.height, original.width),
    interpolation="bilinear",
))
features = network.predict(original.preprocess(tf.constant(picture[None])).numpy(), verbose=0)
if original.pooling == "flatten":
    features = features.reshape(1, -1)
elif original.pooling == "average":
    features = features.mean(axis=(1, 2))
if original.unit_length:
    features = features / np.linalg.norm(features, axis=-1, keepdims=True)
print(features.tobytes().hex())
"""
)


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`)."""
    return running(_PROGRAM, *original_options(asked))
