"""Whether keypoints match on the device as they do on the CPU, bit for bit, and how fast beside it.

In: nothing. Out: a check, and times. Bytes and sums below 2^24 are whole numbers in TF32, if a device adds them up in
float32: random descriptors, the largest that there are and ones a single step apart would show it if it does not. The
reference is the CPU's product of bytes, in integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.gpu_check.checks import Check
from bench.gpu_check.speed import figures_of, in_turns
from semblance.container import available_threads
from semblance.local.descriptors import DIMENSION, Descriptors, DescriptorSets
from semblance.local.nearest import Searcher

_SIZE = 2000
_FIELDS = ("row", "set", "index", "first", "second")

Workload = tuple[Descriptors, DescriptorSets]


def workloads(size: int = _SIZE) -> dict[str, Workload]:
    """Descriptors that rounding would show on, by what they are."""
    rng = np.random.default_rng(0)

    def random(count: int) -> Descriptors:
        return rng.integers(0, 256, (count, DIMENSION), np.uint8)

    full = np.full((size, DIMENSION), 255, np.uint8)
    near = full.copy()  # each one step below the largest at one place: squared distances of 0, 1 and 2
    near[np.arange(size), np.arange(size) % DIMENSION] = 254
    high = rng.integers(250, 256, (size, DIMENSION), np.uint8)
    sparse = np.where(rng.random((size, DIMENSION)) < 0.2, random(size), 0).astype(np.uint8)
    counts = (1, 2, 15, 16, 17, 500, 0, size)
    return {
        "random": (random(size), DescriptorSets.join([random(size)])),
        "all 255 against all 255": (full, DescriptorSets.join([full])),
        "one step from 255": (near, DescriptorSets.join([np.concatenate([near[::-1], full])])),
        "250 to 255": (high, DescriptorSets.join([high[::-1].copy(), random(size)])),
        "all 255 against all 0": (full, DescriptorSets.join([np.zeros_like(full)])),
        "mostly 0, sets of all sizes": (sparse, DescriptorSets.join([random(count) for count in counts])),
    }


def check_matching(backend: str, *, size: int = _SIZE) -> Check:
    """Nearest, its distance and the second distance of all pairs: equal on `backend` and by the CPU's bytes."""
    device, host = Searcher(backend, 1), Searcher("cpu", available_threads())
    wrong = {
        title: count
        for title, (queries, train) in workloads(size).items()
        if (count := num_unequal(_everything(device, queries, train), _everything(host, queries, train)))
    }
    said = f"{', '.join(workloads(1))}: {size:,} queries each"
    if wrong:
        said = "; ".join(f"{title}: {count:,} pairs differ" for title, count in wrong.items())
    return Check(
        name="matches are the CPU's, exactly",
        subject="local matching",
        precision="tf32" if backend == "cuda" else "bytes",
        passed=not wrong,
        said=said,
        figures={"num_unequal": wrong, "num_queries": size},
    )


def num_unequal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> int:
    """Pairs of a query and a set in which anything differs."""
    if len(ours["row"]) != len(theirs["row"]):
        return max(len(ours["row"]), len(theirs["row"]))
    differs = np.zeros(len(ours["row"]), bool)
    for field in _FIELDS:
        differs |= ours[field] != theirs[field]
    return int(differs.sum())


def time_matching(backend: str, *, seconds: float, sizes: tuple[int, ...] = (750, 2000, 4000)) -> list[dict[str, Any]]:
    """Both, in turns, on random descriptors; arrays in host memory in and out."""
    threads = available_threads()
    device, host = Searcher(backend, 1), Searcher("cpu", threads)
    rows = []
    for size in sizes:
        queries, train = workloads(size)["random"]

        def few(first: Any, second: Any) -> Any:
            return first * 4 < second  # as a ratio test leaves them

        calls = {
            backend: lambda q=queries, t=train: device.search(q, t, few),
            "cpu bytes": lambda q=queries, t=train: host.search(q, t, few),
        }
        for name, times in in_turns(calls, seconds=seconds / len(sizes)).items():
            rows.append({"title": f"{size:,} x {size:,}", "contender": name, "copies": "inside",
                         "threads": threads if name != backend else 1, **figures_of(times, size)})  # fmt: skip
    return rows


def _everything(searcher: Searcher, queries: Descriptors, train: DescriptorSets) -> dict[str, Any]:
    found = searcher.search(queries, train, lambda first, second: np.ones(first.shape, bool))
    order = np.lexsort((found.set, found.row))
    return {field: getattr(found, field)[order] for field in _FIELDS}
