"""The original from nothing: a fresh Python imports TensorFlow, fills the network and calls it on one picture file."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.programs import OPEN_ORIGINAL, original_options, running

TITLE = "TensorFlow"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras")

_PROGRAM = (
    OPEN_ORIGINAL
    + """
from models.weights import own_path
pixels = tf.io.decode_image(tf.io.read_file(path), channels=original.channels, expand_animations=False)
picture = tf.image.resize(pixels, (original.height, original.width), method=original.resize)
print(own_path(original, network)(picture[None]).numpy().tobytes().hex())
"""
)


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`)."""
    return running(_PROGRAM, *original_options(asked))
