"""Images to neighbours: joins a gallery on disk with the encoder of its own embedding space.

In: pictures, or vectors. Out: `Neighbours`. The fingerprint in the gallery's manifest decides which model may be asked:
another one raises SpaceMismatch, since distances between two spaces mean nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.container import available_threads
from semblance.errors import GalleryError, InputError, ModelNotFound, SpaceMismatch
from semblance.gallery import upkeep
from semblance.gallery.build import IndexProgress, Progress, add, build
from semblance.gallery.duplicates import Groups
from semblance.gallery.export import export
from semblance.gallery.folder import is_gallery
from semblance.gallery.gallery import Neighbours, VectorGallery
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.keypoints import Extractor
from semblance.gallery.near_duplicates import near_duplicates
from semblance.gallery.recall import Recall, measure_recall
from semblance.gallery.report import BuildReport
from semblance.gallery.shards import VectorType
from semblance.gallery.source import GallerySource
from semblance.inference.backends.options import GpuOptions
from semblance.inference.encoder import Encoder, Image, as_pictures
from semblance.inference.models import find_model
from semblance.inputs.limits import Limits
from semblance.inputs.sources import Source, open_source
from semblance.local.sift import Features, SiftOptions, extract, extract_all
from semblance.rerank import DEFAULT, KeypointSearch, Verification, Verified, in_order, no_keypoints, ranked

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hit:
    """One neighbour, with what the gallery knows of it."""

    key: int
    uri: str
    label: str | None
    distance: float  # in the card's metric: 1 - cosine, or squared Euclidean; NaN where no embeddings were compared
    matches: int | None = None  # of keypoints, where these were compared
    inliers: int | None = None  # of the matches, those that one geometry explains


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
        shard_rows: int | None = None,
        vector_type: VectorType = "float32",
        limits: Limits | None = None,
        index: IndexOptions | None = None,
        deterministic: bool = False,
        sift: SiftOptions | None = None,
        max_errors: int | None = None,
        progress: Progress | None = None,
        index_progress: IndexProgress | None = None,
    ) -> Gallery:
        """Embed all of `source` into the gallery at `path` and open it; one that was begun there is carried on.

        `source` is a Source, a gallery to embed again with another model, or what `open_source` takes; the options are
        those of `gallery.build.build`, and with `sift` the keypoints of every picture are kept beside its vector.
        Pictures that cannot be used are listed in the gallery's errors.parquet.
        Raises SourceError, GalleryError, InputError.
        """
        report = build(
            open_pictures(source),
            encoder,
            Path(path),
            batch=batch,
            workers=workers,
            shard_rows=shard_rows,
            vector_type=vector_type,
            limits=limits,
            index=index,
            deterministic=deterministic,
            extractor=None if sift is None else sift_extractor(sift),
            max_errors=max_errors,
            progress=progress,
            index_progress=index_progress,
        )
        gallery = cls.open(path, encoder)
        gallery.report = report
        return gallery

    @classmethod
    def open(cls, path: str | os.PathLike[str], encoder: Encoder | None = None) -> Gallery:
        """Open the gallery at `path`. Raises GalleryError, SpaceMismatch."""
        return cls(VectorGallery.open(Path(path)), encoder)

    def add(
        self,
        source: Source | str | os.PathLike[str],
        *,
        workers: int | None = None,
        max_errors: int | None = None,
        progress: Progress | None = None,
        index_progress: IndexProgress | None = None,
    ) -> BuildReport:
        """Embed the pictures of a further source into this gallery, or what is new and changed in one it has already.

        Options and errors are those of `gallery.build.add`; a gallery with SIFT finds keypoints as it did before. This
        object then shows the gallery as it is after it.
        """
        sift = sift_options(self.vectors)
        self.report = add(
            open_pictures(source),
            self.encoder,
            self.vectors.path,
            extractor=None if sift is None else sift_extractor(sift),
            workers=workers,
            max_errors=max_errors,
            progress=progress,
            index_progress=index_progress,
        )
        self.vectors = VectorGallery.open(self.vectors.path)
        return self.report

    def remove(
        self, keys: Sequence[int] | NDArray[np.int64] = (), *, uris: Sequence[str] = (), where: str | None = None
    ) -> int:
        """Remove the pictures that a key, a uri or an SQL condition names; returns how many there were.

        What names nothing is passed over. Raises InputError, GalleryError.
        """
        number = upkeep.remove(self.vectors.path, keys, uris=uris, where=where)
        self.vectors = VectorGallery.open(self.vectors.path)
        return number

    def compact(self) -> upkeep.Compacted:
        """Give back the space of what was removed. Raises GalleryError."""
        compacted = upkeep.compact(self.vectors.path, threads=available_threads())
        self.vectors = VectorGallery.open(self.vectors.path)
        return compacted

    def rebuild(self, *, progress: IndexProgress | None = None) -> int:
        """Build the index anew from the vectors; returns how many it covers. Raises GalleryError.

        A gallery whose index is damaged cannot be opened: for that one there is `gallery.upkeep.rebuild`.
        """
        number = upkeep.rebuild(self.vectors.path, threads=available_threads(), progress=progress)
        self.vectors = VectorGallery.open(self.vectors.path)
        return number

    def export(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write it as one .parquet, .npy or .usearch file, by `gallery.export.export`; returns the files written."""
        return export(self.vectors, Path(out), threads=available_threads())

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

    def search(
        self,
        images: Image | Sequence[Image],
        k: int = 10,
        *,
        exact: bool = False,
        where: str | None = None,
        rerank: Verification | None = None,
    ) -> Neighbours:
        """The `k` nearest pictures of each picture in `images` (what `Encoder.embed` takes), nearest first.

        `exact` compares with every vector instead of asking the index; `where` is an SQL condition on the columns of
        the gallery, as "label = 'chair' AND width > 300". `rerank` puts its shortlist of nearest ones in order by the
        keypoints that they share with the picture, and gives `Verified` ones. Raises InputError for a k that is not in
        1..len(gallery) or for what is no condition, ImageError for a picture that cannot be used, SpaceMismatch,
        GalleryError where `rerank` is asked of a gallery without keypoints.
        """
        self.vectors.check_k(k)  # before the model is loaded and the pictures are decoded
        if rerank is None:
            return self.search_vectors(self.encoder.embed(images), k, exact=exact, where=where)
        self._keypoints(rerank)  # are there any? also before the model is loaded
        return self.search_embedded(images, self.encoder.embed(images), k, rerank, exact=exact, where=where)

    def search_sift(
        self,
        images: Image | Sequence[Image],
        k: int = 10,
        *,
        where: str | None = None,
        how: Verification = DEFAULT,
    ) -> Verified:
        """The `k` pictures that share most with each picture in `images` by keypoints alone; needs no model.

        All of the gallery are matched, or what `where` lets pass, which takes about a microsecond for each keypoint.
        Raises as `search`.
        """
        k, keypoints = self.vectors.check_k(k), self._keypoints(how)
        return ranked(keypoints, self._features(images, keypoints, how), k, keys=self._passing(where))

    def hits(
        self,
        images: Image | Sequence[Image],
        k: int = 10,
        *,
        exact: bool = False,
        where: str | None = None,
        rerank: Verification | None = None,
    ) -> list[list[Hit]]:
        """`search`, with the uri and label of each neighbour: one list per picture, nearest first."""
        return self.described(self.search(images, k, exact=exact, where=where, rerank=rerank))

    def described(self, found: Neighbours) -> list[list[Hit]]:
        """Neighbours with the uri and label of each: one list per query, nearest first."""
        counts = found.counts.tolist()
        keys = np.concatenate([np.empty(0, np.int64), *(found.keys[at, :count] for at, count in enumerate(counts))])
        known = self.vectors.values_of(keys, ("uri", "label"))  # of the neighbours of all queries, one after the other
        described = zip(known["uri"], known["label"], strict=True)
        return [self._hits(found, query, list(islice(described, count))) for query, count in enumerate(counts)]

    def _hits(self, found: Neighbours, query: int, described: list[tuple[str, str | None]]) -> list[Hit]:
        count = len(described)
        evidence: list[tuple[int | None, int | None]] = [(None, None)] * count
        if isinstance(found, Verified):
            evidence = list(zip(found.matches[query].tolist(), found.inliers[query].tolist(), strict=True))[:count]
        return [
            Hit(key, uri, label, distance, *each)
            for key, (uri, label), distance, each in zip(
                found.keys[query, :count].tolist(),
                described,
                found.distances[query, :count].tolist(),
                evidence,
                strict=True,
            )
        ]

    def _shortlist(self, k: int, how: Verification) -> int:
        return min(max(k, how.shortlist), len(self.vectors))

    def _keypoints(self, how: Verification) -> KeypointSearch:
        if (options := sift_options(self.vectors)) is None:
            raise no_keypoints(self.vectors)
        return KeypointSearch(self.vectors, options, how)

    def _features(
        self, images: Image | Sequence[Image], keypoints: KeypointSearch, how: Verification
    ) -> Iterator[Features]:
        pictures = (Path(each) if isinstance(each, os.PathLike) else each for each in as_pictures(images))
        return extract_all(pictures, keypoints.options, workers=how.threads)

    def _passing(self, where: str | None) -> NDArray[np.int64] | None:
        return None if where is None else self.vectors.keys[self.vectors.matching(where)]

    def search_vectors(
        self, queries: NDArray[np.float32], k: int = 10, *, exact: bool = False, where: str | None = None
    ) -> Neighbours:
        """The same for embeddings of this space, [Q, D] float32."""
        return self.vectors.search(queries, k=k, exact=exact, where=where, threads=available_threads())

    def search_embedded(
        self,
        images: Image | Sequence[Image],
        queries: NDArray[np.float32],
        k: int,
        rerank: Verification,
        *,
        exact: bool = False,
        where: str | None = None,
    ) -> Verified:
        """`search` with `rerank` for pictures whose embeddings, [Q, D] float32, are there already."""
        self.vectors.check_k(k)
        keypoints = self._keypoints(rerank)
        near = self.search_vectors(queries, self._shortlist(k, rerank), exact=exact, where=where)
        return in_order(keypoints, self._features(images, keypoints, rerank), near, k)

    def search_keys(
        self,
        keys: Sequence[int] | NDArray[np.int64],
        k: int = 10,
        *,
        exact: bool = False,
        where: str | None = None,
        rerank: Verification | None = None,
    ) -> Neighbours:
        """`search` for pictures of the gallery itself, by key; each finds itself first. Needs no model."""
        vectors = self.vectors.vectors_of(np.asarray(keys))
        if rerank is None:
            return self.search_vectors(vectors, k, exact=exact, where=where)
        self.vectors.check_k(k)
        keypoints = self._keypoints(rerank)
        near = self.search_vectors(vectors, self._shortlist(k, rerank), exact=exact, where=where)
        return in_order(keypoints, map(keypoints.features_of, np.asarray(keys).tolist()), near, k)

    def search_sift_keys(
        self,
        keys: Sequence[int] | NDArray[np.int64],
        k: int = 10,
        *,
        where: str | None = None,
        how: Verification = DEFAULT,
    ) -> Verified:
        """`search_sift` for pictures of the gallery itself, by key."""
        k, keypoints = self.vectors.check_k(k), self._keypoints(how)
        queries = map(keypoints.features_of, np.asarray(keys).tolist())
        return ranked(keypoints, queries, k, keys=self._passing(where))

    def recall(self, k: int = 10, *, sample: int = 1000, seed: int = 0) -> Recall:
        """How well the index answers, by `gallery.recall.measure_recall`. Raises InputError."""
        return measure_recall(self.vectors, k=k, sample=sample, seed=seed, threads=available_threads())

    def duplicates(
        self, distance: float, *, approximate: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Groups:
        """Groups of pictures that hang together by pairs at `distance` or nearer; rows count as `vectors.keys` does.

        By `gallery.near_duplicates.near_duplicates`; `approximate` asks the index and may miss some. Raises InputError.
        """
        return near_duplicates(
            self.vectors, distance, approximate=approximate, threads=available_threads(), progress=progress
        )


def open_pictures(source: Source | str | os.PathLike[str], **options: Any) -> Source:
    """A Source as it is; the pictures of a gallery, by its folder; else what `open_source` makes of it.

    `options` are those of `open_source`; InputError where a Source or a gallery, which has labels, has no use for one.
    """
    if not isinstance(source, (str, os.PathLike)):
        opened = source
    elif source and is_gallery(Path(source)):
        opened = GallerySource(Path(source))
    else:
        return open_source(source, **options)
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}={value!r} is of no use to {opened.name}, which has labels already; leave it out")
    return opened


