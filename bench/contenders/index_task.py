"""What contenders of the kind `index` are asked, and what all of their graphs have alike.

In: a file of vectors to build from, and a `Search`. Out: rows, int64 [Q, k]. One graph answers at several widths, so
the width is part of the task. Vectors and queries have length 1 where the metric is "cos": some contenders know inner
products alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

M, EF_CONSTRUCTION, EF = 16, 128, 64


@dataclass(frozen=True, slots=True)
class Search:
    """Queries whose neighbours are wanted."""

    queries: Vectors  # [Q, D]
    k: int
    ef: int = EF  # candidates that a graph's search keeps
    is_single: bool = False  # a call answers one query alone, the next call the next: the same again would lie in cache


Call = tuple[Vectors, int, int]  # queries, k, ef


def read_vectors(asked: Asked) -> Vectors:
    """The file, mapped: what a contender copies of it is that contender's own memory, and what it does not is not."""
    mapped: Vectors = np.load(asked["vectors"], mmap_mode="r").view(np.ndarray)
    return mapped


def begun_faiss(asked: Asked) -> tuple[Vectors, int]:
    """The vectors, and faiss's name of the metric; faiss has its threads fixed."""
    import faiss

    faiss.omp_set_num_threads(asked.threads)
    return read_vectors(asked), {"cos": faiss.METRIC_INNER_PRODUCT, "l2sq": faiss.METRIC_L2}[asked["metric"]]


def answering(search: Callable[[Vectors, int, int], Any]) -> Loaded:
    """A contender that answers by `search(queries, k, ef)`, in rows of any integer type."""

    def prepare(given: Search) -> Iterator[Call]:
        num, step = len(given.queries), 1 if given.is_single else len(given.queries)
        return cycle([(given.queries[start : start + step], given.k, given.ef) for start in range(0, num, step)])

    return Loaded(
        lambda calls: search(*next(calls)),
        prepare=prepare,
        answers=lambda rows: np.atleast_2d(np.asarray(rows)).astype(np.int64),
    )
