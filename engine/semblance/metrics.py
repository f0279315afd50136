"""How good a ranking is: precision, recall, F1, average precision, hit rate and ranks, in numpy alone.

In: which of the K neighbours of each query are relevant, bool [Q, K] in ranked order, and where a figure needs it how
many relevant items there are at all, int [Q]. Out: one figure per query, float64 [Q]; `.mean()` gives the overall
figure and `per_class` one for each class. Where the query itself is in the gallery, `leave_one_out` takes it out first.

Definitions follow Manning, Raghavan and Schuetze, Introduction to Information Retrieval (2008), chapter 8, and for
figures cut at K the usual reading of them, stated with each function.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semblance.errors import InputError

Bools = NDArray[np.bool_]
Figures = NDArray[np.float64]
Rows = NDArray[np.int64]


def relevance(neighbour_labels: ArrayLike, query_labels: ArrayLike) -> Bools:
    """Whether each neighbour has its query's label: bool [Q, K] from labels [Q, K] and [Q]."""
    neighbours, queries = np.asarray(neighbour_labels), np.asarray(query_labels)
    if neighbours.ndim != 2 or queries.shape != neighbours.shape[:1]:
        raise InputError(f"labels must be [Q, K] and [Q], are {list(neighbours.shape)} and {list(queries.shape)}")
    return np.asarray(neighbours == queries[:, None], dtype=np.bool_)


def leave_one_out(rows: NDArray[np.integer[Any]], own: NDArray[np.integer[Any]]) -> Rows:
    """Neighbours without the query itself: int64 [Q, K] from rows [Q, K + 1] and each query's own row [Q].

    The query is dropped wherever it stands, since among exact duplicates it need not come first; where it is absent
    the last neighbour goes instead, so that K remain.
    """
    if rows.ndim != 2 or rows.shape[1] < 1 or own.shape != rows.shape[:1]:
        raise InputError(f"rows must be [Q, K + 1] and own [Q], are {list(rows.shape)} and {list(own.shape)}")
    is_own = rows == own[:, None]  # [Q, K + 1]
    is_own[~is_own.any(axis=1), -1] = True
    drop = is_own.argmax(axis=1)  # [Q]
    keep = np.arange(rows.shape[1]) != drop[:, None]
    kept: Rows = rows[keep].reshape(len(rows), rows.shape[1] - 1).astype(np.int64)
    return kept


def precision_at_k(relevant: Bools, k: int) -> Figures:
    """Relevant among the first k, divided by k: [Q]. (Manning et al. 2008, section 8.4, "precision at k".)"""
    return np.asarray(_first(relevant, k).sum(axis=1) / k, dtype=np.float64)


def recall_at_k(relevant: Bools, num_relevant: ArrayLike, k: int) -> Figures:
    """Relevant among the first k, divided by all relevant ones: [Q]; 0 where there are none.

    (Manning et al. 2008, section 8.3, on the set of the first k.)
    """
    return _divide(_first(relevant, k).sum(axis=1), _counts(num_relevant, relevant))


def f1_at_k(relevant: Bools, num_relevant: ArrayLike, k: int) -> Figures:
    """2 P R / (P + R) of each query's precision and recall at k: [Q]; 0 where both are 0.

    (Manning et al. 2008, equation 8.6 with beta = 1.) The mean over queries is the mean of these, not the F1 of the
    mean precision and recall.
    """
    precision, recall = precision_at_k(relevant, k), recall_at_k(relevant, num_relevant, k)
    return _divide(2 * precision * recall, precision + recall)


def average_precision_at_k(relevant: Bools, num_relevant: ArrayLike, k: int) -> Figures:
    """Precision at the rank of each hit among the first k, summed, divided by min(k, all relevant): [Q]; 0 for none.

    Average precision of Manning et al. 2008, section 8.4, cut at k; the divisor is the largest number of hits there
    can be, so that a perfect ranking scores 1 (as in Kaggle's MAP@k). With k the whole ranking this is the usual
    average precision, and its mean over queries is mAP.
    """
    hits = _first(relevant, k)
    precision = np.cumsum(hits, axis=1) / np.arange(1, k + 1)  # [Q, k]
    return _divide((precision * hits).sum(axis=1), np.minimum(k, _counts(num_relevant, relevant)))


