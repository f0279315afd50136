"""POST /v1/embed: pictures to vectors, for other routes too."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from semblance.errors import ImageError
from semblance.inference.pending import PendingImage
from semblance.service import documents
from semblance.service.admission import check_room
from semblance.service.answers import RAW, as_json, rows_for_json, wants_raw
from semblance.service.bodies import Body, read_body
from semblance.service.deadline import Deadline
from semblance.service.problems import Problem, of_error, of_picture
from semblance.service.tracing import span
from semblance.service.waiting import all_done, unless_gone

if TYPE_CHECKING:
    from semblance.service.state import Service

_PLAIN = string.punctuation.replace("%", "")  # a model may have any name, a header may not hold any

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of each of N pictures."""

    vectors: list[NDArray[np.float32] | None]  # [D] each
    problems: dict[int, Problem]  # of those that have none, by their number
    timing_ms: dict[str, float]  # the longest of any picture, since they went side by side


async def embed_pictures(service: Service, pictures: Sequence[bytes], deadline: Deadline) -> Embedded:
    """The vector of each picture, or why it has none. Raises Problem where that concerns all of them, Overloaded."""
    with span("embed", images=len(pictures)):
        futures = service.batcher.submit_many(pictures, timeout_s=deadline.left_s)
        await all_done(futures)
    vectors: list[NDArray[np.float32] | None] = []
    problems: dict[int, Problem] = {}
    for number, future in enumerate(futures):
        error = future.exception()
        vectors.append(None if error is not None else future.result())
        if isinstance(error, ImageError):
            problems[number] = of_error(error)
        elif error is not None:
            raise of_error(error)
    return Embedded(vectors, problems, _timing(futures))


def _timing(futures: Sequence[Any]) -> dict[str, float]:
    longest = {"queue": 0.0, "decode": 0.0, "inference": 0.0}
    for each in futures:
        if isinstance(each, PendingImage):
            longest["queue"] = max(longest["queue"], each.queue_s)
            longest["decode"] = max(longest["decode"], each.decode_s)
            longest["inference"] = max(longest["inference"], each.inference_s)
    return {name: round(1e3 * seconds, 3) for name, seconds in longest.items()}


async def embed_one(
    service: Service, picture: bytes, deadline: Deadline
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """The vector [D] of one picture, and how long what took. Raises Problem, Overloaded."""
    embedded = await embed_pictures(service, [picture], deadline)
    (vector,) = embedded.vectors
    if vector is None:
        raise embedded.problems[0]
    return vector, embedded.timing_ms


@router.post("/v1/embed", responses=documents.EMBED, openapi_extra=documents.PICTURES, response_class=Response)
async def embed(request: Request) -> Response:
    """Embed pictures: one as the body itself, several as multipart/form-data or as base64 in JSON.

    A picture that cannot be used fails alone: its embedding is null and `errors` says why. With
    `Accept: application/octet-stream` the answer is float32 [N, D], little-endian, and all pictures have to be usable.
    """
    service: Service = request.app.state.service
    deadline = Deadline(service, _timeout_of(request))
    check_room(service)
    with service.budget.share() as share:
        settings = service.settings
        body = await read_body(request, share, max_bytes=settings.max_body_bytes, max_pictures=settings.max_images)
        _check_members(body, ())
        if not body.pictures:
            raise Problem(400, "no-picture", 'the body has no picture; send "images", or files in the form')
        request.state.told = {"images": len(body.pictures)}
        embedded = await unless_gone(request.receive, embed_pictures(service, body.pictures, deadline))
    return await _answer(service, request, embedded, deadline)


def _timeout_of(request: Request) -> float | None:
    """As `parameters.Timeout`.

    The one parameter of the route that is asked most: a framework takes as long for it as a small model for a picture.
    """
    query: bytes = request.scope["query_string"]
    if not query:
        return None
    given = request.query_params.get("timeout_ms")
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise Problem(400, "malformed-parameter", f"timeout_ms: must be a number above 0, is {given!r}")
    return value


def _check_members(body: Body, known: Sequence[str]) -> None:
    if unknown := sorted(set(body.members) - set(known)):
        raise Problem(400, "unknown-member", f"{unknown[0]!r} is nothing that is asked here")


async def _answer(service: Service, request: Request, embedded: Embedded, deadline: Deadline) -> Response:
    card = service.encoder.card
    num, problems = len(embedded.vectors), embedded.problems
    if problems and (len(problems) == num or wants_raw(request)):
        first = min(problems)
        raise of_picture(problems[first], first) if num > 1 else problems[first]
    if wants_raw(request):
        stacked = np.stack([each for each in embedded.vectors if each is not None]).astype("<f4", copy=False)
        return Response(
            stacked.tobytes(),
            media_type=RAW,
            headers={
                "X-Semblance-Shape": f"{num},{card.dimension}",
                "X-Semblance-Dtype": "float32",
                "X-Semblance-Model": quote(card.name, safe=_PLAIN),
                "X-Semblance-Fingerprint": service.fingerprint,
                "Server-Timing": ", ".join(f"{name};dur={ms:g}" for name, ms in embedded.timing_ms.items()),
            },
        )
    document = {
        "model": card.name,
        "precision": card.precision,
        "fingerprint": service.fingerprint,
        "dimension": card.dimension,
        "metric": card.metric,
        "embeddings": await rows_for_json(embedded.vectors),
        "errors": [{"index": number, **problem.document()} for number, problem in problems.items()],
        "timing_ms": {**embedded.timing_ms, "total": deadline.taken_ms},
    }
    return as_json(document)
