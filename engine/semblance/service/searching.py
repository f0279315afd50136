"""POST /v1/search: a picture, a vector or a key to its neighbours in the gallery."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from semblance.errors import InputError
from semblance.gallery.gallery import Neighbours
from semblance.inputs.decode import decode
from semblance.inputs.limits import Limits
from semblance.rerank import Verification
from semblance.search import Gallery, Hit, sift_options
from semblance.service import documents
from semblance.service.admission import check_room, gallery_of
from semblance.service.answers import as_json
from semblance.service.bodies import read_body
from semblance.service.deadline import Deadline, within
from semblance.service.embedding import embed_one
from semblance.service.live import LiveGallery
from semblance.service.parameters import Timeout
from semblance.service.problems import Problem, no_such_picture, of_error
from semblance.service.queries import Members
from semblance.service.thumbnails import address_of
from semblance.service.tracing import span
from semblance.service.waiting import unless_gone

if TYPE_CHECKING:
    from semblance.service.state import Service

_LONGEST_CONDITION = 4096  # characters
_USUAL_K = 10
_MOST_SHORTLIST = 1000

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is searched for, beside the query itself."""

    k: int
    where: str | None
    exact: bool
    how: Verification | None  # of the keypoints, where the nearest are to be put in order by these

    @property
    def is_slow(self) -> bool:
        """Whether it may take seconds, where others take milliseconds."""
        return self.where is not None or self.how is not None

    def on(self, gallery: Gallery) -> int:
        """How many can be found at most in a gallery; raises Problem where it cannot be asked so."""
        if self.how is not None and sift_options(gallery.vectors) is None:
            raise Problem(422, "no-keypoints", "the gallery keeps no keypoints, which rerank=sift compares")
        return min(self.k, len(gallery))


@router.post("/v1/search", responses=documents.SEARCH, openapi_extra=documents.QUERY, response_class=Response)
async def search(
    request: Request,
    k: Annotated[int | None, Query(ge=1, le=2**31, description=f"How many neighbours. Default: {_USUAL_K}.")] = None,
    where: Annotated[
        str | None,
        Query(max_length=_LONGEST_CONDITION, description="An SQL condition on the gallery's columns, as: width > 300"),
    ] = None,
    exact: Annotated[bool, Query(description="Compare with every vector instead of asking the index.")] = False,
    rerank: Annotated[str | None, Query(pattern="^sift$", description="Order the nearest by shared keypoints.")] = None,
    shortlist: Annotated[
        int, Query(ge=1, le=_MOST_SHORTLIST, description="How many of the nearest rerank looks at.")
    ] = 100,
    timeout_ms: Timeout = None,
) -> Response:
    """Find the pictures of the gallery that are nearest to a picture, to a vector, or to one of its own by key.

    A picture is the body itself, a file of a form, or `image` in base64 in JSON; `vector` and `key` go in JSON. What
    the JSON says comes before what the address says. Fewer than k are found where fewer pass the condition.
    """
    service: Service = request.app.state.service
    settings = service.settings
    arrival = time.monotonic()
    check_room(service)
    live = gallery_of(service)
    with service.budget.share() as share:
        body = await read_body(request, share, max_bytes=settings.max_body_bytes, max_pictures=1)
        said = Members(body)
        deadline = Deadline(service, said.number("timeout_ms", timeout_ms), arrival)
        rerank = said.choice("rerank", rerank, ("sift",))
        how = None
        if rerank is not None:
            threads = service.encoder_threads
            how = Verification(shortlist=said.count("shortlist", shortlist, _MOST_SHORTLIST), threads=threads)
        asked = Asked(
            k=said.count("k", min(_USUAL_K, settings.max_k) if k is None else k, settings.max_k),
            where=said.text("where", where, _LONGEST_CONDITION),
            exact=said.truth("exact", exact),
            how=how,
        )
        query, kind = said.query(service.encoder.card.dimension), said.kind
        request.state.told = {"query": kind, "k": asked.k}
        work = _search(service, live, query, asked, deadline)
        gallery, hits, timing = await unless_gone(request.receive, work)
    return as_json(
        {
            "query": {"key": query} if kind == "key" else {kind: True},
            "metric": gallery.card.metric,
            "neighbours": [_neighbour(service, hit) for hit in hits],
            "gallery": {"name": live.path.name, "images": len(gallery)},
            "timing_ms": {**timing, "total": deadline.taken_ms},
        }
    )


async def _search(
    service: Service, live: LiveGallery, query: bytes | int | NDArray[np.float32], asked: Asked, deadline: Deadline
) -> tuple[Gallery, list[Hit], dict[str, float]]:
    timing = {"queue": 0.0, "decode": 0.0, "inference": 0.0}
    asked.on(live.now)
    picture: bytes | None = None
    if isinstance(query, bytes):
        picture = query
        query, timing = await embed_one(service, picture, deadline)
    gallery = live.now  # as it is when the search begins; one and the same to its end
    with span("search", k=asked.k):
        work = service.beside(lambda: _timed(gallery, query, picture, asked, service.limits), is_slow=asked.is_slow)
        hits, seconds = await within(deadline, work)
    service.metrics.searched(seconds)
    return gallery, hits, {**timing, "search": round(1e3 * seconds, 3)}


def _timed(
    gallery: Gallery,
    query: int | NDArray[np.float32] | bytes,
    picture: bytes | None,
    asked: Asked,
    limits: Limits,
) -> tuple[list[Hit], float]:
    start = time.perf_counter()
    k = asked.on(gallery)
    if isinstance(query, int) and query not in gallery.vectors:
        raise no_such_picture(query)
    hits: list[Hit] = []
    if k:
        try:
            found = _found(gallery, query, picture, k, asked, limits)
        except InputError as error:
            raise _unusable(error) from error
        (hits,) = gallery.described(found)
    return hits, time.perf_counter() - start


def _found(
    gallery: Gallery,
    query: int | NDArray[np.float32] | bytes,
    picture: bytes | None,
    k: int,
    asked: Asked,
    limits: Limits,
) -> Neighbours:
    if isinstance(query, int):
        return gallery.search_keys([query], k, exact=asked.exact, where=asked.where, rerank=asked.how)
    assert isinstance(query, np.ndarray)
    if asked.how is None:
        return gallery.search_vectors(query[np.newaxis], k, exact=asked.exact, where=asked.where)
    if picture is None:
        raise Problem(422, "no-picture", "rerank=sift compares keypoints, which a vector has none of; send a picture")
    grey = decode(picture, channels=1, limits=limits)
    return gallery.search_embedded([grey], query[np.newaxis], k, asked.how, exact=asked.exact, where=asked.where)


def _unusable(error: InputError) -> Problem:
    """A condition that cannot be asked has a name of its own: a page says so beside the condition."""
    is_condition = str(error).startswith("where ")  # as all of them begin that the gallery says of one
    return Problem(422, "unusable-condition", str(error)) if is_condition else of_error(error)


def _neighbour(service: Service, hit: Hit) -> dict[str, Any]:
    found: dict[str, Any] = {
        "key": hit.key,
        "uri": hit.uri,
        "label": hit.label,
        "distance": hit.distance,
        "thumbnail": address_of(service.thumbnails, hit.key),
    }
    if hit.inliers is not None:
        found |= {"matches": hit.matches, "inliers": hit.inliers}
    return found
