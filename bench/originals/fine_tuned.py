"""Row 5, networks taught a folder's classes: a baseline from nothing, a fine-tuned one, and one taught by pairs.

    python -m bench.originals.fine_tuned --train
    python -m bench.originals.fine_tuned mine.keras other.keras

In: models that `python -m models.train classifier|cnn|pairs` wrote, with what stands beside them. Each is cut at its
embedding, exported, and embeds the pictures that were held out from its training, by the engine. Out: the classifier's
accuracy; figures of the ranking, leave-one-out and with each query in the gallery, as it must have been where mAP@1 is
1; the mean cosine of pairs of one class and of two; and how many pairs a threshold on their likeness judges right. That
threshold is the best one on the pictures that the training chose by, not on those it is judged on, and pairs of both
kinds weigh alike, though those of two classes are a hundred times as many.

The published network and photographs are not at hand: MobileNet takes the place of ResNet50, Caltech101 that of the
human actions. Without models named, those in the cache are measured; --train trains the missing ones, which takes a
quarter of an hour on two cores. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.originals import photographs
from bench.originals.asked import Emit, leave_out
from bench.originals.published import of_row
from bench.originals.reproduced import beside, figure
from bench.records import Record
from bench.subjects import MOBILENET_ALPHA
from models.facts import Facts, read_facts
from models.weights import Opened
from semblance import Encoder
from semblance.card import Metric, read_card
from semblance.errors import BackendError, InputError, SourceError

ROW = 5
CNN, FINE_TUNED, PAIRS, PRETRAINED = "cnn-baseline", "resnet50-finetuned", "pairs", "mobilenet"
SELF_INCLUDED = "the query is in the gallery"

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Run:
    """One model of this row, and how it is trained."""

    original: str  # the published name of what it stands for
    file: str  # in the cache
    arguments: tuple[str, ...]  # of models.train, before the pictures
    is_pretrained: bool


RUNS = (
    Run(CNN, "cnn-baseline", ("cnn", "--size", "48", "--epochs", "10", "--no-augment"), False),
    Run(FINE_TUNED, "mobilenet-finetuned",
        ("classifier", "--backbone", "mobilenet", "--head-epochs", "15", "--epochs", "2",
         "--fine-tune-lr", "3e-5"), True),
    Run(PAIRS, "mobilenet-pairs",
        ("pairs", "--base", "mobilenet", "--epochs", "15", "--margin", "4", "--pairs", "10000", "--lr", "5e-4"), True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Likeness of all pairs of the pictures held out."""

    num_same: int
    num_different: int
    cosine_same: float  # mean of pairs of one class
    cosine_different: float
    threshold: float  # of the cosine, or of the Euclidean distance where that is the model's metric
    verification_accuracy: float  # mean of the shares of both kinds that the threshold judges right


# ------------------------------------------------------------------------------------------------------------------
# Pairs


def pair_figures(
    vectors: Vectors, labels: NDArray[np.int64], chosen_on: tuple[Vectors, NDArray[np.int64]], metric: Metric
) -> PairFigures:
    """Of all pairs of [N, D] with labels [N]; the threshold is the best one for the pairs of `chosen_on`."""
    likeness, is_same = likenesses(*chosen_on, metric)
    threshold, _ = best_threshold(likeness, is_same)
    likeness, is_same = likenesses(vectors, labels, metric)
    cosine, _ = likenesses(vectors, labels, "cos")
    right_same, right_different = (likeness[is_same] >= threshold).mean(), (likeness[~is_same] < threshold).mean()
    return PairFigures(
        num_same=int(is_same.sum()),
        num_different=int((~is_same).sum()),
        cosine_same=float(cosine[is_same].mean()),
        cosine_different=float(cosine[~is_same].mean()),
        threshold=abs(threshold) if metric == "l2sq" else threshold,
        verification_accuracy=float((right_same + right_different) / 2),
    )


