"""How well a ranking finds a query's class: all figures, from vectors or from neighbours that were found.

In: vectors [N, D] of the gallery, its labels [N], and the queries, which are either rows of the gallery, each left out
of its own ranking, or vectors of their own. Out: neighbours, exactly or as a gallery's index finds them, and `Figures`:
precision, recall, F1, average precision and hit rate at several depths, the accuracy of the nearest one, and, of an
exact search alone, mean rank and mAP over the whole ranking; each overall and for every class. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders.gallery_search import searching
from bench.originals.full_ranking import Whole
from semblance import metrics
from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.exact import search_exact
from semblance.gallery.index import VectorIndex
from semblance.gallery.index_options import choose_type

Vectors = NDArray[np.float32]
Labels = NDArray[np.integer[Any]]
Rows = NDArray[np.int64]

DEPTHS = (1, 2, 5, 10, 15, 20, 30)
DEPTH = max(DEPTHS)
NEAREST = 10  # of which the same are counted
_DECIMALS = 6  # that are kept of a figure


@dataclass(frozen=True, slots=True)
class Queries:
    """What is asked of a gallery of N images: Q queries."""

    labels: Labels  # [Q]
    own: Rows  # [Q] the query's own row of the gallery, which is left out of its answer; -1 where it is none of it
    vectors: Vectors | None = None  # [Q, D]; None: the gallery's, at `own`

    @classmethod
    def rows_of(cls, labels: Labels, rows: Rows) -> Queries:
        """The gallery's own images at `rows` [Q], where its labels are `labels` [N]."""
        return cls(labels[rows], rows)

    @classmethod
    def others(cls, vectors: Vectors, labels: Labels) -> Queries:
        """Images that are not in the gallery, [Q, D] with labels [Q]."""
        return cls(labels, np.full(len(labels), -1, np.int64), vectors)

    def of(self, gallery: Vectors) -> Vectors:
        """Their vectors [Q, D], without a copy where all of the gallery is asked in turn."""
        if self.vectors is not None:
            return self.vectors
        return gallery if np.array_equal(self.own, np.arange(len(gallery))) else gallery[self.own]

    @property
    def leave_out(self) -> bool:
        """Whether any query is in the gallery."""
        return bool((self.own >= 0).any())

    def num_relevant(self, labels: Labels) -> Rows:
        """How many images of its class a gallery with `labels` [N] holds for each query [Q], itself not counted."""
        counts = np.bincount(labels, minlength=int(self.labels.max(initial=0)) + 1)[self.labels]  # [Q]
        return (counts - (self.own >= 0)).astype(np.int64)


# ------------------------------------------------------------------------------------------------------------------
# Neighbours: rows int64 [Q, K], nearest first, -1 behind what was found


def depth_for(num_gallery: int, queries: Queries, depth: int = DEPTH) -> int:
    """How many neighbours can be asked for, `depth` at most. Raises InputError where there is none."""
    depth = min(depth, num_gallery - queries.leave_out)
    if depth < 1:
        raise InputError(f"a gallery of {num_gallery} has no neighbour to give; take more images")
    return depth


def exact(
    gallery: Vectors, queries: Queries, *, metric: Metric, threads: int | None = None, depth: int = DEPTH
) -> Rows:
    """The true nearest of the gallery [N, D], `depth` at most."""
    k = depth_for(len(gallery), queries, depth)
    exclude = queries.own if queries.leave_out else None
    return search_exact(queries.of(gallery), gallery, k=k, metric=metric, exclude=exclude, threads=threads)[0]


class Index:
    """A gallery's index: candidates from the graph, put in order by the vectors as they are stored."""

    def __init__(self, gallery: Vectors, *, metric: Metric, threads: int) -> None:
        self._gallery = gallery
        dtype = choose_type(gallery, metric, is_rescored=True)
        index = VectorIndex.build(gallery, metric=metric, dtype=dtype, threads=threads)
        self._search = searching(index, gallery, metric=metric, threads=threads)

    def search(self, queries: Queries) -> Rows:
        """The nearest that it finds."""
        k = depth_for(len(self._gallery), queries)
        wanted = k + queries.leave_out  # the query itself is among them
        vectors = np.ascontiguousarray(queries.of(self._gallery))
        rows = self._search(vectors, wanted)  # [Q, wanted]
        return metrics.leave_one_out(rows, queries.own) if queries.leave_out else rows


def same_nearest(found: Rows, truth: Rows, *, nearest: int = NEAREST) -> float:
    """The mean share of the true `nearest` that were found among as many: of rows [Q, K] and [Q, L]."""
    return float(metrics.neighbour_overlap(found[:, :nearest], truth[:, :nearest]).mean())


# ------------------------------------------------------------------------------------------------------------------
# Figures


def relevance(rows: Rows, labels: Labels, queries: Queries) -> NDArray[np.bool_]:
    """Whether each neighbour is of its query's class, [Q, K]; what was not found is not."""
    return metrics.relevance(labels[rows], queries.labels) & (rows >= 0)


def figures(
    rows: Rows,
    labels: Labels,
    queries: Queries,
    *,
    whole: Whole | None = None,
    classes: Sequence[str] = (),
    depths: Sequence[int] = DEPTHS,
) -> dict[str, Any]:
    """The figures of neighbours [Q, K] in a gallery with `labels` [N], as a `retrieval` record holds them.

    `whole` is what the whole ranking came to, where it is known: without, mAP and mean rank are None. `classes` names
    the labels, which stand for themselves where it is empty. Of `depths` those count that were ranked.
    """
    relevant, num_relevant = relevance(rows, labels, queries), queries.num_relevant(labels)  # [Q, K], [Q]
    at_k = {
        k: {
            "precision": metrics.precision_at_k(relevant, k),
            "recall": metrics.recall_at_k(relevant, num_relevant, k),
            "f1": metrics.f1_at_k(relevant, num_relevant, k),
            "average_precision": metrics.average_precision_at_k(relevant, num_relevant, k),
            "hit": metrics.hit_at_k(relevant, k),
        }
        for k in depths
        if k <= relevant.shape[1]
    }  # each [Q]

    def means(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "at_k": {str(k): {name: _mean(each[chosen]) for name, each in of_k.items()} for k, of_k in at_k.items()},
            "accuracy": _mean(at_k[1]["precision"][chosen]),
            "map": None if whole is None else _mean(whole.average_precision[chosen]),
            "mean_rank": None if whole is None else _mean(whole.mean_rank[chosen]),
        }

    every_query = np.ones(len(rows), bool)
    per_class = {
        classes[label] if classes else str(label): means(queries.labels == label) for label in np.unique(queries.labels)
    }
    return means(every_query) | {"per_class": per_class}


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean of what is known; a query of which nothing is relevant has no mean rank."""
    known = values[~np.isnan(values)]
    return round(float(known.mean()), _DECIMALS) if len(known) else None
