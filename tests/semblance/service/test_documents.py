"""The API's description: it says what there is, and what the answers are."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from semblance.inputs.decode import decode
from semblance.service import documents

OWN = {
    ("/v1/embed", "post"), ("/v1/search", "post"), ("/v1/images/{key}", "get"), ("/v1/images/{key}", "put"),
    ("/v1/images/{key}", "delete"), ("/v1/images/{key}/matches", "post"), ("/v1/info", "get"), ("/healthz", "get"),
    ("/readyz", "get"),
}  # fmt: skip


@pytest.fixture(scope="module")
def schema(shared: Any) -> Any:
    return shared.client.get("/openapi.json").json()


def operations(schema: Any) -> list[tuple[str, str, Any]]:
    return [(path, method, each) for path, methods in schema["paths"].items() for method, each in methods.items()]


def test_it_lists_what_there_is(schema: Any) -> None:
    found = {(path, method) for path, method, _ in operations(schema)}
    assert {each for each in found if not each[0].startswith("/v2")} == OWN
    assert any(path.startswith("/v2") for path, _ in found)
    assert "security" not in schema  # nothing has a token here


def test_every_operation_has_words_and_a_name_of_its_own(schema: Any) -> None:
    names = [each["operationId"] for _, _, each in operations(schema)]
    assert len(set(names)) == len(names)
    for path, method, each in operations(schema):
        assert each.get("description"), (path, method)


def test_errors_are_problem_documents(schema: Any) -> None:
    assert schema["components"]["schemas"]["Problem"] == documents.PROBLEM_SCHEMA
    assert "HTTPValidationError" not in str(schema)
    for path, method in OWN:
        responses = schema["paths"][path][method]["responses"]
        for status, told in responses.items():
            if int(status) >= 400 and "json" in str(told) and path not in ("/healthz", "/readyz"):
                assert "application/problem+json" in told["content"], (path, status)


def test_every_reference_leads_somewhere(schema: Any) -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return own + [each for value in part.values() for each in references(value)]
        return [each for value in part for each in references(value)] if isinstance(part, list) else []

    for reference in references(schema):
        place = schema
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


def test_the_example_is_a_picture(client: httpx.Client) -> None:
    content = base64.b64decode(documents._PIXEL_PNG)
    assert decode(content, channels=1).shape == (1, 1, 1)
    assert client.post("/v1/embed", json={"images": [documents._PIXEL_PNG]}).status_code == 200


def test_answers_have_the_members_that_are_told(client: httpx.Client, schema: Any) -> None:
    asked = {
        "/v1/embed": client.post("/v1/embed", json={"images": [documents._PIXEL_PNG]}),
        "/v1/search": client.post("/v1/search", json={"key": 1}),
        "/v1/info": client.get("/v1/info"),
        "/v1/images/{key}": client.get("/v1/images/1", headers={"Accept": "application/json"}),
    }
    for path, answer in asked.items():
        (operation,) = [each for method, each in schema["paths"][path].items() if method in ("post", "get")]
        told = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert set(answer.json()) <= set(told["properties"]), path
        assert set(told.get("required", [])) <= set(answer.json()), path
