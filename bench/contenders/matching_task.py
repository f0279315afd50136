"""What contenders of the kind `matching` are asked: one picture's descriptors against those of one or many others.

In: a `Pair`, descriptors uint8 [K, 128] as SIFT's are. Out: matches int64 [M, 3], sorted: which picture, which
descriptor of the query's, which of that picture's. A match passes Lowe's ratio test at .7; where a picture has fewer
than two descriptors there is no second neighbour, and no match.

Against one picture all that depends on its descriptors is part of the run, as for two pictures that were never seen
before: faiss makes its index, FLANN its trees. Against many, a gallery, these are made before, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders import same

Descriptors = NDArray[np.uint8]  # [K, 128]
Floats = NDArray[np.float32]  # [K, 128]
Triples = NDArray[np.int64]  # [M, 3]

RATIO = 0.7


@dataclass(frozen=True, slots=True)
class Pair:
    """One picture, and one or many others."""

    query: Descriptors
    train: tuple[Descriptors, ...]

    def floats(self) -> tuple[Floats, list[tuple[int, Floats]]]:
        """The query's as float32, and those of each other picture that can have matches, with its number."""
        able = [(number, each) for number, each in enumerate(self.train) if len(each) >= 2 and len(self.query)]
        return self.query.astype(np.float32), [(number, each.astype(np.float32)) for number, each in able]

    def searched_by(self, make: Callable[[Floats], Any]) -> tuple[Floats, list[tuple[int, Callable[[], Any]]]]:
        """The same with what gives `make(descriptors)`: made anew for one other picture, made already for many."""
        query, sets = self.floats()
        if len(self.train) == 1:
            return query, [(number, partial(make, each)) for number, each in sets]
        return query, [(number, partial(same, make(each))) for number, each in sets]


def passing(pairs: Sequence[Any]) -> list[Any]:
    """Lowe's test as it is usually written for OpenCV's matches; trees may find fewer than two."""
    return [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance]


def of_opencv(found: Iterable[tuple[int, list[Any]]]) -> Triples:
    """Matches of each picture as the task asks for them."""
    return as_triples([(number, each.queryIdx, each.trainIdx) for number, some in found for each in some])


def as_triples(found: Any) -> Triples:
    """Sorted, [M, 3], also where there are none."""
    triples = np.asarray(found, np.int64).reshape(-1, 3)
    return triples[np.lexsort(triples.T[::-1])]