def likenesses(
    vectors: Vectors, labels: NDArray[np.int64], metric: Metric
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of each pair of [N, D], the first row lower: its cosine or minus its distance [P], and whether of one class [P].

    Raises InputError where there is no pair of one of the two kinds.
    """
    exact = vectors.astype(np.float64)
    if metric == "cos":
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
        exact = np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0)
    likeness = exact @ exact.T  # [N, N]
    if metric == "l2sq":
        squares = np.diag(likeness)
        likeness = -np.sqrt(np.maximum(squares[:, None] + squares - 2 * likeness, 0))
    first, second = np.triu_indices(len(vectors), 1)
    is_same = labels[first] == labels[second]
    if not len(is_same) or is_same.all() or not is_same.any():
        raise InputError(f"{len(vectors)} pictures have no pairs of one class, or none of two; hold out more of them")
    return likeness[first, second], is_same


def best_threshold(likeness: NDArray[np.float64], is_same: NDArray[np.bool_]) -> tuple[float, float]:
    """The likeness from which on a pair is to count as one class, and the mean of both kinds' right shares with it."""
    order = np.argsort(-likeness, kind="stable")
    ranked, same = likeness[order], is_same[order]
    right = (np.cumsum(same) / same.sum() + 1 - np.cumsum(~same) / (~same).sum()) / 2  # with all down to that one taken
    is_last = np.append(ranked[1:] != ranked[:-1], True)  # equal ones are taken together
    best = np.flatnonzero(is_last)[right[is_last].argmax()]
    return float(ranked[best]), float(right[best])


# ------------------------------------------------------------------------------------------------------------------
# One model


def measure_model(model: Path, original: str, *, threads: int = 2) -> list[Record]:
    """The records of a trained .keras file, on the pictures that it has not seen."""
    facts = read_facts(model)
    if not facts.test:
        raise InputError(f"{model} held no pictures out; train it with --test .2")
    exported = photographs.exported(
        model.stem, lambda: _open(model, facts), is_current=lambda path: _is_newer(path, model)
    )
    card = read_card(exported)
    pictures = photographs.read_for(card, facts.source)
    encoder = Encoder.load(exported, backend="cpu", threads=threads, streams=None)
    rows = {name: _rows(getattr(facts, name), pictures.uris, facts) for name in ("validation", "test")}
    vectors = {name: encoder.embed(pictures.images[own]) for name, own in rows.items()}
    labels = {name: pictures.labels[own] for name, own in rows.items()}
    weights = f"{facts.base} from {facts.weights}, trained here"
    return _records(vectors, labels, card.metric, original, weights, facts.figures.get("test accuracy"), facts)


def measure_pretrained(facts: Facts, *, threads: int = 2) -> list[Record]:
    """The records of MobileNet as it came, on the pictures that a trained model has not seen."""
    file = photographs.mobilenet()
    embedded = photographs.embed(file, facts.source, threads=threads)
    rows = {name: _rows(getattr(facts, name), embedded.uris, facts) for name in ("validation", "test")}
    vectors = {name: embedded.vectors[own] for name, own in rows.items()}
    labels = {name: embedded.labels[own] for name, own in rows.items()}
    card = read_card(file)
    return _records(vectors, labels, card.metric, PRETRAINED, f"{card.source}, not trained here", None, facts)


def _open(model: Path, facts: Facts) -> Opened:
    from export.keras_file import open_keras

    return open_keras(
        model, layer=facts.layer, preprocess=facts.preprocess, unit_length=facts.unit_length, metric=facts.metric
    )


def _is_newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns


def _rows(wanted: Sequence[str], uris: Sequence[str], facts: Facts) -> NDArray[np.int64]:
    place = {uri: row for row, uri in enumerate(uris)}
    if missing := [uri for uri in wanted if uri not in place]:
        raise InputError(
            f"{facts.source} has no usable picture {missing[0]} any more ({len(missing)} are missing); train again"
        )
    return np.array([place[uri] for uri in wanted], np.int64)


def _records(
    vectors: dict[str, Vectors],
    labels: dict[str, NDArray[np.int64]],
    metric: Metric,
    original: str,
    weights: str,
    class_accuracy: float | None,
    facts: Facts,
) -> list[Record]:
    pairs = pair_figures(vectors["test"], labels["test"], (vectors["validation"], labels["validation"]), metric)
    known: dict[str, Any] = {
        "row": ROW,
        "original": original,
        "weights": weights,
        "data": f"{Path(facts.source).name}, {len(facts.test):,} pictures held out",
        "runtime": "onnx",
        "backend": "cpu",
        "is_right": None,
        "class_accuracy": None if facts.kind == "pairs" else class_accuracy,
        "pairs": asdict(pairs),
    }
    return [
        photographs.retrieval_record(
            vectors["test"], labels["test"], metric=metric, is_self_included=is_self_included, **known
        )
        for is_self_included in (False, True)
    ]


# ------------------------------------------------------------------------------------------------------------------
# All of them


def measure(*, quick: bool, emit: Emit, train: bool | None = None, threads: int = 2) -> None:
    """Emit row 5. Missing models are trained if `train`, by default unless `quick`; else they are left out."""
    train = not quick if train is None else train
    facts = None
    for run in RUNS:
        model = photographs.kept_at(f"{run.file}.keras")
        reason = "it is not trained; python -m bench.originals.fine_tuned --train does"
        if train and not model.is_file():
            try:
                train_into(model, run)
            except SourceError as error:  # there are no photographs here
                reason = str(error)
        if not model.is_file():
            leave_out(emit, ROW, run.original, reason)
            continue
        facts = read_facts(model)
        records = measure_model(model, run.file, threads=threads)
        for record in (*records, *_beside(records, run.original)):
            emit(record)
    if facts is not None:  # all were parted by the same seed
        for record in measure_pretrained(facts, threads=threads):
            emit(record)


def train_into(model: Path, run: Run) -> None:
    """Train one of `RUNS` in a process of its own, into the cache. Raises SourceError, BackendError."""
    arguments = [*run.arguments, photographs.caltech(), "--out", str(model)]
    if run.is_pretrained:
        arguments += ["--alpha", str(MOBILENET_ALPHA), "--weights", photographs.mobilenet_weights()]
    if (ended := subprocess.run([sys.executable, "-m", "models.train", *arguments], stdout=sys.stderr)).returncode:
        raise BackendError(f"training {run.file} ended with status {ended.returncode}; what it said is above")


def _beside(records: list[Record], original: str) -> list[Record]:
    """The published figures: those of a ranking with the query in the gallery, since mAP@1 was 1 there."""
    ranked = next(record for record in records if record["protocol"] == SELF_INCLUDED)

    def value(name: str) -> float | None:
        if name == "accuracy":
            return ranked["class_accuracy"]
        if name == "cosine of a positive pair":
            return ranked["pairs"]["cosine_same"]
        return figure(ranked, {"mean rank": "mean_rank"}.get(name, name.removeprefix("m")))

    published = [each for each in of_row(ROW) if each.original == original]
    return beside(published, value, note=photographs.OTHER_DATA)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.originals.fine_tuned", description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", type=Path, help=".keras files with their .json; default: in the cache")
    parser.add_argument("--train", action="store_true", help="train what is not in the cache")
    options = parser.parse_args()
    records: list[Record] = []
    with mistakes_in_one_line():
        if options.models:
            for model in options.models:
                records += measure_model(model, model.stem)
        else:
            measure(quick=False, emit=records.append, train=options.train)
    show(records)
    print(json.dumps({"machine": machine("keras", "onnxruntime", "numpy"), "records": records}, allow_nan=False))


