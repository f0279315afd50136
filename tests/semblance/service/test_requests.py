"""Around every request: its id, its line, its figures, and an answer whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from semblance.service.bodies import ClientGone
from semblance.service.metrics import Metrics
from semblance.service.requests import Requests
from semblance.service.settings import Settings
from tests.semblance.service.drawn import figures_of


class Asked:
    """An application of one function behind `Requests`, asked once."""

    def __init__(
        self, inner: Any, *, method: str = "POST", headers: dict[str, str] | None = None, **given: Any
    ) -> None:
        self.sent = list[Any]()
        self.metrics = Metrics()
        service: Any = SimpleNamespace(metrics=self.metrics, settings=Settings(model="m", **given))
        self.error: BaseException | None = None
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        scope: dict[str, Any] = {
            "type": "http", "method": method, "path": "/some/path", "headers": raw, "query_string": b"",
            "client": ("10.0.0.9", 1),
        }  # fmt: skip

        async def main() -> None:
            async def send(message: Any) -> None:
                self.sent.append(message)

            try:
                await Requests(inner, service)(scope, None, send)  # type: ignore[arg-type]  # nothing is received
            except BaseException as error:
                self.error = error

        asyncio.run(main())

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> httpx.Headers:
        return httpx.Headers(self.sent[0]["headers"])

    @property
    def document(self) -> Any:
        return json.loads(self.sent[1]["body"])

    @property
    def counted(self) -> dict[tuple[str, ...], float]:
        return figures_of(self.metrics.text().decode(), "semblance_requests_total")


async def answer(scope: Any, receive: Any, send: Any, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


def test_every_answer_has_an_id_and_is_counted_once() -> None:
    asked = Asked(answer)
    assert asked.status == 200
    assert len(asked.headers["x-request-id"]) == 16
    assert asked.headers["x-content-type-options"] == "nosniff"
    assert asked.headers["cache-control"] == "no-store"
    assert asked.counted == {("POST", "unmatched", "200"): 1.0}
    assert figures_of(asked.metrics.text().decode(), "semblance_request_seconds_count") == {("unmatched",): 1.0}


@pytest.mark.parametrize("given", ["abc", "a-b_c.d:e", "0" * 64])
def test_an_id_that_was_given_is_kept(given: str) -> None:
    assert Asked(answer, headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "0" * 65, "a\r\nX-Evil: 1", "a\n", "é", "<script>", "a;b", "\x00"])
def test_an_id_that_could_do_harm_is_replaced(given: str) -> None:
    found = Asked(answer, headers={"X-Request-Id": given}).headers["x-request-id"]
    assert found != given
    assert found.isalnum()


def test_own_headers_stay() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"cache-control", b"private"), (b"x-request-id", b"another")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    asked = Asked(inner, headers={"X-Request-Id": "mine"})
    assert asked.headers["cache-control"] == "private"
    assert asked.headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize(
    ("error", "status"), [(KeyError("x"), 500), (ValueError("secret"), 500), (TimeoutError(), 504)]
)
def test_what_breaks_is_answered(error: Exception, status: int) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        raise error

    asked = Asked(inner, headers={"X-Request-Id": "mine"})
    assert asked.error is None
    assert (asked.status, asked.document["status"]) == (status, status)
    assert asked.document["instance"] == "urn:semblance:request:mine"
    assert "secret" not in json.dumps(asked.document)
    assert asked.headers["content-type"] == "application/problem+json"
    assert asked.counted == {("POST", "unmatched", str(status)): 1.0}


def test_an_answer_that_broke_off_is_not_ended_as_if_it_were_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise KeyError("x")

    asked = Asked(inner)
    assert isinstance(asked.error, KeyError)
    assert len(asked.sent) == 2
    assert "broke off" in caplog.text
    assert asked.counted == {("POST", "unmatched", "200"): 1.0}


def test_an_error_after_the_answer_is_told_to_nobody() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await answer(scope, receive, send)
        raise KeyError("x")

    asked = Asked(inner)
    assert asked.error is None
    assert len(asked.sent) == 2


def test_a_client_that_left_is_counted_and_not_answered() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        raise ClientGone

    asked = Asked(inner)
    assert asked.error is None
    assert asked.sent == []
    assert asked.counted == {("POST", "unmatched", "499"): 1.0}


def test_a_request_that_is_given_up_is_counted() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    asked = Asked(inner)
    assert isinstance(asked.error, asyncio.CancelledError)
    assert asked.counted == {("POST", "unmatched", "499"): 1.0}


def test_a_head_is_a_get_whose_content_the_server_leaves_out() -> None:
    seen = list[str]()

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["method"])
        scope["route"] = SimpleNamespace(path="/some/{name}")
        await answer(scope, receive, send)

    asked = Asked(inner, method="HEAD")
    assert seen == ["GET"]
    assert asked.counted == {("HEAD", "/some/{name}", "200"): 1.0}


def test_strange_methods_are_one_figure() -> None:
    assert Asked(answer, method="PROPFIND").counted == {("other", "unmatched", "200"): 1.0}


def test_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["told"] = {"images": 3}
        await answer(scope, receive, send)

    with caplog.at_level(logging.INFO, "semblance.access"):
        Asked(inner, headers={"X-Request-Id": "mine", "Authorization": "Bearer a-token-of-many-characters"})
    (record,) = [each for each in caplog.records if each.name == "semblance.access"]
    facts = vars(record)
    assert record.getMessage() == "POST /some/path 200"
    assert (facts["request_id"], facts["status"], facts["client"], facts["images"]) == ("mine", 200, "10.0.0.9", 3)
    assert "a-token-of-many-characters" not in str(facts)
    caplog.clear()
    with caplog.at_level(logging.INFO, "semblance.access"):
        Asked(inner, access_log=False)
    assert not caplog.records


def test_what_is_no_request_passes() -> None:
    seen = list[str]()

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(Requests(inner, SimpleNamespace())({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
