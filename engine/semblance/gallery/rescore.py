"""Candidates of a coarse search put in their true order: distances from the stored vectors, then the best k.

In: queries, candidate rows of each, and a function that fetches stored vectors. Out: rows, distances and counts, as
exact search over those rows alone would give them, to the bit: an index that keeps a byte per value is small and fast
but errs about close neighbours, and a few times k candidates from it hold the true ones. Works through the queries in
pieces, so that what is fetched at once stays small.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.distances import (
    CACHED_VALUES,
    cosine_distances,
    euclidean_norms,
    row_dots,
    squared_distances,
)
from semblance.options import checked_count

Rows = NDArray[np.int64]
_LEAST_QUERIES = 6  # worked on together: below, what a call costs outweighs what the cache gives

Gather = Callable[[Rows], NDArray[np.floating]]  # row numbers [n] -> stored vectors [n, D], float32 or float16


def rescore(
    queries: NDArray[np.float32], candidates: Rows, gather: Gather, *, k: int, metric: Metric, threads: int = 1
) -> tuple[Rows, NDArray[np.float32], Rows]:
    """The k nearest of each query's candidates: rows [Q, k], distances [Q, k] float32, counts [Q].

    `queries` [Q, D] float32, `candidates` [Q, c] row numbers, -1 where there is none, none counted twice. Sorted by
    distance, then by the lower row; behind `counts` rows are -1 at distance inf. With several `threads`, `gather` is
    called from all of them. Raises InputError for arrays that do not fit together, values that are not finite, k below
    1 and an unknown metric.
    """
    k, threads = checked_count("k", k), checked_count("threads", threads)
    _check(queries, candidates, metric)
    rows = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), np.inf, np.float32)
    num_candidates = candidates.shape[1]
    if len(queries) == 0 or num_candidates == 0:
        return rows, distances, np.zeros(len(queries), np.int64)

    def work(part: slice) -> None:
        best = slice(min(k, num_candidates))
        rows[part, best], distances[part, best] = _nearest(
            queries[part], candidates[part], gather, k, metric, part.start
        )

    step = max(_LEAST_QUERIES, CACHED_VALUES // (num_candidates * queries.shape[1]))
    parts = [slice(start, start + step) for start in range(0, len(queries), step)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))
    return rows, distances, (rows >= 0).sum(axis=1)


def _nearest(
    queries: NDArray[np.float32], candidates: Rows, gather: Gather, k: int, metric: Metric, first_query: int
) -> tuple[Rows, NDArray[np.float32]]:
    """`rescore` of a few queries, as wide as there are candidates or k."""
    rows = np.sort(candidates, axis=1)  # [q, c]; so that copies stand together, and ties are in order
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    query, at = np.nonzero(rows >= 0)
    distances = np.full(rows.shape, np.inf)  # [q, c]
    if len(query):
        distances[query, at] = _distances(queries, query, gather(rows[query, at]), metric, first_query)
    order = np.lexsort((rows, distances, rows < 0), axis=1)[:, :k]
    with np.errstate(over="ignore"):  # a distance beyond float32 is inf; the order was decided in float64
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1).astype(np.float32)


def _distances(
    queries: NDArray[np.float32], query: Rows, vectors: NDArray[np.floating], metric: Metric, first_query: int
) -> NDArray[np.float64]:
    """Distances [n] of queries[query] from `vectors` [n, D]."""
    if vectors.shape != (len(query), queries.shape[1]):
        raise InputError(f"gather must give vectors [{len(query)}, {queries.shape[1]}], gave {list(vectors.shape)}")
    norms = euclidean_norms(queries, "queries", first_query)
    left, right = queries.astype(np.float64)[query], vectors.astype(np.float64)  # [n, D]
    if metric == "l2sq":
        return squared_distances(left, right)
    return cosine_distances(left, right, norms[query] * np.sqrt(row_dots(right, right)))


def _check(queries: NDArray[np.float32], candidates: Rows, metric: Metric) -> None:
    if metric not in ("cos", "l2sq"):
        raise InputError(f"metric must be 'cos' or 'l2sq', is {metric!r}")
    if queries.ndim != 2 or queries.dtype != np.float32 or queries.shape[1] == 0:
        raise InputError(f"queries must be float32 [Q, D], are {queries.dtype} {list(queries.shape)}")
    if candidates.ndim != 2 or candidates.dtype != np.int64 or len(candidates) != len(queries):
        raise InputError(
            f"candidates must be int64 [{len(queries)}, c], one row for each query, "
            f"are {candidates.dtype} {list(candidates.shape)}"
        )
