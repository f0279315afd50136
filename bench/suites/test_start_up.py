"""From nothing to the embedding of one picture file: a fresh Python, imports, the model, and the way of the picture.

One call is one program from its start to its end, so that calls are few and turns are one call long.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from bench.answers import mean_cosine
from bench.racing import Entry, Judge, Planned, Workload
from bench.subjects import Subject, subject
from bench.suites.plan import Plan
from bench.suites.test_end_to_end import DATA, Data

_LEAST = 0.99  # cosine to TensorFlow's way
_ORIGINAL = "tensorflow fp32"


def planned(plan: Plan) -> list[Planned]:
    """A race for each model; TensorFlow takes seconds to import, so that a quick run has one of them."""
    chosen = [data for data in DATA if plan.is_full or data.model == "siamese"]
    return [_planned(data, plan) for data in chosen]


def _planned(data: Data, plan: Plan) -> Planned:
    return Planned(
        suite="start_up",
        name=f"start_up/{data.model}",
        subject=data.model,
        entries=_entries(subject(data.model), plan),
        workloads=[data.files(1)],
        load=partial(_load, data, plan.folder / f"{data.model}-one"),
        budget_s=0.0,  # as few rounds as there can be
    )


def _entries(model: Subject, plan: Plan) -> list[Entry]:
    original: dict[str, Any] = {
        "original": model.name,
        "original_options": dict(model.original_options),
        "weights": model.weights,
    }
    options: dict[str, dict[str, Any]] = {"semblance": {"file": str(model.path("fp32"))}, "tensorflow": original}
    if plan.is_full:
        options["keras_predict"] = original
    return [
        Entry(
            kind="start_up", contender=name, precision="fp32", threads=plan.threads, is_decode_inside=True,
            least=_LEAST, options=given, backend="cpu" if name == "semblance" else None,
        )
        for name, given in options.items()
    ]  # fmt: skip


def _load(data: Data, folder: Path) -> tuple[list[Workload], Judge]:
    subject(data.model).require()
    (path,) = data.write(folder, 1)
    return [Workload(name=data.files(1), given=str(path), items=1)], Judge("cosine", _ORIGINAL, mean_cosine)


def test_start_up(raced: Any, benchmark: Any) -> None:
    """Shows the times of one contender."""
    raced.show(benchmark)
