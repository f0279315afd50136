"""Requests that are refused by their head, since more is pending than may be."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from semblance.service.metrics import Metrics
from semblance.service.overload import Overload
from semblance.service.state import Service
from tests.semblance.service.conftest import Serve
from tests.semblance.service.drawn import Served, figures_of, picture


@dataclass
class _Service:
    """All that is asked of one."""

    is_open: bool = True
    is_full: bool = True
    metrics: Metrics = field(default_factory=Metrics)
    settings: Any = field(default_factory=lambda: SimpleNamespace(max_pending_images=8, allow_origin=()))


def _overload(service: _Service) -> Overload:
    return Overload(cast(Service, service))


def _read(answer: bytes | None) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Status line, headers and document."""
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert int(headers["content-length"]) == len(body)
    return status, headers, json.loads(body)


def test_the_answer_is_a_document() -> None:
    status, headers, document = _read(_overload(_Service()).turn_away(b"POST", b"/v1/embed"))
    assert status == "HTTP/1.1 429 Too Many Requests"
    assert headers["content-type"] == "application/problem+json"
    assert headers["retry-after"] == "1"
    assert document["type"] == "urn:semblance:problem:overloaded"
    assert document["status"] == 429
    assert document["detail"].startswith("8 images are pending")
    assert document["instance"] == f"urn:semblance:request:{headers['x-request-id']}"


def test_each_answer_has_an_id_of_its_own() -> None:
    one, other = _overload(_Service()), _overload(_Service())
    answers = [each.turn_away(b"POST", b"/v1/embed") for each in (one, other) for _ in range(500)]
    assert len({_read(answer)[1]["x-request-id"] for answer in answers}) == 1000


@pytest.mark.parametrize("target", [b"/v1/embed", b"/v1/search", b"/v1/embed?timeout_ms=5", b"/v1/search?k=3&x=?"])
def test_what_is_asked_most_is_turned_away_and_counted(target: bytes) -> None:
    service = _Service()
    overload = _overload(service)
    for _ in range(3):
        assert overload.turn_away(b"POST", target) is not None
    route = target.partition(b"?")[0].decode()
    text = service.metrics.text().decode()
    assert figures_of(text, "semblance_requests_total") == {("POST", route, "429"): 3.0}
    assert figures_of(text, "semblance_request_seconds_count") == {(route,): 3.0}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"/v1/embed"),
        (b"OPTIONS", b"/v1/embed"),
        (b"PUT", b"/v1/images/3"),
        (b"POST", b"/v1/images/3/matches"),
        (b"POST", b"/v1/embed/"),
        (b"POST", b"/v1/embedding"),
        (b"POST", b"/v2/models/tiny/infer"),
        (b"GET", b"/metrics"),
        (b"GET", b"/healthz"),
    ],
)
def test_other_routes_refuse_by_themselves(method: bytes, target: bytes) -> None:
    service = _Service()
    assert _overload(service).turn_away(method, target) is None
    assert figures_of(service.metrics.text().decode(), "semblance_requests_total") == {}


def test_where_there_is_room_or_nothing_open() -> None:
    service = _Service(is_full=False)
    overload = _overload(service)
    assert overload.turn_away(b"POST", b"/v1/embed") is None
    service.is_full, service.is_open = True, False
    assert overload.turn_away(b"POST", b"/v1/embed") is None
    service.is_open = True
    assert overload.turn_away(b"POST", b"/v1/embed") is not None


def test_off_where_pages_of_others_may_ask() -> None:
    service = _Service()
    service.settings.allow_origin = ("https://example.org",)
    assert _overload(service).turn_away(b"POST", b"/v1/embed") is None


def test_one_line_a_second(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("semblance.service.overload.time", SimpleNamespace(monotonic=lambda: now[0]))
    overload = _overload(_Service())
    with caplog.at_level(logging.WARNING):
        for moment in (100.0, 100.1, 100.9, 101.05, 101.5, 103.0):
            now[0] = moment
            overload.turn_away(b"POST", b"/v1/embed")
    assert [cast(Any, record).refused for record in caplog.records] == [1, 3, 2]


@pytest.fixture
def full(serve: Serve, drawn_gallery: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A real service in which no picture more has room."""
    monkeypatch.setattr(Service, "is_full", property(lambda self: True))
    return serve(drawn_gallery, read_only=True)


@pytest.mark.parametrize("path", ["/v1/embed", "/v1/search"])
def test_the_route_itself_would_have_said_the_same(full: Served, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> httpx.Response:
        return full.client.post(path, content=picture(1), headers={"Content-Type": "image/png"})

    early = ask()
    assert early.status_code == 429
    monkeypatch.setattr(full.server.gate, "turn_away", lambda method, target: None)
    own = ask()
    assert own.status_code == 429
    assert own.headers["X-Request-Id"] != early.headers["X-Request-Id"]
    documents = [each.json() for each in (early, own)]
    for document, answer in zip(documents, (early, own), strict=True):
        assert document.pop("instance") == f"urn:semblance:request:{answer.headers['X-Request-Id']}"
    assert documents[0] == documents[1]
    for name in ("content-type", "retry-after"):
        assert early.headers[name] == own.headers[name]
    start = time.monotonic()
    while full.figures("semblance_requests_total").get(("POST", path, "429")) != 2.0:  # counted after its end
        assert time.monotonic() - start < 2
