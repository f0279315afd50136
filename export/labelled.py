"""Real labelled images of a model's own domain: some to set ranges by, others to judge the result on.

In: a model's card, and where its pictures are if they are not of the two kinds known here: garments for 28x28 grey
inputs, photographs for colour. Out: two sets of uint8 images of the model's size with labels, which share no picture.
Nothing is drawn and nothing stands in: what a variant loses on pictures that its model never meets says little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.images import find_photographs
from semblance.card import ModelCard
from semblance.container import available_threads
from semblance.errors import InputError, SourceError
from semblance.inference.batches import work_ahead
from semblance.inputs.decode import decode
from semblance.inputs.items import Item
from semblance.inputs.resize import fit
from semblance.inputs.sources import Source, open_source

_SMALL_INPUT = 64 * 64 * 3
_NUM_SMALL, _NUM_LARGE = 1024, 128  # images to calibrate on; a photograph has many more places that count
_MOST_LARGE = 5000  # of photographs to judge on: 750 MB at 224 x 224
_MOST_SMALL = 10_000
FEWEST = 22  # below, ten neighbours are nearly everything there is


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images [N, H, W, C] uint8 of one model's size, what each of them shows [N], and what they are in words."""

    images: NDArray[np.uint8]
    labels: NDArray[np.str_]
    described: str


@dataclass(frozen=True, slots=True)
class Domain:
    """Pictures of one kind, without any in common."""

    calibration: Labelled
    gate: Labelled


def open_domain(card: ModelCard, images: str | None = None, *, num_gate: int | None = None) -> Domain:
    """The pictures for a model: of the source `images`, or of what is known for its size and colour.

    `num_gate` bounds how many it is judged on; default 10,000 small ones or 5,000 photographs. Raises SourceError where
    there are none, InputError where they are too few or without labels, ImageError for one that cannot be used.
    """
    is_small = card.height * card.width * card.channels <= _SMALL_INPUT
    num_calibration = _NUM_SMALL if is_small else _NUM_LARGE
    num_gate = (_MOST_SMALL if is_small else _MOST_LARGE) if num_gate is None else num_gate
    if images is not None:
        return _split(card, open_source(images), images, num_calibration, num_gate)
    if (card.height, card.width, card.channels) == (28, 28, 1):
        train, test = _garments("train"), _garments("test")
        return Domain(
            _read(card, train, _spread(_labels(train), num_calibration), "the Fashion-MNIST training images"),
            _read(card, test, _spread(_labels(test), num_gate), "the Fashion-MNIST test images"),
        )
    if card.channels == 3 and (archive := find_photographs()) is not None:
        return _split(card, open_source(archive), "the photographs of Caltech101", num_calibration, num_gate)
    kind = "photographs" if card.channels == 3 else f"{card.height}x{card.width} grey pictures"
    raise SourceError(
        f"no labelled {kind} on this machine to calibrate {card.name} and judge it on; give --images SOURCE: a folder "
        "with a folder for each class, a labelled tar or Parquet file, or what else `semblance embed` reads"
    )


def _garments(split: str) -> Source:
    return open_source(f"fashion-mnist:{split}")


def _split(card: ModelCard, source: Source, described: str, num_calibration: int, num_gate: int) -> Domain:
    """An even sample of one source to calibrate on, at most a quarter of it, and of the rest to judge on."""
    labels = np.asarray(_labels(source))
    calibration = _spread_by_label(labels, min(num_calibration, len(labels) // 4))
    rest = np.setdiff1d(np.arange(len(labels)), calibration)
    gate = rest[_spread_by_label(labels[rest], num_gate)]
    return Domain(_read(card, source, calibration, described), _read(card, source, gate, described))


def _labels(source: Source) -> list[str]:
    """The label of each item. Raises InputError where one has none, all have the same, or there are too few."""
    labels: list[str] = []
    for item in source:
        if item.label is None:
            raise InputError(f"{source.name}: {item.uri} has no label; precision is measured by labels, give them all")
        labels.append(item.label)
    if len(labels) < FEWEST or len(set(labels)) < 2:
        raise InputError(
            f"{source.name}: {len(labels)} pictures of {len(set(labels))} labels; at least {FEWEST} of two labels are "
            "needed, and hundreds are sensible"
        )
    return labels


def _spread(items: NDArray[np.intp] | list[str], count: int) -> NDArray[np.intp]:
    """Places of `count` of the items, evenly spread, so that sorted classes all take part; all if there are fewer."""
    return np.linspace(0, len(items), min(count, len(items)), endpoint=False).astype(np.intp)


def _spread_by_label(labels: NDArray[np.str_], count: int) -> NDArray[np.intp]:
    """Such places after sorting by label, ascending: where labels take turns, every n-th item may have the same."""
    order = np.argsort(labels, kind="stable")
    return np.sort(order[_spread(order, count)])


def _read(card: ModelCard, source: Source, places: NDArray[np.intp], described: str) -> Labelled:
    """The items at ascending `places`, decoded and resized in threads."""
    images = np.empty((len(places), card.height, card.width, card.channels), np.uint8)
    labels = []

    def prepare(item: Item) -> tuple[NDArray[np.uint8], str | None]:
        return fit(decode(item.content, channels=card.channels), card), item.label

    for row, (image, label) in enumerate(work_ahead(_at(source, places), prepare, workers=available_threads())):
        images[row] = image
        labels.append(label)
    return Labelled(images, np.asarray(labels), f"{len(places):,} of {described}")


def _at(source: Source, places: NDArray[np.intp]) -> Iterator[Item]:
    wanted = set(places.tolist())
    return (item for place, item in enumerate(source) if place in wanted)
