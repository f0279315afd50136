"""A thousand bodies that no honest client sends, one after another, against every route that takes one.

In: how many, and a seed. Out: what was answered by sort of mischief, and every problem: a 5xx, a connection that is
neither answered nor closed in its time, an error that is no problem document, memory that grows, a wrong embedding
afterwards. What failed is kept as the bytes of its request.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bench.service.attacks import Attack, attack, warm_up
from bench.service.honest import Scene
from bench.service.pictures import model_file, pictures_for
from bench.service.serving import COMMAND, Serving
from bench.service.wire import HOST, AnswerReader, embed_request
from semblance.inference.encoder import Encoder
from semblance.search import Gallery

MOST_GROWTH = 1.15  # of memory at the end, over what the largest pictures took before, each on every route
MOST_LATE_GROWTH = 1.1  # and over what it was in the middle
_HEADER_S, _BODY_S = 1.0, 1.0  # the server's limits, so that lies about a length end soon
_ANSWER_S = 15.0  # over these: until an answer is complete
_CLOSE_S = 5.0  # until it closes after we have
_SAMPLE_EVERY = 10  # bodies
_FEWEST_SAMPLES = 10
_MAX_BODY_BYTES = 8 << 20
_PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Met:
    """What became of an attack."""

    status: int  # 0: closed without an answer
    seconds: float
    problem: str  # in words; nothing where all is well


def fuzz(
    *,
    num_bodies: int,
    seed: int,
    keep: Path,
    model: str = "siamese",
    threads: int = 2,
    only: Sequence[int] = (),
    command: Sequence[str] = COMMAND,
) -> dict[str, Any]:
    """The document. Requests that failed lie in `keep`; `only` are numbers to send instead of all."""
    file = model_file(model)
    pictures = pictures_for(file, 64, threads=threads)
    with tempfile.TemporaryDirectory(prefix="semblance-fuzz-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        source = folder / "pictures"
        source.mkdir()
        for number, each in enumerate(pictures.encoded[:32]):
            (source / f"{number:03d}.png").write_bytes(each)
        Gallery.build(source, Encoder.load(file, threads=threads), folder / "gallery")
        arguments = [
            str(folder / "gallery"), "--model", str(file), "--threads", str(threads),
            "--header-timeout-s", str(_HEADER_S), "--body-timeout-s", str(_BODY_S),
            "--max-body-bytes", str(_MAX_BODY_BYTES),
        ]  # fmt: skip
        with Serving(arguments, log=folder / "server.log", command=command) as serving:
            scene = Scene(seed)
            served = json.loads(serving.get("/v1/info")[1])["model"]["name"]
            attacks = (attack(seed, each, scene, served) for each in (only or range(num_bodies)))
            found = _attacked(serving, chain(warm_up(scene), attacks), keep)
            wrong = _wrong_after(serving, pictures.encoded[:8], pictures.expected(list(range(8))), pictures.tolerance)
            log = (folder / "server.log").read_text(errors="replace")
            status = serving.stop() if serving.is_alive else None
    if wrong:
        found["problems"].append(f"afterwards: {wrong}")
    if num_tracebacks := log.count("Traceback"):
        found["problems"].append(f"{num_tracebacks} tracebacks in the server's log")
        keep.mkdir(parents=True, exist_ok=True)
        (keep / "server.log").write_text(log)
    if status != 0:
        found["problems"].append(f"after SIGTERM the server ended with status {status}")
    return {
        "model": file.name,
        "seed": seed,
        "num_bodies": len(only) or num_bodies,
        "asked": f"no 5xx, an answer or a close within {_ANSWER_S + _BODY_S:g} s, memory at most {MOST_GROWTH:g} times "
        f"that with the largest pictures before and {MOST_LATE_GROWTH:g} times that in the middle, "
        "the right embedding afterwards",
        **found,
        "kept_in": str(keep) if found["problems"] else None,
        "holds": not found["problems"],
    }


def _attacked(serving: Serving, attacks: Any, keep: Path) -> dict[str, Any]:
    problems: list[str] = []
    statuses: dict[str, Counter[str]] = {}
    seconds, before, rss = list[float](), list[int](), list[int]()
    for each in attacks:
        met = meet(serving.port, each)
        seconds.append(met.seconds)
        statuses.setdefault(each.how, Counter())[str(met.status or "closed")] += 1
        if met.problem:
            problems.append(f"{each.number} ({each.how}, {each.route}): {met.problem}")
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{each.number:05d}-{each.route}.request").write_bytes(each.content)
        if not serving.is_alive:
            problems.append(f"{each.number}: the server is gone")
            break
        if each.number < 0:
            before.append(serving.rss_bytes())
        elif each.number % _SAMPLE_EVERY == 0:
            rss.append(serving.rss_bytes())
    growth = _growth(before, rss)
    problems += [
        f"memory is {value:.2f} times that {since}, at most {most:g} may be"
        for (since, value), most in zip(growth.items(), (MOST_GROWTH, MOST_LATE_GROWTH), strict=False)
        if value > most
    ]
    return {
        "statuses": {how: dict(counts) for how, counts in statuses.items()},
        "slowest_s": max(seconds, default=0.0),
        "seconds": sum(seconds),
        "growth": growth,
        "rss_bytes": rss,
        "problems": problems,
    }


def _growth(before: list[int], rss: list[int]) -> dict[str, float]:
    """How memory at the end compares with what it was; nothing where there are too few samples, or none are told."""
    if len(rss) < _FEWEST_SAMPLES or not all(before) or not all(rss):
        return {}
    fifth = len(rss) // 5
    last, middle = float(np.median(rss[-fifth:])), float(np.median(rss[2 * fifth : 3 * fifth]))
    return {"with the largest pictures before": last / max(before), "in the middle": last / middle}


def meet(port: int, attack: Attack) -> Met:
    """Send it, read what comes, then say goodbye and wait for the server to do so."""
    start = time.monotonic()
    reader = AnswerReader()
    try:
        with socket.create_connection((HOST, port), _CLOSE_S) as connection:
            connection.settimeout(_ANSWER_S + _BODY_S)
            _send(connection, attack)
            is_open = _read(connection, reader, start + _ANSWER_S + _BODY_S)
            seconds = time.monotonic() - start
            if is_open and not _is_closed(connection):
                return Met(reader.status, seconds, f"not closed {_CLOSE_S:g} s after we did")
    except TimeoutError:
        return Met(reader.status, time.monotonic() - start, "neither answered nor closed in time")
    except ConnectionError:  # reset: what it had to say is lost
        return Met(reader.status, time.monotonic() - start, "")
    except ValueError as error:
        return Met(0, time.monotonic() - start, str(error))
    return Met(reader.status, seconds, _misanswered(reader, attack))


def _send(connection: socket.socket, attack: Attack) -> None:
    try:
        connection.sendall(attack.content)
        if attack.is_half_closed:
            connection.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before it was all there: the answer may still be read


def _read(connection: socket.socket, reader: AnswerReader, until: float) -> bool:
    """Read one answer; whether the connection is open after it."""
    while time.monotonic() < until:
        data = connection.recv(65_536)
        if not data:
            return False
        if reader.feed(data):
            return True
    raise TimeoutError


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server closes after we have nothing more to say."""
    until = time.monotonic() + _CLOSE_S
    try:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_CLOSE_S)
        while time.monotonic() < until:
            if not connection.recv(65_536):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def _misanswered(reader: AnswerReader, attack: Attack) -> str:
    if reader.status >= 500 and reader.status not in attack.may_be:
        return f"answered {reader.status}: {reader.body[:300]!r}"
    if reader.status >= 400:
        if not (reader.header("content-type") or "").startswith(_PROBLEM):
            return f"an answer {reader.status} that is no problem document: {reader.body[:200]!r}"
        if b"Traceback" in reader.body:
            return "a traceback in the answer"
    return ""


def _wrong_after(serving: Serving, pictures: list[bytes], expected: bytes, tolerance: float) -> str:
    """What is wrong with an honest request; nothing where it is answered rightly."""
    reader = AnswerReader()
    with socket.create_connection((HOST, serving.port), _ANSWER_S) as connection:
        connection.sendall(embed_request(pictures))
        _read(connection, reader, time.monotonic() + _ANSWER_S)
    if reader.status != 200:
        return f"an honest request was answered {reader.status}: {reader.body[:200]!r}"
    found, wanted = np.frombuffer(reader.body, np.float32), np.frombuffer(expected, np.float32)
    if found.shape != wanted.shape or not np.abs(found - wanted).max() <= tolerance:
        return "an honest request was answered with the wrong vectors"
    return ""
