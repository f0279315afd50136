"""USearch as its README shows it, in bf16: the library that the engine's index is made of, without the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import EF_CONSTRUCTION, M, Vectors, answering, read_vectors

TITLE = "USearch, bf16"
ROLE: Role = "peer"
PACKAGES = ("usearch",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    from usearch.index import Index

    vectors = read_vectors(asked)
    index: Any = Index(
        ndim=vectors.shape[1], metric=asked["metric"], dtype="bf16", connectivity=M, expansion_add=EF_CONSTRUCTION
    )
    index.add(np.arange(len(vectors)), vectors, threads=asked.threads)

    def search(queries: Vectors, k: int, ef: int) -> Any:
        index.expansion_search = ef
        return index.search(queries, k, threads=asked.threads).keys

    return answering(search)
