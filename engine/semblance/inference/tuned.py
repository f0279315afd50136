"""What `semblance tune` found to be the fastest way to run a model on this machine, kept in the cache.

In: a model's file and card. Out: the record that was written for it here, if one still holds: it is bound to the model,
the processor, the GPUs' driver and the versions of the runtimes, and is no longer found when one of these changes.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from semblance.card import ModelCard
from semblance.files import write_aside
from semblance.home import home
from semblance.inference.backends.auto import Choice

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-migraphx", "openvino")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The fastest setting of one model here."""

    backend: str
    threads: int
    streams: int
    max_batch: int
    images_per_sec: float
    latency_ms: float  # median of one batch of `max_batch`
    when: str  # ISO 8601, UTC

    @property
    def choice(self) -> Choice:
        """As `auto` tries it."""
        return Choice(self.backend, f"the fastest that `semblance tune` measured here, on {self.when[:10]}")


def identity(model: Path, card: ModelCard) -> str:
    """A name for the graph in `model`, short enough for a file's: its space, precision, opset and size in bytes."""
    return f"{card.name}-{card.precision}-{card.fingerprint[:16]}-{card.opset}-{model.stat().st_size}"


def find(model: Path, card: ModelCard) -> Tuned | None:
    """The record of that model on this machine, None where there is none that still holds."""
    try:
        kept = json.loads(_file(model, card).read_text())
        if kept["machine"] != machine():
            return None
        return Tuned(**kept["tuned"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another version: it is measured again
        return None


def keep(model: Path, card: ModelCard, tuned: Tuned) -> Path:
    """Write the record for that model, in the place of an older one; where it was written to."""
    path = _file(model, card)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), "tuned": asdict(tuned)}, indent=1)

    def write(aside: Path) -> None:
        aside.write_text(text)

    write_aside(path, write)
    return path


def folder() -> Path:
    """Where the records are kept."""
    return home() / "tuned"


def machine() -> dict[str, str]:
    """What a measurement holds for: the processor and how many of it, the GPUs' driver, the runtimes' versions."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": _processor(),
        "threads": str(threads),
        "driver": _first_line(Path("/proc/driver/nvidia/version")),
        **dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _RUNTIMES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0]
    except OSError:
        return ""


def _file(model: Path, card: ModelCard) -> Path:
    return folder() / f"{identity(model, card)}.json"
