"""Measuring scripts, run from the checkout and never installed; here is what they do alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Turn a SemblanceError of the block into its message on stderr, as one line, and SystemExit(1)."""
    from semblance.errors import SemblanceError  # here, so that a contender's process does without it

    try:
        yield
    except SemblanceError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
