"""Several sources as one."""

from __future__ import annotations

import numpy as np

from semblance.inputs.arrays import ArraySource
from semblance.inputs.joined import JoinedSource
from tests.semblance.inputs.packing import PIXELS, assert_sorted_and_repeatable, uris


def test_joined_sources_follow_each_other() -> None:
    joined = JoinedSource([ArraySource(PIXELS[:2], name="a"), ArraySource(PIXELS[:1], name="b")], name="both")
    assert uris(joined) == ["a#000000", "a#000001", "b#000000"]
    assert_sorted_and_repeatable(joined)


def test_no_sources_are_none() -> None:
    nothing = JoinedSource([], name="nothing")
    assert (list(nothing), len(nothing)) == ([], 0)
    assert uris(JoinedSource([nothing, ArraySource(np.zeros((1, 2, 2), np.uint8), name="a")], name="a")) == ["a#000000"]
