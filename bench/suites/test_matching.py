"""Matching SIFT descriptors by Lowe's ratio test: one photograph with another, and with many."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench.contenders.matching_task import Descriptors, Pair, Triples, as_triples
from bench.matching import Workload as Task
from bench.matching import equal_share, many_photographs, two_photographs
from bench.racing import Entry, Judge, Planned, Workload
from bench.suites.plan import Plan

_MANY = "500 x 200 pictures of 512"
_NUM_PICTURES = 200

# Of the matches of a plain search, and beside them: faiss's float32 may decide a tie otherwise, trees miss the nearest
LEAST = {"semblance": 1.0, "bfmatcher": 1.0, "faiss_flat": 0.999, "flann": 0.8}


def planned(plan: Plan) -> list[Planned]:
    """One race of all sizes."""
    sizes = (750, 2000, 4000) if plan.is_full else (750, 2000)
    return [
        Planned(
            suite="matching",
            name="matching/sift",
            subject="SIFT descriptors",
            entries=[
                Entry(kind="matching", contender=name, threads=plan.threads, least=least)
                for name, least in LEAST.items()
            ],
            workloads=[*map(_two, sizes), _MANY],
            load=partial(_load, sizes),
            budget_s=8.0 if plan.is_full else 2.0,
        )
    ]


def _two(size: int) -> str:
    return f"{size:,} x {size:,}"


def _load(sizes: tuple[int, ...]) -> tuple[list[Workload], Judge]:
    tasks = dict(zip(map(_two, sizes), two_photographs(sizes), strict=True)) | {_MANY: many_photographs(_NUM_PICTURES)}
    truth = {name: plain_matches(task.query, task.train) for name, task in tasks.items()}
    workloads = [_workload(name, task, len(truth[name])) for name, task in tasks.items()]
    return workloads, Judge("share of equal matches", "a plain search in integers", _equal_share, truth)


def _workload(name: str, task: Task, num_matches: int) -> Workload:
    facts = {
        "query": len(task.query), "train": len(task.train[0]), "pictures": len(task.train), "matches": num_matches,
        "filled_share": task.filled_share,
    }  # fmt: skip
    given = Pair(task.query, tuple(task.train))
    return Workload(name=name, given=given, items=len(task.train), unit="pairs of pictures", facts=facts)


def plain_matches(query: Descriptors, train: list[Descriptors]) -> Triples:
    """What the task asks for by squared distances in integers, of all with all: d1 < (7/10)^2 d2."""
    found = []
    asking = query.astype(np.float64)  # holds these integers exactly, and has a fast product
    for picture, descriptors in enumerate(train):
        if len(descriptors) < 2 or len(query) == 0:
            continue
        others = descriptors.astype(np.float64)
        squares = (asking**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * asking @ others.T  # [Q, K]
        nearest = np.argpartition(squares, 1, axis=1)[:, :2]
        first, second = np.take_along_axis(squares, nearest, axis=1).T
        found += [(picture, row, nearest[row, 0]) for row in np.flatnonzero(100 * first < 49 * second)]
    return as_triples(found)


def _equal_share(found: Triples, truth: Triples) -> float:
    return equal_share(*({(a, b, c) for a, b, c in each.tolist()} for each in (found, truth)))


def test_matching(raced: Any, benchmark: Any) -> None:
    """Shows the times of one contender."""
    raced.show(benchmark)
