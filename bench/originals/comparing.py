"""One original by all its contenders, in all its protocols: each answer scored, and judged against TensorFlow's.

In: contenders, TensorFlow's own first, the labelled images that they embed, and protocols: which images are the
gallery, and which of them ask. Out: one `retrieval` record for each contender, protocol, metric and search.

A contender is right where it answers as TensorFlow does: vectors of fp32 by their least cosine, which parity bounds;
those of fewer bits, and any index, by what they lose of the precision at 10, which the gate bounds. It is judged once,
in the protocol of most queries and by the original's own metric, where the figures are the least of chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.originals import ranking
from bench.originals.contenders import FP32, PRECISIONS, Contender
from bench.originals.full_ranking import whole_ranking
from bench.originals.ranking import Index, Queries
from bench.records import Record
from export.gate import MOST_LOST, cosines
from export.parity import LARGE
from semblance import metrics
from semblance.card import Metric, Precision

Vectors = NDArray[np.float32]
Labels = NDArray[np.uint8]
Rows = NDArray[np.int64]

EXACT, INDEX = "exact", "index"
TENSORFLOW = "tensorflow"
PIXELS = "pixels"


@dataclass(frozen=True, slots=True)
class Protocol:
    """Who asks whom, among N images: the first `num_gallery` are the gallery, and `queries` [Q] of them ask."""

    name: str
    data: str
    num_gallery: int
    queries: Rows

    @classmethod
    def leave_one_out(cls, data: str, num_gallery: int) -> Protocol:
        """Each of the gallery asks all others."""
        return cls("leave-one-out", data, num_gallery, np.arange(num_gallery))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is compared."""

    row: int  # of the originals' table
    original: str
    weights: str  # where they came from, in words
    labels: Labels  # [N] of the images
    protocols: Sequence[Protocol]
    metrics: Sequence[Metric]  # the original's own first
    searches: Sequence[str] = (EXACT, INDEX)
    classes: Sequence[str] = ()
    ranked_whole: Sequence[Precision] = PRECISIONS  # of which contenders mAP and mean rank are worked out
    threads: int = 1

    @property
    def widest(self) -> Protocol:
        """The protocol that is judged."""
        return max(self.protocols, key=lambda protocol: len(protocol.queries))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one contender found in one protocol, by one metric and search."""

    rows: Rows  # [Q, K]
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Truth:
    """What TensorFlow's original answers, exactly searched."""

    vectors: Vectors  # [N, D]
    answers: dict[tuple[str, Metric], Answer] = field(default_factory=dict)  # by protocol and metric


def compare(subject: Subject, contenders: Iterable[Contender], emit: Callable[[Record], None]) -> None:
    """Emit the records of each contender; the first is TensorFlow's original, which the others are held against."""
    truth: Truth | None = None
    for contender in contenders:
        vectors = contender.vectors()
        if truth is not None and (wrong := _unusable(vectors, truth.vectors)):
            emit(_refused(subject, contender, wrong))
            continue
        found = _found(subject, contender, vectors)
        if truth is None:
            assert contender.runtime == TENSORFLOW, contender.runtime
            exact = {(protocol, metric): each for (protocol, metric, search), each in found.items() if search == EXACT}
            truth = Truth(vectors, exact)
        apart = _apart(vectors, truth.vectors)
        for search in subject.searches:
            judged = apart | _judged(subject, contender, search, found, truth, apart)
            for (protocol, metric, by), answer in found.items():
                if by == search:
                    emit(_record(subject, contender, protocol, metric, search, answer, truth, judged))
        del vectors, found  # before those of the next one


def baseline(subject: Subject, pixels: Vectors, emit: Callable[[Record], None]) -> None:
    """Emit the records of the images' own pixels [N, H * W], which no network has seen; nothing says they are right."""
    contender = Contender(PIXELS, FP32, "", lambda: pixels)
    for (protocol, metric, search), answer in _found(subject, contender, pixels).items():
        emit(_record(subject, contender, protocol, metric, search, answer, None, {"is_right": None}))


def _found(subject: Subject, contender: Contender, vectors: Vectors) -> dict[tuple[str, Metric, str], Answer]:
    """What is found in each protocol, by each metric and search."""
    found = {}
    for metric in subject.metrics:
        indexes: dict[int, Index] = {}  # by size of the gallery: several protocols ask the same one
        for protocol in subject.protocols:
            for search in subject.searches:
                found[protocol.name, metric, search] = _answer(
                    subject, contender, protocol, vectors, metric, search, indexes
                )
    return found


