"""Vectors as bytes: one factor for all of them, and whether their neighbours survive it.

In: prepared vectors, or blocks of them that need not fit into memory. Out: int8 codes, and the figures to decide by.
With one factor the distance of two codes is that of their vectors but for rounding, so that an index compares bytes and
divides nothing: a factor for each vector would use the bytes better and cost every comparison two norms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.gallery.pieces import Blocks, num_rows, pieces, prepared

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]
Alive = NDArray[np.bool_]

LARGEST = 127

# Encoded at once. Measured, 4,000 x 2,048-d: 1.2 us a vector; all at once 3 to 36, as the system gives pages for the
# temporaries and takes them back.
_CACHED_VALUES = 1 << 16


# Measured, i8 searched by difference over by product: 64-d .93 of its time, recall@10 before rescoring .969 and .953;
# 128-d 1.0; 512-d 1.2; 2,048-d 1.2
_LONGEST_BY_DIFFERENCE = 64


def compared_by_difference(metric: Metric, dimension: int) -> bool:
    """Whether codes are compared by their squared distance; else by their dot product, for vectors of length 1."""
    return metric == "l2sq" or dimension <= _LONGEST_BY_DIFFERENCE


def code_factor(blocks: Blocks, metric: Metric, alive: Alive | None = None) -> float:
    """The factor that brings the largest value of all prepared vectors to the largest code; 1 where all are zero."""
    largest = 0.0
    for rows, values in pieces(blocks, alive=alive):
        largest = max(largest, float(np.abs(prepared(values, metric, "vectors", rows)).max()))
    return LARGEST / largest if largest else 1.0


def encode(vectors: Floats, factor: float) -> Codes:
    """`vectors` [n, D] times `factor`, rounded; what is beyond the largest code becomes that."""
    codes = np.empty(vectors.shape, np.int8)
    step = max(1, _CACHED_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        scaled = vectors[part] * np.float32(factor)
        np.rint(scaled, out=scaled)
        np.clip(scaled, -LARGEST, LARGEST, out=scaled)
        codes[part] = scaled
    return codes


def factor_of(codes: Codes) -> float:
    """The factor by which codes [n, D] were made of vectors of length 1; 1 for none.

    The squared length of such a code is the factor's square and what rounding adds, 1/12 for each value: the variance
    of an error that is spread evenly over one level.
    """
    if codes.size == 0:
        return 1.0
    squares = np.einsum("nd,nd->n", codes, codes, dtype=np.float64)
    return float(np.sqrt(max(1.0, squares.mean() - codes.shape[1] / 12)))


def kept_neighbours(
    blocks: Blocks, metric: Metric, factor: float, *, k: int, candidates: int, sample: int, alive: Alive | None = None
) -> float:
    """The share of the `k` nearest of some rows that are among the `candidates` nearest by their codes.

    `sample` rows, spread evenly over those that are `alive`, are compared with all; each finds itself, which counts.
    """
    total = num_rows(blocks) if alive is None else int(alive.sum())
    chosen = np.unique(np.linspace(0, total - 1, min(sample, total)).astype(np.int64))
    k, candidates = min(k, total), min(candidates, total)
    queries = _nth(blocks, metric, chosen, alive)
    true = np.full((2, len(queries), k), np.inf, np.float32)  # distances, and those by codes, of the k nearest
    coded = np.full((len(queries), candidates), np.inf, np.float32)  # distances of the nearest by codes
    code_metric: Metric = "l2sq" if compared_by_difference(metric, queries.shape[1]) else "cos"
    query_codes = encode(queries, factor).astype(np.float32)
    for rows, values in pieces(blocks, alive=alive):
        vectors = prepared(values, metric, "vectors", rows)
        exact = _distances(queries, vectors, metric)  # [S, n]
        by_codes = _distances(query_codes, encode(vectors, factor).astype(np.float32), code_metric)
        both = np.concatenate([true, np.stack([exact, by_codes])], axis=2)
        nearest = np.argpartition(both[0], k - 1, axis=1)[:, :k]
        true = np.stack([np.take_along_axis(each, nearest, axis=1) for each in both])
        coded = np.partition(np.concatenate([coded, by_codes], axis=1), candidates - 1, axis=1)[:, :candidates]
    return float((true[1] <= coded.max(axis=1, keepdims=True)).mean())


def _nth(blocks: Blocks, metric: Metric, chosen: NDArray[np.int64], alive: Alive | None) -> Floats:
    """The prepared vectors of the `chosen` ones, ascending, of those that are alive."""
    found, before = [], 0
    for rows, values in pieces(blocks, alive=alive):
        here = chosen[(chosen >= before) & (chosen < before + len(rows))] - before
        before += len(rows)
        if len(here):
            found.append(prepared(np.ascontiguousarray(values[here]), metric, "vectors", rows[here]))
    return np.concatenate(found)


def _distances(left: Floats, right: Floats, metric: Metric) -> Floats:
    """What rises with the distances [S, n] of each of [S, D] from each of [n, D]."""
    products: Floats = left @ right.T
    if metric == "cos":
        return -products
    squares: Floats = np.einsum("nd,nd->n", right, right)
    return squares - np.float32(2) * products
