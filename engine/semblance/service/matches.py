"""POST /v1/images/{key}/matches: a picture beside one of the gallery, with what SIFT finds in both drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from semblance.draw_matches import Marked, matches_picture
from semblance.errors import InputError
from semblance.inputs.decode import decode
from semblance.local.pair import match_pictures
from semblance.service import documents
from semblance.service.admission import check_room, gallery_of
from semblance.service.bodies import read_body
from semblance.service.deadline import Deadline, within
from semblance.service.parameters import Key, Timeout
from semblance.service.problems import Problem, no_such_picture, not_shown
from semblance.service.thumbnails import Content
from semblance.service.waiting import unless_gone

if TYPE_CHECKING:
    from semblance.service.state import Service

_MATCHED_PX = 1600  # the longer side of what is matched and drawn; SIFT itself shrinks to less

router = APIRouter()


@router.post(
    "/v1/images/{key}/matches", responses=documents.MATCHES, openapi_extra=documents.OTHER, response_class=Response
)
async def matches(request: Request, key: Key, timeout_ms: Timeout = None) -> Response:
    """A picture, or with JSON `{"key": other}` one of the gallery, beside that of `key`, with their SIFT matches drawn.

    Needs both pictures, so the gallery's have to be ones that are shown.
    """
    service: Service = request.app.state.service
    deadline = Deadline(service, timeout_ms)
    check_room(service)
    vectors = gallery_of(service).now.vectors
    with service.budget.share() as share:
        body = await read_body(request, share, max_bytes=service.settings.max_body_bytes, max_pictures=1)
        if unknown := sorted(set(body.members) - {"key"}):
            raise Problem(400, "unknown-member", f"{unknown[0]!r} is nothing that is asked here")
        other = body.members.get("key")
        if len(body.pictures) + (other is not None) != 1:
            raise Problem(400, "no-one-query", 'give a picture, or {"key": other}')
        if other is not None and (isinstance(other, bool) or not isinstance(other, int)):
            raise no_such_picture(other)

        def drawn() -> tuple[bytes, int, int]:
            for each in (key, other):
                if each is not None and each not in vectors:
                    raise no_such_picture(each)
            query = body.pictures[0] if other is None else _shown(service, other)
            return _drawn(service, query, _shown(service, key))

        work = within(deadline, service.beside(drawn, is_slow=True))
        png, num_matches, num_inliers = await unless_gone(request.receive, work)
    told = {"X-Semblance-Matches": str(num_matches), "X-Semblance-Inliers": str(num_inliers)}
    return Response(png, media_type="image/png", headers=told)


# ----------------------------------------------------------------------------------------------------------------------


def _shown(service: Service, key: int) -> Content:
    content = None if service.thumbnails is None else service.thumbnails.content(key)
    if content is None:
        raise not_shown(key)
    return content


def _drawn(service: Service, query: Content, other: Content) -> tuple[bytes, int, int]:
    """A PNG of both with their matches, how many these are, and how many one geometry explains."""
    a, b = (_shrunk(decode(each, channels=3, limits=service.limits, is_trusted=False)) for each in (query, other))
    pair = match_pictures(a, b, threads=service.encoder_threads)
    is_inlier = pair.geometry.is_inlier
    sheet = matches_picture(
        Marked(a, pair.a.points, "query"), Marked(b, pair.b.points, "neighbour"), pair.pairs, is_inlier,
        outline=pair.outline,
    )  # fmt: skip
    is_written, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not is_written:
        raise InputError("the matches cannot be drawn")
    return png.tobytes(), len(pair.matches), int(is_inlier.sum())


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    longer = max(pixels.shape[:2])
    if longer <= _MATCHED_PX:
        return pixels
    to = tuple(max(1, round(side * _MATCHED_PX / longer)) for side in pixels.shape[1::-1])
    return np.asarray(cv2.resize(pixels, to, interpolation=cv2.INTER_AREA), np.uint8)
