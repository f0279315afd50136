"""tf.data as TensorFlow's guide has it: read, decode, resize, batch, prefetch; then the original as a tf.function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded, Role
from bench.contenders.tensorflow_originals import open_asked

TITLE = "TensorFlow, tf.data"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras")


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`), `batch`."""
    opened = open_asked(asked, inter_threads=asked.threads)
    import tensorflow as tf

    from models.weights import own_path

    original = opened.original
    size = (original.height, original.width)
    spec = tf.TensorSpec([None, *size, original.channels], tf.float32)
    embed: Any = tf.function(own_path(original, opened.network), input_signature=[spec])

    def read(path: Any) -> Any:
        pixels = tf.io.decode_image(tf.io.read_file(path), channels=original.channels, expand_animations=False)
        return tf.cast(tf.image.resize(pixels, size, method=original.resize), tf.float32)

    def prepare(paths: Sequence[str]) -> Any:
        # once: making it again would trace `read` again, which takes longer than some pictures do
        return (
            tf.data.Dataset.from_tensor_slices(list(paths))
            .map(read, num_parallel_calls=asked.threads)
            .batch(asked["batch"])
            .prefetch(1)
        )

    def run(pictures: Any) -> NDArray[np.float32]:
        return np.concatenate([embed(batch).numpy() for batch in pictures])

    return Loaded(run, prepare=prepare)
