"""A service that lies, to show that the harness notices: `python -m bench.service.lies KIND GALLERY --port N`.

In: what to lie about, a gallery and a few of the real command's options. Out: the real application behind a wrapper
that answers some requests with the answer to another's (`swaps`), acknowledges writes and undoes them (`loses`), is
late with every refusal (`dawdles`), counts what it did not do (`miscounts`), or breaks at some bodies (`breaks`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.service.processes import end_with_parent
from semblance.service import create_app
from semblance.service.settings import Settings

KINDS = ("swaps", "loses", "dawdles", "miscounts", "breaks")
_EVERY = 5  # how often it lies
_LATE_S = 0.2


class Liar:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, kind: str) -> None:
        self._app, self._kind = app, kind
        self._count = 0
        self._kept = b""  # the body of an answer before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_chosen = scope["type"] == "http" and self._is_chosen(scope)
        if is_chosen and self._kind == "breaks":
            await _answer(send, 500)
        elif is_chosen and self._kind in ("swaps", "dawdles"):
            await self._app(scope, receive, self._changed(send))
        elif is_chosen and self._kind == "loses":
            await self._undone(scope, receive, send)
        elif is_chosen:
            await self._app(scope, receive, send)
            await self._app({**scope, "state": {}}, _nothing, _unsent)  # another one, which nobody asked for
        else:
            await self._app(scope, receive, send)

    def _is_chosen(self, scope: Scope) -> bool:
        is_put = scope["method"] == "PUT"
        if scope["path"] != "/v1/embed" and not (is_put and self._kind == "loses"):
            return False
        if self._kind == "loses" and not is_put:
            return False
        self._count += 1
        return self._kind == "dawdles" or self._count % _EVERY == 0

    def _changed(self, send: Send) -> Send:
        status = 0

        async def lie(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status == 429 and self._kind == "dawdles":
                await asyncio.sleep(_LATE_S)
            elif status == 200 and self._kind == "swaps":
                body = message["body"]
                is_like = len(self._kept) == len(body)
                message, self._kept = {**message, "body": self._kept if is_like else body}, body
            await send(message)

        return lie

    async def _undone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do it, undo it, and say that it is done."""
        said: list[Message] = []

        async def hold(message: Message) -> None:
            said.append(message)

        await self._app(scope, receive, hold)
        if said[0]["status"] in (200, 201):
            await self._app({**scope, "method": "DELETE", "state": {}}, _nothing, _unsent)
        for message in said:
            await send(message)


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _unsent(message: Message) -> None:
    pass


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0"), (b"content-type", b"application/problem+json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve until a signal."""
    end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m bench.service.lies")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--backend", default="auto")
    for name in ("threads", "port", "max-pending-images", "max-images"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("header-timeout-s", "body-timeout-s", "host", "max-body-bytes"):
        parser.add_argument(f"--{name}")  # taken, and not heeded
    given = parser.parse_args()
    fields: dict[str, Any] = {
        name: value
        for name in ("gallery", "model", "backend", "threads", "max_pending_images", "max_images")
        if (value := getattr(given, name)) is not None
    }
    app = Liar(create_app(Settings(**fields)), given.kind)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", timeout_graceful_shutdown=2)
    os._exit(0)  # uvicorn ends by the signal that it got


if __name__ == "__main__":
    main()
