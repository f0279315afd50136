"""Row 6, the five most similar photographs by pretrained features: TensorFlow with scikit-learn, beside the engine.

    python -m bench.originals.five_nearest --random 6 --out found.png
    python -m bench.originals.five_nearest inception_resnet_v2-published --weights imagenet --queries a.jpg b.jpg
    python -m bench.originals.five_nearest DenseNet121 --weights imagenet --images photos/ --queries photos/a.jpg
    python -m bench.originals.five_nearest mine.onnx --images photos/ --random 4

In: an original of models/, any network of Keras Applications, or an exported file; pictures, Caltech101 where none are
named; and queries, one or many: files, or pictures of the place itself, each left out of its own answer. Out: for each
its nearest by cosine, as a table and a contact sheet, and how many of them both runtimes share: features by TensorFlow
with scikit-learn's NearestNeighbors, as the experiment had it, and by the exported file with the engine's own search.
The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.originals import photographs
from bench.originals.asked import Emit, absent_record
from bench.records import Record
from models.base import names as original_names
from models.pictures import Pictures
from semblance import Encoder
from semblance.card import ModelCard, read_card
from semblance.draw import Cell, contact_sheet, save_png
from semblance.errors import InputError
from semblance.gallery.exact import search_exact
from semblance.inference.models import find_model
from semblance.metrics import leave_one_out, neighbour_overlap

if TYPE_CHECKING:
    from models.weights import Opened

ROW = 6
K = 5
_EVERY = 4  # picture of the place that `quick` takes
_ENOUGH = 0.999  # of the neighbours that both runtimes share: rounding may turn two that are equally far

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Both:
    """The same pictures by both runtimes: vectors [N, D] each; TensorFlow's are None of a file that was exported."""

    card: ModelCard
    onnx: Vectors
    tensorflow: Vectors | None


# ------------------------------------------------------------------------------------------------------------------
# Neighbours


def by_engine(queries: Vectors, gallery: Vectors, *, k: int, own: Rows | None = None) -> tuple[Rows, Vectors]:
    """Rows and cosine distances [Q, k] of the nearest, without each query's `own` row where that is given."""
    return search_exact(queries, gallery, k=k, metric="cos", exclude=own)