def _answer(
    subject: Subject,
    contender: Contender,
    protocol: Protocol,
    vectors: Vectors,
    metric: Metric,
    search: str,
    indexes: dict[int, Index],
) -> Answer:
    """In one protocol by one metric and search."""
    gallery, labels = vectors[: protocol.num_gallery], subject.labels[: protocol.num_gallery]
    queries = Queries.rows_of(labels, protocol.queries)
    whole = None  # an index gives its nearest, not all
    if search == INDEX:
        if protocol.num_gallery not in indexes:
            indexes[protocol.num_gallery] = Index(gallery, metric=metric, threads=subject.threads)
        rows = indexes[protocol.num_gallery].search(queries)
    else:
        rows = ranking.exact(gallery, queries, metric=metric, threads=subject.threads)
        if contender.precision in subject.ranked_whole:
            whole = whole_ranking(
                queries.of(gallery), queries.labels, gallery, labels,
                own=queries.own, metric=metric, threads=subject.threads,
            )  # fmt: skip
    return Answer(rows, ranking.figures(rows, labels, queries, whole=whole, classes=subject.classes))


# ------------------------------------------------------------------------------------------------------------------
# Right or wrong


def _unusable(vectors: Vectors, truth: Vectors) -> str:
    """Why vectors cannot be searched or compared; "" where they can."""
    if vectors.shape != truth.shape:
        return f"vectors {list(vectors.shape)}, where TensorFlow gives {list(truth.shape)}"
    return "" if np.isfinite(vectors).all() else "vectors that are not finite"


def _refused(subject: Subject, contender: Contender, wrong: str) -> Record:
    name = f"{subject.original} by {contender.runtime} {contender.precision}"
    return {"kind": "check", "claim": f"{name} gives vectors as TensorFlow does", "found": wrong, "holds": False}


def _apart(vectors: Vectors, truth: Vectors) -> dict[str, float]:
    """The cosines of the vectors with TensorFlow's."""
    cosine = cosines(vectors, truth)  # [N]
    return {"min_cosine": float(cosine.min()), "mean_cosine": float(cosine.mean())}


def _judged(
    subject: Subject,
    contender: Contender,
    search: str,
    found: dict[tuple[str, Metric, str], Answer],
    truth: Truth,
    apart: dict[str, float],
) -> dict[str, Any]:
    """What was lost of the precision at 10 in the widest protocol, and whether that is right."""
    protocol, metric = subject.widest, subject.metrics[0]
    ours, theirs = found[protocol.name, metric, search].rows, truth.answers[protocol.name, metric].rows  # [Q, K]
    lost, error = lost_precision(ours, theirs, subject.labels, protocol.queries)
    is_near = contender.precision != FP32 or apart["min_cosine"] >= LARGE.min_cosine
    return {
        "lost_p_at_10": lost,
        "lost_error": error,
        "is_right": is_near and is_kept(lost, error),
    }


def lost_precision(ours: Rows, theirs: Rows, labels: Labels, queries: Rows) -> tuple[float, float]:
    """What `ours` [Q, K] find less of the queries' classes among ten than `theirs`, and its standard error."""
    k = min(ranking.NEAREST, ours.shape[1])

    def precision(rows: Rows) -> NDArray[np.float64]:
        return metrics.precision_at_k(ranking.relevance(rows, labels, Queries.rows_of(labels, queries)), k)

    lost = precision(theirs) - precision(ours)  # [Q]
    return float(lost.mean()), float(lost.std() / np.sqrt(len(lost)))


def is_kept(lost: float, error: float) -> bool:
    """Whether no more is lost than the gate lets a variant lose.

    Where queries are too few to tell that much from nothing, which is when the gate warns, by two standard errors more.
    """
    spare = 2 * error if 2 * error > MOST_LOST else 0.0
    return lost <= MOST_LOST + spare


# ------------------------------------------------------------------------------------------------------------------


def _record(
    subject: Subject,
    contender: Contender,
    protocol_name: str,
    metric: Metric,
    search: str,
    answer: Answer,
    truth: Truth | None,
    judged: dict[str, Any],
) -> Record:
    protocol = next(each for each in subject.protocols if each.name == protocol_name)
    true = truth.answers[protocol_name, metric].rows if truth else None
    return {
        "kind": "retrieval",
        "row": subject.row,
        "original": subject.original,
        "weights": subject.weights,
        "data": protocol.data,
        "protocol": protocol.name,
        "runtime": contender.runtime,
        "backend": contender.backend,
        "precision": contender.precision,
        "search": search,
        "metric": metric,
        "num_queries": len(protocol.queries),
        "num_gallery": protocol.num_gallery,
        **answer.figures,
        "same_10_nearest": None if true is None else ranking.same_nearest(answer.rows, true),
        **judged,
    }
