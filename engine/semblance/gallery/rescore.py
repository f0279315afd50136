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
from semblance.gallery.distances import cosine_distances, euclidean_norms, row_dots, squared_distances
from semblance.options import checked_count

Rows = NDArray[np.int64]

# Values worked on together: more leave the cache, fewer have the threads take turns for the interpreter. Measured, us a
# query of 18 candidates on two threads, for 2**17, 2**18, 2**19, 2**20 of them:
#   64-d 4.4 3.5 3.3 3.5      512-d 26 17 12 14      2,048-d 57 56 44 56
_VALUES = 1 << 19
_LEAST_VALUES = 1 << 16  # worth a thread of its own

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

    per_query, share = num_candidates * queries.shape[1], -(-len(queries) // threads)
    step = max(1, min(_VALUES // per_query, max(_LEAST_VALUES // per_query, share)))
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
    distances = _distances(queries, rows, gather, metric, first_query)
    best = (np.arange(len(rows))[:, None], np.lexsort((rows, distances, rows < 0), axis=1)[:, :k])
    with np.errstate(over="ignore"):  # a distance beyond float32 is inf; the order was decided in float64
        return rows[best], distances[best].astype(np.float32)


def _distances(
    queries: NDArray[np.float32], rows: Rows, gather: Gather, metric: Metric, first_query: int
) -> NDArray[np.float64]:
    """Distances [q, c] of each query from the vectors of its `rows` [q, c], inf where a row is below 0."""
    norms = euclidean_norms(queries, "queries", first_query)
    is_row = rows >= 0
    wanted = rows[is_row]  # [n]
    if len(wanted) == 0:
        return np.full(rows.shape, np.inf)
    found = gather(wanted)
    if found.shape != (len(wanted), queries.shape[1]):
        raise InputError(f"gather must give vectors [{len(wanted)}, {queries.shape[1]}], gave {list(found.shape)}")
    if len(wanted) == rows.size:
        vectors = found.astype(np.float64).reshape(*rows.shape, -1)  # [q, c, D]
    else:
        vectors = np.zeros((*rows.shape, queries.shape[1]))
        vectors[is_row] = found
    left = queries.astype(np.float64)[:, None]  # [q, 1, D]
    if metric == "l2sq":
        distances = squared_distances(left, vectors)
    else:
        distances = cosine_distances(left, vectors, norms[:, None] * np.sqrt(row_dots(vectors, vectors)))
    return np.where(is_row, distances, np.inf)


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
