"""Who may ask: tokens, names and origins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from semblance.service.guard import Guard
from semblance.service.problems import Problem
from semblance.service.settings import Settings

TOKEN = "a-token-of-many-characters"


def status(
    path: str = "/v1/embed", method: str = "POST", *, token: str | None = None, headers: dict[str, str] | None = None,
    **given: Any,
) -> int:  # fmt: skip
    """200 where the application behind was asked."""
    raw = [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in {"Host": "127.0.0.1:8000", **(headers or {})}.items()
        if value is not None
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    guard = Guard(app, Settings(model="m", **given), token)
    scope = {"type": "http", "path": path, "method": method, "headers": raw}
    try:
        asyncio.run(guard(scope, None, None))  # type: ignore[arg-type]  # neither is touched
    except Problem as refusal:
        problem = refusal
    else:
        return 200
    assert (problem.status == 401) == ("WWW-Authenticate" in problem.headers)
    assert not token or token not in problem.detail
    return problem.status


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, 401), ("", 401), ("Bearer", 401), ("Bearer ", 401), (f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200),
        (f"Bearer  {TOKEN} ", 200), (f"Basic {TOKEN}", 401), (TOKEN, 401), (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401), (f"Bearer {TOKEN.upper()}", 401), ("Bearer \xff\xfe", 401),
        (f"Bearer {TOKEN} {TOKEN}", 401),
    ],
)  # fmt: skip
def test_the_token(authorization: str | None, expected: int) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    assert status(token=TOKEN, headers=headers) == expected
    assert status(headers=headers) == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/", "/page/style.css"])
def test_what_needs_no_token(path: str) -> None:
    assert status(path, "GET", token=TOKEN) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/info",
        "/metrics",
        "/openapi.json",
        "/healthz/",
        "//healthz",
        "/page",
        "/nope",
        "/v2",
        "/v2/health",
        "/v1/images/3",
    ],
)
def test_what_needs_one(path: str) -> None:
    assert status(path, "GET", token=TOKEN) == 401


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8000", "127.9.9.9:1", "[::1]", "[::1]:8000"]
)
def test_names_of_this_machine(host: str) -> None:
    assert status(headers={"Host": host}) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.1",
             "[::2]", "evil.example@localhost", "0x7f000001"],
)  # fmt: skip
def test_another_name_without_a_token(host: str) -> None:
    assert status(headers={"Host": host}) == 403
    assert status(headers={"Host": host, "Authorization": f"Bearer {TOKEN}"}, token=TOKEN) == 200
    assert status(headers={"Host": host}, host="0.0.0.0", insecure=True) == 200


def test_names_that_were_allowed() -> None:
    allowed: dict[str, Any] = {"allow_host": ("Search.Example", "[2001:db8::1]", "2001:db8::2")}
    for host in (
        "search.example",
        "SEARCH.example:443",
        "[2001:db8::1]",
        "[2001:db8::1]:80",
        "[2001:db8::2]:80",
        "localhost",
    ):
        assert status(headers={"Host": host}, **allowed) == 200, host
    for host in ("other.example", "x.search.example", "[2001:db8::3]"):
        assert status(headers={"Host": host}, **allowed) == 403, host
    assert status(headers={"Host": "other.example"}, host="0.0.0.0", insecure=True, **allowed) == 403


def test_a_socket_in_the_file_system_is_asked_by_any_name(tmp_path: Path) -> None:
    assert status(headers={"Host": "anything"}, uds=tmp_path / "s") == 200
    assert status(headers={"Host": "anything"}, uds=tmp_path / "s", allow_host=("one",)) == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:8000", 200), ("https://127.0.0.1:8000", 200), ("http://127.0.0.1:3000", 403),
        ("http://evil.example", 403), ("null", 403), ("", 403), ("http://127.0.0.1:8000.evil.example", 403),
    ],
)  # fmt: skip
def test_a_page_of_another_origin(origin: str, expected: int) -> None:
    assert status(headers={"Origin": origin}) == expected
    assert status(headers={"Origin": origin, "Authorization": f"Bearer {TOKEN}"}, token=TOKEN) == expected


def test_an_origin_that_was_allowed() -> None:
    allowed: dict[str, Any] = {"allow_origin": ("https://page.example",)}
    assert status(headers={"Origin": "https://page.example"}, **allowed) == 200
    assert status(headers={"Origin": "http://page.example"}, **allowed) == 403
    # its browser asks first whether it may, and then has no token with it
    wish = {"Access-Control-Request-Method": "POST"}
    for origin, expected in (("https://page.example", 200), ("https://other.example", 403)):
        assert status(method="OPTIONS", token=TOKEN, headers={"Origin": origin, **wish}, **allowed) == expected
    assert status(method="OPTIONS", token=TOKEN, headers={"Origin": "https://page.example"}, **allowed) == 401
    assert status(token=TOKEN, headers={"Origin": "https://page.example"}, **allowed) == 401


def test_what_is_no_request_passes() -> None:
    asked = list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["type"])

    guard = Guard(app, Settings(model="m"), TOKEN)
    asyncio.run(guard({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert asked == ["lifespan"]
