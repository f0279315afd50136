"""Several sources as one.

In: sources. Out: their items, one source after the other, and how many these are where each part knows its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from semblance.inputs.items import Item, Source, num_items


class JoinedSource:
    """Several sources as one, in the order given; no two of them may share a uri."""

    def __init__(self, parts: Sequence[Source], *, name: str) -> None:
        self.name = name
        self._parts = parts

    def __len__(self) -> int:
        numbers = [number for part in self._parts if (number := num_items(part)) is not None]
        if len(numbers) < len(self._parts):
            raise TypeError(f"{self.name}: some of its parts are streams, whose number of items is not known")
        return sum(numbers)

    def __iter__(self) -> Iterator[Item]:
        for part in self._parts:
            yield from part
