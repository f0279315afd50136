"""The engine's inference alone, on the same pictures in memory: no way from files to embeddings is faster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded, Role
from bench.contenders.picture_files import load_encoder

TITLE = "inference alone"
ROLE: Role = "ceiling"
PACKAGES = ("opencv-python-headless",)


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `batch`, `backend`."""
    encoder = load_encoder(asked, asked["backend"])

    def prepare(paths: Sequence[str]) -> NDArray[np.uint8]:
        return np.stack([encoder.prepare(path) for path in paths])

    return Loaded(encoder.embed, prepare=prepare)
