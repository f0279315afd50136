"""uvicorn's HTTP/1.1 protocol, with what it lacks against clients that are slow, greedy or ambiguous.

In: bytes of strangers. Out: requests for the application, or a problem document of our own and the end of the
connection, before any of the application runs. What a proxy in front might read another way than we do is refused, not
guessed. Answers stay in the order of the requests, also of those that are refused.
"""

from __future__ import annotations

import asyncio
import enum
import math
import socket
import struct
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from semblance.service.framing import check_head, without_upgrade
from semblance.service.gate import Gate
from semblance.service.problems import Problem, unavailable
from semblance.service.refusals import malformed, raw_answer, too_large, too_late

_MAX_PIPELINED = 16  # requests that wait for the one before; each is memory before anybody reads it
_LEAST_RATE = 10_000  # bytes/s of what is sent, beside `Limits.write_timeout_s`: who takes less holds it for ever
_LINGER_S = 1.0  # a client that still sends gets to read its answer, which a reset would take from it


def protocol(gate: Gate) -> type[HttpToolsProtocol]:
    """The class for `uvicorn.Config(http=...)`, whose connections go through `gate`."""
    return type("Connection", (Connection,), {"gate": gate})


class _Phase(enum.Enum):
    """What is read from a connection."""

    OPENED = enum.auto()  # nothing has come yet
    HEADERS = enum.auto()
    BODY = enum.auto()
    BETWEEN = enum.auto()  # the request is complete; the next has not begun
    LINGERING = enum.auto()  # nothing more is understood: only thrown away, until the client has read its answer