def hit_at_k(relevant: Bools, k: int) -> Figures:
    """1 where any of the first k is relevant, else 0: [Q]; the mean is the hit rate (top-k retrieval accuracy)."""
    return np.asarray(_first(relevant, k).any(axis=1), dtype=np.float64)


def first_rank(relevant: Bools) -> Figures:
    """Rank of the first relevant neighbour, counted from 1: [Q]; inf where none of the K is relevant.

    Its reciprocal's mean is the mean reciprocal rank (Voorhees, TREC-8, 1999).
    """
    _check(relevant)
    if relevant.shape[1] == 0:
        return np.full(len(relevant), np.inf)
    return np.asarray(np.where(relevant.any(axis=1), relevant.argmax(axis=1) + 1.0, np.inf), dtype=np.float64)


def mean_rank(relevant: Bools) -> Figures:
    """Mean rank of all relevant items in a full ranking [Q, N], counted from 1: [Q]; NaN where there are none.

    The best possible value with R relevant items is (R + 1) / 2.
    """
    _check(relevant)
    ranks = np.arange(1, relevant.shape[1] + 1)
    counts = relevant.sum(axis=1)
    means = np.full(len(relevant), np.nan)
    np.divide((relevant * ranks).sum(axis=1), counts, out=means, where=counts > 0)
    return means


def per_class(values: Figures, labels: ArrayLike) -> dict[Hashable, float]:
    """The mean of `values` [Q] for each of the labels [Q], in the labels' sorted order."""
    labels = np.asarray(labels)
    if labels.shape != values.shape:
        raise InputError(f"values and labels must both be [Q], are {list(values.shape)} and {list(labels.shape)}")
    return {label.item(): float(values[labels == label].mean()) for label in np.unique(labels)}


def neighbour_overlap(found: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> Figures:
    """Share of the true neighbours that were found: [Q] from rows or keys [Q, K] and [Q, L]; recall@L of an index.

    Negative entries are padding on either side: they are never found, and divide nothing.
    """
    if found.ndim != 2 or truth.ndim != 2 or len(found) != len(truth):
        raise InputError(f"neighbours must be [Q, K] and [Q, L], are {list(found.shape)} and {list(truth.shape)}")
    is_true = truth >= 0  # [Q, L]
    hits = (truth[:, :, None] == found[:, None, :]).any(axis=2) & is_true  # [Q, L]
    return _divide(hits.sum(axis=1), is_true.sum(axis=1))


# ------------------------------------------------------------------------------------------------------------------


def _first(relevant: Bools, k: int) -> Bools:
    _check(relevant)
    if not 1 <= k <= relevant.shape[1]:
        raise InputError(f"k must lie in 1..{relevant.shape[1]}, the neighbours that were ranked, is {k}")
    return relevant[:, :k]


def _check(relevant: Bools) -> None:
    if relevant.ndim != 2 or relevant.dtype != np.bool_:
        raise InputError(f"relevant must be bool [Q, K], is {relevant.dtype} {list(relevant.shape)}; see relevance()")


def _counts(num_relevant: ArrayLike, relevant: Bools) -> Rows:
    counts = np.asarray(num_relevant)
    if counts.shape != relevant.shape[:1] or counts.dtype.kind not in "iu":
        raise InputError(f"num_relevant must be int [{len(relevant)}], is {counts.dtype} {list(counts.shape)}")
    if (counts < relevant.sum(axis=1)).any():
        raise InputError("num_relevant is smaller than the relevant neighbours of some query; count the whole gallery")
    return counts.astype(np.int64)


def _divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Figures:
    """Their quotient, 0 where the denominator is."""
    quotient = np.zeros(numerator.shape, np.float64)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
