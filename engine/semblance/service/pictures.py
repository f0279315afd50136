"""/v1/images/{key}: a picture of the gallery shown, put in, removed, or matched with another."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import cv2
import numpy as np
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from semblance.draw_matches import Marked, matches_picture
from semblance.errors import DeadlineExceeded, InputError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.shards import Row
from semblance.inputs.decode import decode
from semblance.inputs.header import read_header
from semblance.local.pair import match_pictures
from semblance.local.sift import Features, extract
from semblance.search import sift_options
from semblance.service import documents
from semblance.service.accepts import has_already, prefers
from semblance.service.bodies import Body, read_body
from semblance.service.embedding import Deadline, Timeout, as_json, check_room, embed_one
from semblance.service.live import LiveGallery, Writer
from semblance.service.problems import Problem
from semblance.service.searching import LARGEST_KEY, SMALLEST_KEY, gallery_of, thumbnail_of, within
from semblance.service.thumbnails import LARGEST_PX, Content
from semblance.service.tracing import span
from semblance.service.waiting import unless_gone

if TYPE_CHECKING:
    from semblance.service.state import Service

_LONGEST_TEXT = 4096  # characters of a uri or a label
_MOST_COLUMNS = 64
_MATCHED_PX = 1600  # the longer side of what is matched and drawn; SIFT itself shrinks to less
_DAY_S = 86_400

Key = Annotated[int, Path(ge=SMALLEST_KEY, le=LARGEST_KEY, description="Of 64 bits.")]
Size = Annotated[int, Query(ge=8, le=LARGEST_PX, description="Pixels of the longer side, at most.")]
Uri = Annotated[str | None, Query(max_length=_LONGEST_TEXT, description="Its name. Default: upload/KEY.")]
Label = Annotated[str | None, Query(max_length=_LONGEST_TEXT, description="What it shows.")]

router = APIRouter()


@router.get("/v1/images/{key}", responses=documents.SHOW, response_class=Response)
async def show(request: Request, key: Key, size: Size = 256) -> Response:
    """The picture, small; or with `Accept: application/json` what the gallery knows of it."""
    service: Service = request.app.state.service
    deadline = Deadline(service, None)
    vectors = _vectors_with(gallery_of(service), key)
    (facts,) = await within(deadline, service.beside(lambda: vectors.facts(np.array([key]))))
    if prefers(request.headers.get("accept", ""), "application/json", "image/jpeg", "image/png"):
        told = {**_facts(facts), "columns": dict(facts.columns), "thumbnail": thumbnail_of(service, key)}
        return as_json(told, headers={"Vary": "Accept"})
    tag = f'"{facts.sha256[:32]}-{size}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={_DAY_S}, must-revalidate", "Vary": "Accept"}
    if has_already(request, tag):
        return Response(status_code=304, headers=headers)
    thumbnails, made = service.thumbnails, None
    if thumbnails is not None:
        made = await within(deadline, service.beside(lambda: thumbnails.thumbnail(key, size)))
    if made is None:
        raise Problem(404, "not-shown", f"the picture of key {key} is not kept where it may be shown from")
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
            is_new = await _to_its_end(deadline, writer.put(row, vector, keypoints))
    return as_json({"key": key, "created": is_new, **_facts(row)}, 201 if is_new else 200)


@router.delete("/v1/images/{key}", responses=documents.DELETE, status_code=204, response_class=Response)
async def delete(request: Request, key: Key, timeout_ms: Timeout = None) -> Response:
    """Remove a picture from the gallery; once this is answered, that survives everything, as `PUT` does."""
    service: Service = request.app.state.service
    deadline = Deadline(service, timeout_ms)
    check_room(service)
    writer = _writer(gallery_of(service))
    if not await _to_its_end(deadline, writer.remove(key)):
        raise _no_such(key)
    return Response(status_code=204)


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
    vectors = _vectors_with(gallery_of(service), key)
    with service.budget.share() as share:
        body = await read_body(request, share, max_bytes=service.settings.max_body_bytes, max_pictures=1)
        if unknown := sorted(set(body.members) - {"key"}):
            raise Problem(400, "unknown-member", f"{unknown[0]!r} is nothing that is asked here")
        other = body.members.get("key")
        if len(body.pictures) + (other is not None) != 1:
            raise Problem(400, "no-one-query", 'give a picture, or {"key": other}')
        if other is not None and (isinstance(other, bool) or not isinstance(other, int) or other not in vectors):
            raise Problem(404, "no-such-picture", f"key {other!r} is not in the gallery")

        def drawn() -> tuple[bytes, int, int]:
            query = body.pictures[0] if other is None else _shown(service, other)
            return _drawn(service, query, _shown(service, key))

        png, num_matches, num_inliers = await unless_gone(request.receive, within(deadline, service.beside(drawn)))
    told = {"X-Semblance-Matches": str(num_matches), "X-Semblance-Inliers": str(num_inliers)}
    return Response(png, media_type="image/png", headers=told)


# ----------------------------------------------------------------------------------------------------------------------


def _vectors_with(live: LiveGallery, key: int) -> VectorGallery:
    vectors = live.now.vectors
    if key not in vectors:
        raise _no_such(key)
    return vectors


def _no_such(key: int) -> Problem:
    return Problem(404, "no-such-picture", f"key {key} is not in the gallery")


def _writer(live: LiveGallery) -> Writer:
    if live.writer is None:
        raise Problem(403, "read-only", "the gallery is served for reading only")
    return live.writer


async def _to_its_end(deadline: Deadline, change: Coroutine[Any, Any, bool]) -> bool:
    """What a change answers; once begun it is done, whoever is still there to hear of it. Raises DeadlineExceeded."""
    if deadline.left_s <= 0:
        change.close()
        raise DeadlineExceeded("the deadline passed before the change was begun; nothing was changed")
    done: bool = await within(deadline, asyncio.shield(asyncio.ensure_future(change)))
    return done


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


def _shown(service: Service, key: int) -> Content:
    content = None if service.thumbnails is None else service.thumbnails.content(key)
    if content is None:
        raise Problem(404, "not-shown", f"the picture of key {key} is not kept where it may be shown from")
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


def _shrunk(pixels: Any) -> Any:
    longer = max(pixels.shape[:2])
    if longer <= _MATCHED_PX:
        return pixels
    to = tuple(max(1, round(side * _MATCHED_PX / longer)) for side in pixels.shape[1::-1])
    return cv2.resize(pixels, to, interpolation=cv2.INTER_AREA)
