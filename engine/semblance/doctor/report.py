"""All that `semblance doctor` finds, in one record, and whether that is enough.

In: a model's name. Out: a `Report`; nothing that is missing or broken on a machine is an exception.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import semblance
from semblance.container import usable_processors
from semblance.doctor import trials
from semblance.doctor.gpu import Gpus, read_gpus
from semblance.doctor.installed import Installed, read_installed
from semblance.doctor.processor import Processor, read_processor
from semblance.doctor.trials import AutoChoice, BackendTrial, Placement
from semblance.errors import BackendError
from semblance.inference import backends
from semblance.inference.backends.wheels import version_of
from semblance.inference.models import find_model, zoo_folder

SMOKE_MODEL = "siamese"  # of those shipped the one with every kind of layer: convolutions, matrix products, a norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One machine and one Python."""

    semblance: str  # versions
    python: str
    executable: str
    platform: str
    machine: str
    installed: Installed
    processor: Processor
    gpus: Gpus
    backends: tuple[BackendTrial, ...]
    auto: AutoChoice
    nodes: tuple[Placement, ...] | None  # None: nobody asked


def examine(
    model: str = SMOKE_MODEL,
    *,
    nodes: bool = False,
    seconds: float = 120.0,
    progress: Callable[[int, int | None], None] | None = None,
) -> Report:
    """Look at everything and try every backend, each for at most `seconds`; `progress` is told (done, of how many).

    `model` is what `auto` and `nodes` are asked about. Raises ModelNotFound for an unknown one.
    """
    chosen = find_model(model)
    names = sorted(backends.names()[1:], key=lambda name: name != "cpu")  # the others are compared with it
    num_steps = len(names) + 1
    step = progress or (lambda done, total: None)
    step(0, num_steps)
    installed = read_installed()
    tried = []
    for trial in trials.try_backends(names, zoo_folder() / f"{SMOKE_MODEL}.onnx", seconds=seconds):
        tried.append(trial)
        step(len(tried), num_steps)
    auto = trials.choose(chosen, model, seconds=seconds)
    step(num_steps, num_steps)
    return Report(
        semblance=semblance.__version__,
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        machine=platform.machine(),
        installed=installed,
        processor=read_processor(threads=usable_processors(), has_openvino=version_of("openvino") is not None),
        gpus=read_gpus(onnxruntime_cuda=installed.onnxruntime_cuda),
        backends=tuple(tried),
        auto=auto,
        nodes=tuple(trials.place(names, chosen, seconds=seconds)) if nodes else None,
    )


def check(report: Report, required: Sequence[str] = ()) -> None:
    """Raises BackendError with the causes, where a required backend does not work, or no backend at all does."""
    by_name = {trial.name: trial for trial in report.backends}
    missing = [name for name in required if not by_name[name].works]
    if missing:
        raise BackendError(
            "; ".join(f"{name} is required and does not work: {by_name[name].problem}" for name in missing)
        )
    if not any(trial.works for trial in report.backends):
        raise BackendError(f"no backend works here, not even cpu: {by_name['cpu'].problem}")


def check_required(required: Sequence[str]) -> None:
    """Raises BackendError for a name that is no backend, before anything is tried."""
    names = backends.names()[1:]
    if unknown := [name for name in required if name not in names]:
        raise BackendError(f"unknown backend {unknown[0]!r}; there are: {', '.join(names)}")
