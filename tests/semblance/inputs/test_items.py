"""What all sources share: the number of items where it is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from semblance.inputs.arrays import ArraySource
from semblance.inputs.items import Item, num_items
from semblance.inputs.sources import JoinedSource


class Stream:
    """A source that does not know how much it holds."""

    name = "stream"

    def __iter__(self) -> Iterator[Item]:
        yield Item("a", b"")


def test_the_number_of_items_is_told_where_it_is_known() -> None:
    array = ArraySource(np.zeros((3, 2, 2), np.uint8))
    assert num_items(array) == 3
    assert num_items(Stream()) is None
    assert num_items(JoinedSource([array, ArraySource(np.zeros((0, 2, 2), np.uint8))], name="both")) == 3
    mixed = JoinedSource([array, Stream()], name="mixed")
    assert num_items(mixed) is None
    assert len(list(mixed)) == 4
