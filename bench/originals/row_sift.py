"""Row 4, SIFT with Lowe's ratio test: the published scores exactly, and how far the scores alone find a class.

In: Fashion-MNIST. Out: published and found scores and numbers of matches of the five pairs; a record of each class's
representative against ten random images; and leave-one-out over the first test images, ranked by score, then by number
of matches, then by the lower number, beside the same by OpenCV's own brute-force matcher, for a part of the queries,
since it takes one pair at a time. The engine is right where it finds the very same ten, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench import lowe
from bench.originals import ranking
from bench.originals.asked import Asked, Emit
from bench.originals.full_ranking import Whole
from bench.originals.published import of_row
from bench.originals.ranking import Queries
from bench.originals.reproduced import beside
from bench.records import Record
from semblance import metrics
from semblance.inputs.datasets import CLASSES, fashion_mnist
from semblance.local.descriptors import DescriptorSets
from semblance.local.matching import match_sets, scores

ROW = 4
RATIO = 0.7
_NUM_IMAGES, _NUM_QUICK = 2000, 500
_NUM_BY_OPENCV, _NUM_BY_OPENCV_QUICK = 200, 50  # queries, each against all
_SLICE = 200  # queries matched together with all

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]  # [n, 128] descriptors
Ranked = Iterator[tuple[Rows, Rows]]  # queries [q] and for each the others, best first, [q, N - 1]


def measure(asked: Asked, emit: Emit) -> None:
    """Emit row 4."""
    images, labels = fashion_mnist("train")
    values = {}
    for row in lowe.reproduce(images):
        i, j = row.pair
        values |= {f"score ({i}, {j})": float(row.found[0]), f"matches ({i}, {j})": float(row.found[1])}
    for record in beside(of_row(ROW), values.get, note="the published images and ratio, so that it ought to be equal"):
        emit(record)
    emit(_representatives(lowe.represent(images, labels), images, labels))

    num_images = _NUM_QUICK if asked.quick else _NUM_IMAGES
    images, labels = (each[:num_images] for each in fashion_mnist("test"))
    sets = lowe.descriptors_of(images)
    asking = np.arange(num_images)
    some = asking[: _NUM_BY_OPENCV_QUICK if asked.quick else _NUM_BY_OPENCV]
    truth, figures = _answer(by_opencv(images, some), labels, some)
    emit(_record("opencv", figures, labels, some, truth, truth))
    for queries in (some, asking) if len(some) < len(asking) else (asking,):
        found, figures = _answer(by_engine(sets, queries), labels, queries)
        emit(_record("engine", figures, labels, queries, found, truth))


# ------------------------------------------------------------------------------------------------------------------
# Rankings


def by_engine(sets: DescriptorSets, asking: Rows) -> Ranked:
    """The engine's, many queries at once."""
    for start in range(0, len(asking), _SLICE):
        queries = asking[start : start + _SLICE]
        part = DescriptorSets.join([sets[int(number)] for number in queries])
        counts = match_sets(part, sets, ratio=RATIO).counts(len(queries), len(sets))  # [q, N]
        yield queries, lowe.ranked(scores(counts, part.counts, sets.counts), counts, queries)


def by_opencv(images: NDArray[np.uint8], asking: Rows) -> Ranked:
    """The original's: its descriptors of [N, 28, 28] and its matcher, pair by pair."""
    described = _described(images)
    for query in asking:
        scored, counts = _scored(described[query], described)
        own = np.array([query])
        yield own, lowe.ranked(scored[None], counts[None], own)


def _scored(query: Floats, others: list[Floats]) -> tuple[NDArray[np.float64], Rows]:
    """Scores in percent and numbers of matches [N] of one picture's descriptors with those of each other."""
    matcher = cv2.BFMatcher()
    counts = np.array([_num_matches(matcher, query, other) for other in others])
    smaller = np.minimum(len(query), [len(other) for other in others])
    return np.divide(100.0 * counts, smaller, out=np.zeros(counts.shape), where=smaller > 0), counts


