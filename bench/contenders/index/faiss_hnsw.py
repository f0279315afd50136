"""faiss's HNSW graph of float32."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import EF_CONSTRUCTION, M, Vectors, answering, begun_faiss

TITLE = "faiss HNSW"
ROLE: Role = "peer"
PACKAGES = ("faiss-cpu",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    import faiss

    vectors, metric = begun_faiss(asked)
    index = faiss.IndexHNSWFlat(vectors.shape[1], M, metric)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.add(vectors)

    def search(queries: Vectors, k: int, ef: int) -> Any:
        index.hnsw.efSearch = ef
        return index.search(queries, k)[1]

    return answering(search)
