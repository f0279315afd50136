"""Who takes part in races: one small file each, in a folder for each kind of task. None times or scores itself.

A file's name is the contender's. Each has the same names:

    TITLE     as tables call it
    ROLE      "original" (the TensorFlow way, or the way the originals searched and matched), "engine", "peer",
              "ceiling" (what the processor reaches at most, for others to be held against) or "known" (checks the
              harness)
    PACKAGES  the distributions it needs; where one is missing, the contender is absent and the report says why
    load      what it was asked for -> Loaded; imports what it needs there, since every contender has a process of its
              own and only that one is to be in it

Kinds and their tasks:

    embedding  uint8 [N, H, W, C] -> embeddings float32 [N, D]
    files      paths of picture files -> embeddings float32 [N, D]: decoding is inside
    index      a Search (queries, k, ef) -> rows int64 [Q, k]; loading is building
    matching   descriptors of one picture and of one or many others -> matches int64 [M, 3]
    start_up   a picture file -> its embedding [1, D], by a program that starts for it
    known      a number -> that number, in a known time
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, cast

from semblance.errors import InputError

Role = Literal["original", "engine", "peer", "ceiling", "known"]

KINDS = ("embedding", "files", "index", "matching", "start_up", "known")

_OTHER_WHEELS = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-migraphx"),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "tensorflow": ("tensorflow-cpu", "tensorflow-macos"),
    "faiss-cpu": ("faiss-gpu-cu12", "faiss-gpu", "faiss"),
}  # of the same library


def same(given: Any) -> Any:
    """What it was given."""
    return given


@dataclass(frozen=True, slots=True)
class Loaded:
    """A contender ready to work. Only `run` is timed."""

    run: Callable[[Any], Any]  # a prepared input -> its answer, in whatever form the contender has it in
    prepare: Callable[[Any], Any] = same  # an input of the task -> the form that the contender works on; once
    answers: Callable[[Any], Any] = same  # what `run` gave -> an array in the form that the task asks for
    peak_bytes: Callable[[], int | None] | None = None  # the most memory so far, where another process does the work


@dataclass(frozen=True, slots=True)
class Asked:
    """What a contender is told."""

    threads: int
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))  # by kind; see its suite

    def __getitem__(self, name: str) -> Any:
        return self.options[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return (Asked, (self.threads, dict(self.options)))


class ContenderFile(Protocol):
    """A file of this folder."""

    TITLE: str
    ROLE: Role
    PACKAGES: tuple[str, ...]

    def load(self, asked: Asked, /) -> Loaded:
        """Make it ready. Raises whatever its libraries raise."""


def names(kind: str) -> list[str]:
    """All contenders of a kind, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).with_name(kind))]))


def find(kind: str, name: str) -> ContenderFile:
    """The contender of that name. Raises InputError for one that there is not."""
    if name not in names(kind):
        raise InputError(f"no contender {name!r}; bench/contenders/{kind}/ has: {', '.join(names(kind))}")
    return cast("ContenderFile", importlib.import_module(f"bench.contenders.{kind}.{name}"))


def versions(file: ContenderFile) -> dict[str, str]:
    """Of the distributions it needs. Raises InputError naming the one that is missing."""
    found = {}
    for package in file.PACKAGES:
        for wheel in (package, *_OTHER_WHEELS.get(package, ())):
            with suppress(importlib.metadata.PackageNotFoundError):
                found[wheel] = importlib.metadata.version(wheel)
                break
        else:
            raise InputError(f"{package} is not installed (pip install {package})")
    return found
