"""Who takes part in the race: a file each, found by its name, with the same four names in it.

    PACKAGES             what has to be installed
    VARIANTS             title -> options, each of which runs in a process of its own
    ENVIRONMENT          variables that the process is started with
    load(job)            -> a function from a batch of images to its `Calls`; may take as long as it needs

A contender never times itself, and imports its packages in `load` alone, so that all can be looked at without any.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process is to embed with."""

    contender: str  # the file's name
    title: str  # of its variant
    options: Mapping[str, str]
    architecture: str  # as the model's card says
    shape: tuple[int, int, int]  # H, W, C of an image
    model_name: str
    model: str  # the fp32 file
    half: str | None  # the fp16 file
    backend: str  # of the engine; the others know the device only
    max_batch: int
    setting: Mapping[str, Any] = field(default_factory=dict)  # the fastest of the sweep

    def as_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Calls:
    """One batch, ready to be embedded again and again; both wait until it is done."""

    with_copies: Callable[[], Vectors]  # uint8 in host memory -> float32 in host memory
    without_copies: Callable[[], Any] | None  # on the device already, and left there; None: it has no such way
    precision: str
    threads: int


class Unfit(Exception):
    """A contender that cannot run this job, and why."""


def names() -> list[str]:
    """Every contender's file."""
    return sorted(each.name for each in pkgutil.iter_modules(__path__))


def open_contender(name: str) -> ModuleType:
    """The module of that name."""
    assert name in names(), name
    return importlib.import_module(f"{__name__}.{name}")


def missing(contender: ModuleType) -> str | None:
    """Which of its packages are not installed, in words; None where all are."""
    absent = [name for name in contender.PACKAGES if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None
