"""The engine's own session, as the proofs open it.

In: a file, a backend. Out: a `Session` with the engine's defaults but for what is said. What is said of a GPU means
nothing to the CPU, which the engine refuses to be told, so that it is left out there.
"""

from __future__ import annotations

from pathlib import Path

from semblance.inference.backends import GpuOptions
from semblance.inference.session import Session


def open_engine(path: Path, backend: str, *, tf32: bool = False, graphs: bool = True) -> Session:
    """Raises what `Session` raises."""
    gpu = None if backend == "cpu" else GpuOptions(tf32=tf32, cuda_graphs=graphs)
    return Session(path, backend=backend, gpu=gpu)
