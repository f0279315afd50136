"""The API's description is the truth: requests made from it are answered as it says, and it says everything."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from semblance.service.page_files import router as page_router
from tests.semblance.service.drawn import make_gallery, picture
from tests.semblance.service.real import Serve, serving

schemathesis = pytest.importorskip("schemathesis")
jsonschema_rs = pytest.importorskip("jsonschema_rs")

_TOKEN = "a-token-that-only-this-test-knows"
_AUTHORIZATION = {"Authorization": f"Bearer {_TOKEN}"}
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
# how each operation is called by clients that are generated from the document: changing one breaks them
_OPERATIONS = {
    "post_v1_embed",
    "post_v1_search",
    "get_v1_images_key",
    "put_v1_images_key",
    "delete_v1_images_key",
    "post_v1_images_key_matches",
    "get_v1_info",
    "get_healthz",
    "get_readyz",
    "get_v2",
    "get_v2_health_live",
    "get_v2_health_ready",
    "post_v2_repository_index",
    "get_v2_models_stats",
    *(
        f"{method}_v2_models_model{version}{end}"
        for version in ("", "_versions_version")
        for method, end in (
            ("get", ""),
            ("get", "_ready"),
            ("get", "_config"),
            ("get", "_stats"),
            ("post", "_infer"),
        )
    ),
}
_NEED_NO_TOKEN = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gallery(tmp_path_factory.mktemp("schema"))


@pytest.fixture(scope="module", params=["open", "token"])
def served(request: pytest.FixtureRequest, gallery: Path) -> Iterator[tuple[Serve, dict[str, str]]]:
    """A service, and the headers that it asks for."""
    has_token = request.param == "token"
    env = {"SEMBLANCE_SERVE_TOKEN": _TOKEN} if has_token else {}
    with serving(gallery, "--threads", 1, "--max-pixels", 100_000, "--no-access-log", env=env) as serve:
        yield serve, _AUTHORIZATION if has_token else {}


@pytest.fixture(scope="module")
def document(served: tuple[Serve, dict[str, str]]) -> dict[str, Any]:
    serve, headers = served
    return serve.ask("GET", "/openapi.json", headers=headers).document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def test_the_examples_of_requests_are_answered(document: dict[str, Any], served: Any) -> None:
    """As they stand, before anything else is put into the gallery or removed."""
    serve, headers = served
    for path, method, operation in _operations(document):
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media is None:
            continue
        to = path.replace("{key}", "7" if method == "put" else "3").replace("{model}", "tiny").replace("{version}", "1")
        for example in _of_media(media):
            answer = serve.ask(method.upper(), to, example, headers)
            assert answer.status in (200, 201), (path, answer)


# ----------------------------------------------------------------------------------------------------------------------
# Requests made from it


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_answers_are_as_described(
    served: tuple[Serve, dict[str, str]], document: dict[str, Any], mode: str, gallery: Path
) -> None:
    serve, headers = served
    base = f"http://127.0.0.1:{serve.port}"
    checks = schemathesis.checks
    conforms = [
        _is_no_breakdown,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
        checks.unsupported_method,
        *([checks.negative_data_rejection] if mode == "negative" else []),
        *([checks.ignored_auth] if headers else []),
    ]
    loaded = schemathesis.openapi.from_dict(document)
    rejected = loaded.config.checks.negative_data_rejection
    rejected.expected_statuses = [*(rejected.expected_statuses or []), "413", "414", "431"]
    operations = [each.ok() for each in loaded.get_all_operations()]
    assert len(operations) == len(_OPERATIONS)
    for operation in operations:
        # of the model that there is: another is another 404 each time
        fixed = {"model": "tiny", "version": "1"} if "{model}" in operation.path else {}
        given_path = {name: value for name, value in fixed.items() if f"{{{name}}}" in operation.path}
        try:
            cases = operation.as_strategy(schemathesis.GenerationMode(mode), path_parameters=given_path or None)
            _all_conform(cases, base, headers, conforms)
        except Exception as error:
            if type(error).__name__ == "Unsatisfiable" and mode == "negative":  # nothing of it can be said wrongly
                continue
            raise
    assert "Traceback" not in serve.log
    assert serve.ask("POST", "/v1/embed", picture(1), headers).status == 200


def _is_no_breakdown(_: object, response: Any, case: Any) -> None:
    """Neither 500 nor 502, nor 503 from what nobody stops; 504 is what a client with little time has asked for."""
    assert response.status_code < 500 or response.status_code == 504, response.content


def _all_conform(cases: Any, base: str, headers: dict[str, str], checks: list[Callable[..., Any]]) -> None:
    @settings(
        max_examples=12,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def conforms(case: Any) -> None:
        case.call_and_validate(base, headers=headers, checks=checks, timeout=10)

    conforms()


# ----------------------------------------------------------------------------------------------------------------------
# It says everything


def test_every_route_is_described_or_deliberately_not(document: dict[str, Any], served: Any) -> None:
    serve, headers = served
    own = set(document["paths"])
    not_described = {"/", "/page/page.js", "/openapi.json", "/metrics"}
    for path in not_described:
        assert path not in own
        assert serve.ask("GET", path, headers=headers).status == 200, path
    assert {route.path for route in page_router.routes} == {"/", "/page/{name}"}
    # what is described is there: asked in a way that nobody answers, it says 405 and what it would
    for path in own:
        answer = serve.ask("PATCH", re.sub(r"\{\w+\}", "1", path), headers=headers)
        assert answer.status == 405, path
        allowed = {each.strip().lower() for each in answer.headers["allow"].split(",")}
        assert allowed <= set(_METHODS)


def test_each_operation_has_a_lasting_name_and_says_what_it_does(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(names) == len(set(names))
    assert set(names) == _OPERATIONS
    for path, method, operation in _operations(document):
        assert operation["summary"].strip() == operation["summary"] != "", path
        assert operation["description"].strip(), path
        assert {"400", "403", "414", "431"} <= set(operation["responses"]), path  # before it comes to any route
        for status, response in operation["responses"].items():
            assert response["description"], (path, status)
            if status[0] in "45":
                kinds = set(response["content"])
                is_health = path in ("/healthz", "/readyz") and status == "503"
                assert kinds == ({"application/json"} if is_health else {"application/problem+json"}), (path, status)
        for parameter in operation.get("parameters", []):
            assert parameter["in"] == "path" or parameter.get("description"), (path, parameter["name"])
        if method in ("post", "put"):
            assert operation["requestBody"]["content"], path
    assert document["info"]["version"]
    assert document["components"]["schemas"]["Problem"]


def test_it_says_who_has_to_know_the_token(document: dict[str, Any], served: Any) -> None:
    serve, headers = served
    for path, method, operation in _operations(document):
        needs = bool(operation.get("security", document.get("security")))
        assert needs == (bool(headers) and path not in _NEED_NO_TOKEN), path
        if needs:
            answer = serve.ask(method.upper(), re.sub(r"\{\w+\}", "1", path))
            assert answer.status == 401
            assert "401" in operation["responses"]
    assert bool(document["components"].get("securitySchemes")) == bool(headers)


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    num_examples = 0
    for where, schema, example in _examples(document):
        resolvable = {**schema, "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(resolvable)
        assert not [str(error) for error in validator.iter_errors(example)], (where, example)
        num_examples += 1
    assert num_examples > 20


def test_every_json_has_an_example(document: dict[str, Any]) -> None:
    for path, method, operation in _operations(document):
        bodies = {"request": operation.get("requestBody", {})}
        bodies |= {status: each for status, each in operation["responses"].items() if status[0] == "2"}
        for name, body in bodies.items():
            for kind, media in body.get("content", {}).items():
                if kind == "application/json":
                    assert "example" in media or "examples" in media, (path, method, name)


def _examples(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    for path, method, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            for example in _of_media(parameter):
                yield f"{method} {path} {parameter['name']}", parameter["schema"], example
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for each in (*bodies, *operation["responses"].values()):
            for kind, media in each.get("content", {}).items():
                for example in _of_media(media):
                    yield f"{method} {path} {kind}", media["schema"], example


def _of_media(media: dict[str, Any]) -> Iterator[Any]:
    if "example" in media:
        yield media["example"]
    for each in media.get("examples", {}).values():
        yield each["value"]


def test_the_description_is_the_same_each_time(served: Any, document: dict[str, Any]) -> None:
    serve, headers = served
    again = serve.ask("GET", "/openapi.json", headers=headers)
    assert again.document == document
    assert json.loads(again.content.decode("ascii")) == document
    assert sys.getsizeof(again.content) < 300_000


def test_it_is_a_valid_description(document: dict[str, Any]) -> None:
    """By OpenAPI's own schema, as far as schemathesis carries it: it loads without a complaint."""
    loaded = schemathesis.openapi.from_dict(document)
    assert not [each for each in loaded.get_all_operations() if not hasattr(each, "ok")]
    for name, schema in document["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}), name
    for where, schema, _ in _examples(document):
        assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}), where
