"""Measuring scripts, run from the checkout and never installed; here is what they do alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def photographs(count: int) -> list[bytes]:
    """`count` JPEG files of Caltech101, spread evenly over all classes. Raises SourceError where they are not here."""
    from export.images import encoded_photographs, find_photographs
    from semblance.errors import SourceError

    if (archive := find_photographs()) is None:
        raise SourceError(
            "the Caltech101 photographs are not on this machine; set SEMBLANCE_DATA to a folder with them"
        )
    return [encoded for _, encoded in encoded_photographs(archive, count)]


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Turn a SemblanceError of the block into its message on stderr, as one line, and SystemExit(1)."""
    from semblance.errors import SemblanceError  # here, so that a contender's process does without it

    try:
        yield
    except SemblanceError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
