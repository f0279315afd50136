"""faiss's exact search of float32."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import answering, begun_faiss

TITLE = "faiss flat, exact"
ROLE: Role = "peer"
PACKAGES = ("faiss-cpu",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    import faiss

    vectors, metric = begun_faiss(asked)
    index = faiss.IndexFlat(vectors.shape[1], metric)
    index.add(vectors)
    return answering(lambda queries, k, ef: index.search(queries, k)[1])
