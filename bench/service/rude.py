"""Clients as nobody wants them: those that hang up in the middle, and those that send a byte now and then.

In: a port. Out: counts, and how long the server bore a connection that dripped. Each uses a connection of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from dataclasses import dataclass

import numpy as np

from bench.service.wire import HOST, RAW, request

_CONNECT_S = 5.0
_LINGER_0 = struct.pack("ii", 1, 0)  # close by a reset, as a client that crashed
_OPEN_S = 120.0  # after which a connection that drips is given up: the server does not mind


@dataclass(frozen=True, slots=True)
class HungUp:
    """A client that left."""

    at: float
    is_sent: bool  # its request was sent whole


@dataclass(frozen=True, slots=True)
class Dripped:
    """A connection that sent byte by byte, from its opening to its end."""

    part: str  # headers or body
    start: float
    end: float
    status: int  # that the server answered at its end; 0: none

    @property
    def seconds(self) -> float:
        return self.end - self.start


async def hang_up(port: int, content: bytes, rng: np.random.Generator, most_wait_s: float) -> HungUp | None:
    """Send a part or all of a request, wait a moment, and leave; None where nobody listens."""
    is_whole = bool(rng.integers(2))
    cut = len(content) if is_whole else int(rng.integers(1, len(content)))
    try:
        opened = asyncio.open_connection(HOST, port)
        _, writer = await asyncio.wait_for(opened, _CONNECT_S)
    except OSError:
        return None
    at = time.monotonic()
    writer.write(content[:cut])
    await asyncio.sleep(float(rng.uniform(0, most_wait_s)))
    if rng.integers(2) and not writer.transport.is_closing():
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    writer.transport.abort()
    return HungUp(at, is_whole)


async def drip(port: int, part: str, interval_s: float, until: float) -> Dripped | None:
    """Send a request whose headers, or whose body, come byte by byte, until the server has enough; None at the end."""
    content = request("POST", "/v1/embed", bytes(4096), {"Content-Type": RAW, "X-Filler": "x" * 2000})
    head = content.index(b"\r\n\r\n") + 4
    sent = 1 if part == "headers" else head + 1
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(HOST, port), _CONNECT_S)
    except OSError:
        await asyncio.sleep(0.2)
        return None
    start = time.monotonic()
    answer = asyncio.ensure_future(reader.read())
    try:
        writer.write(content[:sent])
        while not answer.done():
            await asyncio.wait((answer,), timeout=interval_s)
            if time.monotonic() > until:
                return None
            if writer.transport.is_closing() or time.monotonic() > start + _OPEN_S:
                break
            writer.write(content[sent : sent + 1])
            sent += 1
        await asyncio.wait((answer,), timeout=interval_s)
        said = answer.result() if answer.done() and answer.exception() is None else b""
        status = int(said[9:12]) if said.startswith(b"HTTP/1.1 ") else 0
        return Dripped(part, start, time.monotonic(), status)
    finally:
        answer.cancel()
        writer.transport.abort()
