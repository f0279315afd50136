"""How fast and how well the vector index finds neighbours, beside faiss and hnswlib on the same vectors and threads.

    python -m bench.index --dimension 2048 --rows 50000
    python -m bench.index --dimension 64 --rows 100000
    python -m bench.index --exact --dimension 64 --rows 100000 --queries 10000

In: made-up vectors, seeded: a centre of N(0, 1) values, of 1,000, plus half as much noise, scaled to length 1, since
vectors without clusters have no neighbours worth finding. Queries come from the same clusters. Each contender lives
in a process of its own, builds in its turn, then all answer the same queries in rounds, so that whatever else the
machine does meets all of them. All HNSW graphs have M 16, efConstruction 128 and ef 64. Ours take more candidates than
asked for and put them in order by the vectors as they are stored, like a gallery, here one mapped file of them: i8 is
what a gallery chooses for vectors like these. MiB are what a process has for itself alone: those of faiss and hnswlib
hold the vectors, ours do not hold that file, which the system may keep in memory or drop. Recall is against a plain
float64 search. All times are kept. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.contenders.index_task import EF, EF_CONSTRUCTION, M, Search
from bench.neighbours import CENTRES, NOISE, Rows, Vectors, clustered, plain_search, recall
from bench.racing import Entry, Runner, started, turns
from bench.worker import Failed, Ready, Take, Turn
from semblance.errors import BackendError

K = 10
SINGLE_CALLS = 50  # of one query each, per round
_FEW = 100  # vectors to build from once before, so that imports are no part of building
PACKAGES = ("usearch", "faiss-cpu", "hnswlib", "numpy")

APPROXIMATE = {
    "semblance i8": "semblance_i8",
    "semblance f16": "semblance_f16",
    "semblance bf16": "semblance_bf16",
    "semblance bf16, index alone": "semblance_bf16_alone",
    "faiss HNSW": "faiss_hnsw",
    "hnswlib": "hnswlib",
}
EXACT = {"semblance exact": "semblance_exact", "faiss flat": "faiss_flat"}


# ------------------------------------------------------------------------------------------------------------------
# The run


@dataclass(slots=True)
class Measured:
    """What one contender did."""

    ready: Ready  # and what building took
    rows: Rows  # [Q, K]
    batch_s: list[float] = field(default_factory=list)  # of all queries at once
    single_ms: list[float] = field(default_factory=list)  # of one query


def race(
    contenders: dict[str, str], vectors: Vectors, queries: Vectors, *, threads: int, rounds: int
) -> dict[str, Measured]:
    """Every contender built and searched, in turns. Raises BackendError where one fails."""
    with tempfile.TemporaryDirectory() as folder:
        options = [{"vectors": _saved(some, Path(folder)), "metric": "cos"} for some in (vectors, vectors[:_FEW])]
        entries = [
            Entry(kind="index", contender=contender, threads=threads, options=options[0], rehearsal=options[1])
            for contender in contenders.values()
        ]
        with started(entries) as begun:
            runners = {name: _checked(begun[contender], name) for name, contender in contenders.items()}
            measured = {
                name: Measured(runner.ready, _asked(runner, name, Take(Search(queries, K))).answers)
                for name, runner in runners.items()
            }
            for name, seconds in _in_rounds(runners, 1, rounds).items():
                measured[name].batch_s += seconds
            singles = min(SINGLE_CALLS, len(queries))
            for name, runner in runners.items():
                _asked(runner, name, Take(Search(queries[:singles], K, is_single=True)))
            for name, seconds in _in_rounds(runners, singles, rounds).items():
                measured[name].single_ms += [each * 1e3 for each in seconds]
    return measured


def _saved(vectors: Vectors, folder: Path) -> str:
    path = folder / f"{len(vectors)}.npy"
    np.save(path, vectors)
    return str(path)


def _in_rounds(runners: dict[str, Runner], calls: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every call; each round begins with another contender."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for name in turns(runners, rounds):
        seconds[name] += _asked(runners[name], name, Turn(calls, warm=False)).seconds
    return seconds


def _asked(runner: Runner, name: str, request: Take | Turn) -> Any:
    return _checked(runner.ask(request), name)


def _checked(answer: Any, name: str) -> Any:
    if isinstance(answer, Failed):
        raise BackendError(f"{name}: {answer.reason}")
    return answer


def results(measured: dict[str, Measured], truth: Rows) -> dict[str, Any]:
    """Figures of each contender, with the raw times they are made of."""
    return {
        name: {
            "queries_per_sec": len(truth) / float(np.median(each.batch_s)),
            "recall_at_10": recall(each.rows, truth),
            "single_median_ms": float(np.median(each.single_ms)),
            "single_p95_ms": float(np.percentile(each.single_ms, 95)),
            "build_s": each.ready.load_s,
            "build_bytes": each.ready.load_bytes,
            "batch_s": [round(seconds, 5) for seconds in each.batch_s],
            "single_ms": [round(milliseconds, 4) for milliseconds in each.single_ms],
        }
        for name, each in measured.items()
    }


def ratios(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Queries per second of each of ours over each rival's."""
    rivals = [name for name in figures if not name.startswith("semblance")]
    return {
        name: {rival: row["queries_per_sec"] / figures[rival]["queries_per_sec"] for rival in rivals}
        for name, row in figures.items()
        if name not in rivals
    }


# ------------------------------------------------------------------------------------------------------------------
# What is printed


def show(figures: dict[str, Any], title: str) -> None:
    """The table for people."""
    table = Table(title=title)
    for heading in ("contender", "queries/s", "recall@10", "one query ms", "p95 ms", "build s", "MiB"):
        table.add_column(heading, justify="left" if heading == "contender" else "right", no_wrap=True)
    for name, row in figures.items():
        table.add_row(
            name,
            f"{row['queries_per_sec']:,.0f}",
            f"{row['recall_at_10']:.4f}",
            f"{row['single_median_ms']:.3f}",
            f"{row['single_p95_ms']:.3f}",
            f"{row['build_s']:.2f}",
            "" if row["build_bytes"] is None else f"{row['build_bytes'] / 2**20:.0f}",
        )
    Console(width=110).print(table)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.index", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exact", action="store_true", help="exact search and faiss flat instead of the graphs")
    options = parser.parse_args()
    rows, dimension = options.rows, options.dimension
    if min(dimension, options.queries, options.rounds, options.threads) < 1 or rows < K:
        parser.error(f"--rows must be at least {K}, the other numbers at least 1")
    described = machine(*PACKAGES)  # before the measurement, whose own load it must not show
    with mistakes_in_one_line():
        vectors = clustered(rows, dimension, seed=0)
        queries = clustered(options.queries, dimension, seed=1)
        truth = plain_search(queries, vectors, K)
        contenders = EXACT if options.exact else APPROXIMATE
        measured = race(contenders, vectors, queries, threads=options.threads, rounds=options.rounds)
    figures = results(measured, truth)
    show(figures, f"{rows:,} x {dimension}-d, {options.queries:,} queries, {options.threads} threads")
    settings = {"k": K, "M": M, "efConstruction": EF_CONSTRUCTION, "ef": EF, "centres": CENTRES, "noise": NOISE}
    document = {"machine": described, "threads": options.threads, "rows": rows, "dimension": dimension}
    document |= {"queries": options.queries, "settings": None if options.exact else settings}
    print(json.dumps(document | {"contenders": figures, "ratios": ratios(figures)}))


if __name__ == "__main__":
    main()
