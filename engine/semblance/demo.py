"""The engine shown on 70,000 images: embed, index, search, score, and picture the neighbours.

In: a folder to write to. Out: a gallery of Fashion-MNIST's 60,000 train images, one figure for each thing a user would
ask about, a contact sheet, and a few query pictures to go on with. Where the data set is neither found nor to be
downloaded, a stand-in drawn by code takes its place and the result says so.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance import metrics
from semblance.draw import save_png
from semblance.errors import GalleryError, SourceError
from semblance.gallery.build import Progress
from semblance.gallery.manifest import MANIFEST_NAME, Manifest
from semblance.inference.encoder import Encoder
from semblance.inputs.datasets import CLASSES, fashion_mnist
from semblance.inputs.sources import num_items, open_source
from semblance.inputs.standin import drawn_fashion
from semblance.search import Gallery
from semblance.sheet import save_sheet

MODEL = "siamese"
_REAL, _DRAWN = "fashion-mnist:train", "drawn-fashion:train"
DEPTH = 10  # neighbours per query
_SHEET_DEPTH = 5
_NUM_TIMED = 1000
_SEED = 1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured; rates are images per second, latencies milliseconds."""

    data: str
    model: str
    runs_on: str
    num_gallery: int
    num_queries: int
    precision_at_1: float
    precision_at_5: float
    precision_at_10: float
    recall_at_10: float
    f1_at_10: float
    mean_average_precision_at_10: float
    hit_rate_at_5: float
    index_recall_at_10: float  # share of the exact ten that the index finds
    embed_images_per_sec: float  # pixels to vectors, all images
    build_images_per_sec: float  # the whole gallery: hash, embed, write, index
    query_p50_ms: float  # one picture in, its ten neighbours out, one at a time
    query_p99_ms: float
    gallery: Path
    sheet: Path
    queries: tuple[Path, ...]  # pictures to search with next


def run_demo(
    folder: Path,
    *,
    stand_in: bool = False,
    num_images: tuple[int, int] | None = None,
    say: Say,
    progress: Progress | None = None,
) -> DemoResult:
    """Run the whole demo into `folder`; `say` hears each step. An earlier demo's gallery there is replaced.

    With `stand_in` the drawn pictures are used even where Fashion-MNIST is at hand; `num_images` (gallery, queries)
    makes fewer of them. Raises GalleryError where something is in the way that no demo made.
    """
    path = _claimed(folder)
    data, images, labels = _load_data(stand_in, num_images, say)
    source = open_source(data)
    encoder = Encoder.load(MODEL)

    say(f"Embedding and indexing {num_items(source):,} images with {encoder.card.name!r} ({encoder.description})")
    gallery = Gallery.build(source, encoder, path, progress=progress)
    report = gallery.report
    assert report is not None  # this very call built it

    say(f"Searching it with {len(images):,} others")
    start = time.perf_counter()
    vectors = encoder.embed(images)
    embed_seconds = report.seconds["inference"] + time.perf_counter() - start
    found = gallery.search_vectors(vectors, DEPTH)
    exact = gallery.search_vectors(vectors, DEPTH, exact=True)
    gallery_labels = np.array([CLASSES.index(str(label)) for label in gallery.vectors.labels])  # [N]
    p50, p99 = _time_queries(gallery, images)

    shown = _one_of_each_class(labels)
    queries = [_save_query(folder, images[row], CLASSES[labels[row]], row) for row in shown]
    _save_sheet(folder / "neighbours.png", gallery, images[shown], [CLASSES[labels[row]] for row in shown])
    return DemoResult(
        data="Fashion-MNIST" if data == _REAL else "A stand-in drawn by code",
        model=encoder.card.name,
        runs_on=encoder.description,
        num_gallery=len(gallery),
        num_queries=len(images),
        **_score(gallery_labels[found.keys], labels, np.bincount(gallery_labels)),
        index_recall_at_10=float(metrics.neighbour_overlap(found.keys, exact.keys).mean()),
        embed_images_per_sec=(len(gallery) + len(images)) / embed_seconds,
        build_images_per_sec=report.images_per_sec,
        query_p50_ms=p50,
        query_p99_ms=p99,
        gallery=path,
        sheet=folder / "neighbours.png",
        queries=tuple(queries[:3]),
    )


