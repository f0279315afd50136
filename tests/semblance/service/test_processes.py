"""`semblance serve` killed, asked to end, and beside itself: what was acknowledged is there, and nothing hangs."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from semblance.gallery.gallery import VectorGallery
from tests.semblance.service.drawn import NUM_PICTURES, copy_of, make_gallery, picture
from tests.semblance.service.real import (
    Serve,
    ask,
    is_alive,
    read_answer,
    serving,
    starting,
    wait_for,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

_PNG = {"Content-Type": "image/png"}
_PATIENCE_S = 1.0  # until everybody has seen a change


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gallery(tmp_path_factory.mktemp("processes"))


@pytest.fixture
def gallery(original: Path, tmp_path: Path) -> Path:
    return copy_of(original, tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# Which of several answers, and which writes


def _writer_of(gallery: Path) -> int:
    """The process that holds the gallery's lock."""
    return int(json.loads((gallery / "lock").read_text())["pid"])


@contextmanager
def _paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _one_each(serve: Serve) -> Iterator[dict[int, HTTPConnection]]:
    """A connection to each of two workers: while the other does not run, only one can take it."""
    one, other = workers = serve.workers()
    found = {}
    try:
        for worker, paused in ((one, other), (other, one)):
            with _paused(paused):
                found[worker] = serve.client()
                assert ask(found[worker], "GET", "/healthz").status == 200
        yield {worker: found[worker] for worker in workers}
    finally:
        for client in found.values():
            client.close()


def _put(client: HTTPConnection, key: int, seed: int) -> int:
    """The status of putting the picture `seed` at `key`."""
    return ask(client, "PUT", f"/v1/images/{key}?label=put", picture(seed), _PNG).status


def _nearest(client: HTTPConnection, seed: int) -> int:
    answer = ask(client, "POST", "/v1/search?k=1", picture(seed), _PNG)
    assert answer.status == 200, answer
    (hit,) = answer.document["neighbours"]
    return int(hit["key"])


def _stored(gallery: Path) -> dict[int, str]:
    """What is on the disk: sha256 by key."""
    vectors = VectorGallery.open(gallery)
    return {row.key: row.sha256 for row in vectors.facts(vectors.keys)}


# ----------------------------------------------------------------------------------------------------------------------


def test_what_one_worker_took_all_search(gallery: Path) -> None:
    with serving(gallery, "--workers", 2) as serve, _one_each(serve) as clients:
        for number, (taking, client) in enumerate(clients.items()):
            key = 100 + number
            assert _put(client, key, key) == 201
            assert _nearest(client, key) == key  # at once, where it was taken
            (other,) = (each for worker, each in clients.items() if worker != taking)
            wait_for(lambda other=other, key=key: _nearest(other, key) == key, _PATIENCE_S)
            assert _put(other, key, key) == 200  # it knows that the key is there

            assert ask(client, "DELETE", f"/v1/images/{key}").status == 204
            assert _nearest(client, key) != key
            assert ask(client, "GET", f"/v1/images/{key}").status == 404
            wait_for(lambda other=other, key=key: _nearest(other, key) != key, _PATIENCE_S)
            assert ask(other, "DELETE", f"/v1/images/{key}").status == 404
        assert _writer_of(gallery) in clients


def test_connections_come_to_all_workers(gallery: Path) -> None:
    with serving(gallery, "--workers", 2, "--threads", 1) as serve:
        with ThreadPoolExecutor(16) as pool:
            keys = range(200, 264)
            assert set(pool.map(lambda key: serve.ask("PUT", f"/v1/images/{key}", picture(key)).status, keys)) == {201}
        with _one_each(serve) as clients:
            for client in clients.values():
                wait_for(
                    lambda client=client: (
                        ask(client, "GET", "/v1/info").document["gallery"]["images"] == NUM_PICTURES + 64
                    ),
                    _PATIENCE_S,
                )


