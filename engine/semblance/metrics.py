"""How good neighbours are: the standard figures of retrieval, as array functions without state.

In: `relevant` [Q, K] bool, whether the neighbour at each rank is of the query's class, best first. Out: one value per
query, [Q] float64, so that means and classes are the caller's choice. Where a query is itself in the gallery,
`leave_one_out` drops that match first. Definitions follow Manning, Raghavan and Schütze, "Introduction to Information
Retrieval" (2008), chapter 8, unless a function says otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semblance.errors import InputError

Bools = NDArray[np.bool_]
Values = NDArray[np.float64]
Counts = NDArray[np.int64]


def relevance(neighbour_labels: ArrayLike, query_labels: ArrayLike) -> Bools:
    """Whether each neighbour is of its query's class: labels [Q, K] and [Q] -> [Q, K] bool."""
    found, own = np.asarray(neighbour_labels), np.asarray(query_labels)
    if found.ndim != 2 or own.shape != found.shape[:1]:
        raise InputError(f"labels must be [Q, K] and [Q], are {list(found.shape)} and {list(own.shape)}")
    return np.asarray(found == own[:, None], np.bool_)


def leave_one_out(rows: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop each query's match with itself: [Q, K + 1] and [Q] -> [Q, K].

    The match is dropped at whatever rank it stands, since exact copies can come before it; where it is not in the list
    the last neighbour goes instead, so every query keeps K.
    """
    if rows.ndim != 2 or rows.shape[1] < 1 or own.shape != rows.shape[:1]:
        raise InputError(f"rows must be [Q, K + 1] and own [Q], are {list(rows.shape)} and {list(own.shape)}")
    is_own = rows == own[:, None]  # [Q, K + 1]
    dropped = np.where(is_own.any(axis=1), is_own.argmax(axis=1), rows.shape[1] - 1)  # [Q]
    keep = np.arange(rows.shape[1]) != dropped[:, None]  # [Q, K + 1]
    return np.reshape(rows[keep], (len(rows), rows.shape[1] - 1))


def precision_at_k(relevant: Bools, k: int) -> Values:
    """Share of the first k that is relevant: [Q, K] -> [Q]."""
    return np.asarray(_first(relevant, k).mean(axis=1, dtype=np.float64))


def recall_at_k(relevant: Bools, num_relevant: Counts, k: int) -> Values:
    """Share of all `num_relevant` [Q] items that is among the first k; 0 where there are none."""
    hits = _first(relevant, k).sum(axis=1)
    return _ratio(hits, _checked(relevant, num_relevant))


def f1_at_k(relevant: Bools, num_relevant: Counts, k: int) -> Values:
    """Harmonic mean of a query's precision and recall at k, 2 hits / (k + num_relevant): [Q]."""
    hits = _first(relevant, k).sum(axis=1)
    return _ratio(2 * hits, k + _checked(relevant, num_relevant))


def average_precision_at_k(relevant: Bools, num_relevant: Counts, k: int) -> Values:
    """Mean of the precision at each relevant rank up to k, over the min(k, num_relevant) that could be there: [Q].

    sum over r <= k of precision@r * relevant@r / min(k, num_relevant): the TREC measure (Manning et al., section 8.4)
    cut at k, with the denominator capped so that a perfect list scores 1. Its mean over the queries is mAP@k.
    """
    first = _first(relevant, k)  # [Q, k]
    precisions = first.cumsum(axis=1) / np.arange(1, k + 1)  # [Q, k]
    return _ratio((precisions * first).sum(axis=1), np.minimum(k, _checked(relevant, num_relevant)))


def hit_rate_at_k(relevant: Bools, k: int) -> Values:
    """1 where any of the first k is relevant, else 0: [Q]; its mean is the hit rate."""
    return np.asarray(_first(relevant, k).any(axis=1), np.float64)


def first_rank(relevant: Bools) -> Values:
    """Rank, from 1, of the first relevant item; infinite where none is in the list: [Q].

    1 / rank is the reciprocal rank of the TREC question-answering track (Voorhees 1999).
    """
    found = relevant.any(axis=1) if relevant.shape[1] else np.zeros(len(relevant), np.bool_)
    ranks = relevant.argmax(axis=1) + 1.0 if relevant.shape[1] else np.ones(len(relevant))
    return np.where(found, ranks, np.inf)


def mean_rank(relevant: Bools) -> Values:
    """Mean rank, from 1, of all relevant items of a full ranking [Q, N]; infinite where there is none: [Q]."""
    sums = (relevant * np.arange(1, relevant.shape[1] + 1)).sum(axis=1)
    hits = relevant.sum(axis=1)
    return np.where(hits > 0, sums / np.maximum(hits, 1), np.inf)


def neighbour_overlap(found: NDArray[np.int64], expected: NDArray[np.int64]) -> Values:
    """Share of `expected` [Q, K] that is anywhere in `found` [Q, L], order aside: [Q]. Padding (-1) never counts.

    Against exact neighbours this is the recall@K of an index, as ann-benchmarks defines it for lists without ties.
    """
    if found.ndim != 2 or expected.ndim != 2 or len(found) != len(expected):
        raise InputError(f"neighbours must be [Q, L] and [Q, K], are {list(found.shape)} and {list(expected.shape)}")
    wanted = expected >= 0  # [Q, K]
    hits = (expected[:, :, None] == found[:, None, :]).any(axis=2) & wanted  # [Q, K]
    return _ratio(hits.sum(axis=1), wanted.sum(axis=1))


def per_class(values: Values, labels: ArrayLike) -> dict[str, float]:
    """Mean of `values` [Q] over the queries of each class, in the labels' sorted order."""
    classes = np.asarray(labels)
    if classes.shape != values.shape:
        raise InputError(f"values and labels must both be [Q], are {list(values.shape)} and {list(classes.shape)}")
    return {str(name): float(values[classes == name].mean()) for name in np.unique(classes)}


def _first(relevant: Bools, k: int) -> Bools:
    if relevant.ndim != 2 or relevant.dtype != np.bool_:
        raise InputError(f"relevant must be [Q, K] bool, is {relevant.dtype} {list(relevant.shape)}")
    if not 1 <= k <= relevant.shape[1]:
        raise InputError(f"k must be between 1 and the {relevant.shape[1]} ranks given, is {k}")
    return relevant[:, :k]


def _checked(relevant: Bools, num_relevant: Counts) -> Counts:
    if num_relevant.shape != relevant.shape[:1]:
        raise InputError(f"num_relevant must be [Q] = [{len(relevant)}], is {list(num_relevant.shape)}")
    return num_relevant


def _ratio(part: NDArray[np.generic], whole: Counts) -> Values:
    """part / whole [Q], 0 where there is nothing to find."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
