"""What contenders share that run an original in TensorFlow: how it is opened, and what follows its network in numpy.

In: what a contender was asked. Out: the opened original, in a process whose TensorFlow has its threads fixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked

if TYPE_CHECKING:
    from models.base import Original
    from models.weights import Opened


def open_asked(asked: Asked, *, inter_threads: int) -> Opened:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`)."""
    from export.quiet import import_tensorflow_quietly

    import_tensorflow_quietly()
    import tensorflow as tf

    from models.base import find
    from models.weights import open_original

    tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
    tf.config.threading.set_inter_op_parallelism_threads(inter_threads)
    return open_original(find(asked["original"], **asked["original_options"]), asked["weights"])


def predicted(opened: Opened, pictures: NDArray[np.generic], *, batch: int) -> NDArray[np.float32]:
    """`model.predict`, as the experiments call it, of [N, H, W, C]; before and after it the original's own steps."""
    import tensorflow as tf

    inputs = opened.original.preprocess(tf.constant(pictures)).numpy()
    features = opened.network.predict(inputs, batch_size=batch, verbose=0)  # [N, h, w, c] or [N, D]
    return _finished(opened.original, features)


def _finished(original: Original, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pooled and normalised as the original is: [N, D]."""
    if original.pooling == "flatten":
        features = features.reshape(len(features), -1)
    elif original.pooling == "average":
        features = features.mean(axis=(1, 2))
    return features / np.linalg.norm(features, axis=-1, keepdims=True) if original.unit_length else features
