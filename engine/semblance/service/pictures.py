"""/v1/images/{key}: a picture of the gallery shown, put in, or removed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from semblance.errors import Closed, DeadlineExceeded
from semblance.gallery.shards import Row
from semblance.inputs.decode import decode
from semblance.inputs.header import read_header
from semblance.local.sift import Features, extract
from semblance.search import sift_options
from semblance.service import documents
from semblance.service.accepts import has_already
from semblance.service.admission import check_open, check_room, gallery_of
from semblance.service.answers import as_json, wants_json
from semblance.service.bodies import Body, read_body
from semblance.service.deadline import Deadline, within
from semblance.service.embedding import embed_one
from semblance.service.live import LiveGallery, Writer
from semblance.service.parameters import Key, Timeout
from semblance.service.problems import Problem, draining, no_such_picture, not_shown, unavailable
from semblance.service.thumbnails import LARGEST_PX, address_of
from semblance.service.tracing import span
from semblance.service.waiting import unless_gone

if TYPE_CHECKING:
    from semblance.service.state import Service

_LONGEST_TEXT = 4096  # characters of a uri or a label
_MOST_COLUMNS = 64
_log = logging.getLogger(__name__)

Size = Annotated[int, Query(ge=8, le=LARGEST_PX, description="Pixels of the longer side, at most.")]
Uri = Annotated[str | None, Query(max_length=_LONGEST_TEXT, description="Its name. Default: upload/KEY.")]
Label = Annotated[str | None, Query(max_length=_LONGEST_TEXT, description="What it shows.")]

router = APIRouter()


@router.get("/v1/images/{key}", responses=documents.SHOW, response_class=Response)
async def show(request: Request, key: Key, size: Size = 256) -> Response:
    """The picture, small; or with `Accept: application/json` what the gallery knows of it."""
    service: Service = request.app.state.service
    deadline = Deadline(service, None)
    vectors = gallery_of(service).now.vectors

    def known() -> Row:
        if key not in vectors:
            raise no_such_picture(key)
        (facts,) = vectors.facts(np.array([key]))
        return facts

    facts = await within(deadline, service.beside(known))
    if wants_json(request):
        told = {**_facts(facts), "columns": dict(facts.columns), "thumbnail": address_of(service.thumbnails, key)}
        return as_json(told, headers={"Vary": "Accept"})
    tag = f'"{facts.sha256[:32]}-{size}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if has_already(request, tag):
        return Response(status_code=304, headers=headers)
    thumbnails, made = service.thumbnails, None
    if thumbnails is not None:
        made = await within(deadline, service.beside(lambda: thumbnails.thumbnail(key, size)))
    if made is None:
        raise not_shown(key)
    return Response(made.content, media_type=made.media_type, headers=headers)


@router.put("/v1/images/{key}", responses=documents.PUT, openapi_extra=documents.ONE_PICTURE, response_class=Response)
async def put(request: Request, key: Key, uri: Uri = None, label: Label = None, timeout_ms: Timeout = None) -> Response:
    """Put a picture into the gallery, in the place of what the key had before.

    Once this is answered, it survives that the service is killed or the machine loses power. `uri`, `label` and, in
    JSON, `columns` are kept with it; the picture itself is not.
    """
    service: Service = request.app.state.service
    deadline = Deadline(service, timeout_ms)
    check_room(service)
    live = gallery_of(service)
    writer = _writer(live)
    with service.budget.share() as share:
        body = await read_body(request, share, max_bytes=service.settings.max_body_bytes, max_pictures=1)
        if not body.pictures:
            raise Problem(400, "no-picture", 'the body has no picture; send its bytes, or "image" in base64')
        told = _told(key, body, {"uri": uri, "label": label})
        picture = body.pictures[0]
        vector, _ = await unless_gone(request.receive, embed_one(service, picture, deadline))
        row, keypoints = await within(deadline, service.beside(lambda: _row(service, live, key, picture, told)))
        with span("commit"):
            is_new = await _to_its_end(service, deadline, writer.put(row, vector, keypoints))
    return as_json({"key": key, "created": is_new, **_facts(row)}, 201 if is_new else 200)


@router.delete("/v1/images/{key}", responses=documents.DELETE, status_code=204, response_class=Response)
async def delete(request: Request, key: Key, timeout_ms: Timeout = None) -> Response:
    """Remove a picture from the gallery; once this is answered, that survives everything, as `PUT` does."""
    service: Service = request.app.state.service
    deadline = Deadline(service, timeout_ms)
    check_open(service)  # it needs none of the room that pictures take
    writer = _writer(gallery_of(service))
    if not await _to_its_end(service, deadline, writer.remove(key)):
        raise no_such_picture(key)
    return Response(status_code=204)


# ----------------------------------------------------------------------------------------------------------------------


def _writer(live: LiveGallery) -> Writer:
    if live.writer is None:
        raise Problem(403, "read-only", "the gallery is served for reading only")
    return live.writer


async def _to_its_end(service: Service, deadline: Deadline, change: Coroutine[Any, Any, bool]) -> bool:
    """What a change answers; once begun it is done, whoever is still there to hear of it.

    Raises DeadlineExceeded, and Problem where nothing is written (any more) though the service answers.
    """
    if deadline.left_s <= 0:
        change.close()
        raise DeadlineExceeded("the deadline passed before the change was begun; nothing was changed")
    try:
        return await within(deadline, asyncio.shield(asyncio.ensure_future(change)))
    except Closed as error:
        if service.is_draining:
            raise draining() from error
        _log.error("a change was refused: %s", error)
        raise unavailable("not-writing", "nothing can be stored now; the service's log says why") from error


def _facts(row: Row) -> dict[str, Any]:
    return {
        "key": row.key, "uri": row.uri, "label": row.label, "sha256": row.sha256, "width": row.width,
        "height": row.height,
    }  # fmt: skip


def _told(key: int, body: Body, query: Mapping[str, str | None]) -> dict[str, Any]:
    """Uri, label and columns, from the address or the document. Raises Problem."""
    known = {"uri", "label", "columns"}
    if unknown := sorted(set(body.members) - known):
        raise Problem(400, "unknown-member", f"{unknown[0]!r} is nothing that is kept; own columns go into columns")
    told = {**query, **{name: value for name, value in body.members.items() if value is not None}}
    for name in ("uri", "label"):
        value = told.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > _LONGEST_TEXT):
            raise Problem(400, "malformed-member", f"{name} must be a string of at most {_LONGEST_TEXT} characters")
    columns = told.get("columns") or {}
    if not isinstance(columns, dict) or len(columns) > _MOST_COLUMNS:
        raise Problem(400, "malformed-member", f"columns must be an object of at most {_MOST_COLUMNS} members")
    for name, value in columns.items():
        if not isinstance(value, str | int | float | bool | None):
            raise Problem(400, "malformed-member", f"column {name!r} must be a string, a number, true, false or null")
    return {"uri": told.get("uri") or f"upload/{key}", "label": told.get("label"), "columns": columns}


def _row(
    service: Service, live: LiveGallery, key: int, picture: bytes, told: Mapping[str, Any]
) -> tuple[Row, Features | None]:
    """What the gallery keeps of a picture that was embedded, so it is one."""
    header = read_header(picture, f"{len(picture)} bytes")
    height, width = header.height, header.width
    if header.orientation >= 5:  # on its side: as it is seen
        height, width = width, height
    row = Row(key, told["uri"], hashlib.sha256(picture).hexdigest(), width, height, told["label"], told["columns"])
    options = sift_options(live.now.vectors)
    if options is None:
        return row, None
    return row, extract(decode(picture, channels=1, limits=service.limits), options)
