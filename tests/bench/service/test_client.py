"""The client against servers that are known: it counts from when a request was due, and notices what is wrong."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from bench.service.client import arrivals, run_plan
from bench.service.load import FAILURES, RIGHT, UNCHECKED, WRONG, Piece, Plan
from bench.service.wire import request
from semblance.errors import BackendError

VECTOR = np.array([1.0, 2.0, 3.0, 4.0], np.float32)


def answer(body: bytes, status: int = 200, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@contextmanager
def served(reply: Callable[[int], bytes | None]) -> Iterator[int]:
    """A server that gives `reply(n)` to its n-th request, and closes where that is None."""
    lock, count = threading.Lock(), 0

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            nonlocal count
            while self.rfile.readline():
                while self.rfile.readline().strip():
                    pass
                with lock:
                    number, count = count, count + 1
                said = reply(number)
                if said is None:
                    return
                self.wfile.write(said)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def plan(port: int, **fields: Any) -> Plan:
    piece = Piece(request("GET", "/"), "good", 1, VECTOR.tobytes())
    return Plan(port=port, groups=((1.0, (piece,)),), **{"seconds": 0.3, "tolerance": 1e-6, **fields})


def test_a_closed_loop_keeps_so_many_in_flight_and_all_answers_are_right() -> None:
    with served(lambda _: answer(VECTOR.tobytes())) as port:
        seen = run_plan(plan(port, concurrency=4))
    assert len(seen) > 20
    assert (seen.verdict == RIGHT).all()
    assert (seen.status == 200).all()
    assert ((seen.due <= seen.sent) & (seen.sent <= seen.first) & (seen.first <= seen.finished)).all()
    assert seen.images_per_s() > 0


def test_another_vector_is_wrong_and_one_within_the_tolerance_is_right() -> None:
    bodies = [VECTOR.tobytes(), (VECTOR + 1e-7).tobytes(), VECTOR[::-1].tobytes(), b"", (VECTOR * np.nan).tobytes()]
    with served(lambda number: answer(bodies[number % len(bodies)])) as port:
        seen = run_plan(plan(port, concurrency=1))
    assert set(seen.verdict[0::5]) == {RIGHT}
    assert set(seen.verdict[1::5]) == {RIGHT}
    for place in (2, 3, 4):
        assert set(seen.verdict[place::5]) == {WRONG}
    assert any("off by" in each for each in seen.examples)


def test_a_stall_is_charged_to_every_request_that_was_due_meanwhile() -> None:
    """Coordinated omission: by the time from sending alone, only one request is slow."""

    def stalls(number: int) -> bytes:
        if number == 20:
            time.sleep(0.4)
        return answer(VECTOR.tobytes())

    with served(stalls) as port:
        seen = run_plan(plan(port, rate_per_s=100.0, is_poisson=False, seconds=0.6, max_connections=1))
    assert len(seen) == 60
    assert (seen.finished - seen.sent > 0.15).sum() == 1
    assert (seen.finished - seen.due > 0.15).sum() > 15


def test_refusals_are_no_failures_and_are_not_compared() -> None:
    with served(lambda _: answer(b"{}", 429)) as port:
        seen = run_plan(plan(port, concurrency=1))
    assert (seen.status == 429).all()
    assert (seen.verdict == UNCHECKED).all()
    assert not seen.failure.any()
    assert seen.images_per_s() == 0


def test_a_broken_connection_is_a_failure() -> None:
    with served(lambda number: answer(VECTOR.tobytes())[:-3] if number % 2 else None) as port:
        seen = run_plan(plan(port, rate_per_s=20.0, limit_s=0.6))
    assert {FAILURES[each] for each in seen.failure} == {"broken", "late"}
    assert (seen.verdict == UNCHECKED).all()


def test_a_kept_connection_that_the_server_closed_is_tried_once_more() -> None:
    with served(lambda number: None if number == 1 else answer(VECTOR.tobytes())) as port:
        seen = run_plan(plan(port, concurrency=1))
    assert seen.num_retried == 1
    assert (seen.verdict == RIGHT).all()


def test_connection_close_is_heeded() -> None:
    with served(lambda _: answer(VECTOR.tobytes(), more="Connection: close\r\n")) as port:
        seen = run_plan(plan(port, concurrency=2, seconds=0.2))
    assert (seen.verdict == RIGHT).all()


def test_nobody_listening_is_told_apart() -> None:
    with served(lambda _: None) as port:
        pass
    seen = run_plan(plan(port, rate_per_s=50.0, seconds=0.2))
    assert {FAILURES[each] for each in seen.failure} == {"unreachable"}


def test_arrivals_have_the_rate_that_is_asked_for() -> None:
    even = arrivals(100.0, 2.0, None)
    assert len(even) == 200
    assert np.allclose(np.diff(even), 0.01)
    random = arrivals(1000.0, 5.0, np.random.default_rng(0))
    assert abs(len(random) - 5000) < 300
    assert random.max() < 5
    assert np.std(np.diff(random)) == pytest.approx(1e-3, rel=0.1)  # as of an exponential distribution


def test_an_error_in_a_helper_is_raised_here() -> None:
    from bench.service.processes import Helper

    with Helper(run_plan, name="client") as helper, pytest.raises(BackendError, match="the client failed"):
        helper.ask("no plan")
