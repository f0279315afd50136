"""What `semblance tune` found to be the fastest way to run a model on this machine, kept in the cache.

In: a model's file and card. Out: the record that was written for it here, if one still holds: it is bound to the model,
the processor, the GPUs' driver and the versions of the runtimes, and is no longer found when one of these changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from semblance.card import ModelCard
from semblance.container import available_threads
from semblance.errors import InputError
from semblance.files import write_whole
from semblance.home import home
from semblance.inference import backends
from semblance.inference.backends.auto import Choice
from semblance.inference.backends.wheels import installed_wheels, version_of
from semblance.instructions import processor_name
from semblance.options import checked_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The fastest setting of one model here. Raises InputError for what no session could be loaded with."""

    backend: str
    threads: int
    streams: int
    max_batch: int
    images_per_sec: float
    latency_ms: float  # median of one batch of `max_batch`
    when: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if self.backend == "auto" or self.backend not in backends.names():
            raise InputError(f"backend must be one of {', '.join(backends.names()[1:])}, is {self.backend!r}")
        for name in ("threads", "streams", "max_batch"):
            checked_count(name, getattr(self, name))
        if not isinstance(self.when, str):
            raise InputError(f"when must be a date, is {self.when!r}")

    @property
    def choice(self) -> Choice:
        """As `auto` tries it."""
        return Choice(self.backend, f"the fastest that `semblance tune` measured here, on {self.when[:10]}")


def identity(model: Path, card: ModelCard) -> str:
    """A name for the graph in `model`, short enough for a file's: other weights, ranges or layers, another name.

    The size alone would not do: two int8 files of one model differ in their ranges, which the card's figures tell.
    """
    name = re.sub(r"[^\w.-]", "_", card.name)[:64]
    digest = hashlib.sha256(card.to_json().encode()).hexdigest()
    return f"{name}-{card.precision}-{digest[:16]}-{model.stat().st_size}"


def find(model: Path, card: ModelCard) -> Tuned | None:
    """The record of that model on this machine, None where there is none that still holds."""
    try:
        kept = json.loads(_file(model, card).read_text())
        if kept["machine"] != machine():
            return None
        return Tuned(**kept["tuned"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another version, as InputError: measure again
        return None


def keep(model: Path, card: ModelCard, tuned: Tuned) -> Path:
    """Write the record for that model, in the place of an older one; where it was written to.

    Raises InputError where it cannot be written.
    """
    path = _file(model, card)
    content = json.dumps({"machine": machine(), "tuned": asdict(tuned)}, indent=1).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise InputError(
            f"what was measured cannot be kept in {path.parent}: {error.strerror}; set SEMBLANCE_HOME to a folder that "
            "can be written to"
        ) from error
    return path


def forget(model: Path, card: ModelCard) -> Path | None:
    """Remove the record of that model, of whichever machine; where it was, None where there was none."""
    path = _file(model, card)
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    return path


def folder() -> Path:
    """Where the records are kept."""
    return home() / "tuned"


def machine() -> dict[str, str]:
    """What a measurement holds for: the processor and how many of it, the GPUs and their driver, the runtimes."""
    return {
        "processor": processor_name(),
        "threads": str(available_threads()),
        "driver": _first_line(Path("/proc/driver/nvidia/version")),
        "gpus": ", ".join(_first_line(path) for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))),
        **{name: version for name in (*installed_wheels(), "openvino") if (version := version_of(name))},
    }


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0]
    except OSError:
        return ""


def _file(model: Path, card: ModelCard) -> Path:
    return folder() / f"{identity(model, card)}.json"