def test_the_writing_worker_is_killed(gallery: Path) -> None:
    with serving(gallery, "--workers", 2, "--threads", 1) as serve:
        acknowledged: dict[int, str] = {}
        statuses: Counter[int] = Counter()
        first = _writer_of(gallery)
        (reader,) = (each for each in serve.workers() if each != first)
        is_over = threading.Event()

        def put(start: int) -> None:
            for key in itertools.count(start, 4):
                if is_over.is_set():
                    return
                try:
                    answer = serve.ask("PUT", f"/v1/images/{key}", picture(key), _PNG)
                except (OSError, HTTPException):  # it was at the one that was killed
                    continue
                statuses[answer.status] += 1
                if answer.status in (200, 201):
                    acknowledged[key] = answer.document["sha256"]
                else:
                    assert answer.document["status"] == answer.status
                    assert answer.status in (429, 503, 504), answer
                    time.sleep(0.02)

        with ThreadPoolExecutor(4) as pool:
            putting = [pool.submit(put, 1000 + number) for number in range(4)]
            try:
                wait_for(lambda: len(acknowledged) >= 12)
                os.kill(first, signal.SIGKILL)
                before = len(acknowledged)
                wait_for(lambda: len(serve.workers()) == 2 and _is_writing(gallery, first), 8)
                wait_for(lambda: len(acknowledged) >= before + 20, 8)
            finally:
                is_over.set()
            for each in putting:
                each.result(8)
        second = _writer_of(gallery)
        assert second != first
        assert is_alive(reader)
        with _one_each(serve) as clients:
            assert set(clients) == {reader, second}
            for client in clients.values():
                answer = ask(client, "GET", f"/v1/images/{max(acknowledged)}", headers={"Accept": "application/json"})
                assert answer.document["sha256"] == acknowledged[max(acknowledged)]
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0, serve.log
    stored = _stored(gallery)
    assert acknowledged.items() <= stored.items(), statuses


def _is_writing(gallery: Path, other_than: int) -> bool:
    with suppress(OSError, ValueError):
        return _writer_of(gallery) != other_than
    return False


def test_the_parent_is_killed(gallery: Path) -> None:
    with serving(gallery, "--workers", 2, "--threads", 1) as serve:
        workers, port = serve.workers(), serve.port
        with _one_each(serve) as clients:
            for key, client in enumerate(clients.values(), 300):
                assert _put(client, key, key) == 201
        serve.process.kill()
        wait_for(lambda: not any(map(is_alive, workers)), 5)
        wait_for(lambda: _is_refused(serve), 1)  # their last threads take some milliseconds more
    with serving(gallery, "--workers", 2, "--threads", 1, "--port", port) as serve:
        assert serve.port == port
        with _one_each(serve) as clients:
            for client in clients.values():
                assert [_nearest(client, key) for key in (300, 301)] == [300, 301]
                assert _put(client, 302, 302) in (200, 201)


def _is_refused(serve: Serve) -> bool:
    try:
        serve.connect().close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("num_workers", [1, 2])
