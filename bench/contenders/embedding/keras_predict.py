"""`model.predict`, as the originals call it: preprocessing before, pooling and normalisation after, in numpy."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.tensorflow_originals import open_asked, predicted

TITLE = "Keras, model.predict"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras")


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`)."""
    opened = open_asked(asked, inter_threads=1)
    return Loaded(lambda images: predicted(opened, images, batch=len(images)))
