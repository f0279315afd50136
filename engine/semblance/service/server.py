"""One process that serves an application: how it begins, and how it ends without losing an answer.

In: an ASGI application and sockets that listen. Out: returns when it is drained. The first SIGTERM or SIGINT begins
the end: `on_drain` is called, so that the service says it is not ready; for `drain_delay_s` connections are still
taken, for whoever sends requests here to hear of that, and each is closed after its answer; then nobody is let in any
more, and what is under way has `drain_s` to come to its end. A second signal ends the process on the spot.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semblance.errors import SemblanceError, ServiceError
from semblance.service import sockets as listening
from semblance.service.gate import Gate, Limits
from semblance.service.protocol import protocol

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # that drain
_BEFORE_CANCELLED_S = 0.1
_READING_S = 0.1  # for what had arrived before the signal, and was not read since the process was busy
_TOO_LONG_S = 5.0  # over all limits: then something hangs that no limit reaches, as a thread
_log = logging.getLogger(__name__)
_silent = logging.Logger("silent", logging.CRITICAL + 1)  # of its own: what configures all loggers leaves it alone


def _nothing(*_: object) -> None:
    pass


def _nobody(method: bytes, target: bytes) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a process serves, and what it tells when."""

    limits: Limits = field(default_factory=Limits)
    drain_s: float = 30.0  # longest for what is under way
    drain_delay_s: float = 0.0  # connections are still taken
    trusted_proxies: str | None = (
        None  # addresses whose X-Forwarded-* are believed, with commas between; None: nobody's
    )
    on_ready: Callable[[], object] = _nothing  # the application has started, and is asked from now on
    on_drain: Callable[[], object] = _nothing
    on_refused: Callable[[str], None] = _nothing  # with the reason, for each client sent away before it is a request
    turn_away: Callable[[bytes, bytes], bytes | None] = _nobody  # as `Gate` asks it
    hold: Callable[[], Awaitable[None]] | None = None  # awaited before the application ends, when all is answered


class Server(uvicorn.Server):
    """Use `serve`; `drain` may be called in any thread."""

    def __init__(self, app: ASGIApp, options: ServerOptions, *, has_sockets: bool = True) -> None:
        """`has_sockets` where no other process has them too: then their paths are removed when they are closed."""
        self.options = options
        self.has_sockets = has_sockets
        self.gate = Gate(options.limits, options.on_refused, options.turn_away)
        self._app = _Lifespan(app, options.hold)
        super().__init__(_config(self._app, options, self.gate))
        self._is_asked_to_drain = False
        self._num_signals = 0
        self._closes_at: float | None = None  # once draining
        self.last_resort: threading.Timer | None = None

    def drain(self) -> None:
        """Begin the end; again: nothing."""
        self._is_asked_to_drain = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first drains, the second is not to be argued with."""
        self._num_signals += 1
        if self._num_signals > 1:
            os._exit(128 + sig)
        self.drain()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn raises a signal again after its work, and so a drained process would end by it
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.logger = _silent  # of the start and the end we say ourselves what there is to say
        try:
            await super().startup(sockets)
        except SystemExit:
            if self._app.failure is not None:
                raise self._app.failure from None
            raise ServiceError("the service did not start; the log says why") from None
        self.options.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.has_sockets:
            listening.remove_paths(sockets or [])
        # a little before uvicorn cancels what is under way, and answers it with a 500 of plain text
        give_up_s = max(0.0, self.options.drain_s - _BEFORE_CANCELLED_S)
        giving_up = asyncio.get_running_loop().call_later(give_up_s, self.gate.give_up)
        await super().shutdown(sockets)
        giving_up.cancel()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; whether to close."""
        if self._is_asked_to_drain and self._closes_at is None:
            self._begin_drain()
        if self._closes_at is not None and time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)

    def _begin_drain(self) -> None:
        options = self.options
        self._closes_at = time.monotonic() + max(options.drain_delay_s, _READING_S)
        _log.info("draining: what is under way has %g s", options.drain_s)
        self.gate.drain()
        options.on_drain()
        self.last_resort = threading.Timer(options.drain_delay_s + 2 * options.drain_s + _TOO_LONG_S, _end_hard)
        self.last_resort.daemon = True
        self.last_resort.start()


class _Lifespan:
    """The application, whose end waits for something else, and whose failure to start is told in a line."""

    def __init__(self, app: ASGIApp, hold: Callable[[], Awaitable[None]] | None) -> None:
        self._app, self._hold = app, hold
        self.failure: SemblanceError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_later() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and self._hold is not None:
                await self._hold()
            return message

        try:
            await self._app(scope, receive_later, send)
        except SemblanceError as error:
            self.failure = error
            raise
        except Exception:
            _log.exception("the service broke at its start or end")
            raise


def serve(app: ASGIApp, options: ServerOptions, sockets: Sequence[socket.socket]) -> None:
    """Serve until a signal, in the main thread, and return when drained.

    Raises the SemblanceError that `app` cannot start for, or ServiceError for another reason. The sockets are closed.
    Two limits of `drain_s` hold: one for requests, one for `options.hold`.
    """
    run(Server(app, options), sockets)


def run(server: Server, sockets: Sequence[socket.socket]) -> None:
    """As `serve`, with a server that somebody else may `drain`."""
    try:
        server.run(list(sockets))
    finally:
        listening.close(sockets if server.has_sockets else [])
        if server.last_resort is not None:
            server.last_resort.cancel()
    _log.info("drained")


def _config(app: ASGIApp, options: ServerOptions, gate: Gate) -> uvicorn.Config:
    given: dict[str, Any] = {
        "http": protocol(gate),
        "ws": "none",
        "loop": _loop(),
        "interface": "asgi3",
        "lifespan": "on",
        "workers": 1,  # else uvicorn reads WEB_CONCURRENCY
        "log_config": None,
        "access_log": False,  # ours has request ids
        "server_header": False,
        "proxy_headers": options.trusted_proxies is not None,
        "forwarded_allow_ips": options.trusted_proxies or "",
        "timeout_graceful_shutdown": options.drain_s,  # a float, which asyncio takes
    }
    return uvicorn.Config(app, **given)


def _loop() -> str:
    return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"  # which Windows has not


def _end_hard() -> None:
    _log.error("what was under way did not end within its limits; it is given up")
    logging.shutdown()
    os._exit(1)