def by_scikit_learn(queries: Vectors, gallery: Vectors, *, k: int, own: Rows | None = None) -> Rows:
    """The same rows as the experiment finds them."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=k if own is None else k + 1, metric="cosine").fit(gallery)
    rows = np.asarray(found.kneighbors(queries, return_distance=False), np.int64)
    return rows if own is None else leave_one_out(rows, own)


def shared(ours: Rows, theirs: Rows) -> float:
    """Mean share of the same neighbours [Q, k], in any order."""
    return float(neighbour_overlap(ours, theirs).mean())


# ------------------------------------------------------------------------------------------------------------------
# Features


def open_model(name: str, weights: str | None, alpha: float | None) -> Opened:
    """An original of models/ by its name, or any other network of Keras Applications. Raises ModelNotFound."""
    from models.backbones import open_application
    from models.base import find
    from models.weights import open_original

    if name in original_names():
        return open_original(find(name) if alpha is None else find(name, alpha=alpha), weights)
    return open_application(name, weights or "imagenet", alpha=alpha)


def features(model: str | None, read: Callable[[ModelCard], NDArray[np.uint8]], *, weights: str | None = None,
             alpha: float | None = None, threads: int = 2) -> Both:  # fmt: skip
    """Vectors of the pictures that `read` gives for a model: None is MobileNet with the weights at hand."""
    if model is not None and model.endswith(".onnx"):
        file, opened = find_model(model), None
    else:
        from export.quiet import import_tensorflow_quietly

        import_tensorflow_quietly()
        if model is None:
            file, opened = photographs.mobilenet(), photographs.open_mobilenet()
        else:
            opened = open_model(model, weights, alpha)
            wanted = opened.weights_sha256
            file = photographs.exported(
                opened.original.name, lambda: opened,
                is_current=lambda path: path.is_file() and read_card(path).weights_sha256 == wanted,
            )  # fmt: skip
    card = read_card(file)
    images = read(card)
    of_engine = Encoder.load(file, backend="cpu", threads=threads, streams=None).embed(images)
    if opened is None:
        return Both(card, of_engine, None)
    from export.parity import run_original

    return Both(card, of_engine, run_original(opened, images))


# ------------------------------------------------------------------------------------------------------------------
# The measurement


def measure(*, quick: bool, emit: Emit, place: str | None = None, threads: int = 2) -> float | None:
    """Emit row 6: every picture of Caltech101, or every fourth, asks all others; returns the share that is the same.

    What is not on this machine is emitted as absent; then there is no share.
    """
    if place is None and (reason := photographs.missing()):
        emit(absent_record(ROW, "mobilenet", "fp32", reason))
        return None
    place = photographs.caltech() if place is None else place
    labels: list[NDArray[np.int64]] = []

    def read(card: ModelCard) -> NDArray[np.uint8]:
        pictures = photographs.read_for(card, place)
        step = _EVERY if quick else 1
        labels.append(pictures.labels[::step])
        return pictures.images[::step]

    both = features(None, read, threads=threads)
    assert both.tensorflow is not None  # MobileNet is no file
    own = np.arange(len(both.onnx))
    ours, _ = by_engine(both.onnx, both.onnx, k=K, own=own)
    theirs = by_scikit_learn(both.tensorflow, both.tensorflow, k=K, own=own)
    same = shared(ours, theirs)
    for runtime, vectors in (("tensorflow", both.tensorflow), ("onnx", both.onnx)):
        record = photographs.retrieval_record(
            vectors, labels[0], metric="cos", row=ROW, original=both.card.name, weights=both.card.source,
            data=f"{Path(place).name}, {len(own):,} pictures", runtime=runtime,
            backend="cpu" if runtime == "onnx" else "", is_right=None if runtime == "tensorflow" else same >= _ENOUGH,
        )  # fmt: skip
        emit(record | {"same_5_nearest": 1.0 if runtime == "tensorflow" else same})
    emit(
        {
            "kind": "check",
            "claim": "row 6: TensorFlow's features with scikit-learn's NearestNeighbors and the engine find the same "
            "five nearest",
            "found": {"shared": same, "queries": len(own), "model": both.card.name},
            "holds": same >= _ENOUGH,
        }
    )
    return same


# ------------------------------------------------------------------------------------------------------------------
# A few queries, shown


@dataclass(frozen=True, slots=True)
class Found:
    """What a few queries found: rows and distances [Q, k] by the engine, and the share that TensorFlow finds too."""

    queries: tuple[str, ...]
    rows: Rows
    distances: Vectors
    shared: float | None  # None where there is no TensorFlow original


def ask(both: Both, own: Rows, uris: Sequence[str], *, num_gallery: int, k: int) -> Found:
    """The nearest of the first `num_gallery` pictures to those at rows `own` [Q], which may lie behind these."""
    is_inside = own < num_gallery
    exclude = np.where(is_inside, own, -1)
    most = num_gallery - int(is_inside.any())
    if not 1 <= k <= most:
        raise InputError(f"-k must lie in 1..{most}, the other pictures there are, is {k}")
    rows, distances = by_engine(both.onnx[own], both.onnx[:num_gallery], k=k, own=exclude)
    theirs = None
    if both.tensorflow is not None:
        gallery = both.tensorflow[:num_gallery]
        parts = [
            by_scikit_learn(both.tensorflow[[row]], gallery, k=k, own=np.array([row]) if row < num_gallery else None)
            for row in own
        ]
        theirs = np.concatenate(parts)
    return Found(tuple(uris[row] for row in own), rows, distances, None if theirs is None else shared(rows, theirs))


def sheet(found: Found, own: Rows, pictures: Pictures, *, title: str) -> NDArray[np.uint8]:
    """The contact sheet, with classes where they are known."""

    def caption(row: int) -> str:
        return pictures.classes[pictures.labels[row]] or Path(pictures.uris[row]).name

    rows = []
    for query, nearest, distances in zip(own.tolist(), found.rows.tolist(), found.distances.tolist(), strict=True):
        label = pictures.labels[query]
        is_known = bool(pictures.classes[label])
        cells = [
            Cell(pictures.images[row], caption(row), bool(pictures.labels[row] == label) if is_known else None,
                 f"{distance:.3f}")
            for row, distance in zip(nearest, distances, strict=True)
        ]  # fmt: skip
        rows.append((Cell(pictures.images[query], caption(query)), cells))
    return contact_sheet(rows, title=title)


def _with_queries(gallery: Pictures, asked: list[Pictures]) -> Pictures:
    """The gallery's pictures, then those of the files that ask; of these a class is known if the gallery has it."""
    classes = gallery.classes if "" in gallery.classes else ("", *gallery.classes)
    shift = len(classes) - len(gallery.classes)
    own = [np.full(len(each.images), classes.index(""), np.int64) for each in asked]
    return Pictures(
        gallery.source,
        np.concatenate([gallery.images, *(each.images for each in asked)]),
        np.concatenate([gallery.labels + shift, *own]),
        classes,
        (*gallery.uris, *(uri for each in asked for uri in each.uris)),
    )


