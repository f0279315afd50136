"""The ASGI application: joins the routes, the guard and what goes around every request.

In: `Settings`, or a `Service` that is opened by whoever made it. Out: an application for any ASGI server, which is
ready once its lifespan has begun.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

import semblance
from semblance.errors import SemblanceError
from semblance.service import about, documents, embedding, matches, open_inference, page_files, pictures, searching
from semblance.service.bodies import ClientGone
from semblance.service.guard import OPEN_PATHS, Guard
from semblance.service.open_inference_documents import HEADER_LENGTH
from semblance.service.problems import Problem, of_error, of_status
from semblance.service.requests import Requests
from semblance.service.settings import Settings
from semblance.service.state import Service

_DESCRIPTION = """Images to vectors and to their neighbours. Errors are problem documents (RFC 9457). Every answer has
X-Request-Id, which the service's log has too."""

_OWN_HEADERS = tuple(f"X-Semblance-{name}" for name in ("Shape", "Dtype", "Model", "Fingerprint", "Matches", "Inliers"))


def create_app(settings: Settings | None = None, *, service: Service | None = None) -> ASGIApp:
    """The application of `settings`, whose model is loaded when the server starts it; or of a `service` not yet open.

    Raises InputError for a token file that cannot be read.
    """
    if service is None:
        assert settings is not None, "give settings, or a service"
        service = Service(settings)
    settings, shared = service.settings, service

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with shared:
            yield

    app = FastAPI(
        title="semblance",
        version=semblance.__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=documents.operation_id,
        telemetry={"metrics": False, "logs": False},  # spans where an SDK is set up; the rest is at /metrics
    )
    app.state.service = shared
    for each in (embedding, searching, pictures, matches, about):
        app.include_router(each.router)
    app.include_router(open_inference.router())
    if settings.page:
        app.include_router(page_files.router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    for kind in (Problem, SemblanceError, Exception):
        app.add_exception_handler(kind, _told)
    _describe(app, has_token=shared.token is not None)

    stack: ASGIApp = app
    if settings.allow_origin:
        stack = CORSMiddleware(
            stack,
            allow_origins=list(settings.allow_origin),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Content-Encoding", "X-Request-Id", HEADER_LENGTH],
            expose_headers=["X-Request-Id", "Retry-After", "Server-Timing", HEADER_LENGTH, *_OWN_HEADERS],
        )
    return Requests(Guard(stack, settings, shared.token), shared)


async def _invalid(request: Request, error: Exception) -> Response:
    """A parameter of the address that is none."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return _answered(request, Problem(400, "malformed-parameter", f"{name}: {first['msg']}"))


async def _plain(request: Request, error: Exception) -> Response:
    """What the router itself answers: 404 and 405."""
    assert isinstance(error, HTTPException)
    detail = {
        404: f"nothing is at {request.url.path}; /openapi.json lists what there is",
        405: f"{request.method} is not answered at {request.url.path}",
    }.get(error.status_code, str(error.detail))
    return _answered(request, of_status(error.status_code, detail, error.headers))


async def _told(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientGone):  # nobody hears it; `Requests` counts it for what it is
        raise error
    return _answered(request, of_error(error))


def _answered(request: Request, problem: Problem) -> Response:
    return problem.response(request.scope)


def _describe(app: FastAPI, *, has_token: bool) -> None:
    """Complete the description by what all routes share."""
    derived = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = derived()
            components = schema.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            schemas["Problem"] = documents.PROBLEM_SCHEMA
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for item in schema["paths"].values():
                for operation in item.values():  # after a function's name, which may be private
                    operation["summary"] = operation["summary"].strip()
            if has_token:
                components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                schema["security"] = [{"token": []}]
                for path in OPEN_PATHS:
                    for operation in schema["paths"][path].values():
                        operation["security"] = []
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to extend it
