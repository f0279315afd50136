"""Whether any request waits for a batch size that was never met: the first 200, of mixed sizes, after the load.

    python -m bench.buckets siamese
    python -m bench.buckets mobilenet.onnx --backends cpu openvino --requests 200

In: a model and backends. Each is loaded in a fresh process, once with all of its buckets warmed up and once without,
and then asked for seeded sizes from 1 to its largest batch, one after the other. Out: what the warm-up took of each
bucket, and the slowest request to the median of the requests of its own bucket: below 3 where no shape is met late.
The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from semblance.inference.backends import names


def requests(model: str, backend: str, *, threads: int, num: int, is_warmed: bool, seed: int = 0) -> dict[str, Any]:
    """Milliseconds of each of `num` requests, in a process where the model was never run before."""
    from semblance.inference.models import find_model
    from semblance.inference.session import Session

    start = time.perf_counter()
    session = Session(find_model(model), backend=backend, threads=threads)
    load_ms = 1e3 * (time.perf_counter() - start)
    warmed = session.warm_up() if is_warmed else ()
    rng = np.random.default_rng(seed)
    card = session.card
    largest = rng.integers(0, 256, (session.max_batch, card.height, card.width, card.channels), dtype=np.uint8)
    sizes = _sizes(session.max_batch, num, rng)
    took_ms = []
    for size in sizes:
        start = time.perf_counter()
        session.run(largest[:size])
        took_ms.append(1e3 * (time.perf_counter() - start))
    return {
        "backend": session.backend,
        "description": session.description,
        "load_ms": load_ms,
        "warm_up": [{"bucket": each.bucket, "first_ms": each.first_ms, "again_ms": each.again_ms} for each in warmed],
        "sizes": sizes,
        "buckets": [next(bucket for bucket in session.buckets if bucket >= size) for size in sizes],
        "took_ms": took_ms,
    }


def _sizes(most: int, num: int, rng: np.random.Generator) -> list[int]:
    """Sizes whose logarithms are even, so that small buckets are met as often as large ones."""
    sizes: list[int] = np.floor(2 ** rng.uniform(0, np.log2(most + 1), num)).astype(int).clip(1, most).tolist()
    return sizes


def worst(buckets: list[int], took_ms: list[float]) -> tuple[float, int]:
    """The largest ratio of a request to the median of its own bucket, and which request that was."""
    times, own = np.array(took_ms), np.array(buckets)
    medians = {bucket: float(np.median(times[own == bucket])) for bucket in set(buckets)}
    ratios = times / np.array([medians[bucket] for bucket in buckets])
    return float(ratios.max()), int(ratios.argmax())


def main() -> None:
    """Measure the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model by name, or an ONNX file")
    parser.add_argument("--backends", nargs="+", default=["cpu", "openvino"], choices=names())
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if min(given.requests, given.threads) < 1:
        parser.error("--requests and --threads must be at least 1")
    described = machine("onnxruntime", "numpy")
    results = []
    with mistakes_in_one_line():
        for backend in given.backends:
            for is_warmed in (True, False):
                options = {"threads": given.threads, "num": given.requests, "is_warmed": is_warmed}
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
                    result = fresh.submit(requests, given.model, backend, **options).result()
                ratio, number = worst(result["buckets"], result["took_ms"])
                results.append(result | {"is_warmed": is_warmed, "worst_to_median": ratio, "worst_request": number})
    table = Table("backend", "warmed", title=f"{given.model}: the first {given.requests} requests of mixed sizes")
    for heading in ("load ms", "warm-up ms", "p50 ms", "worst to its bucket's median", "which"):
        table.add_column(heading, justify="right")
    for each in results:
        warm_ms = sum(step["first_ms"] + step["again_ms"] for step in each["warm_up"])
        table.add_row(each["backend"], "yes" if each["is_warmed"] else "no", f"{each['load_ms']:.0f}", f"{warm_ms:.0f}",
                      f"{np.median(each['took_ms']):.2f}", f"{each['worst_to_median']:.2f}",
                      f"{each['worst_request']}")  # fmt: skip
    Console(width=110).print(table)
    print(json.dumps({"machine": described, "threads": given.threads, "model": given.model, "results": results}))


if __name__ == "__main__":
    main()
