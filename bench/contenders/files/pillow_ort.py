"""Pillow and ONNX Runtime as small embedding libraries (fastembed) join them: a batch is decoded, then embedded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import plain_session

TITLE = "Pillow and ONNX Runtime"
ROLE: Role = "peer"
PACKAGES = ("onnxruntime", "pillow")


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `batch`."""
    from PIL import Image

    from semblance.card import read_card

    card = read_card(asked["file"])  # its size alone
    kernel = Image.Resampling.BILINEAR  # widens where a picture shrinks, and so is nearest to "area"
    embed = plain_session(asked["file"], asked.threads)

    def read(path: str) -> NDArray[np.uint8]:
        with Image.open(path) as picture:
            sized = picture.convert("L" if card.channels == 1 else "RGB").resize((card.width, card.height), kernel)
        return np.asarray(sized).reshape(card.height, card.width, card.channels)

    def run(paths: Sequence[str]) -> NDArray[np.float32]:
        batches = [paths[start : start + asked["batch"]] for start in range(0, len(paths), asked["batch"])]
        return np.concatenate([embed(np.stack([*map(read, batch)])) for batch in batches])

    return Loaded(run)
