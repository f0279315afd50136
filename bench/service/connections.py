"""A pool of kept connections that asks without waiting: how one thread holds hundreds of requests in flight.

In: requests as bytes, each with the time that it was due. Out: each one's times and answer, or how it failed. A request
for which no connection is free waits, and its time goes on: whoever is late is late from when the request was due, not
from when there was a chance to send it. A kept connection that the server closed at the very moment of sending is tried
once more on another, as HTTP has it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from bench.service.wire import HOST, AnswerReader

_SWEEP_S = 0.5


class Exchange:
    """One request and what became of it. Times are those of `time.monotonic`; 0 where it did not come to that."""

    __slots__ = (
        "body", "due", "failure", "finished", "first", "is_retried", "on_done", "request", "sent", "status",
    )  # fmt: skip

    def __init__(self, request: bytes, due: float, on_done: Callable[[Exchange], None]) -> None:
        """`on_done` is called once, whatever happens."""
        self.request, self.due, self.on_done = request, due, on_done
        self.sent = self.first = self.finished = 0.0
        self.status = 0
        self.body = b""
        self.failure = ""  # unreachable, broken, late, no connection, no answer
        self.is_retried = False


class _Connection(asyncio.Protocol):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._reader = AnswerReader()
        self._num_done = 0
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio's

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        assert self.transport is not None
        self.exchange = exchange
        self._reader.reset()
        exchange.sent = time.monotonic()
        exchange.first = 0.0
        self.transport.write(exchange.request)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # last words to a connection that was idle
            return
        if not exchange.first:
            exchange.first = time.monotonic()
        try:
            is_complete = self._reader.feed(data)
        except ValueError:
            self._end("no answer")
            return
        if is_complete:
            self._end("")

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.exchange is not None:
            self._end("" if self._reader.is_ended_by_close and error is None else "broken")
        self._pool.gone(self)

    def give_up(self) -> None:
        self._end("late")

    def _end(self, failure: str) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        is_stale = failure == "broken" and self._num_done > 0 and not exchange.first and not exchange.is_retried
        if is_stale:
            exchange.is_retried = True
            self._pool.ask(exchange)
            return
        self._num_done += 1
        exchange.finished = time.monotonic()
        exchange.status, exchange.body, exchange.failure = self._reader.status, self._reader.body, failure
        if failure or self._reader.will_close:
            if self.transport is not None:
                self.transport.abort()
        else:
            self._pool.free(self)
        exchange.on_done(exchange)


class Pool:
    """Connections to one port of this machine; `close` at the end."""

    def __init__(self, port: int, *, max_connections: int, limit_s: float = 60.0) -> None:
        """What is not answered after `limit_s` is given up as late: the server left it hanging."""
        self._port, self._most, self._limit_s = port, max_connections, limit_s
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._num_opening = 0
        self._waiting: deque[Exchange] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        self.num_retried = 0

    @property
    def num_in_flight(self) -> int:
        """Asked and not done."""
        return sum(each.exchange is not None for each in self._all) + len(self._waiting)

    def ask(self, exchange: Exchange) -> None:
        """Send it as soon as a connection is free."""
        self.num_retried += exchange.is_retried
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:  # else we hear of its end in a moment
                connection.send(exchange)
                return
        self._waiting.append(exchange)
        self._open_another()

    def _open_another(self) -> None:
        """If somebody waits for it, and it may be."""
        if len(self._all) + self._num_opening < self._most and self._num_opening < len(self._waiting):
            self._num_opening += 1
            task = self._loop.create_task(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def answer(self, request: bytes) -> Exchange:
        """Ask now, and wait."""
        answered: asyncio.Future[Exchange] = self._loop.create_future()

        def done(exchange: Exchange) -> None:
            if not answered.done():
                answered.set_result(exchange)

        self.ask(Exchange(request, time.monotonic(), done))
        return await answered

    def free(self, connection: _Connection) -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def gone(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._open_another()

    async def _open(self) -> None:
        try:
            _, connection = await self._loop.create_connection(lambda: _Connection(self), HOST, self._port)
        except OSError:
            self._num_opening -= 1
            self._fail_waiting("unreachable")
            return
        self._num_opening -= 1
        if connection.is_open:
            self._all.add(connection)
            self.free(connection)
        else:
            self._open_another()

    def _fail_waiting(self, failure: str) -> None:
        """Nobody listens: what waits would wait for nothing."""
        while self._waiting:
            exchange = self._waiting.popleft()
            exchange.failure, exchange.finished = failure, time.monotonic()
            exchange.on_done(exchange)

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        oldest = time.monotonic() - self._limit_s
        for connection in list(self._all):
            if connection.exchange is not None and connection.exchange.sent < oldest:
                connection.give_up()
        if self._waiting and self._waiting[0].due < oldest:
            self._fail_waiting("no connection")

    async def drained(self, within_s: float) -> bool:
        """Wait until nothing is in flight; whether that came in time."""
        end = time.monotonic() + within_s
        while self.num_in_flight and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return not self.num_in_flight

    def close(self) -> None:
        """Drop all connections."""
        self._most = 0
        self._sweeper.cancel()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._all):
            if connection.transport is not None:
                connection.transport.abort()
