"""A gallery opened for reading: its vectors, what is known of each picture, and the neighbours of a vector.

In: a gallery's folder, and query vectors of its space. Out: `Neighbours`. Opening checks that everything the manifest
names is there and of the right size; `verify` reads all of it. Shards are read when first needed.
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
from semblance.files import sha256_of
from semblance.gallery import shards
from semblance.gallery.exact import search_exact
from semblance.gallery.index import VectorIndex, checked_k
from semblance.gallery.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest of each of Q queries, nearest first.

    Where fewer were found, the first `counts[q]` are filled and the rest is key -1 at distance inf.
    """

    keys: NDArray[np.int64]  # [Q, k]
    distances: NDArray[np.float32]  # [Q, k] by the card's metric: 1 - cosine, or squared Euclidean
    counts: NDArray[np.int64]  # [Q]


class VectorGallery:
    """A gallery's vectors and their neighbours; it knows nothing of pictures."""

    def __init__(self, path: Path, manifest: Manifest, index: VectorIndex) -> None:
        """Join what belongs together; use `open`."""
        self.path = path
        self.manifest = manifest
        self._index = index

    @classmethod
    def open(cls, path: Path) -> VectorGallery:
        """Open the gallery in the folder `path`.

        Raises GalleryError where it is none, or where a file is missing, of another size or row count than the
        manifest says, or the index does not have its checksum.
        """
        path = Path(path)
        manifest = Manifest.read(path)
        for table in (*manifest.shards, manifest.errors):
            _check_size(path / table.file, table.num_bytes)
            if (found := shards.count_rows(path / table.file)) != table.num_rows:
                raise GalleryError(
                    f"{path / table.file} has {found} rows, the manifest says {table.num_rows}; "
                    "restore it from a copy, or embed again"
                )
        index = VectorIndex.open(
            path / manifest.index.file,
            sha256=manifest.index.sha256,
            expansion_search=manifest.options["index"]["expansion_search"],
        )
        if (len(index), index.dimension, index.metric) != (
            manifest.num_images, manifest.card.dimension, manifest.card.metric
        ):  # fmt: skip
            raise GalleryError(
                f"{path / manifest.index.file} indexes {len(index)} {index.dimension}-d vectors by {index.metric}, "
                f"the manifest says {manifest.num_images}, {manifest.card.dimension} and {manifest.card.metric}; "
                "embed again"
            )
        return cls(path, manifest, index)

    def __len__(self) -> int:
        return self.manifest.num_images

    @property
    def card(self) -> ModelCard:
        """Of the model that made the vectors."""
        return self.manifest.card

    @property
    def fingerprint(self) -> str:
        """Of the embedding space: only vectors of the same may be compared."""
        return self.manifest.card.fingerprint

    @property
    def source(self) -> str:
        """Where the pictures came from."""
        return self.manifest.source

    # What is known of row i; rows are in the shards' order

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """All embeddings, [N, D] float32, read at first use."""
        parts = [shards.read_vectors(self._file(shard.file)) for shard in self.manifest.shards]
        if any(part.shape[1] != self.card.dimension for part in parts):
            raise GalleryError(f"a shard of {self.path} holds no {self.card.dimension}-d vectors; embed again")
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The key of each row, [N] int64."""
        parts = [shards.read_columns(self._file(shard.file), ["key"]) for shard in self.manifest.shards]
        return np.concatenate([part.column("key").to_numpy() for part in parts])

    @cached_property
    def uris(self) -> list[str]:
        """The name of each row's picture in its source, N of them."""
        return self._texts("uri")

    @cached_property
    def labels(self) -> list[str | None]:
        """The label of each row, N of them, None where there is none."""
        return self._texts("label")

    def rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each key, int64 of the same shape. Raises InputError for a key that is not here."""
        keys = np.asarray(keys, np.int64)
        order, ordered = self._key_order
        at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        if not (known := ordered[at] == keys).all():
            raise InputError(f"key {int(keys[~known].flat[0])} is not in {self.path}, which has {len(self)} pictures")
        return order[at]

    def describe(self) -> dict[str, str | int]:
        """The facts a user asks for first."""
        manifest, card = self.manifest, self.card
        return {
            "images": manifest.num_images,
            "unusable": manifest.errors.num_rows,
            "source": manifest.source,
            "model": card.name,
            "precision": card.precision,
            "dimension": card.dimension,
            "metric": card.metric,
            "fingerprint": card.fingerprint,
            "shards": len(manifest.shards),
            "index": f"{self._index.dtype}, generation {manifest.index.generation}",
            "bytes": sum(file.num_bytes for file in manifest.files),
        }

    def verify(self) -> None:
        """Read every file and compare its sha256 with the manifest's. Raises GalleryError at the first misfit."""
        for file in self.manifest.files:
            path = self._file(file.file)
            _check_size(path, file.num_bytes)
            if (found := sha256_of(path)) != file.sha256:
                raise GalleryError(
                    f"{path} is damaged: its sha256 begins {found[:12]}, the manifest says {file.sha256[:12]}; "
                    "restore it from a copy, or embed again"
                )

    # Searching

    def check_k(self, k: int) -> int:
        """A number of neighbours, of any integer type, as an int. Raises InputError where not in 1..len(gallery)."""
        return checked_k(k, len(self), "the gallery's size")

    def search(self, queries: NDArray[np.float32], *, k: int = 10, exact: bool = False, threads: int = 1) -> Neighbours:
        """The k nearest pictures of each query vector [Q, D] float32, by the card's metric.

        By the index, with `threads` of them; or, with `exact`, by comparing with every vector. Raises InputError for a
        k that is not in 1..len(gallery), for queries of another shape, not finite, or zero under cosine, and for ones
        beyond the range of a half-float index, which `exact` can answer.
        """
        k = self.check_k(k)
        self._check_queries(queries)
        if exact:
            rows, distances = search_exact(queries, self.vectors, k=k, metric=self.card.metric)
            return Neighbours(self.keys[rows], distances, np.full(len(rows), k, np.int64))
        rows, distances, counts = self._index.search(queries, k, threads=threads)
        return Neighbours(np.where(rows < 0, -1, self.keys[rows]), distances, counts)

    def _check_queries(self, queries: NDArray[np.float32]) -> None:
        if not isinstance(queries, np.ndarray) or queries.ndim != 2 or queries.dtype != np.float32:
            given = (
                f"{queries.dtype} {list(queries.shape)}" if isinstance(queries, np.ndarray) else type(queries).__name__
            )
            raise InputError(f"queries must be float32 [Q, {self.card.dimension}], are {given}")
        if queries.shape[1] != self.card.dimension:
            raise InputError(f"queries have {queries.shape[1]} dimensions, the gallery's vectors {self.card.dimension}")
        if not (finite := np.isfinite(queries).all(axis=1)).all():
            raise InputError(f"queries must be finite, row {int(np.argmin(finite))} holds NaN or infinity")
        if self.card.metric == "cos" and not (nonzero := queries.any(axis=1)).all():
            raise InputError(f"queries must not be zero under cosine, row {int(np.argmin(nonzero))} is")

    @cached_property
    def _key_order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.keys, kind="stable")
        return order, self.keys[order]

    def _texts(self, column: str) -> list[Any]:
        parts = [shards.read_columns(self._file(shard.file), [column]) for shard in self.manifest.shards]
        return [text for part in parts for text in part.column(column).to_pylist()]

    def _file(self, name: str) -> Path:
        return self.path / name


def _check_size(path: Path, num_bytes: int) -> None:
    if not path.is_file():
        raise GalleryError(f"{path} is missing; restore it from a copy, or embed again")
    if (found := path.stat().st_size) != num_bytes:
        raise GalleryError(
            f"{path} has {found} bytes, the manifest says {num_bytes}; restore it from a copy, or embed again"
        )
