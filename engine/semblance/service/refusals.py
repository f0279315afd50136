"""Answers that the application never hears of: a request that could not be read is told why, before it is closed.

In: a Problem, or what is wrong. Out: the bytes of a whole answer, with its document and an id of its own to look for.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import orjson

from semblance.service.problems import CONTENT_TYPE, Problem

_log = logging.getLogger(__name__)


def malformed(why: str) -> Problem:
    """No request that can be understood, or one that can be in two ways."""
    return Problem(400, "malformed-request", why)


def too_large(max_bytes: int, max_headers: int) -> Problem:
    """Headers, or trailers."""
    return Problem(
        431,
        "headers-too-large",
        f"a request may have {max_headers} headers and trailers, of {max_bytes} bytes together",
    )


def too_late(part: str, seconds: float) -> Problem:
    """A client that is slow, or went away without a word."""
    return Problem(408, "request-timeout", f"the request's {part} did not come within {seconds:g} s")


class Overloaded:
    """429, as bytes that are made beforehand but for the id: under overload most answers are this one."""

    def __init__(self, problem: Problem, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        place = secrets.token_hex(8)  # where an id goes: twice
        self._pieces = _whole(problem, place, headers, {}).split(place.encode())
        self._ids = itertools.count(secrets.randbits(63))

    def answer(self) -> bytes:
        """A whole answer, after which the connection goes on."""
        return (b"%016x" % next(self._ids)).join(self._pieces)


def raw_answer(problem: Problem, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The answer as it is sent, after which the connection ends; `headers` are further ones."""
    request_id = secrets.token_hex(8)
    # those who find out how to be refused could fill a log that is always written
    _log.debug("refused: %s", problem.detail, extra={"request_id": request_id, "status": problem.status})
    return _whole(problem, request_id, headers, {"Connection": "close"})


def _whole(problem: Problem, request_id: str, headers: Iterable[tuple[bytes, bytes]], more: Mapping[str, str]) -> bytes:
    document = orjson.dumps(problem.document(request_id))
    own = {
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(document)),
        "X-Request-Id": request_id,
        **more,
        **problem.headers,
    }
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in own.items()]
    return b"\r\n".join([*lines, b"", document])
