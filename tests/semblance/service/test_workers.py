"""Several processes that serve as one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.semblance.service.trivial import program, read_answer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def _connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=4)


def _pid(address: str) -> int:
    with _connect(address) as client:
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return int(read_answer(client)[1])


def _children(parent: subprocess.Popen[str]) -> set[int]:
    """Its workers: not the process by which multiprocessing cleans up."""
    text = subprocess.run(["pgrep", "-P", str(parent.pid), "-f", "spawn_main"], capture_output=True, text=True).stdout
    return {int(each) for each in text.split()}


def _wait_for(condition: object, seconds: float = 4) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_they_serve_and_drain() -> None:
    with program(workers=2, drain_s=3) as (process, address):
        children = _children(process)
        assert len(children) == 2
        assert {_pid(address) for _ in range(20)} <= children
        with _connect(address) as busy:
            busy.sendall(b"GET /slow/0.8 HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(ConnectionRefusedError):
                _connect(address)
            assert read_answer(busy)[1] == b"0"
        assert process.wait(5) == 0
        assert not any(map(_is_alive, children))


def test_one_that_died_is_replaced() -> None:
    with program(workers=2) as (process, address):
        before = _children(process)
        with _connect(address) as client:
            client.sendall(b"GET /die HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(1) == b""
        _wait_for(lambda: len(_children(process)) == 2 and _children(process) != before)
        assert len(before & _children(process)) == 1
        assert _pid(address)


def test_a_signal_to_all_of_them_drains_as_well() -> None:
    with program(workers=2, drain_s=3) as (process, address), _connect(address) as busy:
        busy.sendall(b"GET /slow/0.6 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        for pid in (process.pid, *_children(process)):  # as systemd does it
            os.kill(pid, signal.SIGTERM)
        assert read_answer(busy)[1] == b"0"
        assert process.wait(5) == 0


def test_a_second_signal_ends_them_at_once() -> None:
    with program(workers=2, drain_s=30) as (process, address), _connect(address) as busy:
        children = _children(process)
        busy.sendall(b"GET /slow/20 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(3) == 128 + signal.SIGINT
        assert not any(map(_is_alive, children))


def test_none_outlives_the_parent() -> None:
    with program(workers=2) as (process, address):
        children = _children(process)
        process.kill()
        process.wait()
        _wait_for(lambda: not any(map(_is_alive, children)))
        with pytest.raises(ConnectionRefusedError):
            _connect(address)


def test_it_gives_up_on_workers_that_die() -> None:
    with program(workers=1, dies=True) as (process, line):
        assert line.startswith("workers died 5 times within 30 s of their start, the last (number 0) with status 3")
        assert process.wait(5) == 1


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with program(workers=2, fails_if=str(tmp_path)) as (process, line):
        assert line == "the gallery is not there"
        assert process.wait(5) == 1


def test_a_service_that_was_ready_tries_again(tmp_path: Path) -> None:
    obstacle = tmp_path / "lock"
    with program(workers=1, fails_if=str(obstacle)) as (process, address):
        obstacle.touch()
        os.kill(min(_children(process)), signal.SIGKILL)
        time.sleep(1)
        obstacle.unlink()
        assert _pid(address) in _children(process)  # the connection waited for it


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with program(workers=2) as (process, _):
        (folder,) = tmp_path.glob("semblance-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "metrics").is_dir()
        environment = Path(f"/proc/{min(_children(process))}/environ").read_text()
        assert f"PROMETHEUS_MULTIPROC_DIR={folder}/metrics" in environment
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert not list(tmp_path.glob("semblance-*"))


def test_a_unix_domain_socket_for_all(tmp_path: Path) -> None:
    path = tmp_path / "service"
    with program(workers=2, uds=str(path)) as (process, line):
        assert line == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(4)
            client.connect(str(path))
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
            assert int(read_answer(client)[1]) in _children(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert not path.exists()
