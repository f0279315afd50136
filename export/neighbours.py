"""How many of each image's ten nearest neighbours two embeddings of the same images share.

In: two matrices of embeddings. Out: one share. Exact and in float64, so that what differs is the embedding alone; in
blocks, so that 10,000 images and 100,000 dimensions both fit into memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric

K = 10

_ROWS = 2048
_COLUMNS = 8192

Matrix = NDArray[np.float32]


def neighbour_overlap(first: Matrix, second: Matrix, *, metric: Metric, k: int = K) -> float:
    """The mean share of each image's k nearest, itself left out, that are the same in [N, D] `first` and `second`.

    With N - 1 < k neighbours all of them are compared, which is always 1. Of equally near ones the lower row wins.
    """
    k = min(k, len(first) - 1)
    if k < 1:
        return 1.0
    blocks = zip(nearest(first, metric=metric, k=k), nearest(second, metric=metric, k=k), strict=True)
    shared = sum(len(np.intersect1d(a, b)) for ours, theirs in blocks for a, b in zip(ours, theirs, strict=True))
    return shared / (k * len(first))


def nearest(vectors: Matrix, *, metric: Metric, k: int) -> list[NDArray[np.intp]]:
    """The rows of the k nearest to each row, nearest first, as blocks [n, k]; k < N."""
    squares = np.concatenate([np.square(block.astype(np.float64)).sum(axis=1) for block in _rows(vectors)])  # [N]
    found = []
    for start in range(0, len(vectors), _ROWS):
        distances = _distances(vectors, squares, slice(start, start + _ROWS), metric)  # [n, N]
        own = np.arange(len(distances))
        distances[own, start + own] = np.inf
        found.append(_smallest(distances, k))
    return found


def _distances(vectors: Matrix, squares: NDArray[np.float64], rows: slice, metric: Metric) -> NDArray[np.float64]:
    """[n, N]: 1 - cosine, or squared Euclidean; a zero vector has cosine 0 with everything."""
    products = np.zeros((len(squares[rows]), len(vectors)))  # [n, N]
    for start in range(0, vectors.shape[1], _COLUMNS):
        part = vectors[:, start : start + _COLUMNS].astype(np.float64)  # [N, d]
        products += part[rows] @ part.T
    if metric == "l2sq":
        return squares[rows, None] + squares - 2 * products
    safe = np.sqrt(np.where(squares > 0, squares, 1.0))
    return 1.0 - products / safe[rows, None] / safe


def _smallest(distances: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """The columns of each row's k smallest, [n, k], ascending, of equal ones the lowest columns."""
    bound = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]  # [n, 1]
    chosen = np.empty((len(distances), k), np.intp)
    for row, is_near in enumerate(distances <= bound):
        columns = np.flatnonzero(is_near)
        chosen[row] = columns[np.argsort(distances[row, columns], kind="stable")][:k]
    return chosen


def _rows(vectors: Matrix) -> list[Matrix]:
    return [vectors[start : start + _ROWS] for start in range(0, len(vectors), _ROWS)]
