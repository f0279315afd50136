"""Images to neighbours: joins a gallery on disk with the encoder of its own embedding space.

In: pictures, or vectors. Out: `Neighbours`. The fingerprint in the gallery's manifest decides which model may be asked:
another one raises SpaceMismatch, since distances between two spaces mean nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.errors import ModelNotFound, SpaceMismatch
from semblance.gallery.build import SHARD_ROWS, BuildReport, build
from semblance.gallery.gallery import Neighbours, VectorGallery
from semblance.gallery.index_options import IndexOptions
from semblance.inference.encoder import Encoder, Image
from semblance.inference.session import available_threads
from semblance.inputs.sources import Source, open_source


@dataclass(frozen=True, slots=True)
class Hit:
    """One neighbour, with what the gallery knows of it."""

    key: int
    uri: str
    label: str | None
    distance: float  # in the card's metric: 1 - cosine, or squared Euclidean


class Gallery:
    """A gallery with the encoder of its space.

    >>> import tempfile
    >>> path = f"{tempfile.mkdtemp()}/drawn.gallery"
    >>> gallery = Gallery.build("drawn-fashion:train:100", Encoder.load("siamese"), path)
    >>> found = Gallery.open(path).search(np.zeros((2, 28, 28), np.uint8), k=5)
    >>> found.keys.shape, found.distances.shape, found.counts.tolist()
    ((2, 5), (2, 5), [5, 5])
    """

    def __init__(self, vectors: VectorGallery, encoder: Encoder | None = None) -> None:
        """Join an open gallery and an encoder (default: the gallery's own, loaded at the first picture).

        Raises SpaceMismatch where the encoder belongs to another embedding space.
        """
        self.vectors = vectors
        self.report: BuildReport | None = None  # of the build, where this object built the gallery
        self._encoder = encoder
        if encoder is not None:
            _check_space(vectors, encoder)

    @classmethod
    def build(
        cls,
        source: Source | str | os.PathLike[str],
        encoder: Encoder,
        path: str | os.PathLike[str],
        *,
        batch: int | None = None,
        workers: int | None = None,
        shard_rows: int = SHARD_ROWS,
        index: IndexOptions | None = None,
        deterministic: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Gallery:
        """Embed all of `source` into a new gallery at `path` and open it.

        `source` is a Source or what `open_source` takes; the options are those of `gallery.build.build`. Pictures that
        cannot be used are listed in the gallery's errors.parquet. Raises SourceError, GalleryError, InputError.
        """
        if isinstance(source, (str, os.PathLike)):
            source = open_source(source)
        report = build(
            source,
            encoder,
            Path(path),
            batch=batch,
            workers=workers,
            shard_rows=shard_rows,
            index=index,
            deterministic=deterministic,
            progress=progress,
        )
        gallery = cls.open(path, encoder)
        gallery.report = report
        return gallery

    @classmethod
    def open(cls, path: str | os.PathLike[str], encoder: Encoder | None = None) -> Gallery:
        """Open the gallery at `path`. Raises GalleryError, SpaceMismatch."""
        return cls(VectorGallery.open(Path(path)), encoder)

    @property
    def card(self) -> ModelCard:
        """The card of the model that made its vectors."""
        return self.vectors.card

    @property
    def encoder(self) -> Encoder:
        """The encoder of its space, loaded by the name in the manifest where none was given."""
        if self._encoder is None:
            encoder = load_encoder(self.vectors, max_batch=16)
            _check_space(self.vectors, encoder)
            self._encoder = encoder
        return self._encoder

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, images: Image | Sequence[Image], k: int = 10, *, exact: bool = False) -> Neighbours:
        """The `k` nearest pictures of each picture in `images` (what `Encoder.embed` takes), nearest first.

        `exact` compares with every vector instead of asking the index. Raises InputError for a k that is not in
        1..len(gallery), ImageError for a picture that cannot be used, SpaceMismatch.
        """
        self.vectors.check_k(k)  # before the model is loaded and the pictures are decoded
        return self.search_vectors(self.encoder.embed(images), k, exact=exact)

    def hits(self, images: Image | Sequence[Image], k: int = 10, *, exact: bool = False) -> list[list[Hit]]:
        """`search`, with the uri and label of each neighbour: one list per picture, nearest first."""
        found = self.search(images, k, exact=exact)
        return [
            self._hits(keys[:count], distances[:count])
            for keys, distances, count in zip(found.keys, found.distances, found.counts, strict=True)
        ]

    def _hits(self, keys: NDArray[np.int64], distances: NDArray[np.float32]) -> list[Hit]:
        rows = self.vectors.rows_of(keys)
        return [
            Hit(int(key), self.vectors.uris[row], self.vectors.labels[row], float(distance))
            for key, row, distance in zip(keys, rows, distances, strict=True)
        ]

    def search_vectors(self, queries: NDArray[np.float32], k: int = 10, *, exact: bool = False) -> Neighbours:
        """The same for embeddings of this space, [Q, D] float32."""
        return self.vectors.search(queries, k=k, exact=exact, threads=available_threads())


def load_encoder(
    vectors: VectorGallery,
    *,
    backend: str = "auto",
    threads: int | None = None,
    max_batch: int | None = None,
    warm_up: bool = True,
) -> Encoder:
    """The model that made a gallery, by the name in its manifest; the options are those of `Encoder.load`.

    Raises ModelNotFound where it is neither shipped nor in the cache.
    """
    name = vectors.card.name
    try:
        return Encoder.load(name, backend=backend, threads=threads, max_batch=max_batch, warm_up=warm_up)
    except ModelNotFound as error:
        raise ModelNotFound(
            f"gallery {vectors.path} was made with model {name!r} ({vectors.fingerprint[:12]}), which is neither "
            "shipped nor in the cache; give its file: --model FILE.onnx, or Gallery.open(path, Encoder.load(FILE))"
        ) from error


def _check_space(vectors: VectorGallery, encoder: Encoder) -> None:
    if vectors.fingerprint != encoder.card.fingerprint:
        raise SpaceMismatch(
            f"gallery {vectors.path} holds vectors of {vectors.card.name!r} ({vectors.fingerprint[:12]}), "
            f"the model given is {encoder.card.name!r} ({encoder.card.fingerprint[:12]}); distances between two "
            "embedding spaces mean nothing: search with the gallery's own model, or embed the pictures again"
        )
