"""The models that are checked, and the images they are checked on.

In: names or files, or nothing. Out: fp32 files with their fp16 form, where that lies beside them; and uint8 images of
each one's size, real and labelled where there are such, else seeded noise, and words on which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.labelled import open_domain
from semblance.card import ModelCard, read_card
from semblance.errors import ImageError, InputError, SourceError
from semblance.inference.models import find_model, list_models

UNTRAINED = "resnet101-random"  # the name of a network whose weights are drawn

_SMALL_INPUT = 64 * 64 * 3
_NUM_SMALL, _NUM_LARGE = 5000, 1000
_NUM_NOISE = 256
_FEWEST = 22  # below, ten neighbours are nearly everything there is
_MOST_FLOATS = 1 << 27  # of all embeddings: unpooled features have 100,000 each


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to be checked."""

    path: Path  # fp32
    card: ModelCard
    half: Path | None  # its fp16 form

    @property
    def name(self) -> str:
        """As the tables call it."""
        return self.card.name

    @property
    def is_trained(self) -> bool:
        """Whether what it finds means anything."""
        return self.card.name != UNTRAINED

    @property
    def is_small(self) -> bool:
        """Whether large batches of it fit and pay."""
        return self.card.height * self.card.width * self.card.channels <= _SMALL_INPUT


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a model is checked on."""

    images: NDArray[np.uint8]  # [N, H, W, C]
    labels: NDArray[np.str_] | None  # [N]
    described: str


def subjects(names: Sequence[str] | None) -> list[Subject]:
    """Those named, or all fp32 models that are here. Raises ModelError, InputError for a file that is not fp32."""
    if names is None:
        found = (each for each in list_models() if each.card is not None)
        return [subject(each.path) for each in found if each.card is not None and each.card.precision == "fp32"]
    return [subject(find_model(name)) for name in names]


def subject(path: Path) -> Subject:
    """The model in that fp32 file."""
    card = read_card(path)
    if card.precision != "fp32":
        raise InputError(f"{path} is {card.precision}; name the fp32 file, its fp16 form is taken from beside it")
    half = path.with_name(f"{path.stem}.fp16.onnx")
    return Subject(path, card, half if half.is_file() else None)


def pictures(card: ModelCard, count: int | None = None) -> Pictures:
    """`count` of them (default: 5,000 small ones, 1,000 photographs); fewer of huge embeddings, or of what there is."""
    is_small = card.height * card.width * card.channels <= _SMALL_INPUT
    count = (_NUM_SMALL if is_small else _NUM_LARGE) if count is None else count
    count = min(count, max(_FEWEST, _MOST_FLOATS // card.dimension))
    try:
        found = open_domain(card, num_gate=count).gate
    except (SourceError, InputError, ImageError):
        drawn = noise(card, min(count, _NUM_NOISE))
        return Pictures(drawn, None, f"{len(drawn)} images of seeded noise (no labelled ones of its kind here)")
    return Pictures(found.images, found.labels, found.described)


def noise(card: ModelCard, count: int) -> NDArray[np.uint8]:
    """Seeded random images [count, H, W, C], each of a colour, a contrast and blocks of its own."""
    rng = np.random.default_rng(0)
    shape = (count, -(-card.height // 4), -(-card.width // 4), card.channels)
    coarse = rng.normal(0, 1, shape).repeat(4, axis=1).repeat(4, axis=2)[:, : card.height, : card.width]
    level = rng.uniform(40, 215, (count, 1, 1, card.channels))
    return np.clip(level + rng.uniform(10, 70, (count, 1, 1, 1)) * coarse, 0, 255).astype(np.uint8)
