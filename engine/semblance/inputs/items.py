"""What a source gives, whatever it reads from: items, one by one, each a picture that is not yet decoded.

In: nothing. Out: `Item`, `Source` and the few rules that all sources share: which file names are pictures, how a uri
is written, and which column names belong to a gallery. Items are not decoded here, so that decoding can be spread over
threads and a failure there concerns one item only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Content = Path | bytes | NDArray[np.uint8]  # a file to read, an encoded picture, or pixels [H, W] or [H, W, C]
Column = str | int | float | bool | None

IMAGE_SUFFIXES = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a source, not yet decoded."""

    uri: str  # its stable name, valid Unicode and unique within the source
    content: Content  # b"" where the source has nothing for it, which no decoder takes
    label: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)  # carried along into the gallery


class Source(Protocol):
    """A repeatable stream of items: each iteration gives the same ones in the same order, on every machine.

    Iterating is lazy, and raises SourceError where the place itself breaks, after the items before that. A source that
    knows how many items it has says so by `__len__`; see `num_items`.
    """

    @property
    def name(self) -> str:
        """What it is: for people, and where it can be for `open_source`, from any working directory."""

    def __iter__(self) -> Iterator[Item]: ...


def num_items(source: Source) -> int | None:
    """How many items `source` gives, or None where only reading it to its end would tell."""
    try:
        return len(source)  # type: ignore[arg-type]
    except TypeError:  # no __len__; or that of a source made of others, some of which do not know
        return None


def what_is_there(path: Path) -> str:
    """What stands at `path` instead of what was looked for, in words."""
    return "not a folder" if path.is_file() else "there is nothing there"
