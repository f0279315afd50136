"""What becomes of each backend when it is really used: loaded, run, and compared with the CPU.

In: names of backends and a model. Out: a record for each. Every trial is a process of its own with a time limit, so
that a driver which crashes or hangs is a result like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.doctor.fresh import run_noting
from semblance.inference.backends import openvino
from semblance.inference.backends.wheels import installed_wheels, version_of

# Embeddings of one model on two processors differ in the last digits; by a hundredth of the largest value only where
# something computes wrongly
_MOST_DIFFERENCE = 1e-2
_UNTIL_THEN = "update its driver and runtime, and use another backend until then"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BackendTrial:
    """One backend with one small model."""

    name: str
    runtime: str  # wheel and version; "" where none is installed
    works: bool
    problem: str | None  # why it does not, and what to do
    description: str | None  # what ran where
    load_ms: float | None
    batch: int | None
    images_per_sec: float | None  # of about a second: a sign of life, no benchmark
    max_difference: float | None  # the largest to the CPU's embedding; None where the CPU has none


@dataclass(frozen=True, slots=True)
class AutoChoice:
    """What `auto` takes for a model."""

    model: str
    backend: str | None
    why: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Placement:
    """The nodes of a model on one provider, where one backend was asked for; or why it does not load the model."""

    backend: str
    provider: str | None
    num_nodes: int
    operators: Mapping[str, int]  # how many nodes by type
    problem: str | None


def try_backends(names: list[str], model: Path, *, seconds: float) -> Iterator[BackendTrial]:
    """A trial of each, in order. `cpu` has to be the first, since the others are compared with it."""
    reference = None
    for name in names:
        outcome = run_noting(_program("smoke", model, name), seconds=seconds)
        measured = outcome.result or dict.fromkeys(("description", "load_ms", "batch", "images_per_sec"))
        problem, difference = outcome.problem, None
        if outcome.result is not None:
            embedding = np.asarray(measured.pop("embedding"), np.float32)  # [8, D]
            reference = embedding if name == "cpu" else reference
            difference, problem = compare(embedding, reference)
        yield BackendTrial(
            name=name,
            runtime=_runtime(name),
            works=problem is None,
            problem=problem,
            max_difference=difference,
            **measured,
        )


def compare(embedding: Floats, reference: Floats | None) -> tuple[float | None, str | None]:
    """[N, D] and the CPU's [N, D] -> the largest difference, and what is wrong with it.

    No difference where there is nothing to compare with, or no number.
    """
    if not np.isfinite(embedding).all():
        return None, f"it runs, and its embeddings are not numbers; {_UNTIL_THEN}"
    if reference is None:
        return None, None
    difference = float(np.abs(embedding - reference).max())
    if difference <= _MOST_DIFFERENCE * float(np.abs(reference).max()):
        return difference, None
    return difference, (
        f"it runs, and its embeddings are not the CPU's: they differ by up to {difference:.2g}; {_UNTIL_THEN}"
    )


def choose(model: Path, name: str, *, seconds: float) -> AutoChoice:
    """Which backend `auto` takes for the model of that name, by letting it."""
    outcome = run_noting(_program("choose", model, "auto"), seconds=seconds)
    result: dict[str, Any] = outcome.result or {"backend": None, "why": ""}
    return AutoChoice(model=name, problem=outcome.problem, **result)


def place(names: list[str], model: Path, *, seconds: float) -> Iterator[Placement]:
    """Where the model's nodes run with each of those backends."""
    for name in names:
        outcome = run_noting(_program("place", model, name), seconds=seconds)
        if outcome.problem is not None:
            yield Placement(name, None, 0, {}, outcome.problem)
            continue
        for found in outcome.result:
            yield Placement(name, **found, problem=None)


def _program(what: str, model: Path, backend: str) -> list[str]:
    # -P: what lies in the working directory is not imported
    return ["-P", "-m", "semblance.doctor.trial", what, str(model), backend]


def _runtime(backend: str) -> str:
    wheels = [openvino.NAME] if backend == openvino.NAME else installed_wheels()
    return ", ".join(f"{wheel} {version}" for wheel in wheels if (version := version_of(wheel)))
