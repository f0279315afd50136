"""The Open Inference Protocol, version 2, over HTTP: what clients of Triton and KServe speak.

In: pictures as the tensor `image`, either UINT8 [N, H, W, C] of the model's size or any other, or BYTES [N] with an
encoded picture each. Out: the tensor `embedding`, FP32 [N, D]. The protocol knows no errors of single pictures: one
that cannot be used fails its request, and is named by its index. An error's body is both the protocol's object, which
has the message as "error", and a problem document as everywhere else.

Protocol: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response

from semblance.service import inferring
from semblance.service import open_inference_documents as documents
from semblance.service.admission import of_state
from semblance.service.bodies import read_bytes
from semblance.service.open_inference_documents import VERSION, answers
from semblance.service.problems import Problem
from semblance.service.tensor_checks import TensorError, TooLarge

if TYPE_CHECKING:
    from semblance.service.state import Service

_SMALL_BYTES = 1 << 16  # of a body that says next to nothing


class _Route(APIRoute):
    """Tells a request that is none from a picture that is none."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_told(request: Request) -> Response:
            try:
                return await handle(request)
            except TensorError as error:
                raise _malformed(error) from error

        return handle_told


def _malformed(error: TensorError) -> Problem:
    if isinstance(error, TooLarge):
        return Problem(413, "tensor-too-large", str(error))
    return Problem(400, "malformed-tensor", str(error))


def router() -> APIRouter:
    """All routes under /v2."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], route_class=_Route)
    turn = asyncio.Lock()  # to read large JSON

    async def infer(request: Request) -> Response:
        """Embed pictures: `image` UINT8 [N, H, W, C] or BYTES [N] to `embedding` FP32 [N, D].

        One picture that cannot be used fails the request. The parameter `timeout` is in microseconds.
        """
        return await inferring.infer(request, _service(request), turn)

    stats: dict[str, Any] = {"model_stats": []}
    routes.add_api_route("", _server, responses=answers("The server.", documents.SERVER))
    routes.add_api_route("/health/live", _live, responses=answers("It is.", {"live": True}, is_open=True))
    routes.add_api_route("/health/ready", _ready, responses=answers("It is.", {"ready": True}, 503, is_open=True))
    index = answers("All models.", [{"name": "siamese", "version": VERSION, "state": "READY"}], 413, 429)
    routes.add_api_route(
        "/repository/index", _index, methods=["POST"], responses=index, openapi_extra=documents.INDEX_BODY
    )
    routes.add_api_route("/models/stats", _statistics, responses=answers("Counts of all models.", stats))
    checked = [Depends(_check_path)]
    for path in ("/models/{model}", "/models/{model}/versions/{version}"):
        named = documents.path_parameters(path)
        for end, answer, responses in (
            ("", _metadata, answers("The model.", documents.MODEL_EXAMPLE, 404)),
            ("/ready", _model_ready, answers("It is.", {"name": "siamese", "ready": True}, 404, 503)),
            ("/config", _configuration, answers("Its configuration.", {"name": "siamese"}, 404)),
            ("/stats", _statistics, answers("Counts and durations since the start.", stats, 404)),
        ):
            routes.add_api_route(
                f"{path}{end}", answer, dependencies=checked, responses=responses, openapi_extra={"parameters": named}
            )
        routes.add_api_route(
            f"{path}/infer", infer, methods=["POST"], dependencies=checked, response_class=Response,
            responses=documents.INFER_ANSWERS, openapi_extra=documents.infer(named),
        )  # fmt: skip
    return routes


# ----------------------------------------------------------------------------------------------------------------------
# Documents


async def _server() -> JSONResponse:
    """The server's name, version and extensions."""
    return JSONResponse(documents.SERVER)


async def _live() -> JSONResponse:
    """Whether the process answers at all."""
    return JSONResponse({"live": True})


async def _ready(request: Request) -> JSONResponse:
    """Whether it takes inference requests."""
    _check_ready(_service(request))
    return JSONResponse({"ready": True})


async def _model_ready(request: Request) -> JSONResponse:
    """Whether the model takes inference requests."""
    service = _service(request)
    _check_ready(service)
    return JSONResponse({"name": service.encoder.card.name, "ready": True})


async def _metadata(request: Request) -> JSONResponse:
    """The model's inputs and outputs."""
    return JSONResponse(documents.of_model(_service(request).encoder))


async def _configuration(request: Request) -> JSONResponse:
    """The model's configuration as Triton has it."""
    service = _service(request)
    return JSONResponse(documents.of_configuration(service.encoder, service.settings))


async def _statistics(request: Request) -> JSONResponse:
    """What the batcher has done, as Triton counts it."""
    service = _service(request)
    return JSONResponse(documents.of_statistics(service.encoder, service.batcher.statistics()))


async def _index(request: Request) -> JSONResponse:
    """The one model that there is; with {"ready": true} only if it is ready."""
    service = _service(request)
    with service.budget.share() as share:
        content = await read_bytes(request, share, _SMALL_BYTES)
    try:
        asked = orjson.loads(content) if content else {}
    except orjson.JSONDecodeError as error:
        raise TensorError(f"the request's JSON cannot be read: {error}") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("ready", False), bool):
        raise TensorError('the request must be an object as {"ready": true}, or nothing at all')
    state = "READY" if service.is_ready else "UNAVAILABLE"
    model = {"name": service.encoder.card.name, "version": VERSION, "state": state, "reason": ""}
    return JSONResponse([] if asked.get("ready") and not service.is_ready else [model])


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _check_ready(service: Service) -> None:
    if not service.is_ready:
        raise of_state(service)


async def _check_path(request: Request) -> None:
    """Whether the path's model and, where it has one, its version are there. Raises Problem."""
    model, version = request.path_params["model"], request.path_params.get("version", VERSION)
    name = _service(request).encoder.card.name
    if model != name:
        raise Problem(404, "unknown-model", f"unknown model {model[:60]!r}; this service has: {name}")
    if not (version.isascii() and version.isdigit()):
        raise Problem(400, "malformed-version", f"a version is a whole number, is {version[:60]!r}")
    if version != VERSION:
        raise Problem(404, "unknown-model", f"unknown version {version[:60]} of model {name!r}; there is: {VERSION}")
