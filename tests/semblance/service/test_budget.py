"""Bytes that are held: what is taken is given back, whichever way a request ends."""

from __future__ import annotations

from contextlib import suppress

import pytest

from semblance.errors import Overloaded
from semblance.service.budget import ByteBudget


def test_what_is_taken_is_given_back() -> None:
    budget = ByteBudget(10)
    with budget.share() as one, budget.share() as other:
        one.grow_to(4)
        one.grow_to(3)  # it was more before
        other.grow_to(6)
        assert budget.taken == 10
        one.grow_to(4)
        with pytest.raises(Overloaded, match="10 bytes are being worked on"):
            one.grow_to(5)
        assert budget.taken == 10
    assert budget.taken == 0


def test_also_where_it_ends_by_an_error() -> None:
    budget = ByteBudget(10)
    share = budget.share()
    with suppress(KeyError), share:
        share.grow_to(10)
        raise KeyError
    assert budget.taken == 0
    with budget.share() as share:
        share.grow_to(10)
        with pytest.raises(Overloaded), budget.share() as other:
            other.grow_to(1)
        assert budget.taken == 10
    assert budget.taken == 0


def test_a_share_ends_once() -> None:
    budget = ByteBudget(10)
    share = budget.share()
    with share:
        share.grow_to(5)
    share.__exit__(None, None, None)
    assert budget.taken == 0
