"""Many images at a time: how many embeddings a second, by the size of the batch."""

from __future__ import annotations

from typing import Any

from bench.racing import Planned
from bench.subjects import Subject, subjects
from bench.suites import models
from bench.suites.plan import Plan

_SMALL_IMAGE = 64 * 64 * 3


def planned(plan: Plan) -> list[Planned]:
    """A race for each model over batch sizes."""
    budget_s = 12.0 if plan.is_full else 3.0
    quick = ("tensorflow fp32",)
    return [
        models.planned("throughput", each, plan, batches=batches(each, plan), budget_s=budget_s, quick=quick)
        for each in subjects().values()
    ]


def batches(subject: Subject, plan: Plan) -> list[int]:
    """More of small images; of a network that takes a tenth of a second an image, few unless there is time."""
    original = subject.original
    if original.height * original.width * original.channels <= _SMALL_IMAGE:
        return [1, 8, 32, 128, 256, 1024] if plan.is_full else [32, 256]
    if subject.is_large:
        return [1, 8, 32] if plan.is_full else [1, 8]
    return [1, 8, 32, 128] if plan.is_full else [32]


def test_throughput(raced: Any, benchmark: Any) -> None:
    """Shows the times of one contender."""
    raced.show(benchmark)
