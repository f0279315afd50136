"""When a request has to be answered, and what is raised then."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from semblance.errors import DeadlineExceeded
from semblance.service.deadline import Deadline, within

SERVICE: Any = SimpleNamespace(settings=SimpleNamespace(deadline_ms=1000.0))


def test_deadlines() -> None:
    assert 0.9 < Deadline(SERVICE, None).left_s <= 1
    assert 0.9 < Deadline(SERVICE, 1e12).left_s <= 1
    assert Deadline(SERVICE, 1e-6).left_s < 0.01
    assert Deadline(SERVICE, 5.0).taken_ms >= 0


async def answer_after(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return 7


def test_what_is_there_in_time_is_given() -> None:
    assert asyncio.run(within(Deadline(SERVICE, None), answer_after(0))) == 7


def test_what_is_not_there_in_time_is_given_up() -> None:
    with pytest.raises(DeadlineExceeded):
        asyncio.run(within(Deadline(SERVICE, 5.0), answer_after(20)))
