"""faiss's HNSW graph of float32."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import EF_CONSTRUCTION, M, Vectors, answering, read_vectors

TITLE = "faiss HNSW"
ROLE: Role = "peer"
PACKAGES = ("faiss-cpu",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    import faiss

    faiss.omp_set_num_threads(asked.threads)
    vectors = read_vectors(asked)
    metric = {"cos": faiss.METRIC_INNER_PRODUCT, "l2sq": faiss.METRIC_L2}[asked["metric"]]
    index = faiss.IndexHNSWFlat(vectors.shape[1], M, metric)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.add(vectors)

    def search(queries: Vectors, k: int, ef: int) -> Any:
        index.hnsw.efSearch = ef
        return index.search(queries, k)[1]

    return answering(search)
