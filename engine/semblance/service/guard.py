"""Who may ask: the token, the name that the service was asked by, and the page that asks.

In: an ASGI application. Out: one that refuses before a body is read. A token is compared in constant time. Where there
is none the service listens to this machine only, and then a browser on it is the danger: a page from elsewhere may
have its own name point here (DNS rebinding), so only names that the service has are answered; and a page of another
origin may send what needs no leave of ours (a form), so that is refused as well.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from semblance.service.problems import Problem

if TYPE_CHECKING:
    from semblance.service.settings import Settings

OPEN_PATHS = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
_OPEN_FOLDER = "/page/"
_LOCAL_NAMES = frozenset({"localhost"})


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else token.encode()
        self._origins = frozenset(settings.allow_origin)
        named = {_bare(name) for name in (settings.host, *settings.allow_host)}
        self._hosts = (
            None if token is not None or (settings.insecure and not settings.allow_host) else named | _LOCAL_NAMES
        )
        if settings.uds is not None and not settings.allow_host:
            self._hosts = None  # no browser speaks to a Unix domain socket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_origin(headers)
            path = scope["path"]
            is_open = path in OPEN_PATHS or path == "/" or path.startswith(_OPEN_FOLDER)
            if not is_open and not self._is_asked_before(scope, headers):
                self._check_token(headers)
        await self._app(scope, receive, send)

    def _is_asked_before(self, scope: Scope, headers: Headers) -> bool:
        """Whether a browser asks if a page may ask; that is answered before any route, and has no token with it."""
        is_named = headers.get("origin") in self._origins
        return scope["method"] == "OPTIONS" and is_named and "access-control-request-method" in headers

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is None:
            return
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
        if _bare(name) not in self._hosts and not _is_loopback(name):
            raise Problem(
                403, "unknown-host", f"Host {host!r} is no name of this service; --allow-host, or a token, lets it in"
            )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if origin.partition("://")[2] != headers.get("host", ""):
            raise Problem(403, "unknown-origin", f"pages of {origin!r} may not ask; --allow-origin lets them")

    def _check_token(self, headers: Headers) -> None:
        if self._expected is None:
            return
        given = headers.getlist("authorization")
        # two are none: something in front of us may have looked at the other one
        scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
        # compared also where the scheme is another, so that the time tells nothing
        is_right = hmac.compare_digest(token.strip().encode("utf-8", "surrogateescape"), self._expected)
        if scheme.lower() != "bearer" or not is_right:
            why = "the token is not the right one" if token else "no token was given, or two were"
            told = {"WWW-Authenticate": 'Bearer realm="semblance"'}
            if (origin := headers.get("origin")) in self._origins:  # else its page could not read why
                told |= {"Access-Control-Allow-Origin": str(origin), "Vary": "Origin"}
            raise Problem(401, "unauthorized", f"{why}; send Authorization: Bearer TOKEN", headers=told)


def _bare(name: str) -> str:
    """A name as it is compared: an IPv6 address may stand in brackets."""
    return name.lower().removeprefix("[").removesuffix("]")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(_bare(name)).is_loopback
    except ValueError:
        return False