def _show(options: argparse.Namespace) -> dict[str, object]:
    place = options.images or photographs.caltech()
    kept: list[tuple[Pictures, int]] = []

    def read(card: ModelCard) -> NDArray[np.uint8]:
        gallery = photographs.read_for(card, place)
        asked = [photographs.read_for(card, query) for query in options.queries]
        for query, each in zip(options.queries, asked, strict=True):
            if each.skipped:
                raise InputError(f"{query}: {next(iter(each.skipped.values()))}")
        pictures = _with_queries(gallery, asked)
        kept.append((pictures, len(gallery.images)))
        return pictures.images

    both = features(options.model, read, weights=options.weights, alpha=options.alpha)
    pictures, num_gallery = kept[0]
    num_random = min(options.random, num_gallery)
    drawn = np.random.default_rng(options.seed).choice(num_gallery, num_random, replace=False)
    own = np.concatenate([np.sort(drawn), np.arange(num_gallery, len(pictures.images))]).astype(np.int64)
    found = ask(both, own, pictures.uris, num_gallery=num_gallery, k=options.k)
    table = Table("query", *(str(rank + 1) for rank in range(options.k)), title=f"{both.card.name}, by cosine distance")
    for query, nearest, distances in zip(found.queries, found.rows.tolist(), found.distances.tolist(), strict=True):
        told = (f"{pictures.uris[row]} {each:.3f}" for row, each in zip(nearest, distances, strict=True))
        table.add_row(query, *told)
    Console(stderr=True, width=160).print(table)
    if options.out is not None:
        save_png(options.out, sheet(found, own, pictures, title=f"The {options.k} nearest by {both.card.name}"))
    return {
        "model": both.card.name,
        "shared_with_tensorflow": found.shared,
        "queries": [
            {"uri": query, "nearest": [pictures.uris[row] for row in nearest], "distances": distances}
            for query, nearest, distances in zip(
                found.queries, found.rows.tolist(), found.distances.tolist(), strict=True
            )
        ],
    }


def main() -> None:
    """Parse, ask or measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.originals.five_nearest", description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", help="an original, a network of Keras Applications, or an .onnx file")
    parser.add_argument("--weights", help="imagenet, random or a file; default: the original's own")
    parser.add_argument("--alpha", type=float, help="MobileNet's width")
    parser.add_argument("--images", metavar="PLACE", help="pictures to search in; default: Caltech101")
    parser.add_argument("--queries", nargs="+", default=[], metavar="FILE", help="pictures that ask")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="as well as N of the place's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-k", type=int, default=K, help=f"neighbours of each; default: {K}")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="a contact sheet")
    parser.add_argument("--measure", action="store_true", help="all of Caltech101, by MobileNet, as a benchmark")
    parser.add_argument("--quick", action="store_true", help="with --measure: every fourth picture")
    options = parser.parse_args()
    if not options.measure and not options.queries and options.random < 1:
        parser.error("nothing is asked: give --queries FILE ..., --random N, or --measure")
    if options.model is None and (options.weights or options.alpha):
        parser.error("--weights and --alpha go with a MODEL; without, it is MobileNet with the weights at hand")
    records: list[Record] = []
    with mistakes_in_one_line():
        if options.measure:
            same = measure(quick=options.quick, emit=records.append)
            document: dict[str, object] = {"shared": same, "records": records}
        else:
            document = _show(options)
    print(json.dumps({"machine": machine("tensorflow", "onnxruntime", "scikit-learn", "numpy"), **document}))


if __name__ == "__main__":
    main()
