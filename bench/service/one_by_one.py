"""Requests one after another over one kept connection, by a blocking socket: the leanest client that there can be.

In: a task for `Helper(work)`. Out: seconds of each request, from its first byte sent to the last of its answer.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import numpy as np

from bench.service.wire import HOST, AnswerReader

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Requests:
    """`calls` requests, in turn from `requests`; the answer's vectors are compared afterwards."""

    port: int
    requests: list[bytes]
    expected: list[bytes]
    tolerance: float
    calls: int
    first: int = 0  # place of the first request


def work(task: Requests) -> list[float]:
    """Seconds of each. Raises ValueError for an answer that is not the right one."""
    reader, seconds = AnswerReader(), []
    with socket.create_connection((HOST, task.port), _PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(task.first, task.first + task.calls):
            place = number % len(task.requests)
            reader.reset()
            start = time.perf_counter()
            connection.sendall(task.requests[place])
            is_complete = False
            while not is_complete:
                data = connection.recv(65_536)
                if not data:
                    raise ValueError("the server closed the connection")
                is_complete = reader.feed(data)
            seconds.append(time.perf_counter() - start)
            _check(reader, task.expected[place], task.tolerance)
    return seconds


def _check(reader: AnswerReader, expected: bytes, tolerance: float) -> None:
    if reader.status != 200:
        raise ValueError(f"answered {reader.status}: {reader.body[:200]!r}")
    if reader.body != expected:
        found = np.frombuffer(reader.body, np.float32)
        wanted = np.frombuffer(expected, np.float32)
        if found.shape != wanted.shape or not np.abs(found - wanted).max() <= tolerance:
            raise ValueError("answered with another vector than the encoder's")
