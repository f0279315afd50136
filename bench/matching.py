"""How fast descriptors are matched beside OpenCV and faiss, with the same matches; and how fast keypoints are found.

    python -m bench.matching
    python -m bench.matching --extract 70000

In: the strongest descriptors of two photographs of one square (BrusselsA, BrusselsB) at 750, 2,000 and 4,000 a side;
and one query of 500 descriptors against 200 photographs of Caltech101, of 512 descriptors each: where a photograph has
fewer, others' fill it up, drawn at random, and the title says how many. Contenders are those of
`bench/contenders/matching`. Ours must give BFMatcher's matches before anything is timed, else exit status 1; of the
others the share is told: matches that both have, of those that either has. All run in one process, with as many threads
each, in rounds, each of which begins with another contender; figures are medians, and all times are kept.

Keypoints are found in Fashion-MNIST, train and test images, by 1 worker and by 2, in rounds too. The last line on
stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line, photographs
from bench.contenders import Asked, Loaded, find
from bench.contenders.matching_task import Descriptors, Pair
from bench.racing import turns
from bench.worker import come_to_rest
from export.images import find_data
from semblance.errors import InputError, SemblanceError, SourceError
from semblance.inputs.datasets import fashion_mnist
from semblance.local.sift import SiftOptions, extract, extract_all

Triples = set[tuple[int, int, int]]  # which picture, which descriptor of the query's, which of that picture's

CONTENDERS = ("semblance", "bfmatcher", "faiss_flat", "flann")
OURS, REFERENCE = (find("matching", name).TITLE for name in CONTENDERS[:2])
_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "faiss-cpu")
_NUM_QUERY, _NUM_TRAIN = 500, 512  # descriptors, of one picture against many
_WORKERS = (1, 2)
_EXTRACT_ROUNDS = 3
_TURN_S = 0.02  # of one contender in a round


@dataclass(frozen=True, slots=True)
class Workload:
    """One picture's descriptors and those of one or many others."""

    title: str
    query: Descriptors
    train: list[Descriptors]
    filled_share: float = 0.0  # of the others' descriptors, that are of a third picture


# ------------------------------------------------------------------------------------------------------------------
# Real descriptors


def two_photographs(sizes: Sequence[int]) -> list[Workload]:
    """A workload for each size: that many of the strongest descriptors of either."""
    options = SiftOptions(max_keypoints=max(sizes), longest_side=None)
    a, b = (extract(find_pairs() / f"Brussels{side}.jpg", options).descriptors for side in "AB")
    if min(len(a), len(b)) < max(sizes):
        raise InputError(f"the photographs have {len(a):,} and {len(b):,} descriptors; ask for no more than that")
    return [Workload(f"{size:,} x {size:,}", a[:size], [b[:size]]) for size in sizes]


def find_pairs() -> Path:
    """The folder of pairs of photographs, in SEMBLANCE_DATA or ../shared/data."""
    if (found := find_data(Path("sift-pairs"), is_there=Path.is_dir)) is None:
        raise SourceError(
            "the pairs of photographs (sift-pairs) are not on this machine; set SEMBLANCE_DATA to a folder with them"
        )
    return found


def many_photographs(num: int) -> Workload:
    """One photograph against `num` others; the one that has the most descriptors asks."""
    found = [each.descriptors for each in extract_all(photographs(num + 1), SiftOptions(max_keypoints=_NUM_TRAIN))]
    query = found.pop(max(range(len(found)), key=lambda number: len(found[number])))
    if len(query) < _NUM_QUERY or len(found) < num:
        raise InputError(f"--pictures {num}: the photographs are too few, or have too few descriptors; ask for others")
    rng = np.random.default_rng(0)
    train, num_filled = [], 0
    for number, own in enumerate(found):
        others = np.concatenate(found[:number] + found[number + 1 :])
        missing = _NUM_TRAIN - len(own)
        num_filled += missing
        train.append(np.concatenate([own, others[rng.choice(len(others), missing, replace=False)]]))
    share = num_filled / (num * _NUM_TRAIN)
    title = f"{_NUM_QUERY} x {num:,} pictures of {_NUM_TRAIN} ({share:.0%} filled up)"
    return Workload(title, query[:_NUM_QUERY], train, share)


# ------------------------------------------------------------------------------------------------------------------
# The runs


def race(workload: Workload, *, threads: int, rounds: int) -> dict[str, Any]:
    """All contenders on one workload. Raises SemblanceError where our matches are not BFMatcher's."""
    loaded = {(file := find("matching", name)).TITLE: file.load(Asked(threads)) for name in CONTENDERS}
    runs = {name: prepared(each, workload) for name, each in loaded.items()}
    found = {name: triples(each, runs[name]()) for name, each in loaded.items()}  # the warm-up as well
    check(workload.title, found[OURS], found[REFERENCE])
    times = in_rounds(runs, rounds)
    medians = {name: statistics.median(each) for name, each in times.items()}
    return {
        "title": workload.title,
        "num_query": len(workload.query),
        "num_train": [len(each) for each in workload.train],
        "num_matches": len(found[REFERENCE]),
        "contenders": {
            name: {
                "median_ms": medians[name] * 1e3,
                "times_our_time": medians[name] / medians[OURS],
                "equal_share": equal_share(found[name], found[REFERENCE]),
                "num_matches": len(found[name]),
                "times_ms": [round(seconds * 1e3, 3) for seconds in times[name]],
            }
            for name in runs
        },
    }


