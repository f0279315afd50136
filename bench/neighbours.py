"""Made-up vectors that have neighbours worth finding, the plain search that knows them, and recall.

In: vectors and queries of length 1. Out: true rows, or the share of them that was found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

CENTRES = 1000
NOISE = 0.5
_ROWS = 8192  # compared at once
_TIE = 1e-6  # cosines nearer to each other than this are equal: float32 tells them apart by chance


def clustered(num: int, dimension: int, *, seed: int) -> Vectors:
    """Unit vectors [num, dimension] about the same centres for every seed."""
    centres = np.random.default_rng(99).standard_normal((CENTRES, dimension), dtype=np.float32)
    rng = np.random.default_rng(seed)
    vectors = np.empty((num, dimension), np.float32)
    for start in range(0, num, _ROWS):
        part = vectors[start : start + _ROWS]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        part *= NOISE
        part += centres[rng.integers(0, CENTRES, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def plain_search(queries: Vectors, vectors: Vectors, k: int) -> Rows:
    """The k nearest of unit vectors, [Q, k] in no order, by float64 products of all with all."""
    best = np.full((len(queries), k), -np.inf)
    rows = np.full((len(queries), k), -1, np.int64)
    doubles = queries.astype(np.float64)
    for start in range(0, len(vectors), _ROWS):
        products = doubles @ vectors[start : start + _ROWS].astype(np.float64).T
        both = np.concatenate([best, products], axis=1)
        numbers = np.concatenate([rows, np.broadcast_to(np.arange(products.shape[1]) + start, products.shape)], axis=1)
        chosen = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(both, chosen, axis=1), np.take_along_axis(numbers, chosen, axis=1)
    return rows


def recall(rows: Rows, truth: Rows) -> float:
    """The share of the true K nearest that is among the K found, over all queries."""
    return float(np.mean([np.isin(true, found).mean() for found, true in zip(rows, truth, strict=True)]))


def recall_of_ties(rows: Rows, truth: Rows, queries: Vectors, vectors: Vectors) -> float:
    """The same where any row that is as near as the last of the true ones is right, and each row counts once."""
    farthest = cosines(queries, vectors, truth).min(axis=1, keepdims=True)  # [Q, 1]
    rows = np.sort(rows, axis=1)  # so that copies stand together
    is_row = (rows >= 0) & (rows < len(vectors))
    is_row[:, 1:] &= rows[:, 1:] != rows[:, :-1]
    found = cosines(queries, vectors, np.where(is_row, rows, 0))
    return float((is_row & (found >= farthest - _TIE)).sum() / truth.size)


def cosines(queries: Vectors, vectors: Vectors, rows: Rows) -> NDArray[np.float64]:
    """Of each query [Q, D] with its own `rows` [Q, k] of unit vectors."""
    found: NDArray[np.float64] = np.einsum("qd,qkd->qk", queries.astype(np.float64), vectors[rows].astype(np.float64))
    return found
