"""Vectors in an order in which neighbours follow each other, so that a graph's nodes are still in cache when met again.

In: vectors [N, D], all to be searched for or added together. Out: a permutation of them. A walk through an HNSW graph
is a chain of reads from all over memory; walks of vectors that lie close together read the same places. Each vector is
put with the nearest of some of the others, drawn evenly, which costs one small matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.gallery.blas import one_blas_thread
from semblance.gallery.pieces import Blocks, Piece, pieces, prepared

# Measured, queries/s by number of pivots (none, 100, 400, 1,000), 100,000 x 64-d about 1,000 centres, 10,000 queries:
#   f16 at ef 20  21,400 27,800 29,300 33,400      i8 at ef 64  15,100 20,000 23,100 26,300
_PRODUCTS = 1 << 16  # per vector, so that the order costs little beside the walk
_MOST_PIVOTS = 1024
_PER_PIVOT = 8  # vectors, on average: with fewer there is nothing left to follow each other
_ROWS = 4096  # scored together

# Values of one window, which is held some times over while it is put in order. Measured, built on two threads with
# 2**20, 2**21, 2**22, 2**24: 15,000 x 2,048-d 4.4, 4.3, 5.5, 5.5 s; 100,000 x 64-d 6.5, 7.1, 6.3, 5.2 s
_WINDOW_VALUES = 1 << 21
_WINDOW_ROWS = 1 << 17  # of few dimensions, up to four times as many values

_ORDERED_FROM = 1024  # queries: fewer do not meet each other's nodes in the cache


def by_neighbourhood(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """A permutation [N] of `vectors` [N, D], of finite values, that puts together those with the same nearest pivot."""
    num, dimension = vectors.shape
    num_pivots = min(num // _PER_PIVOT, _MOST_PIVOTS, max(16, _PRODUCTS // dimension))
    if num_pivots < 2:
        return np.arange(num)
    pivots = vectors[np.linspace(0, num - 1, num_pivots).astype(np.int64)]  # [P, D]
    nearest = np.empty(num, np.int64)
    # any order is right, only slower; threads that spin after a product would cost the walk: measured, 4,000 queries at
    # 100,000 x 64-d on two cores took 45 us each, and take 29
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        halves = np.einsum("pd,pd->p", pivots, pivots) / 2
        for start in range(0, num, _ROWS):
            part = slice(start, start + _ROWS)
            nearest[part] = (vectors[part] @ pivots.T - halves).argmax(axis=1)
    return np.argsort(nearest, kind="stable")


def answered_in_order(
    search: Callable[[NDArray[np.float32]], tuple[NDArray[Any], ...]], queries: NDArray[np.float32]
) -> tuple[NDArray[Any], ...]:
    """What `search` answers to `queries` [Q, D], arrays [Q, ...], asked with neighbours together if they are many."""
    if len(queries) < _ORDERED_FROM:
        return search(queries)
    order = by_neighbourhood(queries)
    back = np.argsort(order)
    return tuple(each[back] for each in search(queries[order]))


def windows(
    blocks: Blocks,
    metric: Metric,
    *,
    alive: NDArray[np.bool_] | None = None,
    first_row: int = 0,
    is_first_short: bool = False,
) -> Iterator[Piece]:
    """The prepared vectors of blocks and their rows, as `pieces` has them, many at a time and each window in order.

    With `is_first_short` the first window is a single piece. Raises InputError as `prepared` does.
    """
    waiting: list[Piece] = []
    num_values, is_short = 0, is_first_short
    for rows, values in pieces(blocks, alive=alive, first_row=first_row):
        waiting.append((rows, prepared(values, metric, "vectors", rows)))
        num_values += values.size
        if is_short or num_values >= _window_values(values.shape[1]):
            window = _joined(waiting)
            waiting, num_values, is_short = [], 0, False
            yield window
            del window  # not held while the next is put together
    if waiting:
        yield _joined(waiting)


def _window_values(dimension: int) -> int:
    return max(_WINDOW_VALUES, min(4 * _WINDOW_VALUES, _WINDOW_ROWS * dimension))


def _joined(parts: list[Piece]) -> Piece:
    rows, vectors = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = by_neighbourhood(vectors)
    return rows[order], vectors[order]
