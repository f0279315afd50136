"""faiss's exact search of float32."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import answering, read_vectors

TITLE = "faiss flat, exact"
ROLE: Role = "peer"
PACKAGES = ("faiss-cpu",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    import faiss

    faiss.omp_set_num_threads(asked.threads)
    vectors = read_vectors(asked)
    metric = {"cos": faiss.METRIC_INNER_PRODUCT, "l2sq": faiss.METRIC_L2}[asked["metric"]]
    index = faiss.IndexFlat(vectors.shape[1], metric)
    index.add(vectors)
    return answering(lambda queries, k, ef: index.search(queries, k)[1])
