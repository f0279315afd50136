"""Row 7, pretrained features with a simple classifier on them: logistic regression and a linear SVM, beside neighbours.

    python -m bench.originals.linear_probe
    python -m bench.originals.linear_probe resnet50 --images photos/ --splits 3

In: an exported model and labelled pictures; without, MobileNet and Caltech101. Out: mean accuracy over the classes, as
Caltech101's figures are given, over splits that are drawn from a seed: 30 pictures of a class to train on where it has
more, else half of them, and the rest to test on. Features are standardised by the train part; C is chosen there by
cross-validation. Beside it the same pictures classified by their nearest neighbours in the train part, by cosine, which
is what the engine searches by. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.originals import photographs
from bench.originals.asked import Emit, absent_record
from bench.originals.photographs import Embedded
from bench.records import Record
from semblance.card import read_card
from semblance.errors import InputError
from semblance.gallery.exact import search_exact
from semblance.inference.models import find_model

ROW = 7
PER_CLASS = 30
NUM_SPLITS = 3
NEIGHBOURS = (1, 5)
LOGISTIC, SVM = "logistic regression", "linear SVM"
_CS = {LOGISTIC: (1e-3, 1e-2, 1e-1), SVM: (1e-4, 1e-3)}
_NUM_FOLDS = 2
# Finer ones take ten times as long for a difference in the third decimal
_TOLERANCES = {LOGISTIC: 1e-3, SVM: 0.1}

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on and to test on, each ascending."""

    train: Rows
    test: Rows


@dataclass(frozen=True, slots=True)
class Probe:
    """Mean accuracy over the classes of one classifier, for each split."""

    classifier: str
    accuracies: tuple[float, ...]
    chosen_c: tuple[float, ...]  # none for neighbours

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Standard deviation over the splits; 0 of one."""
        return float(np.std(self.accuracies))


def draw_split(labels: Labels, *, per_class: int = PER_CLASS, seed: int = 0) -> Split:
    """`per_class` rows of each class to train on where it has more, else half of them. [N] labels.

    Raises InputError for a class of one picture.
    """
    generator = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        if len(rows) < 2:
            raise InputError(f"class {label} has one picture; at least two are needed, one of them to test on")
        count = per_class if len(rows) > per_class else len(rows) // 2
        train.append(rows[:count])
        test.append(rows[count:])
    return Split(np.sort(np.concatenate(train)), np.sort(np.concatenate(test)))


def class_mean_accuracy(predicted: Labels, labels: Labels) -> float:
    """The mean over classes of the share of each that is predicted right: [N] and [N]."""
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def vote(neighbour_labels: Labels) -> Labels:
    """The class that most of each query's neighbours [Q, K] have, nearest first; of equally many the nearest one's."""
    counts = (neighbour_labels[:, :, None] == neighbour_labels[:, None, :]).sum(axis=2)  # [Q, K]: fellows of each
    first = counts.argmax(axis=1)  # the nearest of those with most
    return neighbour_labels[np.arange(len(neighbour_labels)), first]


def probe(vectors: Vectors, labels: Labels, splits: Sequence[Split]) -> list[Probe]:
    """Each classifier on each split of [N, D] with labels [N]."""
    found: dict[str, list[tuple[float, float | None]]] = {}
    for split in splits:
        true = labels[split.test]
        for name in (LOGISTIC, SVM):
            predicted, c = _linear(name, vectors, labels, split)
            found.setdefault(name, []).append((class_mean_accuracy(predicted, true), c))
        rows, _ = search_exact(vectors[split.test], vectors[split.train], k=max(NEIGHBOURS), metric="cos")
        nearest = labels[split.train][rows]  # [Q, K]
        for k in NEIGHBOURS:
            found.setdefault(f"{k} nearest", []).append((class_mean_accuracy(vote(nearest[:, :k]), true), None))
    return [
        Probe(name, tuple(accuracy for accuracy, _ in each), tuple(c for _, c in each if c is not None))
        for name, each in found.items()
    ]


def _linear(name: str, vectors: Vectors, labels: Labels, split: Split) -> tuple[Labels, float]:
    """What a linear classifier says of the test part, and the C that was chosen on the train part."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), _classifier(name))
    parameter = f"{pipeline.steps[-1][0]}__C"
    folds = StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, {parameter: _CS[name]}, cv=folds, scoring="balanced_accuracy")
    search.fit(vectors[split.train], labels[split.train])
    return np.asarray(search.predict(vectors[split.test])), float(search.best_params_[parameter])


