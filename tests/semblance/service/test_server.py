"""How a process begins and ends: signals, drain, sockets."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from semblance.errors import ModelNotFound, SemblanceError, ServiceError
from semblance.service import sockets as listening
from semblance.service.server import ServerOptions, serve
from tests.semblance.service.trivial import document, program, read_all, read_answer, serving

_GET = b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n"


def _connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=4)


def _slow(seconds: float) -> bytes:
    return b"GET /slow/%g HTTP/1.1\r\nHost: a\r\n\r\n" % seconds


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(number: signal.Signals) -> None:
    with program(drain_s=3) as (process, address), _connect(address) as idle, _connect(address) as busy:
        idle.sendall(_GET)
        read_answer(idle)
        busy.sendall(_slow(0.8))
        time.sleep(0.2)
        process.send_signal(number)
        assert read_all(idle) == b""  # closed
        with pytest.raises(ConnectionRefusedError):
            _connect(address)
        head, body = read_answer(busy)
        assert body == b"0"
        assert b"connection: close" in head.lower()
        assert process.wait(3) == 0


def test_a_second_signal_ends_at_once() -> None:
    with program(drain_s=30) as (process, address), _connect(address) as busy:
        busy.sendall(_slow(20))
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == 128 + signal.SIGTERM


def test_what_does_not_end_is_given_up() -> None:
    with program(drain_s=0.5) as (process, address), _connect(address) as busy:
        busy.sendall(_slow(20))
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        found = document(read_all(busy))
        assert found["status"] == 503
        assert found["type"].endswith(":draining")
        assert process.wait(4) == 0


def test_for_a_while_connections_are_still_taken() -> None:
    with program(drain_delay_s=0.8) as (process, address), _connect(address) as idle:
        idle.sendall(_GET)
        assert b"connection: close" not in read_answer(idle)[0].lower()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with _connect(address) as new:
            for client in (new, idle):
                client.sendall(_GET)
                assert b"connection: close" in read_answer(client)[0].lower()
                assert read_all(client) == b""
        assert process.wait(4) == 0
        with pytest.raises(ConnectionRefusedError):
            _connect(address)


def test_a_request_that_has_begun_to_come_is_answered() -> None:
    with serving() as server, server.connect() as client:
        client.sendall(_GET[:9])
        time.sleep(0.2)
        server.server.drain()
        time.sleep(0.3)
        client.sendall(_GET[9:])
        assert read_answer(client)[0].startswith(b"HTTP/1.1 200")
        assert server.drained == [True]


def test_the_end_waits_for_what_it_is_told_to() -> None:
    held: list[float] = []

    async def hold() -> None:
        held.append(time.monotonic())

    with serving(hold=hold):
        assert not held
    assert held


@pytest.mark.parametrize(("error", "message"), [(ModelNotFound("no x"), "no x"), (RuntimeError("x"), "did not start")])
@pytest.mark.parametrize("says_so", [True, False])
def test_an_application_that_cannot_start(
    error: Exception, message: str, says_so: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if says_so:  # as Starlette does
            await send({"type": "lifespan.startup.failed", "message": "Traceback ..."})
        raise error

    sockets = listening.listen("127.0.0.1", 0)
    with pytest.raises(SemblanceError, match=message):
        serve(broken, ServerOptions(), sockets)
    assert sockets[0].fileno() == -1
    if says_so:
        assert ("Traceback" in caplog.text) is isinstance(error, RuntimeError)


def test_a_port_in_use() -> None:
    first = listening.listen("127.0.0.1", 0)
    port = first[0].getsockname()[1]
    with program(port=port) as (process, line):
        assert line.startswith(f"cannot listen on 127.0.0.1:{port}: the port is in use; stop")
        assert process.wait(4) == 1
    listening.close(first)
    listening.close(listening.listen("127.0.0.1", port))  # free again


@pytest.mark.parametrize(
    ("host", "message"),
    [("no such host", "is no address"), ("192.0.2.1", "no interface"), ("a" * 300, "is no address")],
)
def test_a_host_that_cannot_be(host: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        listening.listen(host, 0)


def test_localhost_is_one_port() -> None:
    sockets = listening.listen("localhost", 0)
    assert len({each.getsockname()[1] for each in sockets}) == 1
    assert listening.address(sockets).startswith("http://")
    listening.close(sockets)


def test_a_unix_domain_socket(tmp_path: Path) -> None:
    path = tmp_path / "service"
    with program(uds=str(path)) as (process, line):
        assert line == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(4)
            client.connect(str(path))
            client.sendall(_GET)
            assert int(read_answer(client)[1]) == process.pid
        with pytest.raises(ServiceError, match="another process listens"):
            listening.listen_on_path(path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(4) == 0
        assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "service"
    with program(uds=str(path)) as (process, _):
        process.kill()
        process.wait()
    assert path.exists()
    listening.close(listening.listen_on_path(path))
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(ServiceError, match="no socket"):
        listening.listen_on_path(path)
    assert path.read_text() == "mine"


def test_other_signals_are_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with program() as (process, _):
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(4) == 0
    assert signal.getsignal(signal.SIGTERM) is before
