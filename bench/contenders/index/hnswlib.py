"""hnswlib's graph of float32; its wheel is compiled for the very processor that it was installed on."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import EF_CONSTRUCTION, M, Vectors, answering, read_vectors

TITLE = "hnswlib"
ROLE: Role = "peer"
PACKAGES = ("hnswlib",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    import hnswlib

    vectors = read_vectors(asked)
    index = hnswlib.Index({"cos": "ip", "l2sq": "l2"}[asked["metric"]], vectors.shape[1])
    index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
    index.set_num_threads(asked.threads)
    index.add_items(vectors)

    def search(queries: Vectors, k: int, ef: int) -> Any:
        index.set_ef(ef)
        return index.knn_query(queries, k)[0]

    return answering(search)
