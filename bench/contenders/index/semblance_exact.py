"""The engine's exact search: all vectors, and none missed."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.index_task import answering, read_vectors

TITLE = "semblance, exact"
ROLE: Role = "engine"
PACKAGES = ()


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    from semblance.gallery.exact import search_exact

    vectors, metric = read_vectors(asked), asked["metric"]
    return answering(
        lambda queries, k, ef: search_exact(queries, vectors, k=k, metric=metric, threads=asked.threads)[0]
    )
