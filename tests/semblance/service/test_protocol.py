"""Clients that are slow, greedy or ambiguous, on real sockets."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from semblance.service.gate import Limits
from tests.semblance.service.trivial import Serving, app, document, read_all, read_answer, serving, wait_until

_GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(params=["uvloop", "asyncio"], autouse=True)
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    monkeypatch.setattr("semblance.service.server._loop", lambda: request.param)


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving(Limits(max_header_bytes=8_000, max_target_bytes=2_000)) as found:
        yield found


def test_answers_and_keeps_the_connection(server: Serving) -> None:
    with server.connect() as client:
        for _ in range(3):
            client.sendall(_POST + b"Content-Length: 3\r\n\r\nabc")
            head, body = read_answer(client)
            assert head.startswith(b"HTTP/1.1 200")
            assert body == b"3"
            assert b"server:" not in head.lower()
    assert not server.refused


def test_headers_that_do_not_come_end_the_connection() -> None:
    with serving(Limits(header_timeout_s=0.3)) as server:
        for sent in (b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"):
            start = time.monotonic()
            answer = server.ask(sent)
            assert document(answer)["status"] == 408
            assert 0.2 < time.monotonic() - start < 3
        assert server.refused == {"header-timeout": 4}


def test_a_byte_now_and_then_extends_nothing() -> None:
    with serving(Limits(header_timeout_s=0.4)) as server, server.connect() as client:
        client.settimeout(0.05)
        start, answer = time.monotonic(), b""
        while not answer and time.monotonic() - start < 3:
            client.sendall(b"G" if time.monotonic() - start < 0.05 else b"")
            try:
                answer = client.recv(4096)
            except TimeoutError:
                continue
        assert document(answer)["status"] == 408


def test_a_later_request_has_its_time_from_its_first_byte() -> None:
    with serving(Limits(header_timeout_s=0.4, keep_alive_s=2)) as server, server.connect() as client:
        client.sendall(_GET)
        read_answer(client)
        time.sleep(0.7)  # idle for longer than headers may take
        client.sendall(_GET[:10])
        time.sleep(0.1)
        client.sendall(_GET[10:])
        assert read_answer(client)[1] == b"ok"
        client.sendall(_GET[:10])
        assert document(read_all(client))["status"] == 408


def test_an_idle_connection_is_closed_without_a_word() -> None:
    with serving(Limits(keep_alive_s=0.3)) as server, server.connect() as client:
        client.sendall(_GET)
        read_answer(client)
        assert read_all(client) == b""
        assert not server.refused


def test_a_body_that_does_not_come() -> None:
    with serving(Limits(body_timeout_s=0.3)) as server:
        for head in (b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"):
            assert document(server.ask(_POST + head))["status"] == 408
        assert server.refused == {"body-timeout": 2}


def test_work_is_not_limited() -> None:
    with serving(Limits(header_timeout_s=0.2, body_timeout_s=0.2, write_timeout_s=0.2, keep_alive_s=0.2)) as server:
        answer = server.ask(b"POST /slow/0.8 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1")
        assert answer.startswith(b"HTTP/1.1 200")
        assert not server.refused


def test_a_client_that_never_reads_is_cut_off() -> None:
    with serving(Limits(write_timeout_s=0.3)) as server, server.connect() as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        start = time.monotonic()
        while not server.refused and time.monotonic() - start < 4:
            time.sleep(0.02)
        assert server.refused == {"write-timeout": 1}
        with pytest.raises(ConnectionError):  # a reset, which frees what the system held for the client too
            read_all(client)


def test_a_client_that_reads_slowly_gets_it_all() -> None:
    with serving(Limits(write_timeout_s=0.5)) as server, server.connect() as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        num_bytes = 0
        while piece := client.recv(1 << 22):
            num_bytes += len(piece)
            time.sleep(0.005)
        assert num_bytes > 64 << 20
        assert not server.refused


def test_one_connection_too_many_is_told_so_at_once() -> None:
    with serving(Limits(max_connections=2)) as server:
        with server.connect() as first, server.connect() as second:
            for client in (first, second):
                client.sendall(_GET)
                read_answer(client)
            start = time.monotonic()
            answer = server.ask(_GET)
            assert time.monotonic() - start < 1
            assert document(answer)["status"] == 503
            assert b"retry-after: 1" in answer.lower()
            first.sendall(_GET)
            assert read_answer(first)[1] == b"ok"
        time.sleep(0.3)
        assert server.ask(_GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert server.refused == {"connections": 1}


def test_many_connections_too_many() -> None:
    with serving(Limits(max_connections=1)) as server, server.connect() as held:
        held.sendall(_GET)
        read_answer(held)
        clients = [server.connect() for _ in range(20)]
        answers = [read_all(client) for client in clients]
        for client in clients:
            client.close()
        assert {document(answer)["status"] for answer in answers} == {503}
        assert server.refused["connections"] == 20


@pytest.mark.parametrize(
    "flood",
    [
        b"X: " + b"a" * 100_000,  # one that never ends
        b"X: " + b"a" * 7_990 + b"\r\nY: " + b"b" * 100,
        b"a: b\r\n" * 200,
        b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: " + b"a" * 300_000,  # a trailer
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 300_000,  # an extension of a chunk
    ],
)
def test_a_flood_of_headers(server: Serving, flood: bytes) -> None:
    with server.connect() as client:
        try:
            for start in range(0, len(flood) + len(_POST), 4096):
                client.sendall((_POST + flood)[start : start + 4096])
        except ConnectionError:
            pass
        assert document(read_all(client))["status"] == 431
    assert server.refused == {"malformed": 1}


def test_a_long_target(server: Serving) -> None:
    assert document(server.ask(b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"))["status"] == 414


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),  # folded
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (_POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (_POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (_POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (_POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (_POST + b"Content-Length: +3\r\n\r\nabc", 400),
        (_POST + b"Content-Length: -3\r\n\r\nabc", 400),
        (_POST + b"Content-Length: 99999999999999999999\r\n\r\nabc", 400),
        (_POST + b"Transfer-Encoding: identity\r\n\r\nabc", 501),
        (_POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (_POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (_POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (_POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        (_POST + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400),
        (_POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400),
    ],
)
def test_what_is_malformed_or_ambiguous_is_refused(server: Serving, request_: bytes, status: int) -> None:
    found = document(server.ask(request_))
    assert found["status"] == status
    assert found["type"].startswith("urn:semblance:problem:")
    assert found["instance"].startswith("urn:semblance:request:")
    assert server.refused == {"malformed": 1}


def test_a_body_longer_than_it_says_is_a_bad_next_request(server: Serving) -> None:
    answer = server.ask(b"POST /slow/0.2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nabc")
    first, _, rest = answer.partition(b"HTTP/1.1 400")
    assert first.startswith(b"HTTP/1.1 200")  # in order, although it was known before
    assert first.endswith(b"\r\n\r\n1")
    assert document(b"HTTP/1.1 400" + rest)["status"] == 400


def test_a_body_shorter_than_it_says_and_the_client_leaves(server: Serving) -> None:
    with server.connect() as client:
        client.sendall(_POST + b"Content-Length: 10\r\n\r\nabc")
    assert server.ask(_GET.replace(b"Host: a", b"Host: a\r\nConnection: close")).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(server: Serving) -> None:
    paths = [b"/slow/0.2", b"/echo", b"/slow/0.05", b"/echo"]
    sent = b"".join(
        b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (path, n, b"x" * n)
        for n, path in enumerate(paths)
    )
    with server.connect() as client:
        client.sendall(sent)
        assert [read_answer(client)[1] for _ in paths] == [b"0", b"1", b"2", b"3"]


def test_a_pipeline_without_end_is_refused_after_its_answers(server: Serving) -> None:
    answer = server.ask(b"POST /slow/0.2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + _GET * 500)
    assert 2 < answer.count(b"HTTP/1.1 200") < 50
    assert document(answer[answer.index(b"HTTP/1.1 400") :])["status"] == 400


def test_an_answer_before_the_end_of_the_body_can_be_read(server: Serving) -> None:
    for connection in (b"", b"Connection: close\r\n"):
        with server.connect() as client:
            client.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\n" + connection + b"Content-Length: 100000000\r\n\r\n")
            time.sleep(0.1)
            for _ in range(20):
                client.sendall(bytes(100_000))
            assert read_answer(client)[0].startswith(b"HTTP/1.1 413")
            assert read_all(client) == b""  # and is not waited for for long


def test_an_early_answer_leaves_the_connection_to_whoever_ends_the_body(server: Serving) -> None:
    with server.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        assert read_answer(client)[0].startswith(b"HTTP/1.1 413")
        client.sendall(b"cd" + _GET)
        assert read_answer(client)[1] == b"ok"


@pytest.mark.parametrize("wish", [b"h2c", b"websocket"])
def test_the_wish_for_another_protocol_is_ignored(server: Serving, wish: bytes) -> None:
    head = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AA\r\n" % wish
    with server.connect() as client:
        client.sendall((_POST + head + b"Content-Length: 3\r\n\r\nabc") * 2 + _GET)
        assert [read_answer(client)[1] for _ in range(3)] == [b"3", b"3", b"ok"]
        client.sendall(_POST + head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
        assert read_answer(client)[1] == b"2"


def test_trailers_are_no_headers(server: Serving) -> None:
    sent = b"POST /headers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n"
    with server.connect() as client:
        client.sendall(sent)
        names = [name for name, _ in json.loads(read_answer(client)[1])]
        assert names == ["host", "transfer-encoding"]


def test_the_form_for_proxies_with_the_same_host(server: Serving) -> None:
    with server.connect() as client:
        client.sendall(b"GET http://A/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(client)[1] == b"ok"


def test_headers_byte_by_byte(server: Serving) -> None:
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in _POST + b"Content-Length: 3\r\n\r\nabc":
            client.sendall(bytes([byte]))
        assert read_answer(client)[1] == b"3"


def test_who_was_refused_is_not_told_to_go_on(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """The application asks for the body of a request whose answer has been sent for it."""
    head = _POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = server.ask(head + b"zz\r\nabc")
    assert document(answer)["status"] == 400
    assert b"100 Continue" not in answer
    with server.connect() as client:
        client.sendall(_GET)
        assert read_answer(client)[1] == b"ok"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_client_that_takes_a_byte_now_and_then_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.service.protocol._LEAST_RATE", 64 << 20)
    with serving(Limits(write_timeout_s=1.0)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.settimeout(4)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        start = time.monotonic()
        with suppress(ConnectionError):
            while client.recv(1 << 17) and time.monotonic() - start < 6:
                time.sleep(0.05)
        assert time.monotonic() - start > 1.0
        assert server.refused == {"write-timeout": 1}


def test_a_client_that_leaves_is_noticed_by_the_request_that_runs() -> None:
    """Not only by the newest, which waits for that."""
    ended = list[bytes]()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        body = (await receive())["body"]
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.append(body)

    with serving(application=waits) as server:
        with server.connect() as client:
            client.sendall((_POST + b"Content-Length: 1\r\n\r\n1") + (_POST + b"Content-Length: 1\r\n\r\n2"))
            time.sleep(0.1)
        wait_until(lambda: ended == [b"1"])
