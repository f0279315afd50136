"""scikit-learn's `NearestNeighbors`, as the originals searched: all with all, then sorted."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import answering, read_vectors

TITLE = "scikit-learn NearestNeighbors, exact"
ROLE: Role = "original"
PACKAGES = ("scikit-learn",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    from sklearn.neighbors import NearestNeighbors

    metric = {"cos": "cosine", "l2sq": "sqeuclidean"}[asked["metric"]]
    neighbours = NearestNeighbors(algorithm="brute", metric=metric).fit(read_vectors(asked))  # BLAS has the threads
    return answering(lambda queries, k, ef: neighbours.kneighbors(queries, k, return_distance=False))
