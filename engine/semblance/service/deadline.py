"""When a request has to be answered, and what is given up then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from semblance.errors import DeadlineExceeded

if TYPE_CHECKING:
    from semblance.service.state import Service

T = TypeVar("T")


class Deadline:
    """When a request has to be answered, from its arrival on."""

    def __init__(self, service: Service, timeout_ms: float | None, arrival: float | None = None) -> None:
        """`arrival` on the clock of `time.monotonic`; None: it is now."""
        self._start = time.monotonic() if arrival is None else arrival
        most = service.settings.deadline_ms
        self._end = self._start + min(most, timeout_ms or most) / 1e3

    @property
    def left_s(self) -> float:
        return self._end - time.monotonic()

    @property
    def taken_ms(self) -> float:
        return round(1e3 * (time.monotonic() - self._start), 3)


async def within(deadline: Deadline, work: Awaitable[T]) -> T:
    """What `work` gives. Raises DeadlineExceeded; what runs in a thread by then still runs to its end."""
    try:
        return await asyncio.wait_for(work, max(0.0, deadline.left_s))
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the answer was there") from None
