"""What `bench.matching` compares: one picture's descriptors against another's or against many pictures', ratio 0.7.

A contender is prepared with the query and the train descriptors, uint8 [K, 128], in the type that it works on, and then
run. Against one picture all that depends on its descriptors is part of the run, as for two pictures that were never
seen before: faiss makes its index, FLANN its trees. Against many, a gallery, these are made before, once. OpenCV is
told its threads each time, since finding keypoints in threads of our own leaves it with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.local.descriptors import DIMENSION, Descriptors, DescriptorSets
from semblance.local.matching import match, match_one_to_many

Triples = set[tuple[int, int, int]]  # which picture, which descriptor of the query's, which of that picture's

RATIO = 0.7
OURS, REFERENCE = "semblance", "cv2.BFMatcher"
_TREES, _CHECKS = 5, 50  # as in OpenCV's own tutorial
_KD_TREES = 1  # FLANN_INDEX_KDTREE


@dataclass(frozen=True, slots=True)
class Prepared:
    """A contender at work."""

    run: Callable[[], Any]  # matches all, in whatever form the contender has them in
    triples: Callable[[Any], Triples]  # the same from every contender


def _ours(query: Descriptors, train: Sequence[Descriptors], threads: int) -> Prepared:
    if len(train) == 1:
        return Prepared(
            lambda: match(query, train[0], ratio=RATIO, threads=threads),
            lambda found: {(0, i, j) for i, j in zip(found.query.tolist(), found.train.tolist(), strict=True)},
        )
    sets = DescriptorSets.join(train)
    return Prepared(
        lambda: match_one_to_many(query, sets, ratio=RATIO, threads=threads),
        lambda found: set(zip(found.train_set.tolist(), found.query.tolist(), found.train.tolist(), strict=True)),
    )


def _brute_force(query: Descriptors, train: Sequence[Descriptors], threads: int) -> Prepared:
    """With the loop in Python that is usual."""
    cv2.setNumThreads(threads)
    matcher = cv2.BFMatcher()
    floats, sets = query.astype(np.float32), [each.astype(np.float32) for each in train]

    def run() -> list[list[Any]]:
        return [_passing(matcher.knnMatch(floats, each, k=2)) for each in sets]

    return Prepared(run, _triples_of)


def _flann(query: Descriptors, train: Sequence[Descriptors], threads: int) -> Prepared:
    """Randomised kd-trees, which may miss the nearest."""
    cv2.setNumThreads(threads)
    floats, sets = query.astype(np.float32), [each.astype(np.float32) for each in train]

    def matcher() -> Any:
        return cv2.FlannBasedMatcher({"algorithm": _KD_TREES, "trees": _TREES}, {"checks": _CHECKS})

    if len(sets) == 1:
        return Prepared(lambda: [_passing(matcher().knnMatch(floats, sets[0], k=2))], _triples_of)
    trained = []
    for each in sets:
        trained.append(matcher())
        trained[-1].add([each])
        trained[-1].train()
    return Prepared(lambda: [_passing(each.knnMatch(floats, k=2)) for each in trained], _triples_of)


def _faiss_flat(query: Descriptors, train: Sequence[Descriptors], threads: int) -> Prepared:
    """The two nearest of all, exactly, and the ratio test on squared distances as arrays."""
    import faiss

    faiss.omp_set_num_threads(threads)
    floats, sets = query.astype(np.float32), [each.astype(np.float32) for each in train]

    def index_of(descriptors: NDArray[np.float32]) -> Any:
        index = faiss.IndexFlatL2(DIMENSION)
        index.add(descriptors)
        return index

    def matches(index: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        distances, numbers = index.search(floats, 2)  # [K, 2], squared
        kept = np.flatnonzero(distances[:, 0] < RATIO**2 * distances[:, 1])
        return kept, numbers[kept, 0]

    def triples(found: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Triples:
        return {
            (number, i, j)
            for number, (rows, nearest) in enumerate(found)
            for i, j in zip(rows.tolist(), nearest.tolist(), strict=True)
        }

    if len(sets) == 1:
        return Prepared(lambda: [matches(index_of(sets[0]))], triples)
    indexes = [index_of(each) for each in sets]
    return Prepared(lambda: [matches(index) for index in indexes], triples)


def _passing(pairs: Any) -> list[Any]:
    """Lowe's test as it is usually written; trees may find fewer than two."""
    return [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance]


def _triples_of(found: list[list[Any]]) -> Triples:
    return {(number, each.queryIdx, each.trainIdx) for number, some in enumerate(found) for each in some}


CONTENDERS: dict[str, Callable[[Descriptors, Sequence[Descriptors], int], Prepared]] = {
    OURS: _ours,
    REFERENCE: _brute_force,
    "faiss IndexFlatL2": _faiss_flat,
    "cv2.FlannBasedMatcher": _flann,
}
