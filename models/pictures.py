"""Labelled pictures in one size, and how they are parted: some to train on, some to choose by, some to judge on.

In: a source as `semblance embed` reads it, whose labels are the classes (a folder's subfolders, those of a tar). Out:
uint8 images as the engine would hand them to the model, with class numbers; pictures that cannot be used are left out
and named. The parts are drawn class by class from a seed, and share no picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semblance.container import available_threads
from semblance.errors import ImageError, InputError
from semblance.inference.batches import work_ahead
from semblance.inputs.decode import decode
from semblance.inputs.items import Item
from semblance.inputs.resize import resize
from semblance.inputs.sources import num_items, open_source

Images = NDArray[np.uint8]  # [N, H, W, C], 0-255
Labels = NDArray[np.int64]  # [N] places in the classes
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of one size, in their source's order."""

    source: str
    images: Images
    labels: Labels
    classes: tuple[str, ...]  # sorted
    uris: tuple[str, ...]  # [N]
    skipped: dict[str, str] = field(default_factory=dict)  # uri -> why


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows of three sets without a picture in common, each ascending."""

    train: Rows
    validation: Rows
    test: Rows


def read_pictures(place: str, *, size: int, channels: int = 3) -> Pictures:
    """Every usable picture of a labelled source, squeezed to `size` x `size`.

    Raises SourceError (no such place), InputError where a picture has no label or fewer than two classes are left.
    """

    def squeeze(pixels: Images) -> Images:
        return resize(pixels, height=size, width=size)

    pictures = read_fitted(place, (size, size, channels), squeeze)
    if "" in pictures.classes:
        raise InputError(
            f"{pictures.source}: {pictures.uris[int(np.argmin(pictures.labels))]} has no label; put it into a folder "
            "named after its class, or take it out"
        )
    if len(pictures.classes) < 2:
        raise InputError(
            f"{pictures.source}: {len(pictures.uris)} usable pictures of {len(pictures.classes)} classes; at least two "
            "classes are needed: give a folder with one for each class, or another labelled source"
        )
    return pictures


def read_fitted(place: str, shape: tuple[int, int, int], fit: Callable[[Images], Images]) -> Pictures:
    """Every usable picture of a source, brought to `shape` by `fit`; one without a label is of class ""."""
    source = open_source(place)
    count = num_items(source)
    images = np.empty((sum(1 for _ in source) if count is None else count, *shape), np.uint8)
    uris: list[str] = []
    labels: list[str] = []
    skipped: dict[str, str] = {}

    def prepare(item: Item) -> tuple[Item, Images | str]:
        try:
            return item, fit(decode(item.content, channels=shape[2]))
        except ImageError as error:
            return item, str(error)

    for item, image in work_ahead(source, prepare, workers=available_threads()):
        if isinstance(image, str):
            skipped[item.uri] = image
            continue
        images[len(uris)] = image
        uris.append(item.uri)
        labels.append(item.label or "")
    classes, numbers = np.unique(labels, return_inverse=True)
    return Pictures(
        source.name, images[: len(uris)], numbers.astype(np.int64), tuple(classes.tolist()), tuple(uris), skipped
    )


def part(labels: Labels, *, validation: float, test: float, seed: int, classes: tuple[str, ...] | None = None) -> Parts:
    """Draw the same share of each class for each part; every class is in every part that has a share.

    Raises InputError for shares that leave nothing to train on, or for a class with too few pictures.
    """
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise InputError(
            f"the shares to validate and to test on must be above 0, and together below 1, are {validation:g} and "
            f"{test:g}; usual are .2 and .2"
        )
    generator = np.random.default_rng(seed)
    least = 3 if test else 2
    found: tuple[list[Rows], ...] = ([], [], [])
    for label, count in sorted(Counter(labels.tolist()).items()):
        if count < least:
            name = classes[label] if classes else label
            raise InputError(
                f"class {name!r} has {count} pictures, at least {least} are needed; add some, or remove it"
            )
        order = generator.permutation(np.flatnonzero(labels == label))
        num_test = min(max(1, round(test * count)), count - 2) if test else 0
        num_validation = min(max(1, round(validation * count)), count - num_test - 1)
        ends = (num_test, num_test + num_validation)
        for rows, drawn in zip(found, (order[ends[1] :], order[ends[0] : ends[1]], order[: ends[0]]), strict=True):
            rows.append(drawn)
    return Parts(*(np.sort(np.concatenate(rows)) for rows in found))
