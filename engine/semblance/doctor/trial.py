"""One backend at work in this process, which may crash or hang: the program behind `trials`.

A program: `python -m semblance.doctor.trial WHAT MODEL BACKEND NOTES`. WHAT is `smoke` (load, embed, measure for about
a second), `choose` (what `auto` takes) or `place` (which provider has which nodes).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from semblance.doctor.fresh import note
from semblance.doctor.nodes import place
from semblance.errors import SemblanceError
from semblance.inference.session import Session

_PICTURES = 8
_SECONDS = 1.0

Say = Callable[[str], None]


def main(arguments: list[str]) -> None:
    """Note what was found out, or why it cannot be."""
    what, model, backend, notes = arguments
    file = Path(notes)
    _leave_no_core()

    def say(stage: str) -> None:
        note(file, stage=stage)

    try:
        note(file, result=_WHAT[what](Path(model), backend, say))
    except SemblanceError as error:
        note(file, problem=" ".join(str(error).split()))


def smoke(model: Path, backend: str, say: Say) -> dict[str, Any]:
    """Time to load, speed at the largest batch, and the embeddings of pictures that are the same everywhere."""
    say("loading the model")
    start = time.perf_counter()
    session = Session(model, backend=backend)
    load_ms = 1e3 * (time.perf_counter() - start)
    say("embedding the first pictures")
    card = session.card
    shape = (session.max_batch, card.height, card.width, card.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    embedding = session.run(images[:_PICTURES])  # [8, D]
    session.run(images)  # the first of its size is slower
    say("measuring its speed")
    num_batches = 0
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < _SECONDS:
        session.run(images)
        num_batches += 1
    return {
        "description": session.description,
        "load_ms": load_ms,
        "batch": session.max_batch,
        "images_per_sec": num_batches * session.max_batch / seconds,
        "embedding": embedding.tolist(),
    }


def choose(model: Path, backend: str, say: Say) -> dict[str, Any]:
    """Which backend runs the model, and why that one."""
    say("loading the model")
    session = Session(model, backend=backend)
    return {"backend": session.backend, "why": session.why}


def _place(model: Path, backend: str, say: Say) -> list[dict[str, Any]]:
    say("loading the model")
    return place(model, backend)


_WHAT: dict[str, Callable[[Path, str, Say], Any]] = {"smoke": smoke, "choose": choose, "place": _place}


def _leave_no_core() -> None:
    """A crash is expected here, and its core would be left in the user's folder."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(sys.argv[1:])
