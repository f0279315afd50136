"""One image at a time: how long a caller waits for its embedding.

A quick run leaves the large network out, whose single images are in its race of throughput, and takes the ceilings
that are measured there.
"""

from __future__ import annotations

from typing import Any

from bench.racing import Planned
from bench.subjects import subjects
from bench.suites import models
from bench.suites.plan import Plan


def planned(plan: Plan) -> list[Planned]:
    """A race for each model at batch 1."""
    budget_s = 16.0 if plan.is_full else 4.0
    quick = ("tensorflow fp32", "keras_predict fp32")
    return [
        models.planned("latency", each, plan, batches=[1], budget_s=budget_s, quick=quick, has_ceilings=plan.is_full)
        for each in subjects().values()
        if plan.is_full or not each.is_large
    ]


def test_latency(raced: Any, benchmark: Any) -> None:
    """Shows the times of one contender."""
    raced.show(benchmark)
