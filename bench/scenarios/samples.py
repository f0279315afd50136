"""Real pictures of a model's kind, as files are: JPEG photographs for colour, PNG garments for small grey inputs.

In: a card and a count. Out: the bytes of that many files, held in memory, so that no disk is measured. What is
embedded "decoded" is made of the same bytes, before anything is timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from bench import photographs
from semblance.card import ModelCard
from semblance.errors import InputError
from semblance.inputs.datasets import fashion_mnist

Form = Literal["decoded", "encoded"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True, slots=True)
class Files:
    """The bytes of encoded pictures, and what they are in words."""

    encoded: list[bytes]
    described: str


def files_for(card: ModelCard, count: int) -> Files:
    """`count` pictures of the model's kind, fewer where fewer are at hand.

    Raises SourceError where they are not on this machine, InputError for a kind of which there are none.
    """
    if card.channels == 3:
        jpegs = photographs(count)
        return Files(jpegs, f"{len(jpegs):,} photographs of Caltech101, JPEG")
    if (card.height, card.width) != (28, 28):
        raise InputError(
            f"{card.name} eats grey pictures of {card.height}x{card.width}; there are pictures for colour, and for "
            "grey ones of 28x28"
        )
    garments, _ = fashion_mnist("test")  # [N, 28, 28]
    pngs = [_png(garment) for garment in garments[:count]]
    return Files(pngs, f"{len(pngs):,} of the Fashion-MNIST test images, PNG")


def _png(pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()
