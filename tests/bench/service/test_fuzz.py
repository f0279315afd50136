"""A hundred and fifty bodies that no honest client sends, and that the harness notices what is wrong."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import pytest

from bench.service import fuzz as module
from bench.service.attacks import Attack, attack
from bench.service.fuzz import fuzz, meet
from bench.service.honest import Scene

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.mark.usefixtures("fashion_mnist_dir")
def test_nothing_breaks_hangs_or_grows(tmp_path: Path) -> None:
    found = fuzz(num_bodies=150, seed=11, keep=tmp_path / "kept")
    assert found["problems"] == []
    assert found["holds"]
    assert not (tmp_path / "kept").exists()
    assert len(found["statuses"]) > 10


@pytest.mark.usefixtures("fashion_mnist_dir")
def test_a_server_that_breaks_is_found_and_the_body_kept(tmp_path: Path) -> None:
    lying = (sys.executable, "-m", "bench.service.lies", "breaks")
    found = fuzz(num_bodies=40, seed=0, keep=tmp_path / "kept", command=lying)
    assert any("answered 500" in each for each in found["problems"])
    assert list((tmp_path / "kept").glob("*-embed.request"))
    assert not found["holds"]


def test_a_seed_makes_the_same_bodies_each_by_itself() -> None:
    one, two, other = Scene(5), Scene(5), Scene(6)
    numbers = [*range(60), 999]
    first = [attack(5, number, one, "m") for number in numbers]
    assert first == [attack(5, number, two, "m") for number in numbers[::-1]][::-1]
    assert [attack(6, number, other, "m").content for number in numbers] != [each.content for each in first]
    assert {each.route for each in first} == {"embed", "search", "put", "matches", "infer", "index"}


def served_once(answer: bytes | None) -> int:
    """A port at which one connection gets that answer and is then left hanging; None: nothing at all."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with listening, connection:
            connection.recv(1000)
            if answer is not None:
                connection.sendall(answer)
            threading.Event().wait(2.0)

    threading.Thread(target=serve, daemon=True).start()
    port: int = listening.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "neither answered nor closed in time"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "not closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "neither answered"),
        (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", "not closed"),
        (b"hello\r\n\r\n", "no answer of HTTP/1.1"),
    ],
)
def test_what_hangs_is_found(answer: bytes | None, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_S", 0.2)
    monkeypatch.setattr(module, "_BODY_S", 0.0)
    monkeypatch.setattr(module, "_CLOSE_S", 0.3)
    met = meet(served_once(answer), Attack(0, "x", "embed", b"GET / HTTP/1.1\r\n\r\n"))
    assert problem in met.problem
