"""What of a source was chosen as it was opened: a gallery is carried on, and its pictures found again, by the same.

In: a source, and the options of `open_source` that it was opened with. Out: the same source, which tells them to
whoever asks `choice_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from semblance.inputs.items import Item, Source, num_items


@dataclass(frozen=True, slots=True)
class Choice:
    """The options of `open_source` on which items depend; None where one was not given."""

    image_column: str | None = None
    label_column: str | None = None
    labels_sha256: str | None = None  # of the CSV file's bytes


class ChosenSource:
    """`source`, with the `choice` it was opened with."""

    def __init__(self, source: Source, choice: Choice) -> None:
        self.name = source.name
        self.choice = choice
        self._source = source

    def __len__(self) -> int:
        if (number := num_items(self._source)) is None:
            raise TypeError(f"{self.name}: a stream, whose number of items is not known")
        return number

    def __iter__(self) -> Iterator[Item]:
        return iter(self._source)


def choice_of(source: Source) -> Choice:
    """What `source` was opened with: nothing, where it does not say."""
    return source.choice if isinstance(source, ChosenSource) else Choice()
