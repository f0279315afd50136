"""Average precision and mean rank over a whole ranking, in blocks, without ever sorting the rows of one.

In: the gallery's vectors [N, D] with labels, and queries. Out: both figures for each query. All N distances of a query
are needed, in float64, but of their order only the places of the relevant ones: the distances alone are sorted, which
is many times as fast as sorting rows by them, and each relevant one is looked up. Where two distances are the same to
the last bit rows decide, the lower one first, and such a query's rows are sorted after all.

Copies of one vector must be equally far from a query, or their order would be that of rounding errors, which depend on
where in a product a row stands: so products are taken with one of each and handed to its copies.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric

Doubles = NDArray[np.float64]
Vectors = NDArray[np.float32]

_DISTANCES = 1 << 23  # of a block, in float64: 64 MiB, and some times as much while they are worked out and sorted
_VALUES = 1 << 25  # of the vectors that are float64 at a time: 256 MiB


@dataclass(frozen=True, slots=True)
class Whole:
    """What the whole ranking of each query came to."""

    average_precision: Doubles  # [Q]; 0 where nothing is relevant
    mean_rank: Doubles  # [Q] of all that is relevant, counted from 1; NaN where nothing is


def whole_ranking(
    queries: Vectors,
    query_labels: NDArray[np.integer[Any]],
    gallery: Vectors,
    labels: NDArray[np.integer[Any]],
    *,
    own: NDArray[np.int64],
    metric: Metric,
    threads: int = 1,
    num_distances: int = _DISTANCES,
) -> Whole:
    """Rank all of `gallery` [N, D] for each of `queries` [Q, D] but its own row, `own` [Q], -1 for none.

    Equal distances go by the lower row. `num_distances` bounds those held at a time.
    """
    average_precision, mean_rank = np.zeros(len(queries)), np.full(len(queries), np.nan)
    first_of, copy_of = _copies(gallery)  # [U], [N]
    squares = _squares(gallery)[first_of[copy_of]]  # [N]
    step = max(1, num_distances // max(1, len(gallery)))

    def rank(numbers: NDArray[np.int64], distances: Doubles) -> None:
        """Of the queries of these numbers [q], by their distances [q, N]."""
        ordered = np.sort(distances, axis=1)  # [q, N]
        is_tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)  # [q]
        for row, query in enumerate(numbers):
            is_relevant = labels == query_labels[query]  # [N]
            if own[query] >= 0:
                is_relevant[own[query]] = False
            if not (num := np.count_nonzero(is_relevant)):
                continue
            if is_tied[row]:
                ranks = np.flatnonzero(is_relevant[np.argsort(distances[row], kind="stable")]) + 1  # [num]
            else:
                ranks = np.searchsorted(ordered[row], np.sort(distances[row, is_relevant])) + 1
            average_precision[query] = (np.arange(1, num + 1) / ranks).mean()
            mean_rank[query] = ranks.mean()

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(queries), step):
            numbers = np.arange(start, min(start + step, len(queries)))
            distances = _distances(queries[numbers], gallery, squares, first_of, copy_of, metric)  # [q, N]
            is_inside = own[numbers] >= 0
            distances[is_inside, own[numbers[is_inside]]] = np.inf  # ranks behind all others
            list(pool.map(rank, np.array_split(numbers, threads), np.array_split(distances, threads)))
    return Whole(average_precision, mean_rank)


def _distances(
    queries: Vectors,
    gallery: Vectors,
    gallery_squares: Doubles,
    first_of: NDArray[np.int64],
    copy_of: NDArray[np.int64],
    metric: Metric,
) -> Doubles:
    """[q, N]: squared Euclidean, or 1 - cosine, where a zero vector is at distance 1 from everything."""
    products = np.zeros((len(queries), len(first_of)))  # [q, U]
    width = max(1, _VALUES // max(1, len(first_of)))
    has_copies = len(first_of) < len(gallery)
    for start in range(0, gallery.shape[1], width):
        columns = slice(start, start + width)
        part = gallery[first_of, columns] if has_copies else gallery[:, columns]
        products += queries[:, columns].astype(np.float64) @ part.astype(np.float64).T
    products = products[:, copy_of] if has_copies else products  # [q, N]
    squares = _squares(queries)[:, None]  # [q, 1]
    if metric == "l2sq":
        return squares + gallery_squares - 2 * products
    lengths = np.sqrt(squares) * np.sqrt(gallery_squares)  # [q, N]
    return 1 - np.divide(products, lengths, out=products, where=lengths > 0)  # the product is 0 where it is not


def _squares(vectors: Vectors) -> Doubles:
    """The squared length of each row of [N, D]."""
    step = max(1, _VALUES // max(1, vectors.shape[1]))
    parts = [vectors[start : start + step].astype(np.float64) for start in range(0, len(vectors), step)]
    return np.concatenate([np.empty(0), *(np.vecdot(part, part) for part in parts)])


def _copies(vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each different vector [U], and for each of the N which of these it is."""
    seen: dict[bytes, int] = {}  # by hash: the values of thousands of long vectors are gigabytes
    first_of: list[int] = []
    copy_of = np.empty(len(vectors), np.int64)
    for row, vector in enumerate(vectors):
        values = (vector + 0.0).tobytes()  # + 0.0: zeros of both signs are one value
        found = seen.setdefault(hashlib.blake2b(values, digest_size=16).digest(), len(first_of))
        if found == len(first_of):
            first_of.append(row)
        copy_of[row] = found
    return np.array(first_of, np.int64), copy_of