def prepared(contender: Loaded, workload: Workload) -> Callable[[], Any]:
    """All that is to be timed of it."""
    given = contender.prepare(Pair(workload.query, tuple(workload.train)))
    return lambda: contender.run(given)


def triples(contender: Loaded, found: Any) -> Triples:
    """What it found, as a set."""
    return {(picture, query, train) for picture, query, train in contender.answers(found).tolist()}


def check(title: str, ours: Triples, reference: Triples) -> None:
    """Raises SemblanceError where they are not the same matches."""
    if ours != reference:
        missing, extra = len(reference - ours), len(ours - reference)
        raise SemblanceError(
            f"{title}: our matches are not {REFERENCE}'s, {missing:,} are missing and {extra:,} are too many; nothing "
            "was timed: mend semblance.local.matching first"
        )


def equal_share(found: Triples, reference: Triples) -> float:
    """Matches that both have, of those that either has; 1.0 where neither has any."""
    return len(found & reference) / len(found | reference) if found or reference else 1.0


def in_rounds(runs: dict[str, Callable[[], Any]], rounds: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """Seconds of each run of each; every round begins with another one.

    With `warm_up` each turn has one run that does not count: what it works on was driven out of the caches, and its
    threads fell asleep, while the others had theirs. Then runs are repeated for the time of a turn, so that those of a
    millisecond are timed as they follow each other.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name in turns(runs, rounds):
        come_to_rest()
        if warm_up:
            runs[name]()
        begun = start = time.perf_counter()
        while True:
            runs[name]()
            end = time.perf_counter()
            times[name].append(end - start)
            if not warm_up or end - begun > _TURN_S:
                break
            start = end
    return times


def extraction(num: int) -> dict[str, Any]:
    """Images per second of `num` Fashion-MNIST images, by the number of workers."""
    images = np.concatenate([fashion_mnist("train")[0], fashion_mnist("test")[0]])
    if num > len(images):
        raise InputError(f"--extract {num}: Fashion-MNIST has {len(images):,} images; ask for no more than that")
    images = images[:num]
    options = SiftOptions(max_keypoints=None)

    def run(workers: int) -> int:
        return sum(map(len, extract_all(images, options, workers=workers)))  # kept one at a time

    list(extract_all(images[:1000], options, workers=max(_WORKERS)))  # warm-up
    times = in_rounds(
        {str(workers): lambda workers=workers: run(workers) for workers in _WORKERS}, _EXTRACT_ROUNDS, warm_up=False
    )
    rates = {name: num / statistics.median(seconds) for name, seconds in times.items()}
    one, two = (rates[str(workers)] for workers in _WORKERS)
    return {
        "num_images": num,
        "images_per_sec": rates,
        "two_workers_to_one": two / one,
        "times_s": {name: [round(each, 4) for each in seconds] for name, seconds in times.items()},
    }


# ------------------------------------------------------------------------------------------------------------------
# What is printed


def show(results: Sequence[dict[str, Any]], extracted: dict[str, Any] | None, threads: int) -> None:
    """The tables for people."""
    console = Console(width=110)
    for result in results:
        table = Table("contender", title=f"{result['title']}, {threads} threads, {result['num_matches']:,} matches")
        for heading in ("median ms", "times ours", "BFMatcher's matches"):
            table.add_column(heading, justify="right")
        for name, row in result["contenders"].items():
            table.add_row(name, f"{row['median_ms']:,.2f}", f"{row['times_our_time']:.2f}", f"{row['equal_share']:.4f}")
        console.print(table)
    if extracted is not None:
        table = Table("workers", title=f"keypoints of {extracted['num_images']:,} images of 28 x 28")
        table.add_column("images/s", justify="right")
        for workers, rate in extracted["images_per_sec"].items():
            table.add_row(workers, f"{rate:,.0f}")
        table.add_row("2 to 1", f"{extracted['two_workers_to_one']:.2f}")
        console.print(table)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.matching", description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[750, 2000, 4000], metavar="N", help="a side")
    parser.add_argument("--pictures", type=int, default=200, help="against one query (default 200; 0: none)")
    parser.add_argument("--extract", type=int, default=10_000, help="images to find keypoints in (10,000; 0: none)")
    parser.add_argument("--rounds", type=int, default=7, help="of matching (default 7)")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if min(*given.sizes, given.rounds, given.threads) < 1 or min(given.pictures, given.extract) < 0:
        parser.error("--pictures and --extract must not be negative, the other numbers at least 1")
    if given.pictures == 1:
        parser.error("--pictures must be at least 2: one picture against another is what --sizes measures")
    described = machine(*_PACKAGES)  # before the measurement, whose own load it must not show
    with mistakes_in_one_line():
        workloads = two_photographs(given.sizes)
        if given.pictures:
            workloads.append(many_photographs(given.pictures))
        results = [race(workload, threads=given.threads, rounds=given.rounds) for workload in workloads]
        extracted = extraction(given.extract) if given.extract else None
    show(results, extracted, given.threads)
    document = {"machine": described, "threads": given.threads, "rounds": given.rounds}
    print(json.dumps(document | {"matching": results, "extraction": extracted}))


if __name__ == "__main__":
    main()