def _load_data(
    stand_in: bool, num_images: tuple[int, int] | None, say: Say
) -> tuple[str, NDArray[np.uint8], NDArray[np.uint8]]:
    """The gallery's source by its name for `open_source`, and the queries: images [N, 28, 28] and labels [N]."""
    if not stand_in:
        try:
            return _REAL, *fashion_mnist("test")
        except SourceError as error:
            say(f"{error}\nGoing on with a stand-in drawn by code: the figures below are not Fashion-MNIST's.")
    if num_images is None:
        return _DRAWN, *drawn_fashion("test")
    return f"{_DRAWN}:{num_images[0]}", *drawn_fashion("test", num_images=num_images[1])


def _claimed(folder: Path) -> Path:
    """Where the gallery goes: a place that is free, or holds what an earlier demo left, finished or not."""
    path, marker = folder / "gallery", folder / ".semblance-demo"
    if path.exists():
        if not marker.is_file() or not _is_ours(path):
            raise GalleryError(f"{path} is in the way and no demo made it; move it, or give another folder with --out")
        shutil.rmtree(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text("`semblance demo` may replace the gallery beside this file.\n")
    except OSError as error:
        raise GalleryError(f"{folder} cannot be written ({error}); give another folder with --out") from error
    return path


def _is_ours(path: Path) -> bool:
    """A demo's gallery, or what is left of one that a demo was killed in: nothing but a build's own files."""
    if (path / MANIFEST_NAME).is_file():
        manifest = Manifest.read(path)
        return manifest.card.name == MODEL and manifest.parts[0].source.startswith((_REAL, _DRAWN))
    return path.is_dir() and {each.name for each in path.iterdir()} <= {"shards", "index", "errors.parquet", "lock"}


def _score(found: NDArray[np.int64], labels: NDArray[np.uint8], class_sizes: NDArray[np.int64]) -> dict[str, float]:
    """Every retrieval figure, from the labels found [Q, K] and the queries' own [Q]."""
    relevant = metrics.relevance(found, labels)  # [Q, K]
    num_relevant = class_sizes[labels]  # [Q]
    return {
        "precision_at_1": float(metrics.precision_at_k(relevant, 1).mean()),
        "precision_at_5": float(metrics.precision_at_k(relevant, 5).mean()),
        "precision_at_10": float(metrics.precision_at_k(relevant, 10).mean()),
        "recall_at_10": float(metrics.recall_at_k(relevant, num_relevant, 10).mean()),
        "f1_at_10": float(metrics.f1_at_k(relevant, num_relevant, 10).mean()),
        "mean_average_precision_at_10": float(metrics.average_precision_at_k(relevant, num_relevant, 10).mean()),
        "hit_rate_at_5": float(metrics.hit_at_k(relevant, 5).mean()),
    }


def _time_queries(gallery: Gallery, images: NDArray[np.uint8]) -> tuple[float, float]:
    """p50 and p99 in milliseconds of one picture at a time, from pixels to keys."""
    for image in images[:50]:
        gallery.search([image], DEPTH)
    seconds = []
    for image in images[:_NUM_TIMED]:
        start = time.perf_counter()
        gallery.search([image], DEPTH)
        seconds.append(time.perf_counter() - start)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return float(p50), float(p99)


def _one_of_each_class(labels: NDArray[np.uint8]) -> list[int]:
    """A seeded choice of one query row of each class."""
    rng = np.random.default_rng(_SEED)
    return [int(rng.choice(np.flatnonzero(labels == label))) for label in range(len(CLASSES))]


def _save_sheet(path: Path, gallery: Gallery, images: NDArray[np.uint8], labels: list[str]) -> None:
    hits = gallery.hits(list(images), _SHEET_DEPTH)
    title = "Queries and their five nearest neighbours, with cosine distance"
    save_sheet(path, gallery, list(images), hits, labels=labels, title=title)


def _save_query(folder: Path, image: NDArray[np.uint8], label: str, row: int) -> Path:
    name = label.partition("/")[0].lower().replace(" ", "-")
    path = folder / "queries" / f"{name}-{row}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, image)
    return path
