"""How well a model's embeddings of Fashion-MNIST find their own class: the originals' figure, over all test images.

In: models by name or file. Out: a table and, as the last line, one JSON document. Every one of the 10,000 test images
is a query, the gallery is the other 9,999. Three queries, as the published autoencoder experiment drew them, prove
little: its own protocol is kept beside it (`published_protocol`), since its figures must come out again exactly.

    python -m bench.retrieval siamese autoencoder
    python -m bench.retrieval autoencoder --metric cos --index
    python -m bench.retrieval published.onnx --published
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import mistakes_in_one_line
from semblance import Encoder, metrics
from semblance.card import Metric
from semblance.gallery.exact import search_exact
from semblance.gallery.index import VectorIndex
from semblance.inputs.datasets import fashion_mnist

DEPTH = 20  # neighbours per query, self excluded
THREADS = 2


@dataclass(frozen=True, slots=True)
class Row:
    """Means over all queries."""

    model: str
    metric: str
    search: str  # "exact" or "index"
    precision_at_1: float
    precision_at_5: float
    precision_at_10: float
    precision_at_20: float
    hit_rate_at_5: float


def neighbours(vectors: NDArray[np.float32], metric: Metric, *, use_index: bool) -> NDArray[np.int64]:
    """The nearest others of each row of [N, D]: rows int64 [N, DEPTH], self excluded."""
    own = np.arange(len(vectors))
    if not use_index:
        return search_exact(vectors, vectors, k=DEPTH, metric=metric, exclude=own)[0]
    index = VectorIndex.build(vectors, metric=metric, threads=THREADS)
    return metrics.leave_one_out(index.search(vectors, DEPTH + 1, threads=THREADS)[0], own)


def leave_one_out(
    name: str, vectors: NDArray[np.float32], labels: NDArray[np.uint8], metric: Metric, *, use_index: bool = False
) -> Row:
    """Every row of `vectors` [N, D] as a query against all others, scored by `labels` [N]."""
    relevant = metrics.relevance(labels[neighbours(vectors, metric, use_index=use_index)], labels)  # [N, DEPTH]
    return Row(
        model=name,
        metric=metric,
        search="index" if use_index else "exact",
        precision_at_1=float(metrics.precision_at_k(relevant, 1).mean()),
        precision_at_5=float(metrics.precision_at_k(relevant, 5).mean()),
        precision_at_10=float(metrics.precision_at_k(relevant, 10).mean()),
        precision_at_20=float(metrics.precision_at_k(relevant, 20).mean()),
        hit_rate_at_5=float(metrics.hit_at_k(relevant, 5).mean()),
    )


def published_protocol(
    vectors: NDArray[np.float32], labels: NDArray[np.uint8], *, use_index: bool = False
) -> dict[str, float]:
    """The autoencoder experiment's own figures: three seeded queries, Euclidean distance, self excluded."""
    np.random.seed(1)  # noqa: NPY002  # the experiment's generator: another one draws other queries
    queries = np.random.choice(len(vectors), 3, replace=False)  # noqa: NPY002
    found = neighbours(vectors, "l2sq", use_index=use_index)[queries]  # [3, DEPTH]
    relevant = metrics.relevance(labels[found], labels[queries])
    num_relevant = np.bincount(labels)[labels[queries]] - 1
    return {
        "P@5": float(metrics.precision_at_k(relevant, 5).mean()),
        "R@5": float(metrics.recall_at_k(relevant, num_relevant, 5).mean()),
        "P@10": float(metrics.precision_at_k(relevant, 10).mean()),
        "R@10": float(metrics.recall_at_k(relevant, num_relevant, 10).mean()),
        "accuracy": float(metrics.precision_at_k(relevant, 1).mean()),
    }


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help="names or ONNX files")
    parser.add_argument("--metric", choices=get_args(Metric), help="default: the model's own")
    parser.add_argument("--index", action="store_true", help="search through the index instead of exactly")
    parser.add_argument("--published", action="store_true", help="the autoencoder experiment's own three queries")
    arguments = parser.parse_args()
    if arguments.published and arguments.metric:
        parser.error("--published is Euclidean, as the experiment was; leave --metric away")
    with mistakes_in_one_line():
        encoders = [Encoder.load(model) for model in arguments.models]  # a wrong name is told before any work
        images, labels = fashion_mnist("test")
        rows = []
        for encoder in encoders:
            metric = arguments.metric or encoder.card.metric
            vectors = encoder.embed(images)
            if arguments.published:
                figures = published_protocol(vectors, labels, use_index=arguments.index)
                print(json.dumps({"model": encoder.card.name, "queries": 3, "index": arguments.index, **figures}))
                continue
            rows.append(leave_one_out(encoder.card.name, vectors, labels, metric, use_index=arguments.index))
    if arguments.published:
        return
    table = Table("model", "metric", "search", "P@1", "P@5", "P@10", "P@20", "hit@5")
    for row in rows:
        figures = (row.precision_at_1, row.precision_at_5, row.precision_at_10, row.precision_at_20, row.hit_rate_at_5)
        table.add_row(row.model, row.metric, row.search, *(f"{figure:.4f}" for figure in figures))
    Console(stderr=True).print(table)
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
