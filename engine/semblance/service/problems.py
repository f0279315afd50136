"""What went wrong, as a client is told: problem documents (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457).

In: an exception of the engine, or of a route. Out: a status, headers and a document. What concerns the server alone, as
the path of a gallery's file, goes to the log and not to the client; a traceback goes nowhere else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope

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
    ServiceError,
)

CONTENT_TYPE = "application/problem+json"
_OPEN_INFERENCE = "/v2"
_RETRY_AFTER_S = 1  # what is pending is done long before; a client that waits longer leaves capacity unused
_LONGEST_DETAIL = 1000  # characters
_log = logging.getLogger(__name__)


class Problem(Exception):
    """A request that is not answered as it was meant to be. `name` tells kinds apart within a status."""

    def __init__(
        self, status: int, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        # what it quotes may be a whole body
        self.detail = detail if len(detail) <= _LONGEST_DETAIL else f"{detail[:_LONGEST_DETAIL]}..."
        self.headers = dict(headers or {})
        self.members = members  # further ones of the document

    @property
    def title(self) -> str:
        """The kind in words: the same for every problem of this name."""
        return self.name.replace("-", " ").capitalize()

    def document(self, request_id: str = "") -> dict[str, Any]:
        """The members of RFC 9457, and those of its own."""
        found: dict[str, Any] = {
            "type": f"urn:semblance:problem:{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if request_id:
            found["instance"] = f"urn:semblance:request:{request_id}"
        return {**found, **self.members}

    def response(self, scope: Scope) -> Response:
        """The answer to the client of the request `scope`, in the form that its protocol has too."""
        document = self.document(scope.get("state", {}).get("request_id", ""))
        if scope["path"].startswith(_OPEN_INFERENCE):  # whose clients show what "error" says
            document.setdefault("error", self.detail)
        return Response(orjson.dumps(document), self.status, headers=self.headers, media_type=CONTENT_TYPE)


def overloaded(detail: str) -> Problem:
    """429 with the time to wait."""
    return Problem(429, "overloaded", detail, headers={"Retry-After": str(_RETRY_AFTER_S)})


def unavailable(name: str, detail: str) -> Problem:
    """503 with the time to wait."""
    return Problem(503, name, detail, headers={"Retry-After": str(_RETRY_AFTER_S)})


def draining() -> Problem:
    """503 of a process that ends."""
    return unavailable("draining", "the service is stopping; ask again, another may answer")


def no_such_picture(key: object) -> Problem:
    """404 for a key that the gallery does not have."""
    return Problem(404, "no-such-picture", f"key {key!r} is not in the gallery")


def not_shown(key: int) -> Problem:
    """404 for a picture of the gallery whose file is not to be had."""
    return Problem(404, "not-shown", f"the picture of key {key} is not kept where it may be shown from")


def of_picture(error: BaseException, number: int) -> Problem:
    """`of_error` for one picture of several, which is named by its number."""
    problem = of_error(error)
    return Problem(problem.status, problem.name, f"picture {number}: {problem.detail}", index=number)


def of_error(error: BaseException) -> Problem:
    """What an exception means to whoever asked. What nobody expected is 500, and in the log in full."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ImageTooLarge):
        return Problem(413, "picture-too-large", _without_flags(str(error)))
    if isinstance(error, ImageError):
        return Problem(422, "unusable-picture", str(error))
    if isinstance(error, InputError):
        return Problem(422, "unusable-request", str(error))
    if isinstance(error, Overloaded):
        return overloaded(str(error))
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return Problem(504, "deadline-exceeded", str(error) or "the deadline passed before the answer was there")
    if isinstance(error, Closed):
        return draining()
    if isinstance(error, BackendError | MemoryError):
        _log.error("a batch could not be run: %s", error)
        return unavailable("backend-failed", "the model could not be run; the service's log says why")
    if isinstance(error, ServiceError):
        _log.error("%s", error)
        return unavailable("unreachable", "the process that writes cannot be reached; nothing was stored, ask again")
    if isinstance(error, GalleryError | SemblanceError):
        _log.error("the gallery could not be used: %s", error)
        return unavailable("gallery-failed", "the gallery could not be used; the service's log says why")
    _log.error("a request broke", exc_info=error)
    return Problem(500, "internal-error", "an error of the service; its log has it under the id of this request")


def of_status(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Problem:
    """A plain status, as a router gives it."""
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "-"), detail or phrase, headers=headers)


def _without_flags(text: str) -> str:
    """Without the advice that is for whoever runs a command."""
    return re.sub(r"; raise it \(--[a-z-]+\), or make", "; make", text)
