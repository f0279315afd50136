"""The page and its files: plain HTML, CSS and JavaScript, all of them ours.

In: a request for / or /page/NAME. Out: the file. The policy that goes with the page lets it load nothing from anywhere
else, nor run a script that stands in the document itself.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from semblance.service.accepts import has_already
from semblance.service.problems import Problem

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/", response_class=Response)
async def page(request: Request) -> Response:
    """The page."""
    return _answer(request, "index.html")


@router.get("/page/{name}", response_class=Response)
async def file(request: Request, name: str) -> Response:
    """One of its files, by a name that is known beforehand; no path is made of what a client says."""
    if name not in _files():
        raise Problem(404, "not-found", "the page has no such file")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    content, tag = _files()[name]
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",  # kept, and asked for again: a newer version comes with a newer page
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
    }
    if has_already(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[Path(name).suffix])


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    found = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            found[path.name] = content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return found