class Connection(HttpToolsProtocol):
    """One connection.

    Reasons for `on_refused`: connections, header-timeout, body-timeout, write-timeout, malformed, drain.
    """

    gate: Gate

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._phase = _Phase.OPENED
        self._due = math.inf  # on the loop's clock
        self._fed = 0  # bytes since the parser last told of anything: what it keeps to itself meanwhile
        self._num_header_bytes = 0
        self._num_unsent, self._moved_at = 0, 0.0
        self._num_written, self._unsent_since = 0, self.loop.time()  # since all was taken
        self._running: Any = None  # the cycle that is to be answered next; `cycle` is the newest
        self._last_words: bytes | None = None  # the answer to a refused request, when those before have theirs
        self._is_upgrade = False

    # ------------------------------------------------------------------------------------------------------------------
    # As asyncio calls it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        limits = self.gate.limits
        if len(self.connections) < limits.max_connections:
            super().connection_made(transport)
            self._closer = _Closer(self, transport)
            self._due = self.loop.time() + limits.header_timeout_s
            self.gate.add(self)
            return
        self.transport, self.flow = transport, FlowControl(transport)
        self.gate.on_refused("connections")
        detail = f"{limits.max_connections} connections are open, which is all there may be; try again"
        self.write(self._raw(unavailable("too-many-connections", detail)))
        if len(self.gate) - len(self.connections) <= limits.max_connections // 8:
            self.gate.add(self)
            self.linger()
        else:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.discard(self)
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn tells the newest only
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data and self._phase is not _Phase.LINGERING:
            self._fed += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_again() + data[upgrade.args[0] :]
                continue
            except httptools.HttpParserError as error:
                reason = error.__context__
                if not isinstance(reason, _Answered):
                    self._refuse(reason if isinstance(reason, Problem) else malformed(str(error)))
            else:
                if self._fed > self.gate.limits.max_header_bytes:
                    self._refuse(too_large(self.gate.limits.max_header_bytes, self.gate.limits.max_headers))
            return

    # ------------------------------------------------------------------------------------------------------------------
    # As the parser calls it

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fed = self._num_header_bytes = 0
        if self._phase is _Phase.BETWEEN:
            self._due = self.loop.time() + self.gate.limits.header_timeout_s
        self._phase = _Phase.HEADERS

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > (most := self.gate.limits.max_target_bytes):
            raise Problem(414, "uri-too-long", f"the request's target is longer than {most} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        limits = self.gate.limits
        self._num_header_bytes += len(name) + len(value) + 4
        if self._num_header_bytes > limits.max_header_bytes or len(self.headers) >= limits.max_headers:
            raise too_large(limits.max_header_bytes, limits.max_headers)
        if self._phase is _Phase.HEADERS:
            super().on_header(name, value)
        # else it is a trailer: uvicorn would put it among the headers, which are checked already

    def on_headers_complete(self) -> None:
        check_head(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        self._is_upgrade = self.parser.should_upgrade()
        if self._is_upgrade:
            return  # `data_received` goes on without it
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise malformed(f"more than {_MAX_PIPELINED} requests were sent before the answer to the first")
        is_next = self.cycle is None or self.cycle.response_complete  # to be answered
        # of a client that does not read its answers the application knows to wait
        if is_next and not self.flow.write_paused:
            answer = self.gate.turn_away(self.parser.get_method(), self.url)
            if answer is not None:
                self._turn_away(answer)
                return
        super().on_headers_complete()
        self.cycle.transport = self._closer  # type: ignore[assignment]  # all of a transport that an answer uses
        if self.gate.is_draining:
            self.cycle.keep_alive = False
        self._phase, self._fed, self._num_header_bytes = _Phase.BODY, 0, 0
        self._due = self.loop.time() + self.gate.limits.body_timeout_s

    def _turn_away(self, answer: bytes) -> None:
        """Answer by what needs no application, and go on: whatever comes of the body is thrown away.

        Raises _Answered where nothing more is read, since the parser would go on with what it has.
        """
        self.server_state.total_requests += 1
        self.cycle = _Complete()  # type: ignore[assignment]  # all that is asked of one that is complete
        is_last = self.parser.get_http_version() == "1.0" or not self.parser.should_keep_alive()
        # a client that asked whether to send its body may send it or not: what comes next could be either
        if is_last or self.expect_100_continue or self.gate.is_draining:
            self._end_with(answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            raise _Answered
        self.write(answer)
        self._phase, self._fed, self._num_header_bytes = _Phase.BODY, 0, 0
        self._due = self.loop.time() + self.gate.limits.body_timeout_s

    def on_chunk_header(self) -> None:
        self._fed = 0

    def on_body(self, body: bytes) -> None:
        self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        super().on_message_complete()
        self._phase, self._fed = _Phase.BETWEEN, 0
        is_answered = self.cycle.response_complete
        self._due = self.loop.time() + self.gate.limits.keep_alive_s if is_answered else math.inf

    def _head_again(self) -> bytes:
        """The request's head without the wish for another protocol, which a server may ignore, to a parser anew.

        The parser has taken the request for one without a body, and what follows for the other protocol.
        """
        head = without_upgrade(self.parser.get_method(), self.url, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does it
        return head

    # ------------------------------------------------------------------------------------------------------------------
    # As the server and the answers call it

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def write(self, content: bytes) -> None:
        """As the transport's."""
        self._num_written += len(content)
        self.transport.write(content)

    def on_response_complete(self) -> None:
        # as uvicorn does it, but for its timer of each request
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words is not None:
            self._end_with(self._last_words)
        elif self._phase is _Phase.BETWEEN:
            self._due = self.loop.time() + self.gate.limits.keep_alive_s
        elif self._phase is _Phase.BODY:  # of a request that was refused by its head: the client may yet end it
            self._due = min(self._due, self.loop.time() + _LINGER_S)

    def close_after_answer(self) -> None:
        """As the transport's `close`, but that a client which still sends gets to read its answer."""
        if self._phase is _Phase.BODY or self._last_words is not None:
            self._last_words = None
            self.linger()
        elif self._phase is not _Phase.LINGERING:
            self.transport.close()

    def shutdown(self) -> None:
        """Where a request has begun to come it may be completed, within its time; the answer is the last."""
        if self._phase in (_Phase.HEADERS, _Phase.LINGERING):
            return
        if self.cycle is None or self.cycle.response_complete:
            self.close_after_answer()
        else:
            self.cycle.keep_alive = False

    def give_up(self) -> None:
        """The process ends: what is not answered by now is answered so."""
        if self.cycle is None or self.cycle.response_complete:
            return
        self.gate.on_refused("drain")
        if self.cycle.response_started or self.pipeline:
            self.transport.abort()
        else:
            self._answer_instead(self._raw(unavailable("draining", "the service ended before the answer was there")))

    def linger(self) -> None:
        """Send no more and throw away what comes, until the client closes or the time is over."""
        self._phase = _Phase.LINGERING
        self._due = self.loop.time() + _LINGER_S
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS
            self.transport.close()

    # ------------------------------------------------------------------------------------------------------------------
    # Sent away

    def look(self, now: float, since_s: float) -> None:
        """Called some times a second, `since_s` after the last time."""
        if self._takes_too_long(now):
            self.gate.on_refused("write-timeout")
            self._reset()
            return
        if self.flow.read_paused and self._phase in (_Phase.HEADERS, _Phase.BODY):
            self._due += since_s  # it is not the client who is slow
        if now >= self._due and not self.transport.is_closing():
            self._too_late()

    def _takes_too_long(self, now: float) -> bool:
        """Whether what is to be sent has not moved for too long, or moved too little since it began to wait."""
        num_unsent, limit_s = self.transport.get_write_buffer_size(), self.gate.limits.write_timeout_s
        if num_unsent == 0:
            self._num_unsent, self._num_written, self._unsent_since = 0, 0, now
            return False
        if num_unsent != self._num_unsent:
            self._num_unsent, self._moved_at = num_unsent, now
        longest_s = limit_s + self._num_written / _LEAST_RATE
        return now - self._moved_at >= limit_s or now - self._unsent_since >= longest_s

    def _too_late(self) -> None:
        limits = self.gate.limits
        if self._phase in (_Phase.OPENED, _Phase.HEADERS):
            self._refuse(too_late("headers", limits.header_timeout_s), "header-timeout")
        elif self._phase is _Phase.BODY and not self.cycle.response_complete:
            self._refuse(too_late("body", limits.body_timeout_s), "body-timeout")
        elif self._phase is _Phase.LINGERING:
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse(self, problem: Problem, reason: str = "malformed") -> None:
        """Answer what is being read by `problem`, after the requests before it, and close."""
        self.gate.on_refused(reason)
        last_words = self._raw(problem)
        if self._phase is _Phase.BODY:  # the application has this request already
            if self.pipeline:
                self.pipeline.popleft()
            elif self.cycle.response_complete:
                self.linger()
                return
            elif self.cycle.response_started:
                self.transport.abort()  # what follows would be taken for the rest of that answer
                return
            else:
                self._answer_instead(last_words)
                return
        if self.cycle is None or self.cycle.response_complete:
            self._end_with(last_words)
        else:
            self._phase, self._due, self._last_words = _Phase.LINGERING, math.inf, last_words

    def _answer_instead(self, last_words: bytes) -> None:
        """To the application it is as if the client had left."""
        self.cycle.disconnected = True
        self.cycle.waiting_for_100_continue = False  # else it would still be told to go on
        self.cycle.message_event.set()
        self._end_with(last_words)

    def _end_with(self, last_words: bytes) -> None:
        self.write(last_words)
        self.linger()

    def _reset(self) -> None:
        """End it, and throw away what the system has taken for a client that does not read, megabytes maybe."""
        found = self.transport.get_extra_info("socket")
        if found is not None and found.family != getattr(socket, "AF_UNIX", None):
            with suppress(OSError):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _raw(self, problem: Problem) -> bytes:
        return raw_answer(problem, self.server_state.default_headers)


class _Answered(Exception):
    """A request has its answer, and nothing more is read."""


class _Complete:
    """In the place of a request's cycle, where the answer was sent without one."""

    response_started = response_complete = disconnected = True
    keep_alive = waiting_for_100_continue = False
    transport: object = None

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class _Closer:
    """The transport as an answer uses it: `Connection` decides how it is closed."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self.write = connection.write
        self.is_closing = transport.is_closing
        self.close = connection.close_after_answer
