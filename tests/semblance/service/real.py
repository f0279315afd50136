"""`semblance serve` as a program of its own, and clients that ask it, some of them badly."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r"serving .* at http://127\.0\.0\.1:(\d+)")


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers  # names in lower case
        self.content = content

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.content)
        assert isinstance(found, dict)
        return found

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.content[:400]!r}"


class Serve:
    """A running program."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.port = 0
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_until_ready(self, seconds: float = 20) -> None:
        def found() -> bool:
            match = _ADDRESS.search(self.log)
            self.port = int(match[1]) if match else 0
            return bool(match) or self.process.poll() is not None

        wait_for(found, seconds)
        assert self.port, self.log

    def end(self, seconds: float = 10) -> int:
        """The status, once it has ended by itself."""
        status = self.process.wait(seconds)
        self._reading.join(2)
        return status

    def workers(self) -> list[int]:
        """The process numbers of those that serve, where there are several."""
        found = []
        for pid in _children(self.process.pid):
            with suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def resident_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) << 10

    # ------------------------------------------------------------------------------------------------------------------

    def connect(self, timeout: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def client(self, timeout: float = 10) -> HTTPConnection:
        """A connection that stays open from one request to the next."""
        found = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        found.connect()
        return found

    def ask(self, method: str, path: str, body: object = b"", headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own; what is no bytes goes as JSON."""
        client = self.client()
        try:
            return ask(client, method, path, body, headers)
        finally:
            client.close()

    def raw(self, *pieces: bytes, timeout: float = 10) -> Answer:
        """Bytes as they are, on a connection of their own."""
        with self.connect(timeout) as client:
            with suppress(ConnectionError):  # an answer may have come before the end
                for piece in pieces:
                    client.sendall(piece)
            return read_answer(client, is_head=pieces[0].startswith(b"HEAD "))


def ask(
    client: HTTPConnection, method: str, path: str, body: object = b"", headers: dict[str, str] | None = None
) -> Answer:
    """One request on an open connection."""
    told = dict(headers or {})
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        told.setdefault("Content-Type", "application/json")
    client.request(method, path, body or None, told)
    answer = client.getresponse()
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def read_answer(client: socket.socket, *, is_head: bool = False) -> Answer:
    """The next answer, which has a length; to HEAD only its head."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(1)  # no more: what follows may be the next answer
        if not piece:
            raise ConnectionError(f"closed after {head!r}")
        head += piece
    content = b""
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while not is_head and (missing := int(headers.get("content-length", 0)) - len(content)):
        piece = client.recv(missing)
        if not piece:
            raise ConnectionError(f"closed within {content[:100]!r}")
        content += piece
    return Answer(int(first.split()[1]), headers, content)


def wait_for(condition: Callable[[], object], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(each) for each in path.read_text().split()]
    return found


@contextmanager
def starting(*arguments: object, env: dict[str, str] | None = None) -> Iterator[Serve]:
    """`semblance serve ARGUMENTS`, perhaps not ready yet; killed at the end with its workers."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SEMBLANCE_SERVE_")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from semblance.cli import main; main()", "serve", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**environ, **(env or {})},
    )
    serve = Serve(process)
    try:
        yield serve
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def serving(gallery: Path, *arguments: object, env: dict[str, str] | None = None) -> Iterator[Serve]:
    """The same, ready, on a port of its own."""
    own: Sequence[object] = [gallery, "--model", gallery.parent / "tiny.onnx"]
    with starting(*own, "--port", 0, *arguments, env=env) as serve:
        serve.wait_until_ready()
        yield serve