def sift_options(vectors: VectorGallery) -> SiftOptions | None:
    """How a gallery's keypoints were found; None where it keeps none.

    Raises GalleryError for options that this version does not know.
    """
    recorded = vectors.manifest.options.get("sift")
    if recorded is None:
        return None
    try:
        return SiftOptions(**recorded)
    except (TypeError, InputError) as error:
        raise GalleryError(
            f"gallery {vectors.path} has keypoints by SIFT options that this semblance does not know ({error}); use "
            "the version that made it"
        ) from error


def sift_extractor(options: SiftOptions) -> Extractor:
    """SIFT by these options, as a gallery takes it."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in asdict(options).items()}
    return Extractor(lambda pixels: extract(pixels, options), plain)


def load_encoder(
    vectors: VectorGallery,
    *,
    backend: str = "auto",
    threads: int | None = None,
    streams: int | None = 1,
    max_batch: int | None = None,
    warm_up: bool = True,
    spinning: bool = True,
    gpu: GpuOptions | None = None,
) -> Encoder:
    """The model that made a gallery, by the name in its manifest; the options are those of `Encoder.load`.

    It is taken in the precision that the gallery was made in, where that is here, since near neighbours differ between
    two; else in fp32, which shares its space, and a line in the log says so. Raises ModelNotFound where it is neither
    shipped nor in the cache.
    """
    name = vectors.card.name
    try:
        model = _model_of(vectors.card)
    except ModelNotFound as error:
        raise ModelNotFound(
            f"gallery {vectors.path} was made with model {name!r} ({vectors.fingerprint[:12]}), which is neither "
            "shipped nor in the cache; give its file: --model FILE.onnx, or Gallery.open(path, Encoder.load(FILE))"
        ) from error
    encoder = Encoder.load(
        model,
        backend=backend,
        threads=threads,
        streams=streams,
        max_batch=max_batch,
        warm_up=warm_up,
        spinning=spinning,
        gpu=gpu,
    )
    if encoder.card.precision != vectors.card.precision:
        _log.info(
            "gallery %s was made in %s, of which there is no file here: asked in %s",
            vectors.path, vectors.card.precision, encoder.card.precision,
        )  # fmt: skip
    return encoder


def _model_of(card: ModelCard) -> Path:
    if card.precision != "fp32":
        with suppress(ModelNotFound):
            return find_model(f"{card.name}.{card.precision}")
    return find_model(card.name)


def _check_space(vectors: VectorGallery, encoder: Encoder) -> None:
    if vectors.fingerprint != encoder.card.fingerprint:
        raise SpaceMismatch(
            f"gallery {vectors.path} holds vectors of {vectors.card.name!r} ({vectors.fingerprint[:12]}), "
            f"the model given is {encoder.card.name!r} ({encoder.card.fingerprint[:12]}); distances between two "
            "embedding spaces mean nothing: search with the gallery's own model, or embed the pictures again"
        )
