"""`load_img`, `img_to_array`, preprocessing and `model.predict`, one after another, as the originals do it.

Pictures are resized by Pillow's bilinear kernel, which widens where a picture shrinks and so is nearest to TensorFlow's
"area": MobileNet's embeddings have a mean cosine of .9987 with the engine's. By the nearest pixel, which `load_img`
takes where it is not asked, it is .981, by "box" .986.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded, Role
from bench.contenders.tensorflow_originals import open_asked, predicted

TITLE = "Keras, load_img and model.predict"
ROLE: Role = "original"
PACKAGES = ("tensorflow", "keras", "pillow")


def load(asked: Asked) -> Loaded:
    """Options: `original`, `original_options`, `weights` (as `models.weights.load`), `batch`."""
    opened = open_asked(asked, inter_threads=1)
    from keras.utils import img_to_array, load_img

    original = opened.original
    shape = {
        "color_mode": "grayscale" if original.channels == 1 else "rgb",
        "target_size": (original.height, original.width),
        "interpolation": "bilinear",
    }

    def run(paths: Sequence[str]) -> NDArray[np.float32]:
        pictures = np.stack([img_to_array(load_img(path, **shape)) for path in paths])  # [N, H, W, C]
        return predicted(opened, pictures, batch=asked["batch"])

    return Loaded(run)
