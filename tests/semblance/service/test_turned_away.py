"""Requests that are answered by their head, before the application: what comes after that, on real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from semblance.service.gate import Limits
from tests.semblance.service.trivial import Serving, read_all, read_answer, serving, wait_until

_FULL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nfull"
_GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_AWAY = b"POST /away HTTP/1.1\r\nHost: a\r\n"


class _Door:
    """Answers what is asked of /away."""

    def __init__(self, answer: bytes = _FULL) -> None:
        self.answer = answer
        self.seen = list[tuple[bytes, bytes]]()
        self.num_away = 0

    def turn_away(self, method: bytes, target: bytes) -> bytes | None:
        self.seen.append((method, target))
        if target != b"/away":
            return None
        self.num_away += 1
        return self.answer


@pytest.fixture(params=["uvloop", "asyncio"], autouse=True)
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    monkeypatch.setattr("semblance.service.server._loop", lambda: request.param)


@contextmanager
def _guarded(limits: Limits | None = None, answer: bytes = _FULL, **options: Any) -> Iterator[tuple[Serving, _Door]]:
    door = _Door(answer)
    with serving(limits, turn_away=door.turn_away, **options) as server:
        yield server, door


@pytest.fixture
def guarded() -> Iterator[tuple[Serving, _Door]]:
    with _guarded() as found:
        yield found


def _is_full(answer: tuple[bytes, bytes]) -> bool:
    head, body = answer
    return head.startswith(b"HTTP/1.1 429") and body == b"full" and b"connection:" not in head.lower()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\r\n"],
        [b"Content-Length: 4\r\n\r\nabcd"],
        [b"Content-Length: 4\r\n\r\n", b"ab", b"cd"],
        [b"Content-Length: 200000\r\n\r\n" + bytes(100_000), bytes(100_000)],
        [b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"],
        [b"Transfer-Encoding: chunked\r\n\r\n3\r", b"\nab", b"c\r\n0\r\n", b"X: trailer\r\n\r\n"],
    ],
)
def test_the_connection_goes_on_after_the_body(guarded: tuple[Serving, _Door], pieces: list[bytes]) -> None:
    server, door = guarded
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            client.sendall(_AWAY + pieces[0])
            assert _is_full(read_answer(client))  # without waiting for the body
            for piece in pieces[1:]:
                client.sendall(piece)
                time.sleep(0.02)
            client.sendall(_GET)
            assert read_answer(client)[1] == b"ok"
    assert door.seen == [(b"POST", b"/away"), (b"GET", b"/")] * 2
    assert not server.refused
    assert server.server.server_state.total_requests == 4


def test_a_body_that_comes_slowly_is_waited_for(guarded: tuple[Serving, _Door]) -> None:
    with guarded[0].connect() as client:
        client.sendall(_AWAY + b"Content-Length: 4\r\n\r\nab")
        assert _is_full(read_answer(client))
        time.sleep(1.4)  # longer than who is closed has to read its answer
        client.sendall(b"cd" + _GET)
        assert read_answer(client)[1] == b"ok"


def test_a_body_that_never_comes() -> None:
    with _guarded(Limits(body_timeout_s=0.4)) as (server, _), server.connect() as client:
        client.sendall(_AWAY + b"Content-Length: 4\r\n\r\nab")
        start = time.monotonic()
        assert _is_full(read_answer(client))
        assert read_all(client) == b""
        assert 0.3 < time.monotonic() - start < 3


def test_an_idle_connection_is_closed_later() -> None:
    with _guarded(Limits(keep_alive_s=0.3)) as (server, _), server.connect() as client:
        client.sendall(_AWAY + b"\r\n")
        assert _is_full(read_answer(client))
        assert read_all(client) == b""


def test_pipelined_requests_keep_their_order(guarded: tuple[Serving, _Door]) -> None:
    server, door = guarded
    slow = b"POST /slow/0.2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    away = _AWAY + b"Content-Length: 1\r\n\r\nx"
    with server.connect() as client:
        client.sendall(away + slow + away + _GET)
        answers = [read_answer(client) for _ in range(4)]
        # the third was not to be answered before the second: so the application has it
        assert [body for _, body in answers] == [b"full", b"3", b"ok", b"ok"]
        assert door.num_away == 1
        client.sendall(away * 3 + _GET)
        assert [read_answer(client)[1] for _ in range(4)] == [b"full"] * 3 + [b"ok"]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /away HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
        b"POST /away HTTP/1.0\r\nHost: a\r\n",
        b"POST /away HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n",
        b"POST /away HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n",
    ],
)
@pytest.mark.parametrize("content", [b"", b"abc", b"abc" + _GET])
def test_the_last_answer_of_a_connection(guarded: tuple[Serving, _Door], head: bytes, content: bytes) -> None:
    server, door = guarded
    with server.connect() as client:
        client.sendall(head + b"Content-Length: 3\r\n\r\n" + content)
        answer = read_all(client)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 429")
        assert answer.lower().count(b"\r\nconnection: close\r\n") == 1
        assert answer.endswith(b"\r\n\r\nfull")
        assert len(server.server.gate) == 1  # it is waited for the client to read that, for a short time
        wait_until(lambda: not len(server.server.gate), 2.0)
    assert door.num_away == len(door.seen) == server.server.server_state.total_requests == 1


def test_while_it_drains() -> None:
    with _guarded(drain_delay_s=1.0) as (server, _), server.connect() as client, server.connect() as new:
        client.sendall(_AWAY + b"Content-Length: 4\r\n\r\nab")
        assert _is_full(read_answer(client))
        server.server.drain()
        wait_until(lambda: server.drained)
        client.sendall(b"cd" + _AWAY + b"\r\n")
        new.sendall(_AWAY + b"\r\n")
        for each in (client, new):
            assert b"\r\nConnection: close\r\n" in (answer := read_all(each))
            assert answer.count(b"HTTP/1.1 429") == 1


def test_a_drain_amid_a_body_ends_without_a_reset() -> None:
    with _guarded() as (server, _), server.connect() as client:
        client.sendall(_AWAY + b"Content-Length: 4000000\r\n\r\n")
        sending = threading.Event()

        def send() -> None:
            for _ in range(20):
                client.sendall(bytes(10_000))
                sending.set()
                time.sleep(0.02)

        thread = threading.Thread(target=send)
        thread.start()
        sending.wait(1)
        server.server.drain()
        thread.join()  # raises nothing: seen by what is read
        assert read_all(client).endswith(b"full")


@pytest.mark.parametrize("body", [b"zz\r\nabc", b"3\r\nabcd\r\n0\r\n\r\n"])
def test_a_malformed_body_after_the_answer(guarded: tuple[Serving, _Door], body: bytes) -> None:
    server, _ = guarded
    head = _AWAY + b"Transfer-Encoding: chunked\r\n\r\n"
    assert server.ask(head + body) == _FULL
    with server.connect() as client:
        client.sendall(head)
        assert _is_full(read_answer(client))
        client.sendall(body)
        assert read_all(client) == b""  # there is nothing more that an answer could be to
    assert server.refused == {"malformed": 2}


def test_a_malformed_head_is_not_asked_about(guarded: tuple[Serving, _Door]) -> None:
    server, door = guarded
    assert server.ask(b"POST /away HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert door.seen == []


def test_the_wish_for_another_protocol(guarded: tuple[Serving, _Door]) -> None:
    server, door = guarded
    with server.connect() as client:
        client.sendall(_AWAY + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc" + _GET)
        assert _is_full(read_answer(client))
        assert read_answer(client)[1] == b"ok"
    assert door.num_away == 1


def test_who_never_reads_is_not_answered_for_ever() -> None:
    answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    with _guarded(Limits(write_timeout_s=0.3), answer) as (server, door), server.connect() as client:
        client.sendall((_AWAY + b"\r\n") * 400)
        wait_until(lambda: bool(server.refused), 4.0)
        assert door.num_away < 150
