"""Around every request: its id, its line in the log, its figures, and an answer whatever happens.

In: an ASGI application. Out: one that answers every request with X-Request-Id, an error of any kind with a problem
document, and that counts a request once, at its end, whichever way that came.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semblance.service.bodies import ClientGone
from semblance.service.problems import of_error

if TYPE_CHECKING:
    from semblance.service.state import Service

_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_CLIENT_GONE = 499  # as nginx logs it; nobody is sent it
_log = logging.getLogger("semblance.access")


class Requests:
    """ASGI middleware; the outermost one."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        # counted on from a random place: an id has to be unique, and a random one for each would be a system call
        self._ids = itertools.count(secrets.randbits(63))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{next(self._ids):016x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status, is_complete = 0, False
        # a HEAD is a GET whose content the server does not send
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def send_marked(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = message["status"]
                marked = MutableHeaders(raw=message["headers"])
                marked["X-Request-Id"] = request_id
                marked.setdefault("X-Content-Type-Options", "nosniff")
                marked.setdefault("Cross-Origin-Resource-Policy", "same-origin")  # no other page shows our pictures
                marked.setdefault("Cache-Control", "no-store")
            elif message["type"] == "http.response.body":
                is_complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(inner, receive, send_marked)
        except ClientGone:
            status = _CLIENT_GONE
        except Exception as error:
            if not status:
                await of_error(error).response(scope)(scope, receive, send_marked)
            elif not is_complete:  # all that is left is to end it short
                _log.error("an answer broke off", extra={"request_id": request_id}, exc_info=error)
                raise
        finally:
            seconds = time.perf_counter() - start
            status = status or _CLIENT_GONE  # cancelled: the server gave it up at its end
            self._service.metrics.answered(_route(inner), _method(scope), status, seconds)
            if self._service.settings.access_log:
                facts = _facts(scope, request_id, status, seconds)
                _log.info("%s %s %d", scope["method"], facts["path"], status, extra=facts)


def _path(scope: Scope) -> str:
    """As it was sent: a space of a stranger's would else part it into words of a log."""
    raw: bytes | None = scope.get("raw_path")
    return scope["path"] if raw is None else raw.decode("latin-1")


def _facts(scope: Scope, request_id: str, status: int, seconds: float) -> dict[str, Any]:
    client = scope.get("client")
    return {
        "request_id": request_id,
        "method": scope["method"],
        "path": _path(scope),
        "status": status,
        "ms": round(1e3 * seconds, 3),
        "client": client[0] if client else None,
        **scope["state"].get("told", {}),
    }


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"  # a stranger may name any number of them


def _route(scope: Scope) -> str:
    """The route's pattern, so that a stranger's paths do not become figures of their own."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path or "unmatched"
