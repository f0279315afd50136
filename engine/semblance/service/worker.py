"""One of several processes that serve as one, as the process itself sees it.

In: its number, the sockets that all share, and a link to the parent. Out: `serve`, which tells the parent when it is
ready and drains when the parent says so. The process ends on the spot when the parent is gone: its place may be taken
by another at once, which wants the port and the gallery's lock.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from starlette.types import ASGIApp

from semblance.service.server import Server, ServerOptions, run

# what is said over the link: one byte from the parent; from the child one, and why it failed
DRAIN, OTHERS_ENDED = b"d", b"o"
READY, FAILED = b"r", b"e"
_MOST_SAID = 2_000  # bytes, which a socket takes at once


class Worker:
    """What a worker's function is given beside its options."""

    def __init__(self, number: int, sockets: Sequence[socket.socket], folder: Path, link: socket.socket) -> None:
        self.number = number
        self.sockets = sockets
        self.folder = folder  # shared by all, for this user only
        self._link = link
        self._server: Server | None = None
        self._is_asked_to_drain = False
        self._others_ended = threading.Event()
        threading.Thread(target=self._follow, name="semblance-parent", daemon=True).start()

    @property
    def is_writer(self) -> bool:
        """Whether it is the one that may write."""
        return self.number == 0

    @property
    def writes_path(self) -> Path:
        """The socket by which others' changes come to the one that writes."""
        return self.folder / "writes"

    def serve(self, app: ASGIApp, options: ServerOptions) -> None:
        """As `semblance.service.server.serve`. The one that writes ends after all others, whose changes it makes."""

        def ready() -> None:
            options.on_ready()
            with suppress(OSError):
                self._link.send(READY)

        async def hold() -> None:
            await asyncio.to_thread(self._others_ended.wait, options.drain_s)
            if options.hold is not None:
                await options.hold()

        told = replace(options, on_ready=ready, hold=hold if self.is_writer else options.hold)
        server = Server(app, told, has_sockets=False)
        self._server = server
        if self._is_asked_to_drain:
            server.drain()
        run(server, self.sockets)

    def failed(self, error: Exception) -> None:
        """Tell the parent why there is no use in trying again."""
        with suppress(OSError):
            self._link.send(FAILED + str(error).encode(errors="replace")[:_MOST_SAID])

    def _follow(self) -> None:
        while True:
            try:
                command = self._link.recv(1)
            except OSError:
                command = b""
            if not command:
                os._exit(1)
            if command == OTHERS_ENDED:
                self._others_ended.set()
            elif command == DRAIN:
                self._is_asked_to_drain = True
                if self._server is not None:
                    self._server.drain()
