"""One file per backend, all behind one Protocol; `load` finds the one that was asked for.

In: an ONNX file and a backend's name. Out: a `Runner`. A backend that was asked for and cannot run is a BackendError
with its cause and remedy; nothing here ever falls back to another processor in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semblance.errors import BackendError
from semblance.inference.backends import ort

_MOST_STREAMS = 4


class Runner(Protocol):
    """One graph, loaded on one processor."""

    @property
    def description(self) -> str:
        """What runs where, for people: runtime, version, provider, threads."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8, C-contiguous -> [N, D] float32. Safe to call from several threads."""

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""


def names() -> list[str]:
    """Every backend that can be asked for, `auto` first."""
    return ["auto", *ort.PROVIDERS]


def bulk_streams(backend: str, threads: int) -> int:
    """How many batches at a time embed the most on `backend`, when they share `threads`.

    On a CPU threads that each have a batch of their own never wait for each other. More than a few only cost memory.
    """
    return min(threads, _MOST_STREAMS) if backend in ("auto", "cpu") else 1


def load(model: Path, backend: str, *, threads: int) -> Runner:
    """The graph in `model`, on the backend of that name. Raises BackendError where it cannot run here."""
    return ort.OrtRunner(model, ort.PROVIDERS[chosen(backend)], threads=threads)


def chosen(backend: str) -> str:
    """The name of the backend that is run where `backend` is asked for. Raises BackendError for an unknown one."""
    if backend not in names():
        raise BackendError(f"unknown backend {backend!r}; there are: {', '.join(names())}")
    # the one row that runs wherever the package does; a faster one has to be asked for by name
    return "cpu" if backend == "auto" else backend


def open_session(
    model: Path, backend: str, *, threads: int, spinning: bool = True, options: Mapping[str, str] | None = None
) -> Any:
    """An ONNX Runtime session of a graph that is no embedding model, by the same rules: it runs on `backend` or raises.

    `options` are its provider's, instead of those that embedding takes. Raises BackendError, RuntimeMissing,
    ModelError.
    """
    row = ort.PROVIDERS[chosen(backend)]
    row = row if options is None else replace(row, options=options)
    return ort.open_session(model, row, threads=threads, spinning=spinning)


def failures() -> tuple[type[Exception], ...]:
    """What a session of `open_session` raises where it cannot run."""
    return ort.failures()