def _described(images: NDArray[np.uint8]) -> list[Floats]:
    """Of [N, 28, 28]: [n, 128] of each, n may be 0."""
    sift = cv2.SIFT.create()
    found = [sift.detectAndCompute(image, None)[1] for image in images]
    return [np.empty((0, 128), np.float32) if each is None else each for each in found]


def _num_matches(matcher: Any, query: Floats, train: Floats) -> int:
    """Pairs that pass the ratio test; none where there is no second nearest to compare with."""
    if len(query) == 0 or len(train) < 2:
        return 0
    return sum(nearest.distance < RATIO * second.distance for nearest, second in matcher.knnMatch(query, train, k=2))


def _answer(found: Ranked, labels: NDArray[np.uint8], asking: Rows) -> tuple[Rows, dict[str, Any]]:
    """The nearest of each query [Q, K], and its figures, with those of the whole ranking."""
    depth = min(ranking.DEPTH, len(labels) - 1)
    rows = np.empty((len(asking), depth), np.int64)
    average_precision, mean_rank = np.zeros(len(asking)), np.full(len(asking), np.nan)
    queries = Queries.rows_of(labels, asking)
    num_relevant, start = queries.num_relevant(labels), 0
    for numbers, every in found:
        part = slice(start, start + len(numbers))
        rows[part] = every[:, :depth]
        relevant = metrics.relevance(labels[every], labels[numbers])  # [q, N - 1]
        average_precision[part] = metrics.average_precision_at_k(relevant, num_relevant[part], relevant.shape[1])
        mean_rank[part] = metrics.mean_rank(relevant)
        start = part.stop
    whole = Whole(average_precision, mean_rank)
    return rows, ranking.figures(rows, labels, queries, whole=whole, classes=CLASSES)


# ------------------------------------------------------------------------------------------------------------------
# Records


def _record(
    runtime: str,
    figures: dict[str, Any],
    labels: NDArray[np.uint8],
    queries: Rows,
    found: Rows,
    truth: Rows,
) -> Record:
    """`truth` are OpenCV's neighbours of the first queries; it is these that `found` must be."""
    k, compared = ranking.NEAREST, found[: len(truth)]
    return {
        "kind": "retrieval",
        "row": ROW,
        "original": "sift",
        "weights": "none",
        "data": f"Fashion-MNIST, the first {len(labels):,} test images",
        "protocol": "leave-one-out" if len(queries) == len(labels) else f"the first {len(queries):,} queries",
        "runtime": runtime,
        "backend": "cpu" if runtime == "engine" else "",
        "precision": "fp32",
        "search": "exact",
        "metric": "Lowe's score",
        "num_queries": len(queries),
        "num_gallery": len(labels),
        **figures,
        "same_10_nearest": ranking.same_nearest(compared, truth),
        "is_right": bool((compared[:, :k] == truth[:, :k]).all()),
    }


def _representatives(found: lowe.Representatives, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Record:
    """Each class's first image against the same random ones: the scores, as the row's second experiment shows them.

    They are to be OpenCV's.
    """
    others = _described(images[found.others])
    by_opencv = np.array([_scored(each, others)[0] for each in _described(images[found.images])])  # [10, R]
    own = labels[found.others] == np.arange(len(CLASSES))[:, None]  # [10, R]
    best = found.scores.argmax(axis=1)  # [10]
    is_best_own = own[np.arange(len(best)), best] & (found.scores.max(axis=1) > 0)
    has_own = own.any(axis=1)
    return {
        "kind": "check",
        "claim": "each class's first train image against ten random ones has the scores that OpenCV's matcher gives",
        "found": {
            "images": found.images.tolist(),
            "others": found.others.tolist(),
            "other_classes": [CLASSES[label] for label in labels[found.others]],
            "scores": np.round(found.scores, 2).tolist(),
            "num_matches": found.num_matches.tolist(),
            "num_with_own_class": int(has_own.sum()),
            "num_best_of_own_class": int((is_best_own & has_own).sum()),
        },
        "holds": np.array_equal(found.scores, by_opencv),
    }
