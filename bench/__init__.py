"""Measuring scripts, run from the checkout and never installed; here is what they do alike."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def photographs(count: int) -> list[bytes]:
    """`count` JPEG files of Caltech101, spread evenly over all classes. Raises SourceError where they are not here."""
    from export.images import encoded_photographs

    return [encoded for _, encoded in encoded_photographs(photograph_archive(), count)]


def photograph_archive() -> Path:
    """The archive of Caltech101. Raises SourceError where it is not here."""
    from export.images import find_photographs
    from semblance.errors import SourceError

    if (archive := find_photographs()) is None:
        raise SourceError(
            "the Caltech101 photographs are not on this machine; set SEMBLANCE_DATA to a folder with them"
        )
    return archive


def machine(*packages: str) -> dict[str, Any]:
    """What figures were measured on, with the versions of Python and `packages`."""
    from semblance.instructions import processor_name  # here, so that a contender's process does without it

    return {
        "processor": processor_name(),
        "num_processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages},
    }


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Turn a SemblanceError of the block into its message on stderr, as one line, and SystemExit(1)."""
    from semblance.errors import SemblanceError  # here, so that a contender's process does without it

    try:
        yield
    except SemblanceError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
