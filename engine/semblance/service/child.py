"""One of several workers as the parent sees it: a number, whichever process has it.

In: the name of a function and what it is given. Out: a process that runs it, what it says, and how it ended.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from semblance.errors import SemblanceError
from semblance.service.server import SIGNALS
from semblance.service.worker import FAILED, READY, Worker


@dataclass(slots=True)
class Child:
    """A worker."""

    number: int
    process: SpawnProcess | None = None
    link: socket.socket | None = None
    started_at: float = 0.0
    start_at: float | None = 0.0  # when to start it; None: it runs, or is not wanted any more
    is_ready: bool = False
    said: bytearray = field(default_factory=bytearray)

    def start(self, target: str, given: Any, sockets: Sequence[socket.socket], folder: Path) -> None:
        """A process that runs `target` ("module:function")."""
        ours, theirs = socket.socketpair()
        self.process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(target, given, list(sockets), self.number, folder, theirs)
        )
        # blocked in the child too, until it is in a session of its own
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            theirs.close()
        ours.setblocking(False)
        self.link, self.is_ready, self.said = ours, False, bytearray()
        self.started_at, self.start_at = time.monotonic(), None

    def tell(self, command: bytes) -> None:
        """Say something to it, if it is there."""
        if self.link is not None:
            with suppress(OSError):  # it has just died, which its sentinel says
                self.link.send(command)

    def hear(self) -> bool:
        """Take in what it says; whether that is that it is ready."""
        if self.link is None:
            return False
        try:
            said = self.link.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            said = b""
        if not said:
            self.link.close()
            self.link = None
        self.said += said
        was_ready, self.is_ready = self.is_ready, self.said.startswith(READY)
        return self.is_ready and not was_ready

    @property
    def why_failed(self) -> str:
        """What it said at its end; empty where it said nothing."""
        return self.said[len(FAILED) :].decode(errors="replace") if self.said.startswith(FAILED) else ""

    def bury(self) -> tuple[int, str]:
        """The process has ended: its number, and how."""
        assert self.process is not None
        assert self.process.pid is not None
        self.process.join()
        self.hear()  # its last words
        if self.link is not None:
            self.link.close()
        found = self.process.pid, _how(self.process.exitcode)
        self.process, self.link, self.is_ready = None, None, False
        return found


def _run(target: str, given: Any, sockets: list[socket.socket], number: int, folder: Path, link: socket.socket) -> None:
    os.setsid()
    worker = Worker(number, sockets, folder, link)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        module, _, name = target.partition(":")
        getattr(importlib.import_module(module), name)(given, worker)
    except SemblanceError as error:
        worker.failed(error)
        raise SystemExit(1) from None


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"
