"""The engine's index of bf16 by itself: what it finds without the stored vectors."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.gallery_search import built, widened
from bench.contenders.index_task import Rows, Vectors, answering, read_vectors

TITLE = "semblance, bf16, index alone"
ROLE: Role = "engine"
PACKAGES = ("usearch",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    from semblance.gallery.order import answered_in_order

    index = built(asked, read_vectors(asked), "bf16")

    def search(queries: Vectors, k: int, ef: int) -> Rows:
        widened(index, ef)
        return answered_in_order(lambda some: index.search(some, k, threads=asked.threads), queries)[0]

    return answering(search)
