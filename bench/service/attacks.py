"""Bodies made to whole requests: on which route, with which parameters, and with a length that may lie.

In: a seed and a number. Out: the attack of that number; any one can be made again by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.service.bodies import MISCHIEF
from bench.service.honest import PICTURE_ROUTES, Body, Rng, Scene
from bench.service.wire import HOST, RAW, request

_LIES = 0.12  # share of requests whose framing lies
_ODD_QUERIES = 0.15
_QUERIES = (
    "k=0", "k=-1", "k=99999999999999999999", "k=a", "where=%00", "where=1%3D1%3B--", "where=" + "(" * 2000,
    "exact=maybe", "rerank=x", "rerank=sift", "shortlist=0", "timeout_ms=nan", "timeout_ms=-1", "timeout_ms=1e400",
    "timeout_ms=0.001",
    "size=0", "size=9999999999", "label=" + "%F0%9F%92%A9" * 300, "uri=../../etc/passwd", "uri=%ff%fe",
    "k=1&k=2", "%ff=%ff",
)  # fmt: skip
_KEYS = ("1", "1", "1", "2000000", "-1", "9223372036854775807", "9223372036854775808", "1e3", "%00", "a", "-0")


@dataclass(frozen=True, slots=True)
class Attack:
    """One request, as bytes."""

    number: int
    how: str
    route: str
    content: bytes
    may_be: tuple[int, ...] = ()  # of 5xx, what HTTP itself has for it
    is_half_closed: bool = False  # the client says that nothing more comes


def attack(seed: int, number: int, scene: Scene, model: str) -> Attack:
    """The one of that number; `model` is the name that the service has for its model."""
    rng = np.random.default_rng([seed, number])
    names = list(MISCHIEF)
    how = names[number % len(names)]  # each as often
    body = MISCHIEF[how](rng, scene)
    route = body.routes[int(rng.integers(len(body.routes)))]
    target = _target(rng, route, model)
    line = f"{'PUT' if route == 'put' else 'POST'} {target} HTTP/1.1\r\nHost: {HOST}\r\n"
    may_be = (504,) if "timeout_ms=0.001" in target else ()  # what was asked for
    headers = "".join(f"{name}: {value}\r\n" for name, value in body.headers.items())
    if rng.random() < 0.3:
        headers += "Accept: application/octet-stream\r\n"
    if rng.random() < 0.02:
        headers += "Expect: 100-continue\r\n"
    head = (line + headers).encode("latin-1")
    if rng.random() < _LIES:
        return _lying(rng, Attack(number, how, route, head, may_be), body)
    content = head + f"Content-Length: {len(body.content)}\r\n\r\n".encode() + body.content
    return Attack(number, how, route, content, may_be)


def warm_up(scene: Scene) -> Iterator[Attack]:
    """What takes most memory, on every route that takes a picture: later bodies then have no reason to take more."""
    for route in PICTURE_ROUTES:
        for number, content in enumerate(scene.odd):
            target = {"put": "/v1/images/3000000", "matches": "/v1/images/1/matches"}.get(route, f"/v1/{route}")
            sent = request("PUT" if route == "put" else "POST", target, content, {"Content-Type": RAW})
            yield Attack(-1 - number, "odd picture, before", route, sent)


def _target(rng: Rng, route: str, model: str) -> str:
    key = _KEYS[int(rng.integers(len(_KEYS)))]
    path = {
        "embed": "/v1/embed",
        "search": "/v1/search",
        "put": f"/v1/images/{key}",
        "matches": f"/v1/images/{key}/matches",
        "infer": f"/v2/models/{model}/infer",
        "index": "/v2/repository/index",
    }[route]
    if rng.random() < _ODD_QUERIES:
        path += "?" + _QUERIES[int(rng.integers(len(_QUERIES)))]
    return path


def _lying(rng: Rng, told: Attack, body: Body) -> Attack:
    """A length that is not the body's, two of them, none, or chunks that are none."""
    size, how = len(body.content), int(rng.integers(9))
    chunk = b"%x\r\n%s\r\n" % (size, body.content)
    may_be = told.may_be
    framed: bytes
    if how == 0:  # more is promised
        framed = b"Content-Length: %d\r\n\r\n" % (size + int(rng.integers(1, 10**6))) + body.content
    elif how == 1:  # less: the rest is taken for the next request
        framed = b"Content-Length: %d\r\n\r\n" % (size // 2) + body.content
    elif how == 2:
        lengths = (b"-1", b"abc", b"1e3", b"0x10", b"99999999999999999999999", b"", b"+5", b"1, 1")
        framed = b"Content-Length: %s\r\n\r\n" % lengths[int(rng.integers(len(lengths)))] + body.content
    elif how == 3:
        framed = b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (size, size + 1) + body.content
    elif how == 4:
        framed = b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % size + chunk + b"0\r\n\r\n"
    elif how == 5:
        framed = b"Transfer-Encoding: chunked\r\n\r\n" + chunk + (b"0\r\n\r\n" if rng.integers(2) else b"zz\r\n")
    elif how == 6:
        framed = b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + body.content
    elif how == 7:
        framed, may_be = b"Transfer-Encoding: gzip\r\n\r\n" + body.content, (501, *may_be)
    else:  # no length: there is no body, and then there is more
        framed = b"\r\n" + body.content
    half = bool(rng.integers(2))
    return Attack(told.number, f"{told.how}, lying length", told.route, told.content + framed, may_be, half)