def show(records: list[Record]) -> None:
    """The tables for people, on stderr."""
    console = Console(stderr=True, width=150)
    table = Table("model", "protocol", "accuracy", "mAP@1", "mAP@10", "mAP@50", "mean rank", "verified",
                  "cosine of one class", "of two", title="Row 5, on pictures held out")  # fmt: skip
    for each in records:
        if each["kind"] == "retrieval":
            pairs = each["pairs"]
            at_k = [each["at_k"].get(k, {}).get("average_precision") for k in ("1", "10", "50")]
            table.add_row(
                each["original"], each["protocol"], *map(_told, (each["class_accuracy"], *at_k)),
                f"{each['mean_rank']:.1f}", *map(_told, (pairs["verification_accuracy"], pairs["cosine_same"],
                pairs["cosine_different"])),
            )  # fmt: skip
    console.print(table)
    table = Table("original", "figure", "published", "here", title=f"Published; {photographs.OTHER_DATA}")
    for each in records:
        if each["kind"] == "published":
            table.add_row(each["original"], each["figure"], f"{each['published']:g}", _told(each["reproduced"]))
        elif each["kind"] == "absent":
            console.print(f"left out: {each['contender']}: {each['reason']}", markup=False)
    if table.row_count:
        console.print(table)


def _told(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    main()
