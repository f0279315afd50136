"""Races of embedding: the TensorFlow original, every export on every backend of this processor, and its ceilings."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import partial

from bench.entries import AGAINST_ORIGINAL, XLA, ceilings, entry, originals, plain, workloads
from bench.operations import operations_of
from bench.racing import Entry, Judge, Planned, Workload
from bench.subjects import PRECISIONS, Subject
from bench.suites.plan import Plan

_COMPUTE_IN = {"cpu": ("fp32", "int8"), "openvino": PRECISIONS}


def planned(
    suite: str,
    subject: Subject,
    plan: Plan,
    *,
    batches: Sequence[int],
    budget_s: float,
    quick: Container[str],
    has_ceilings: bool = True,
) -> Planned:
    """The race of one model at these batch sizes; a quick run has, of the original's ways, those named in `quick`.

    A process of TensorFlow takes longer to start than all others to be measured.
    """
    ways = originals(subject.name, options=subject.original_options, weights=subject.weights, threads=plan.threads)
    return Planned(
        suite=suite,
        name=f"{suite}/{subject.name}",
        subject=subject.name,
        entries=[
            # XLA compiles a large network for minutes, at each batch size anew
            *(
                each
                for each in ways
                if each.name in quick or (plan.is_full and not (subject.is_large and each.mark == XLA))
            ),
            *_exports(subject, plan, max(batches)),
            *(ceilings(plan.threads) if has_ceilings else ()),
        ],
        workloads=[f"batch {batch}" for batch in batches],
        load=partial(_load, subject, batches),
        budget_s=budget_s,
    )


def _exports(subject: Subject, plan: Plan, max_batch: int) -> list[Entry]:
    """Every precision on every backend that computes in it, and ONNX Runtime without the engine."""
    path = subject.path("fp32")
    operations = float(operations_of(path)) if path.is_file() else None
    entries = [
        entry(subject.path(precision), precision, backend, threads=plan.threads, max_batch=max_batch,
              operations=operations)
        for backend, precisions in _COMPUTE_IN.items()
        for precision in precisions
    ]  # fmt: skip
    return [*entries, plain(path, threads=plan.threads, operations=operations)]


def _load(subject: Subject, batches: Sequence[int]) -> tuple[list[Workload], Judge]:
    return workloads(subject.images(max(batches)), batches), AGAINST_ORIGINAL
