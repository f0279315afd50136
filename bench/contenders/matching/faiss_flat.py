"""faiss's flat index: the two nearest of all, exactly, and the ratio test on squared distances as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.contenders import Asked, Loaded, Role
from bench.contenders.matching_task import RATIO, Triples, as_triples

TITLE = "faiss IndexFlatL2"
ROLE: Role = "peer"
PACKAGES = ("faiss-cpu",)


def load(asked: Asked) -> Loaded:
    """No options."""
    import faiss

    faiss.omp_set_num_threads(asked.threads)

    def indexed(descriptors: Any) -> Any:
        index = faiss.IndexFlatL2(descriptors.shape[1])
        index.add(descriptors)
        return index

    def run(prepared: Any) -> list[tuple[int, Any, Any]]:
        query, sets = prepared
        found = []
        for number, index in sets:
            distances, nearest = index().search(query, 2)  # [K, 2] each
            kept = np.flatnonzero(distances[:, 0] < RATIO**2 * distances[:, 1])
            found.append((number, kept, nearest[kept, 0]))
        return found

    return Loaded(run, prepare=lambda given: given.searched_by(indexed), answers=_triples)


def _triples(found: list[tuple[int, Any, Any]]) -> Triples:
    return as_triples([(number, *both) for number, rows, nearest in found for both in zip(rows, nearest, strict=True)])
