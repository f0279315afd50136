"""The application as a whole: what every answer has, whatever was asked, and for pages of another origin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from semblance.errors import InputError
from semblance.service import searching
from semblance.service.app import create_app
from semblance.service.settings import Settings
from tests.semblance.service.drawn import Served, picture, wait_for

Serve = Callable[..., Served]
TOKEN = "a-token-of-many-characters"
ORIGIN = "https://page.example"


@pytest.fixture(scope="module")
def guarded(drawn_gallery: Path) -> Any:
    """A service with a token, asked by a page of another origin too."""
    from tests.semblance.service import drawn

    with drawn.served(drawn.settings_of(drawn_gallery, read_only=True, token=TOKEN, allow_origin=(ORIGIN,))) as one:
        yield one


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404), ("GET", "/v1", 404), ("GET", "/v1/embed/", 404), ("GET", "/%00", 404),
        ("GET", "/v1/images/", 404), ("GET", "/docs", 404), ("PUT", "/v1/embed", 405), ("PATCH", "/v1/images/1", 405),
        ("POST", "/v1/images/1", 405), ("OPTIONS", "/v1/embed", 405), ("PROPFIND", "/v1/info", 405),
        ("GET", "/v1/images/x", 400), ("POST", "/v1/search?k=x", 400), ("GET", "/" + "x" * 3000, 404),
        ("HEAD", "/nope", 404), ("HEAD", "/v1/embed", 405),
    ],
)  # fmt: skip
def test_every_error_is_a_problem_document(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, headers={"X-Request-Id": "mine"})
    assert answer.status_code == status
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        found = answer.json()
        assert found["status"] == status
        assert found["instance"] == "urn:semblance:request:mine"
        assert set(found) >= {"type", "title", "detail"}


def test_every_answer_has_an_id_of_its_own(client: httpx.Client) -> None:
    ids = [client.get("/healthz").headers["x-request-id"] for _ in range(5)]
    assert len(set(ids)) == 5


def test_what_nobody_expected_is_told_to_the_log(
    serve: Serve, drawn_gallery: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = serve(drawn_gallery, read_only=True)

    def broken(*_: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr(searching, "_timed", broken)
    answer = one.client.post("/v1/search", json={"key": 1})
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:semblance:problem:internal-error"
    assert "secret" not in answer.text
    assert caplog.text.count("RuntimeError: a secret") == 1
    wait_for(one.is_idle)
    wait_for(lambda: one.figures("semblance_requests_total") == {("POST", "/v1/search", "500"): 1.0})


def test_a_token(guarded: Served) -> None:
    bare = httpx.Client(base_url=guarded.address)
    with bare:
        for path in ("/v1/info", "/metrics", "/openapi.json", "/nope", "/v1/images/1"):
            answer = bare.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
        assert bare.post("/v1/embed", content=picture(1)).status_code == 401
        for path in ("/healthz", "/readyz", "/", "/page/style.css", "/v2/health/live", "/v2/health/ready"):
            assert bare.get(path).status_code == 200, path
    assert guarded.client.post("/v1/embed", content=picture(1)).status_code == 200
    assert guarded.client.get("/openapi.json").json()["security"] == [{"token": []}]


def test_a_page_of_an_allowed_origin(guarded: Served) -> None:
    asked = {
        "Origin": ORIGIN, "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, content-type",
    }  # fmt: skip
    with httpx.Client(base_url=guarded.address) as bare:  # a browser asks first, without the token
        before = bare.options("/v1/images/1", headers=asked)
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == ORIGIN
        assert "PUT" in before.headers["access-control-allow-methods"]
        refused = bare.get("/v1/info", headers={"Origin": ORIGIN})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ORIGIN  # or the page could not read why
        assert refused.headers["vary"] == "Origin"
        other = bare.options("/v1/images/1", headers={**asked, "Origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers
    answer = guarded.client.post("/v1/embed", content=picture(1), headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = answer.headers["access-control-expose-headers"].lower()
    for name in ("x-request-id", "retry-after", "x-semblance-shape", "x-semblance-inliers", "x-semblance-dtype"):
        assert name in exposed
    assert "access-control-allow-credentials" not in answer.headers
    wrong = guarded.client.post("/v1/embed", content=b"x", headers={"Origin": ORIGIN})
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (422, ORIGIN)


def test_a_page_of_another_origin(client: httpx.Client, shared: Served) -> None:
    for origin in ("https://evil.example", "null"):
        answer = client.post("/v1/embed", content=picture(1), headers={"Origin": origin})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:semblance:problem:unknown-origin")
    assert client.get("/v1/info", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/v1/info", headers={"Origin": shared.address}).status_code == 200


def test_routes_are_counted_by_their_pattern(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True)
    for key in range(3):
        one.client.get(f"/v1/images/{key}")
        one.client.get(f"/nope/{key}")
    one.client.head("/v1/images/1")
    wait_for(
        lambda: (
            one.figures("semblance_requests_total")
            == {
                ("GET", "/v1/images/{key}", "200"): 3.0,
                ("GET", "unmatched", "404"): 3.0,
                ("HEAD", "/v1/images/{key}", "200"): 1.0,
            }
        )
    )


def test_a_token_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        create_app(Settings(model="m", token_file=tmp_path / "none"))


def test_the_log_has_no_token_and_no_line_of_a_strangers(
    serve: Serve, drawn_gallery: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    one = serve(drawn_gallery, read_only=True, token=TOKEN, access_log=True)
    with caplog.at_level(logging.INFO):
        one.client.get("/v1/info?token=1")
        one.client.get("/nope%0aforged", headers={"X-Request-Id": "a b"})
        wait_for(lambda: len([each for each in caplog.records if each.name == "semblance.access"]) == 2)
    records = [vars(each) for each in caplog.records]
    assert TOKEN not in json.dumps(records, default=str)
