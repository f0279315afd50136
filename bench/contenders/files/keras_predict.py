"""`load_img`, `img_to_array`, preprocessing and `model.predict`, one after another, as the originals do it.

Pictures are resized by Pillow's bilinear kernel, which widens where a picture shrinks and so is nearest to TensorFlow's
"area": MobileNet's embeddings have a mean cosine of .9987 with the engine's. By the nearest pixel, which `load_img`
takes where it is not asked, it is .981, by "box" .986.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.contenders import Asked, Loaded, Role

TITLE = "Keras, load_img and model.predict"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras", "pillow")


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`), `batch`."""
    from export.quiet import import_tensorflow_quietly

    import_tensorflow_quietly()
    import tensorflow as tf
    from keras.utils import img_to_array, load_img

    from models.base import find
    from models.weights import open_original

    tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    original = find(asked["original"], **asked["original_options"])
    network = open_original(original, asked["weights"]).network
    shape = {
        "color_mode": "grayscale" if original.channels == 1 else "rgb",
        "target_size": (original.height, original.width),
        "interpolation": "bilinear",
    }

    def run(paths: Sequence[str]) -> Any:
        pictures = np.stack([img_to_array(load_img(path, **shape)) for path in paths])  # [N, H, W, C]
        inputs = original.preprocess(tf.constant(pictures)).numpy()
        features = network.predict(inputs, batch_size=asked["batch"], verbose=0)  # [N, h, w, c] or [N, D]
        if original.pooling == "flatten":
            features = features.reshape(len(features), -1)
        elif original.pooling == "average":
            features = features.mean(axis=(1, 2))
        return features / np.linalg.norm(features, axis=-1, keepdims=True) if original.unit_length else features

    return Loaded(run)