def _classifier(name: str) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    if name == LOGISTIC:
        return LogisticRegression(max_iter=1000, tol=_TOLERANCES[name])
    # The primal solver, which scikit-learn would choose here, takes five times as long
    return LinearSVC(dual=True, tol=_TOLERANCES[name], max_iter=1000, random_state=0)


# ------------------------------------------------------------------------------------------------------------------


def measure(
    *,
    quick: bool,
    emit: Emit,
    model: str | None = None,
    place: str | None = None,
    num_splits: int | None = None,
    embed: Callable[..., Embedded] = photographs.embed,
    threads: int = 2,
) -> list[Probe]:
    """Emit row 7; `quick` is one split. The experiment published no figure that a record could stand beside.

    Without model and place named, what is not on this machine is emitted as absent, and there are no probes.
    """
    if model is None and place is None and (reason := photographs.missing()):
        emit(absent_record(ROW, "mobilenet", "fp32", reason))
        return []
    file = photographs.mobilenet() if model is None else find_model(model)
    place = photographs.caltech() if place is None else place
    num_splits = (1 if quick else NUM_SPLITS) if num_splits is None else num_splits
    if num_splits < 1:
        raise InputError(f"at least one split is needed, was asked for {num_splits}")
    embedded, card = embed(file, place, threads=threads), read_card(file)
    splits = [draw_split(embedded.labels, seed=seed) for seed in range(num_splits)]
    probes = probe(embedded.vectors, embedded.labels, splits)
    means = {each.classifier: each.mean for each in probes}
    source = Path(place).name
    known = {"row": ROW, "original": card.name, "weights": card.source, "runtime": "onnx", "backend": "cpu"}
    emit(
        photographs.retrieval_record(
            embedded.vectors, embedded.labels, metric=card.metric, data=source, is_right=None, **known
        )
    )
    found = {"splits": num_splits, "classes": len(embedded.classes), "probes": [asdict(each) for each in probes]}
    emit(
        {
            "kind": "check",
            "claim": f"row 7: on features of {card.name}, a linear classifier tells the classes of {source} apart at "
            "least as well as the nearest neighbour does",
            "found": found,
            "holds": max(means[LOGISTIC], means[SVM]) >= means["1 nearest"],
        }
    )
    return probes


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.originals.linear_probe", description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", help="name or ONNX file; default: MobileNet, exported into the cache")
    parser.add_argument("--images", metavar="PLACE", help="labelled pictures; default: Caltech101")
    parser.add_argument("--splits", type=int, help=f"default: {NUM_SPLITS}")
    parser.add_argument("--quick", action="store_true", help="one split")
    options = parser.parse_args()
    records: list[Record] = []
    with mistakes_in_one_line():
        probes = measure(
            quick=options.quick, emit=records.append, model=options.model, place=options.images,
            num_splits=options.splits,
        )  # fmt: skip
    table = Table("classifier", "mean accuracy over classes", "deviation over splits", "C", title="Row 7, linear probe")
    for each in probes:
        chosen = ", ".join(f"{c:g}" for c in each.chosen_c)
        table.add_row(each.classifier, f"{each.mean:.4f}", f"{each.spread:.4f}", chosen)
    Console(stderr=True).print(table)
    print(json.dumps({"machine": machine("scikit-learn", "onnxruntime", "numpy"), "records": records}, allow_nan=False))


if __name__ == "__main__":
    main()
