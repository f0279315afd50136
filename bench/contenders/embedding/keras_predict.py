"""`model.predict`, as the originals call it: preprocessing before, pooling and normalisation after, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded, Role

TITLE = "Keras, model.predict"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras")


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`)."""
    from export.quiet import import_tensorflow_quietly

    import_tensorflow_quietly()
    import tensorflow as tf

    from models.base import find
    from models.weights import open_original

    tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    original = find(asked["original"], **asked["original_options"])
    network = open_original(original, asked["weights"]).network

    def embed(images: NDArray[np.uint8]) -> Any:
        inputs = original.preprocess(tf.constant(images)).numpy()
        features = network.predict(inputs, batch_size=len(images), verbose=0)  # [N, h, w, c] or [N, D]
        if original.pooling == "flatten":
            features = features.reshape(len(features), -1)
        elif original.pooling == "average":
            features = features.mean(axis=(1, 2))
        return features / np.linalg.norm(features, axis=-1, keepdims=True) if original.unit_length else features

    return Loaded(embed)
