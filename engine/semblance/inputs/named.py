"""Data sets that have a name of their own, with their classes' names as labels.

In: a name, "fashion-mnist[:train|:test]" or "drawn-fashion:train|test[:NUMBER]". Out: a source. The drawn one stands in
for the real one offline.
"""

from __future__ import annotations

from typing import Literal

from semblance.errors import SourceError
from semblance.inputs.arrays import ArraySource, IdxSource
from semblance.inputs.datasets import CLASSES, find_fashion_mnist
from semblance.inputs.items import Source
from semblance.inputs.joined import JoinedSource
from semblance.inputs.standin import drawn_fashion


def open_data_set(name: str) -> Source:
    """The data set of that name. Raises SourceError where it has no such part, or cannot be had."""
    return DATA_SETS[name.partition(":")[0]](name)


def _fashion_mnist(spec: str) -> Source:
    prefixes = {"fashion-mnist:train": "train", "fashion-mnist:test": "t10k"}
    if spec != "fashion-mnist" and spec not in prefixes:
        raise SourceError(f"{spec}: no such part of Fashion-MNIST; expected fashion-mnist, {', '.join(prefixes)}")
    folder = find_fashion_mnist()
    splits = {
        name: IdxSource(folder / f"{prefix}-images-idx3-ubyte.gz", classes=CLASSES, name=name)
        for name, prefix in prefixes.items()
        if spec in ("fashion-mnist", name)
    }
    if spec in splits:
        return splits[spec]
    return JoinedSource([splits["fashion-mnist:test"], splits["fashion-mnist:train"]], name=spec)  # "t10k" < "train"


def _drawn_fashion(spec: str) -> Source:
    splits: dict[str, Literal["train", "test"]] = {"train": "train", "test": "test"}
    _, _, part = spec.partition(":")
    split, _, number = part.partition(":")
    if split not in splits or (number and not number.isdecimal()):
        raise SourceError(f"{spec}: no such part of the drawn stand-in; expected drawn-fashion:train or :test[:NUMBER]")
    images, labels = drawn_fashion(splits[split], num_images=int(number) if number else None)
    return ArraySource(images, labels=[CLASSES[label] for label in labels], name=spec)


DATA_SETS = {"fashion-mnist": _fashion_mnist, "drawn-fashion": _drawn_fashion}
