"""A small ASGI application, served in this process's thread or by this file as a program of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semblance.errors import SemblanceError, ServiceError
from semblance.service import sockets as listening
from semblance.service.gate import Limits
from semblance.service.server import Server, ServerOptions, run, serve
from semblance.service.worker import Worker
from semblance.service.workers import WorkerOptions, supervise


async def app(scope: Any, receive: Any, send: Any) -> None:
    """/echo: the body's length; /slow/S: the same S seconds later; /early: 413 without reading; and so on."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    path, status, body = scope["path"], 200, b"ok"
    if path == "/echo" or path.startswith("/slow/"):
        num_bytes, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            num_bytes += len(message["body"])
            more = message["more_body"]
        if path.startswith("/slow/"):
            await asyncio.sleep(float(path[6:]))
        body = str(num_bytes).encode()
    elif path == "/early":
        status = 413
    elif path == "/big":
        body = bytes(64 << 20)
    elif path == "/pid":
        body = str(os.getpid()).encode()
    elif path == "/headers":
        await receive()
        body = json.dumps([[name.decode(), value.decode()] for name, value in scope["headers"]]).encode()
    elif path == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    for start in range(0, len(body), 1 << 16):
        await send({"type": "http.response.body", "body": body[start : start + (1 << 16)], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Serving:
    """The application in a thread."""

    def __init__(self, limits: Limits, application: Any = app, **options: Any) -> None:
        self.refused: Counter[str] = Counter()
        self.drained: list[bool] = []
        sockets = listening.listen("127.0.0.1", 0)
        self.port = int(sockets[0].getsockname()[1])
        told = ServerOptions(
            limits=limits,
            on_refused=lambda reason: self.refused.update([reason]),
            on_drain=lambda: self.drained.append(True),
            **options,
        )
        self.server = Server(application, told)
        self.thread = threading.Thread(target=run, args=(self.server, sockets))
        self.thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=4)

    def ask(self, request: bytes) -> bytes:
        """All that comes back until the server closes."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)


@contextmanager
def serving(limits: Limits | None = None, **options: Any) -> Iterator[Serving]:
    found = Serving(limits or Limits(), **{"drain_s": 1.0, **options})
    try:
        yield found
    finally:
        found.server.drain()
        found.thread.join(8)
        assert not found.thread.is_alive()


def wait_until(is_so: Callable[[], object], seconds: float = 4.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def read_all(client: socket.socket) -> bytes:
    found = b""
    while piece := client.recv(1 << 16):
        found += piece
    return found


def read_answer(client: socket.socket) -> tuple[bytes, bytes]:
    """One answer's head and body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        assert piece, head
        head += piece
    num_bytes = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = b""
    while len(body) < num_bytes:
        piece = client.recv(num_bytes - len(body))
        assert piece, body
        body += piece
    return head, body


def document(answer: bytes) -> dict[str, Any]:
    """The problem document of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower(), answer
    assert b"connection: close" in head.lower()
    found: dict[str, Any] = json.loads(body)
    assert found["status"] == int(head.split()[1])
    return found


# ----------------------------------------------------------------------------------------------------------------------
# As a program: `python trivial.py JSON`; its first line is where it listens, or what is wrong


@contextmanager
def program(**options: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its first line."""
    command = [sys.executable, str(Path(__file__)), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def run_worker(given: dict[str, Any], worker: Worker) -> None:
    if "fails_if" in given and Path(given["fails_if"]).exists():
        raise ServiceError("the gallery is not there")
    if given.get("dies"):
        os._exit(3)
    worker.serve(app, ServerOptions(drain_s=given.get("drain_s", 1.0)))


def main() -> None:
    given = json.loads(sys.argv[1])
    times = {"drain_s": given.get("drain_s", 1.0), "drain_delay_s": given.get("drain_delay_s", 0.0)}
    try:
        if "uds" in given:
            sockets = listening.listen_on_path(Path(given["uds"]))
        else:
            sockets = listening.listen("127.0.0.1", given.get("port", 0))

        def ready() -> None:
            print(listening.address(sockets) if sockets[0].fileno() != -1 else "", flush=True)

        if num_workers := given.get("workers"):
            options = WorkerOptions(num_workers=num_workers, **times)
            supervise("trivial:run_worker", given, sockets, options, ready)
        else:
            serve(app, ServerOptions(on_ready=ready, **times), sockets)
    except SemblanceError as error:
        print(error, flush=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
