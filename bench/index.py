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
import ctypes
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Search = Callable[[Vectors, int], Rows]  # queries [Q, D], k -> rows [Q, k]

K = 10
M, EF_CONSTRUCTION, EF_SEARCH = 16, 128, 64
CENTRES = 1000
NOISE = 0.5
SINGLE_CALLS = 50  # of one query each, per round
PACKAGES = ("usearch", "faiss-cpu", "hnswlib", "numpy")


def clustered(num: int, dimension: int, *, seed: int) -> Vectors:
    """Unit vectors [num, dimension] about the same centres for every seed."""
    centres = np.random.default_rng(99).standard_normal((CENTRES, dimension), dtype=np.float32)
    rng = np.random.default_rng(seed)
    vectors = np.empty((num, dimension), np.float32)
    for start in range(0, num, 8192):
        part = vectors[start : start + 8192]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        part *= NOISE
        part += centres[rng.integers(0, CENTRES, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


# ------------------------------------------------------------------------------------------------------------------
# Contenders: vectors and threads -> a search


def _built(dtype: Any, vectors: Vectors, threads: int) -> Any:
    from semblance.gallery.index import VectorIndex

    return VectorIndex.build(
        vectors,
        metric="cos",
        dtype=dtype,
        connectivity=M,
        expansion_add=EF_CONSTRUCTION,
        expansion_search=EF_SEARCH,
        threads=threads,
    )


def _ours(dtype: Any) -> Callable[[Vectors, int], Search]:
    """As a gallery searches: candidates from the index, put in order by the stored vectors."""

    def build(vectors: Vectors, threads: int) -> Search:
        from semblance.gallery.index_options import oversampled
        from semblance.gallery.order import answered_in_order
        from semblance.gallery.rescore import rescore

        index = _built(dtype, vectors, threads)

        def stored(rows: Rows) -> Vectors:  # as a gallery's shard gives them
            return np.take(vectors, rows, axis=0)

        def search(queries: Vectors, k: int) -> Rows:
            def answers(queries: Vectors) -> tuple[Rows]:
                candidates = index.candidates(queries, oversampled(k, dtype, len(vectors)), threads=threads)
                return (rescore(queries, candidates, stored, k=k, metric="cos", threads=threads)[0],)

            return answered_in_order(answers, queries)[0]

        return search

    return build


def _index_alone(vectors: Vectors, threads: int) -> Search:
    from semblance.gallery.order import answered_in_order

    index = _built("bf16", vectors, threads)
    return lambda queries, k: answered_in_order(lambda some: index.search(some, k, threads=threads), queries)[0]


def _faiss_hnsw(vectors: Vectors, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(vectors.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = EF_CONSTRUCTION, EF_SEARCH
    index.add(vectors)
    return lambda queries, k: index.search(queries, k)[1]


def _hnswlib(vectors: Vectors, threads: int) -> Search:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
    index.set_num_threads(threads)
    index.add_items(vectors)
    index.set_ef(EF_SEARCH)
    return lambda queries, k: index.knn_query(queries, k)[0].astype(np.int64)


def _ours_exact(vectors: Vectors, threads: int) -> Search:
    from semblance.gallery.exact import search_exact

    return lambda queries, k: search_exact(queries, vectors, k=k, metric="cos", threads=threads)[0]


def _faiss_flat(vectors: Vectors, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return lambda queries, k: index.search(queries, k)[1]


APPROXIMATE = {
    "semblance i8": _ours("i8"),
    "semblance f16": _ours("f16"),
    "semblance bf16": _ours("bf16"),
    "semblance bf16, index alone": _index_alone,
    "faiss HNSW": _faiss_hnsw,
    "hnswlib": _hnswlib,
}
EXACT = {"semblance exact": _ours_exact, "faiss flat": _faiss_flat}


# ------------------------------------------------------------------------------------------------------------------
# Inside a contender's process


def serve(connection: Connection, name: str, files: tuple[Path, Path], threads: int) -> None:
    """Build, tell the seconds and bytes it took, then answer (first, last, times) with (seconds of each call, rows)."""
    vectors, queries = (np.load(file, mmap_mode="r") for file in files)
    vectors.max(), queries.max()  # read once, so that no contender pays for the disk
    vectors, queries = vectors.view(np.ndarray), np.array(queries)
    build = (APPROXIMATE | EXACT)[name]
    build(queries[:1], threads)(queries[:1], 1)  # imports, and whatever a library sets up at its first call
    connection.recv()
    before, start = own_bytes(), time.perf_counter()
    search = build(vectors, threads)
    built = time.perf_counter() - start
    after = own_bytes()
    connection.send((built, None if before is None or after is None else after - before))
    while (request := connection.recv()) is not None:
        first, last, times = request
        seconds = []
        for number in range(times):
            part = queries[first + number * (last - first) :][: last - first]
            start = time.perf_counter()
            rows = search(part, K)
            seconds.append(time.perf_counter() - start)
        connection.send((seconds, rows))


def own_bytes() -> int | None:
    """Memory that is this process's alone: files mapped are not; None where the system does not tell."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what was freed and is kept for later is nobody's need
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


# ------------------------------------------------------------------------------------------------------------------
# The run


@contextmanager
def started(names: list[str], files: tuple[Path, Path], threads: int) -> Iterator[dict[str, Connection]]:
    """A process for each contender; they end with the block."""
    context = multiprocessing.get_context("spawn")
    connections, processes = {}, []
    for name in names:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, name, files, threads), daemon=True)
        process.start()
        theirs.close()
        connections[name] = ours
        processes.append(process)
    try:
        yield connections
    finally:
        for connection, process in zip(connections.values(), processes, strict=True):
            if process.is_alive():
                connection.send(None)
            process.join(timeout=10)


@dataclass(slots=True)
class Measured:
    """What one contender did."""

    build_s: float
    build_bytes: int | None
    batch_s: list[float]  # of all queries at once
    single_ms: list[float]  # of one query
    rows: Rows  # [Q, K]


def race(names: list[str], vectors: Vectors, queries: Vectors, *, threads: int, rounds: int) -> dict[str, Measured]:
    """Every contender built and searched, in turns."""
    measured: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = (Path(folder) / "vectors.npy", Path(folder) / "queries.npy")
        np.save(files[0], vectors)
        np.save(files[1], queries)
        with started(names, files, threads) as connections:
            for name, connection in connections.items():
                build_s, build_bytes = _ask(connection, "build")
                _, rows = _ask(connection, (0, len(queries), 1))  # warm-up, and the answers
                measured[name] = Measured(build_s, build_bytes, [], [], rows)
            singles = min(SINGLE_CALLS, len(queries))
            for number in range(rounds):
                order = list(connections.items())
                for name, connection in order[number % len(order) :] + order[: number % len(order)]:
                    measured[name].batch_s += _ask(connection, (0, len(queries), 1))[0]
                    measured[name].single_ms += [each * 1e3 for each in _ask(connection, (0, 1, singles))[0]]
    return measured


def _ask(connection: Connection, request: Any) -> Any:
    connection.send(request)
    return connection.recv()


def plain_search(queries: Vectors, vectors: Vectors, k: int) -> Rows:
    """The k nearest of unit vectors, [Q, k] in no order, by float64 products of all with all."""
    best = np.full((len(queries), k), -np.inf)
    rows = np.full((len(queries), k), -1, np.int64)
    doubles = queries.astype(np.float64)
    for start in range(0, len(vectors), 8192):
        products = doubles @ vectors[start : start + 8192].astype(np.float64).T
        both = np.concatenate([best, products], axis=1)
        numbers = np.concatenate([rows, np.broadcast_to(np.arange(products.shape[1]) + start, products.shape)], axis=1)
        chosen = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(both, chosen, axis=1), np.take_along_axis(numbers, chosen, axis=1)
    return rows


def recall(rows: Rows, truth: Rows) -> float:
    """The share of the true K nearest that is among the K found, over all queries."""
    return float(np.mean([np.isin(true, found).mean() for found, true in zip(rows, truth, strict=True)]))


def results(measured: dict[str, Measured], truth: Rows) -> dict[str, Any]:
    """Figures of each contender, with the raw times they are made of."""
    return {
        name: {
            "queries_per_sec": len(truth) / float(np.median(each.batch_s)),
            "recall_at_10": recall(each.rows, truth),
            "single_median_ms": float(np.median(each.single_ms)),
            "single_p95_ms": float(np.percentile(each.single_ms, 95)),
            "build_s": each.build_s,
            "build_bytes": each.build_bytes,
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
        names = list(EXACT if options.exact else APPROXIMATE)
        measured = race(names, vectors, queries, threads=options.threads, rounds=options.rounds)
    figures = results(measured, truth)
    show(figures, f"{rows:,} x {dimension}-d, {options.queries:,} queries, {options.threads} threads")
    settings = {"k": K, "M": M, "efConstruction": EF_CONSTRUCTION, "ef": EF_SEARCH, "centres": CENTRES, "noise": NOISE}
    document = {"machine": described, "threads": options.threads, "rows": rows, "dimension": dimension}
    document |= {"queries": options.queries, "settings": None if options.exact else settings}
    print(json.dumps(document | {"contenders": figures, "ratios": ratios(figures)}))


if __name__ == "__main__":
    main()
