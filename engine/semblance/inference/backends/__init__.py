"""One file per backend, all behind one Protocol; `load` finds the one that was asked for.

In: an ONNX file and a backend's name. Out: a `Runner`. A backend that was asked for and cannot run is a BackendError
with its cause and remedy; nothing here ever falls back to another processor in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

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
    if backend not in names():
        raise BackendError(f"unknown backend {backend!r}; there are: {', '.join(names())}")
    if backend == "auto":
        backend = "cpu"  # the one row that runs wherever the package does; a faster one has to be asked for by name
    return ort.OrtRunner(model, ort.PROVIDERS[backend], threads=threads)
