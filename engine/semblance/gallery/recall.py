"""How well a gallery's index answers: its neighbours against those of exact search, for a sample of its own pictures.

In: an open gallery. Out: recall at k, and the query that fared worst. The picture that asks is left out of both
answers, since every index finds that. A neighbour counts as found where it is no farther away than the exact k-th:
among equally distant pictures, copies say, either answer is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index import checked_k
from semblance.options import checked_count


@dataclass(frozen=True, slots=True)
class Recall:
    """What a sample of queries found."""

    k: int
    num_queries: int
    recall: float  # mean share of the k nearest that the index found
    worst_recall: float
    worst_key: int  # of the picture that found fewest, the lowest key where there are several
    num_imperfect: int  # queries that missed a neighbour


def measure_recall(
    gallery: VectorGallery, *, k: int = 10, sample: int = 1000, seed: int = 0, threads: int = 1
) -> Recall:
    """Recall at `k` over `sample` pictures of `gallery` (all, where it has fewer), drawn with `seed`.

    Raises InputError for a gallery of fewer than two pictures or without an index, and for a k that is not in
    1..len(gallery) - 1.
    """
    if len(gallery) < 2 or gallery.index is None:
        what = "no index; `semblance rebuild` makes one" if len(gallery) > 1 else f"{len(gallery)} pictures; add more"
        raise InputError(f"recall compares the index with exact search, and {gallery.path} has {what}")
    k = checked_k(k, len(gallery) - 1, "the gallery's size without the picture that asks")
    sample = min(checked_count("sample", sample), len(gallery))
    rng = np.random.default_rng(checked_count("seed", seed, least=0))
    own = np.sort(rng.choice(gallery.keys, sample, replace=False))  # [Q]
    queries = gallery.vectors_of(own)
    exact, found = (gallery.search(queries, k=k + 1, exact=is_exact, threads=threads) for is_exact in (True, False))
    kth = _without(exact.distances, exact.keys, own)[:, -1]  # [Q]
    shares = (_without(found.distances, found.keys, own) <= kth[:, None]).mean(axis=1)  # [Q]
    worst = int(shares.argmin())
    return Recall(
        k=k,
        num_queries=sample,
        recall=float(shares.mean()),
        worst_recall=float(shares[worst]),
        worst_key=int(own[worst]),
        num_imperfect=int((shares < 1).sum()),
    )


def _without(distances: NDArray[np.float32], keys: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.float32]:
    """Distances [Q, k] of all neighbours [Q, k + 1] but the query itself; where that is absent, but the last."""
    is_own = keys == own[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    others: NDArray[np.float32] = distances[~is_own].reshape(len(own), -1)
    return others
