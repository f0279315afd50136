"""The original's own path as one tf.function, and where it is asked for compiled by XLA."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role

TITLE = "TensorFlow, tf.function"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras")


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`), `inter_threads`, `is_xla`."""
    from export.quiet import import_tensorflow_quietly

    import_tensorflow_quietly()
    import tensorflow as tf

    from models.base import find
    from models.weights import open_original, own_path

    tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
    tf.config.threading.set_inter_op_parallelism_threads(asked["inter_threads"])
    original = find(asked["original"], **asked["original_options"])
    opened = open_original(original, asked["weights"])
    shape = [None, original.height, original.width, original.channels]
    embed: Any = tf.function(
        own_path(original, opened.network),
        input_signature=[tf.TensorSpec(shape, tf.uint8)],
        jit_compile=asked["is_xla"] or None,
    )
    return Loaded(lambda images: embed(images).numpy())
