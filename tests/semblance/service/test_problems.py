"""What each exception means to a client, and what it is not told."""

from __future__ import annotations

import json
import logging

import pytest

from semblance import errors
from semblance.errors import (
    BackendError,
    Closed,
    DeadlineExceeded,
    GalleryError,
    ImageError,
    ImageTooLarge,
    InputError,
    Overloaded,
    SemblanceError,
    SpaceMismatch,
)
from semblance.service.problems import Problem, of_error, of_picture, of_status, overloaded, unavailable


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (ImageError("no picture"), 422, "unusable-picture"),
        (ImageTooLarge("too large"), 413, "picture-too-large"),
        (InputError("k"), 422, "unusable-request"),
        (Overloaded("full"), 429, "overloaded"),
        (DeadlineExceeded("late"), 504, "deadline-exceeded"),
        (TimeoutError(), 504, "deadline-exceeded"),
        (Closed("stopped"), 503, "draining"),
        (BackendError("no memory"), 503, "backend-failed"),
        (MemoryError(), 503, "backend-failed"),
        (GalleryError("damaged"), 503, "gallery-failed"),
        (SpaceMismatch("two spaces"), 503, "gallery-failed"),
        (ValueError("a secret of ours"), 500, "internal-error"),
        (KeyError("x"), 500, "internal-error"),
    ],
)
def test_each_error_has_its_status(error: Exception, status: int, name: str) -> None:
    problem = of_error(error)
    assert (problem.status, problem.name) == (status, name)
    assert problem.detail


def test_no_error_of_the_engine_is_unexpected() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, SemblanceError):
            assert of_error(kind("what went wrong")).status != 500, kind


@pytest.mark.parametrize("error", [GalleryError("/srv/g is damaged"), BackendError("/dev/x"), ValueError("/etc/x")])
def test_what_concerns_the_server_goes_to_the_log(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        document = json.dumps(of_error(error).document())
    assert str(error) not in document
    assert str(error) in caplog.text


def test_a_document_as_in_the_standard() -> None:
    problem = Problem(418, "no-coffee", "this is a teapot", headers={"X-Pot": "1"}, index=3)
    assert problem.document("abc") == {
        "type": "urn:semblance:problem:no-coffee", "title": "No coffee", "status": 418, "detail": "this is a teapot",
        "instance": "urn:semblance:request:abc", "index": 3,
    }  # fmt: skip
    assert "instance" not in problem.document()
    response = problem.response({"path": "/v1/embed", "state": {"request_id": "abc"}})
    assert response.status_code == 418
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-pot"] == "1"
    assert json.loads(bytes(response.body)) == problem.document("abc")
    other = problem.response({"path": "/v2/models/tiny/infer"})
    assert json.loads(bytes(other.body)) == {**problem.document(), "error": "this is a teapot"}


def test_whoever_is_to_come_again_hears_when() -> None:
    assert overloaded("x").headers == {"Retry-After": "1"}
    assert unavailable("draining", "x").headers == {"Retry-After": "1"}
    assert of_error(Overloaded("x")).headers == {"Retry-After": "1"}


def test_a_problem_stays_what_it_is() -> None:
    problem = Problem(400, "x", "y")
    assert of_error(problem) is problem


def test_advice_for_the_command_line_is_left_out() -> None:
    told = "x: 9 pixels, the limit is 4; raise it (--max-pixels), or make the picture smaller"
    assert of_error(ImageTooLarge(told)).detail == "x: 9 pixels, the limit is 4; make the picture smaller"


def test_a_plain_status() -> None:
    problem = of_status(404)
    assert (problem.name, problem.title, problem.detail) == ("not-found", "Not found", "Not Found")
    assert of_status(405, "no", {"Allow": "GET"}).headers == {"Allow": "GET"}


def test_what_a_client_sent_is_not_sent_back_whole() -> None:
    assert len(Problem(400, "x", "y" * 1_000_000).detail) < 2000


def test_one_picture_of_several_is_named() -> None:
    problem = of_picture(ImageError("no picture"), 3)
    assert (problem.status, problem.name, problem.detail) == (422, "unusable-picture", "picture 3: no picture")
    assert problem.document()["index"] == 3
