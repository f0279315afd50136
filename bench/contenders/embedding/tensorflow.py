"""The original's own path as one tf.function, and where it is asked for compiled by XLA."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role
from bench.contenders.tensorflow_originals import open_asked

TITLE = "TensorFlow, tf.function"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras")


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`), `inter_threads`, `is_xla`."""
    opened = open_asked(asked, inter_threads=asked["inter_threads"])
    import tensorflow as tf

    from models.weights import own_path

    original = opened.original
    shape = [None, original.height, original.width, original.channels]
    embed: Any = tf.function(
        own_path(original, opened.network),
        input_signature=[tf.TensorSpec(shape, tf.uint8)],
        jit_compile=asked["is_xla"] or None,
    )
    return Loaded(lambda images: embed(images).numpy())
