"""An open gallery: its vectors, what is known of each, and their neighbours. Vectors in, neighbours out.

In: a folder that `build` made. Out: `Neighbours` by stable keys. Opening checks that every file the manifest names is
there with its rows, and the index's checksum; columns and vectors are read when they are first asked for. Knows nothing
of images or models but the card.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.errors import GalleryError, InputError
from semblance.gallery.exact import search_exact
from semblance.gallery.index import VectorIndex
from semblance.gallery.manifest import Manifest, file_sha256
from semblance.gallery.shards import count_rows, read_column, read_embeddings
from semblance.inference.session import available_threads


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest of each of Q queries, nearest first."""

    keys: NDArray[np.int64]  # [Q, k], -1 where there are fewer
    distances: NDArray[np.float32]  # [Q, k], infinite there; in the card's metric: 1 - cosine, or squared Euclidean
    counts: NDArray[np.int64]  # [Q], how many of the k are neighbours


class VectorGallery:
    """A gallery, opened for reading."""

    def __init__(self, path: Path, manifest: Manifest, index: VectorIndex) -> None:
        """Use `open`, which checks what this takes on trust."""
        self.path = path
        self.manifest = manifest
        self._index = index

    @classmethod
    def open(cls, path: Path) -> VectorGallery:
        """Open the gallery in the folder `path`. Raises GalleryError for what is missing, damaged or incomplete."""
        manifest = Manifest.read(path)
        for entry in (*manifest.shards, manifest.errors):
            if (found := count_rows(path / entry.file)) != entry.rows:
                raise GalleryError(
                    f"{path / entry.file} has {found} rows, the manifest says {entry.rows}; restore it from a copy, "
                    "or build the gallery again"
                )
        gallery = cls(path, manifest, VectorIndex.open(path / manifest.index.file, sha256=manifest.index.sha256))
        if len(gallery._index) != manifest.num_images:
            raise GalleryError(f"{path}: the index has {len(gallery._index)} vectors, the shards {manifest.num_images}")
        return gallery

    def __len__(self) -> int:
        return self.manifest.num_images

    @property
    def card(self) -> ModelCard:
        """The card of the model that made the vectors."""
        return self.manifest.card

    @property
    def fingerprint(self) -> str:
        """Of the embedding space."""
        return self.manifest.card.fingerprint

    @property
    def source(self) -> str:
        """Where the pictures came from, as `open_source` takes it."""
        return self.manifest.source

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """All embeddings, [N, D], in the order of the keys."""
        parts = [read_embeddings(self.path / each.file, self.card.dimension) for each in self.manifest.shards]
        return np.concatenate(parts)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """Each row's key, [N], ascending."""
        return np.array(self._column("key"), np.int64)

    @cached_property
    def uris(self) -> list[str]:
        """Each row's name in the source."""
        return self._column("uri")

    @cached_property
    def labels(self) -> list[str | None]:
        """Each row's label, None where the source had none."""
        return self._column("label")

    def rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each key, of any shape. Raises InputError for a key that is not in the gallery."""
        rows = np.searchsorted(self.keys, keys)
        unknown = self.keys[np.minimum(rows, len(self) - 1)] != keys
        if unknown.any():
            raise InputError(f"{self.path} has no key {np.asarray(keys)[unknown].flat[0]}")
        return np.asarray(rows, np.int64)

    def search(self, queries: NDArray[np.float32], *, k: int, exact: bool = False) -> Neighbours:
        """The k nearest rows of each query [Q, D] float32, through the index, or `exact` by comparing with all.

        Raises InputError for a k outside 1..len(gallery), or queries of another shape, dtype or with values that are
        not finite.
        """
        self.check_k(k)
        self._check_queries(queries)
        if exact:
            rows, distances = search_exact(queries, self.vectors, k=k, metric=self.card.metric)
            counts = np.full(len(queries), k, np.int64)
        else:
            rows, distances, counts = self._index.search(queries, k, threads=available_threads())
        keys = np.where(rows >= 0, self.keys[rows], -1)  # [Q, k]
        return Neighbours(keys, distances, counts)

    def check_k(self, k: int) -> None:
        """InputError for a number of neighbours that this gallery cannot give."""
        if not 1 <= k <= len(self):
            raise InputError(f"k must be between 1 and the {len(self)} images of {self.path}, is {k}")

    def verify(self) -> list[str]:
        """Compare every file with its checksum; what is damaged, in words, and nothing where all is well."""
        entries = [(each.file, each.sha256) for each in (*self.manifest.shards, self.manifest.errors)]
        entries.append((self.manifest.index.file, self.manifest.index.sha256))
        return [
            f"{self.path / file}: its bytes do not have the sha256 of the manifest"
            for file, sha256 in entries
            if file_sha256(self.path / file) != sha256
        ]

    def describe(self) -> dict[str, Any]:
        """What is in the gallery, for people and for JSON."""
        manifest, card = self.manifest, self.card
        files = [manifest.index.file, manifest.errors.file, *(each.file for each in manifest.shards)]
        return {
            "gallery": str(self.path),
            "images": len(self),
            "errors": manifest.errors.rows,
            "source": manifest.source,
            "model": card.name,
            "dimension": card.dimension,
            "metric": card.metric,
            "precision": card.precision,
            "fingerprint": card.fingerprint,
            "shards": len(manifest.shards),
            "index": f"{manifest.index.file}, {manifest.index.dtype}",
            "bytes": sum((self.path / file).stat().st_size for file in files),
        }

    def _column(self, name: str) -> list[Any]:
        return [value for each in self.manifest.shards for value in read_column(self.path / each.file, name)]

    def _check_queries(self, queries: NDArray[np.float32]) -> None:
        if queries.dtype != np.float32 or queries.ndim != 2 or queries.shape[1] != self.card.dimension:
            raise InputError(
                f"queries must be float32 [Q, {self.card.dimension}], are {queries.dtype} {list(queries.shape)}"
            )
        if not np.isfinite(queries).all():
            raise InputError("queries must be finite, and have a NaN or an infinity")
