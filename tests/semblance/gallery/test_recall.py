"""Recall of the index: against numpy's own ranking, with the query left out and ties either way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semblance.errors import InputError
from semblance.gallery.build import build
from semblance.gallery.exact import search_exact
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index import VectorIndex
from semblance.gallery.recall import measure_recall
from semblance.gallery.upkeep import remove
from semblance.inputs.sources import ArraySource


class Blinkered:
    """An index that finds every row but those of `hidden`."""

    def __init__(self, index: VectorIndex, vectors: np.ndarray, hidden: set[int]) -> None:
        self.dtype = index.dtype
        self._vectors = vectors
        self._seen = np.setdiff1d(np.arange(len(vectors)), sorted(hidden))

    def __len__(self) -> int:
        return len(self._seen)

    def candidates(self, queries: np.ndarray, k: int, *, threads: int = 1) -> np.ndarray:
        rows, _ = search_exact(queries, self._vectors[self._seen], k=k, metric="cos")
        return self._seen[rows]


def reference(vectors: np.ndarray, hidden: set[int], k: int) -> np.ndarray:
    """Share of the k nearest others that are not hidden, for each vector; where no two are equally far away."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - unit @ unit.T
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argsort(axis=1)[:, :k]
    return (~np.isin(nearest, sorted(hidden))).mean(axis=1)


def test_recall_of_a_real_index(gallery: VectorGallery) -> None:
    """No two distances are equal here, so that the common keys of both answers are what was found."""
    found = measure_recall(gallery, k=10, threads=2)
    exact, index = (gallery.search(gallery.vectors, k=11, exact=is_exact).keys for is_exact in (True, False))
    shares = [
        len(set(one) & set(other) - {own}) / 10
        for own, one, other in zip(gallery.keys.tolist(), exact.tolist(), index.tolist(), strict=True)
    ]
    assert (found.k, found.num_queries) == (10, 300)
    assert found.recall == pytest.approx(np.mean(shares))
    assert found.recall > 0.99


def test_recall_is_the_share_that_the_index_found(gallery: VectorGallery) -> None:
    hidden = set(range(0, 60, 3))
    expected = reference(gallery.vectors, hidden, 7)
    gallery.index = Blinkered(gallery.index, gallery.vectors, hidden)  # type: ignore[assignment]
    found = measure_recall(gallery, k=7)
    assert found.recall == pytest.approx(expected.mean())
    assert found.worst_recall == pytest.approx(expected.min())
    assert found.worst_key == int(expected.argmin())
    assert found.num_imperfect == int((expected < 1).sum())


def test_a_sample_is_the_seeds(gallery: VectorGallery) -> None:
    gallery.index = Blinkered(gallery.index, gallery.vectors, set(range(0, 60, 3)))  # type: ignore[assignment]
    one, again, other = (measure_recall(gallery, k=5, sample=40, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert one.num_queries == 40


def test_of_copies_any_will_do(tmp_path: Path, encoder, make_pictures) -> None:
    images = np.repeat(make_pictures(4), 25, axis=0)
    build(ArraySource(images, name="copies"), encoder, tmp_path / "g")
    found = measure_recall(VectorGallery.open(tmp_path / "g"), k=10)
    assert (found.recall, found.num_imperfect) == (1.0, 0)


def test_removed_pictures_do_not_ask(gallery_path: Path) -> None:
    remove(gallery_path, where="key < 250")
    found = measure_recall(VectorGallery.open(gallery_path), k=49)
    assert (found.num_queries, found.recall) == (50, 1.0)


def test_what_cannot_be_measured(gallery_path: Path, gallery: VectorGallery) -> None:
    for k in (0, 300):
        with pytest.raises(InputError, match=rf"1\.\.299.*{k}"):
            measure_recall(gallery, k=k)
    with pytest.raises(InputError, match="sample"):
        measure_recall(gallery, sample=0)
    remove(gallery_path, where="key > 0")
    with pytest.raises(InputError, match="1 pictures"):
        measure_recall(VectorGallery.open(gallery_path))
