"""What the connections of a process have in common: how much one may take, and the clock that ends it.

In: limits. Out: a gate that connections enter and leave. Time limits cost a request nothing but a number: each
connection says when it is due, and one timer of the process looks at all of them some times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semblance.service.protocol import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may take."""

    max_connections: int = 1024  # open ones of this process
    header_timeout_s: float = 10.0  # from the opening, later from a request's first byte, to the end of its headers
    body_timeout_s: float = 30.0  # from there to the end of the body, without the time that we do not read
    write_timeout_s: float = 30.0  # without any byte of an answer being taken; and in all, beside what its length needs
    keep_alive_s: float = 15.0  # idle between two requests
    max_header_bytes: int = 65_536  # of a request's header section and of its trailers
    max_headers: int = 128
    max_target_bytes: int = 8_192


class Gate:
    """What the connections of a process have in common."""

    def __init__(
        self,
        limits: Limits,
        on_refused: Callable[[str], None] = lambda reason: None,
        turn_away: Callable[[bytes, bytes], bytes | None] = lambda method, target: None,
    ) -> None:
        """`on_refused(reason)` is called for each client that is sent away; for the reasons see `Connection`.

        `turn_away(method, target)` is asked for each request whose headers have come: a whole answer to it, all that it
        gets, or None where the application is to answer.
        """
        self.limits = limits
        self.on_refused = on_refused
        self.turn_away = turn_away
        self.is_draining = False
        self._open: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        shortest = min(limits.header_timeout_s, limits.body_timeout_s, limits.write_timeout_s, limits.keep_alive_s)
        self._interval_s = min(max(shortest / 10, 0.01), 0.25)

    def drain(self) -> None:
        """Each connection ends with the answer to its next request, or to the one that it is at."""
        self.is_draining = True
        for connection in self._open:
            if connection.cycle is not None:  # the last of those that were asked for
                connection.cycle.keep_alive = False

    def give_up(self) -> None:
        """Answer what is still under way with 503."""
        for connection in list(self._open):
            connection.give_up()

    def add(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self._interval_s, self._look, connection.loop)

    def discard(self, connection: Connection) -> None:
        self._open.discard(connection)

    def __len__(self) -> int:
        """Open connections, with those over the bound that have yet to read so."""
        return len(self._open)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self._open):
            connection.look(loop.time(), self._interval_s)
        self._timer = loop.call_later(self._interval_s, self._look, loop) if self._open else None
