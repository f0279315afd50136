"""The index beside other libraries', and beside the plain search of the originals: rate, recall, what building takes.

Real embeddings first, Fashion-MNIST's by the Siamese network: random vectors have no neighbours worth finding. Graphs
answer at several widths, exact searches at one; the originals' plain search takes part where queries are few enough for
it, unless there is time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders.index_task import EF, Search
from bench.neighbours import clustered, plain_search, recall_of_ties
from bench.racing import Entry, Judge, Planned, Workload
from bench.subjects import subject
from bench.suites.plan import Plan

Vectors = NDArray[np.float32]

K = 10
_NUM_QUERIES, _NUM_FEW_QUERIES = 2000, 200
_NUM_SINGLES = 200  # queries that come one by one, again and again
_FEW = 100  # vectors to build from once before, so that imports are no part of building
_ONE = "one query"

# Recall at 10 that a graph reaches at its narrowest; far less is a mistake, not a setting. Exact searches miss nothing.
_LEAST_GRAPH, _LEAST_EXACT = 0.9, 1.0
_GRAPHS = ("semblance_i8", "semblance_f16", "usearch", "faiss_hnsw", "hnswlib")
_EXACT = ("semblance_exact", "faiss_flat")
_ORIGINAL = "sklearn_brute"


@dataclass(frozen=True, slots=True)
class Data:
    """Vectors of length 1 and queries."""

    name: str
    title: str
    make: Callable[[], tuple[Vectors, Vectors]]


def fashion() -> tuple[Vectors, Vectors]:
    """All train images' embeddings, and those of some test images."""
    from semblance.inference.encoder import Encoder
    from semblance.inputs.datasets import fashion_mnist

    encoder = Encoder.load(subject("siamese").path("fp32"), streams=None)
    return encoder.embed(fashion_mnist("train")[0]), encoder.embed(fashion_mnist("test")[0][:_NUM_QUERIES])


def made_up(num: int, dimension: int) -> tuple[Vectors, Vectors]:
    """Vectors about 1,000 centres, and queries about the same."""
    return clustered(num, dimension, seed=0), clustered(_NUM_QUERIES, dimension, seed=1)


DATA = (
    Data("fashion", "Fashion-MNIST, 60,000 x 64-d", fashion),
    Data("made-up-2048", "made up, 50,000 x 2,048-d", partial(made_up, 50_000, 2048)),
    Data("made-up-64", "made up, 100,000 x 64-d", partial(made_up, 100_000, 64)),
)


def planned(plan: Plan) -> list[Planned]:
    """A race for each data set; the first alone where there is little time."""
    return [_planned(data, plan) for data in (DATA if plan.is_full else DATA[:1])]


def _planned(data: Data, plan: Plan) -> Planned:
    widths = (16, 32, 64, 128, 256, 512) if plan.is_full else (16, 64, 256)
    files = (plan.folder / f"{data.name}.npy", plan.folder / f"{data.name}-few.npy")
    few, many = _many(_NUM_FEW_QUERIES, EF), _many(_NUM_QUERIES, EF)
    return Planned(
        suite="index",
        name=f"index/{data.name}",
        subject=data.title,
        entries=[
            *(_entry(name, files, plan, _LEAST_GRAPH) for name in _GRAPHS),
            *(_entry(name, files, plan, _LEAST_EXACT, {_ONE, few, many}) for name in _EXACT),
            _entry(_ORIGINAL, files, plan, _LEAST_EXACT, {_ONE, few, many} if plan.is_full else {_ONE, few}),
        ],
        workloads=[_ONE, few, *(_many(_NUM_QUERIES, ef) for ef in widths)],
        load=partial(_load, data, widths, files),
        budget_s=8.0 if plan.is_full else 3.0,
    )


def _many(num: int, ef: int) -> str:
    return f"{num:,} queries, ef {ef}"


def _entry(name: str, files: tuple[Path, Path], plan: Plan, least: float, only: set[str] | None = None) -> Entry:
    vectors, few = ({"vectors": str(file), "metric": "cos"} for file in files)
    return Entry(
        kind="index",
        contender=name,
        threads=plan.threads,
        options=vectors,
        rehearsal=few,
        least=least,
        only=None if only is None else frozenset(only),
    )


def _load(data: Data, widths: tuple[int, ...], files: tuple[Path, Path]) -> tuple[list[Workload], Judge]:
    vectors, queries = data.make()
    np.save(files[0], vectors)
    np.save(files[1], vectors[:_FEW])
    truth = plain_search(queries, vectors, K)
    facts = {"rows": len(vectors), "dimension": vectors.shape[1], "k": K}
    one = Search(queries[:_NUM_SINGLES], K, is_single=True)
    workloads = [Workload(name=_ONE, given=one, items=1, unit="queries", facts=facts | {"queries": 1, "ef": EF})]
    known: dict[str, Any] = {_ONE: None}  # recall of one query says nothing
    for num, ef in [(_NUM_FEW_QUERIES, EF), *((_NUM_QUERIES, ef) for ef in widths)]:
        name, given = _many(num, ef), Search(queries[:num], K, ef)
        told = facts | {"queries": num, "ef": ef}
        workloads.append(Workload(name=name, given=given, items=num, unit="queries", facts=told))
        known[name] = num

    def value(rows: NDArray[np.int64], num: int) -> float:
        return recall_of_ties(rows, truth[:num], queries[:num], vectors)

    return workloads, Judge("recall at 10", "a plain search in float64", value, known)


def test_index(raced: Any, benchmark: Any) -> None:
    """Shows the times of one contender."""
    raced.show(benchmark)
