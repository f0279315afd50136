"""Searching as a gallery does: candidates from a graph of small numbers, put in order by the stored vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.contenders import Asked, Loaded
from bench.contenders.index_task import EF_CONSTRUCTION, M, Rows, Vectors, answering, read_vectors


def built(asked: Asked, vectors: Vectors, dtype: Any) -> Any:
    """The engine's index of that number type."""
    from semblance.gallery.index import VectorIndex

    return VectorIndex.build(
        vectors, metric=asked["metric"], dtype=dtype, connectivity=M, expansion_add=EF_CONSTRUCTION,
        threads=asked.threads,
    )  # fmt: skip


def widened(index: Any, ef: int) -> None:
    """A gallery opens its index with one width; here one index answers at several."""
    if index.expansion_search != ef:
        index._widen(ef)


def searching(index: Any, vectors: Vectors, *, metric: Any, threads: int) -> Callable[[Vectors, int], Rows]:
    """A search of queries [Q, D] for rows [Q, k]: candidates of `index`, put in order by `vectors` [N, D]."""
    from semblance.gallery.index_options import oversampled
    from semblance.gallery.order import answered_in_order
    from semblance.gallery.rescore import rescore

    def stored(rows: Rows) -> Vectors:  # as a gallery's shards give them
        return vectors.take(rows, axis=0)

    def search(queries: Vectors, k: int) -> Rows:
        def answers(some: Vectors) -> tuple[Rows]:
            candidates = index.candidates(some, oversampled(k, index.dtype, len(vectors)), threads=threads)
            return (rescore(some, candidates, stored, k=k, metric=metric, threads=threads)[0],)

        return answered_in_order(answers, queries)[0]

    return search


def load_as_gallery(asked: Asked, dtype: Any) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    vectors = read_vectors(asked)
    index = built(asked, vectors, dtype)
    search = searching(index, vectors, metric=asked["metric"], threads=asked.threads)

    def at_width(queries: Vectors, k: int, ef: int) -> Rows:
        widened(index, ef)
        return search(queries, k)

    return answering(at_width)