def test_asked_to_end_under_load(gallery: Path, num_workers: int) -> None:
    """Every request sent before the signal is answered, and one that is half sent too; then nobody is let in."""
    with serving(gallery, "--workers", num_workers, "--threads", 1, "--drain-s", 5) as serve:
        acknowledged: dict[int, str] = {}
        asked_at = float("inf")
        unanswered: list[object] = []
        statuses: Counter[int] = Counter()

        def put(keys: Iterator[int]) -> None:
            """On one connection until it is closed, then on new ones, until none is taken."""
            while True:
                sent_at = time.monotonic()
                try:
                    with _client(serve) as client:
                        is_open = True
                        while is_open:
                            key, sent_at = next(keys), time.monotonic()
                            answer = ask(client, "PUT", f"/v1/images/{key}", picture(key), _PNG)
                            statuses[answer.status] += 1
                            if answer.status == 201:
                                acknowledged[key] = answer.document["sha256"]
                            is_open = answer.headers.get("connection") != "close"
                except ConnectionRefusedError:
                    assert time.monotonic() > asked_at
                    return
                except (OSError, HTTPException) as error:
                    # only what is sent to a port or a connection that is being closed may come to nothing
                    if sent_at < asked_at:
                        unanswered.append(error)

        slow, content = serve.connect(), picture(99)
        slow.sendall(b"PUT /v1/images/99 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(content))
        slow.sendall(content[:10])
        with slow, ThreadPoolExecutor(12) as pool:
            putting = [pool.submit(put, itertools.count(1000 + number, 12)) for number in range(12)]
            wait_for(lambda: len(acknowledged) >= 30)
            asked_at = time.monotonic()
            serve.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            slow.sendall(content[10:])
            answer = read_answer(slow)
            for each in putting:
                each.result(8)
        assert serve.end() == 0, serve.log
        assert not unanswered
        assert answer.status == 201, answer
        acknowledged[99] = answer.document["sha256"]
        assert set(statuses) <= {201, 503}, statuses
        assert _is_refused(serve)
        assert "Traceback" not in serve.log
    assert acknowledged.items() <= _stored(gallery).items()


def test_what_had_arrived_when_it_was_asked_to_end_is_answered(gallery: Path) -> None:
    """A process that is busy at that moment has not read it yet: on connections that it has, and on a new one."""
    with serving(gallery, "--threads", 1) as serve, ExitStack() as stack:
        clients = [stack.enter_context(_client(serve)) for _ in range(6)]
        for client in clients:
            assert ask(client, "GET", "/healthz").status == 200
        with _paused(serve.process.pid):
            clients.append(stack.enter_context(_client(serve)))
            for key, client in enumerate(clients, 600):
                client.request("PUT", f"/v1/images/{key}", picture(key), _PNG)
            serve.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        for client in clients:
            answer = client.getresponse()
            assert answer.status in (201, 503)
            assert answer.getheader("connection") == "close"
            answer.read()
        assert serve.end() == 0


def _requests_in(lines: list[str]) -> dict[tuple[str, str, str], float]:
    """How many requests were counted, by method, route and status."""
    found = {}
    for line in lines:
        if match := re.fullmatch(r"semblance_requests_total\{(.*)\} (\S+)", line):
            told = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
            found[told["method"], told["route"], told["status"]] = float(match[2])
    return found


def test_figures_of_all_workers_add_up(gallery: Path) -> None:
    with serving(gallery, "--workers", 2, "--threads", 1) as serve:
        seen: Counter[tuple[str, str, str]] = Counter()
        with _one_each(serve) as clients:
            seen["GET", "/healthz", "200"] += len(clients)
            for number, client in enumerate(clients.values(), 1):
                for _ in range(3 * number):
                    answer = ask(client, "POST", "/v1/embed", picture(1), _PNG)
                    seen["POST", "/v1/embed", str(answer.status)] += 1
                seen["PUT", "/v1/images/{key}", str(_put(client, 400 + number, number))] += 1
                seen["GET", "unmatched", str(ask(client, "GET", f"/{number}").status)] += 1
            for client in clients.values():

                def lines_add_up(client: HTTPConnection = client) -> bool:
                    """A request counts at its end, of which its client hears a moment earlier."""
                    lines = ask(client, "GET", "/metrics").content.decode().splitlines()
                    found, expected = _requests_in(lines), Counter(seen)
                    seen["GET", "/metrics", "200"] += 1
                    by_name = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
                    assert float(by_name['semblance_images_total{outcome="embedded"}']) == 9 + 2
                    assert float(by_name["semblance_changes_total"]) == 2
                    assert float(by_name["semblance_gallery_images"]) == NUM_PICTURES + 2
                    return found == expected

                wait_for(lines_add_up)
            # what a worker counted before it was killed stays counted
            killed, left = clients
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: len(serve.workers()) == 2 and killed not in serve.workers(), 8)
            text = ask(clients[left], "GET", "/metrics").content.decode()
            assert re.search(r'semblance_requests_total\{[^}]*route="/v1/embed"[^}]*\} 9\.0', text), text


