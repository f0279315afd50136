"""Where pictures come from: a folder, an idx file, a npy file or an array, as one stream of items.

In: a place. Out: `Item`s in a sorted order that is the same on every machine, not yet decoded, so that decoding can
be spread over threads and a failure there concerns one item only.
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


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a source, not yet decoded."""

    uri: str  # its stable name within the source, and the sort key
    content: Content
    label: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)  # carried along into the gallery


class Source(Protocol):
    """A sized, repeatable stream of items in sorted order."""

    @property
    def name(self) -> str:
        """What it is, for people and for the gallery's manifest."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item]: ...