def test_what_is_pending_and_how_many_pictures_there_are_is_known_to_all_workers(gallery: Path) -> None:
    with serving(gallery, "--workers", 2, "--threads", 1) as serve, _one_each(serve) as clients:
        names = ("gallery_images", "pending_images", "pending_bytes")

        def told(client: HTTPConnection) -> list[float]:
            lines = ask(client, "GET", "/metrics").content.decode().splitlines()
            by_name = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
            return [float(by_name[f"semblance_{name}"]) for name in names]

        for key, client in enumerate(clients.values()):
            for _ in range(5):
                assert ask(client, "POST", "/v1/embed", picture(1), _PNG).status == 200
            assert ask(client, "DELETE", f"/v1/images/{key}").status == 204
            for asked in clients.values():
                wait_for(lambda asked=asked, num=NUM_PICTURES - key - 1: told(asked) == [num, 0, 0], _PATIENCE_S)


def test_a_second_one_that_would_write(gallery: Path) -> None:
    with serving(gallery, "--threads", 1) as serve:
        own = [gallery, "--model", gallery.parent / "tiny.onnx", "--port", 0]
        for more in ([], ["--workers", 2]):
            with starting(*own, *more) as second:
                assert second.end() == 1
                lines = [line for line in second.lines if not line.startswith('{"') or '"level": "info"' not in line]
                assert len(lines) == 1, second.log
                assert str(serve.process.pid) in lines[0]
                assert "is being written by" in lines[0]
        with starting(*own, "--port", serve.port, "--read-only") as second:
            assert second.end() == 1
            (line,) = second.lines
            assert "in use" in line


def test_one_that_only_reads_beside_one_that_writes(gallery: Path) -> None:
    with (
        serving(gallery, "--threads", 1) as serve,
        serving(gallery, "--threads", 1, "--read-only") as second,
        _client(serve) as one,
        _client(second) as two,
    ):
        assert not ask(two, "GET", "/v1/info").document["gallery"]["is_writable"]
        assert _put(two, 500, 500) == 403
        assert ask(two, "DELETE", "/v1/images/1").status == 403
        assert _put(one, 500, 500) == 201
        wait_for(lambda: _nearest(two, 500) == 500, _PATIENCE_S)
        assert ask(one, "DELETE", "/v1/images/500").status == 204
        wait_for(lambda: _nearest(two, 500) != 500, _PATIENCE_S)


@contextmanager
def _client(serve: Serve) -> Iterator[HTTPConnection]:
    client = serve.client()
    try:
        yield client
    finally:
        client.close()


def test_killed_while_it_takes_pictures(gallery: Path) -> None:
    acknowledged: dict[int, str] = {}
    with serving(gallery, "--threads", 1) as serve:

        def put(start: int) -> None:
            with suppress(OSError, HTTPException), _client(serve) as client:
                for key in itertools.count(start, 20):
                    if _put(client, key, key) == 201:
                        acknowledged[key] = hashlib.sha256(picture(key)).hexdigest()

        with ThreadPoolExecutor(20) as pool:
            putting = [pool.submit(put, 1000 + number) for number in range(20)]
            wait_for(lambda: len(acknowledged) >= 100)
            serve.process.kill()
            for each in putting:
                each.result(8)
    with serving(gallery, "--threads", 1) as serve, _client(serve) as client:
        for key, digest in acknowledged.items():
            answer = ask(client, "GET", f"/v1/images/{key}", headers={"Accept": "application/json"})
            assert answer.document["sha256"] == digest
        assert _put(client, 999, 999) == 201
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
    assert acknowledged.items() <= _stored(gallery).items()


def test_no_port_is_left_open_in_what_a_dead_parent_leaves(gallery: Path) -> None:
    """Killed before its workers are ready: they end all the same."""
    own = [gallery, "--model", gallery.parent / "tiny.onnx", "--port", 0, "--workers", 2]
    with starting(*own) as serve:
        wait_for(lambda: len(serve.workers()) == 2)
        workers = serve.workers()
        serve.process.kill()
        wait_for(lambda: not any(map(is_alive, workers)), 8)
    with serving(gallery, "--threads", 1) as serve, socket.create_connection(("127.0.0.1", serve.port)):
        assert serve.ask("GET", "/readyz").status == 200
