"""POST /v1/search: a picture, a vector or a key to its neighbours in the gallery."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from semblance.errors import DeadlineExceeded
from semblance.gallery.gallery import Neighbours
from semblance.rerank import Verification
from semblance.search import Gallery, Hit, sift_options
from semblance.service import documents
from semblance.service.bodies import Body, read_body
from semblance.service.embedding import Deadline, Timeout, as_json, check_room, embed_one
from semblance.service.live import LiveGallery
from semblance.service.problems import Problem
from semblance.service.tracing import span
from semblance.service.waiting import unless_gone

if TYPE_CHECKING:
    from semblance.service.state import Service

_LONGEST_CONDITION = 4096  # characters
_USUAL_K = 10
_MOST_SHORTLIST = 1000
_LONGEST_NUMBER = 20  # characters; no number of 64 bits has more
LARGEST_KEY, SMALLEST_KEY = 2**63 - 1, -(2**63)
_MEMBERS = ("k", "where", "exact", "rerank", "shortlist", "vector", "key", "timeout_ms")

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is searched for, beside the query itself."""

    k: int
    where: str | None
    exact: bool
    how: Verification | None  # of the keypoints, where the nearest are to be put in order by these

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
        said = _Members(body)
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


def gallery_of(service: Service) -> LiveGallery:
    """The gallery. Raises Problem where a model is served alone."""
    if service.gallery is None:
        raise Problem(404, "no-gallery", "no gallery is served here, only a model: /v1/embed is what it answers")
    return service.gallery


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
        hits, seconds = await within(deadline, service.beside(lambda: _timed(gallery, query, picture, asked)))
    service.metrics.searched(seconds)
    return gallery, hits, {**timing, "search": round(1e3 * seconds, 3)}


async def within(deadline: Deadline, work: Any) -> Any:
    """What `work` gives. Raises DeadlineExceeded; what runs in a thread by then still runs to its end."""
    try:
        return await asyncio.wait_for(work, max(0.0, deadline.left_s))
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the answer was there") from None


def _timed(
    gallery: Gallery, query: int | NDArray[np.float32] | bytes, picture: bytes | None, asked: Asked
) -> tuple[list[Hit], float]:
    start = time.perf_counter()
    k = asked.on(gallery)
    if isinstance(query, int) and query not in gallery.vectors:
        raise Problem(404, "no-such-picture", f"key {query} is not in the gallery")
    hits: list[Hit] = []
    if k:
        (hits,) = gallery.described(_found(gallery, query, picture, k, asked))
    return hits, time.perf_counter() - start


def _found(
    gallery: Gallery, query: int | NDArray[np.float32] | bytes, picture: bytes | None, k: int, asked: Asked
) -> Neighbours:
    if isinstance(query, int):
        return gallery.search_keys([query], k, exact=asked.exact, where=asked.where, rerank=asked.how)
    assert isinstance(query, np.ndarray)
    if asked.how is None:
        return gallery.search_vectors(query[np.newaxis], k, exact=asked.exact, where=asked.where)
    if picture is None:
        raise Problem(422, "no-picture", "rerank=sift compares keypoints, which a vector has none of; send a picture")
    return gallery.search_embedded([picture], query[np.newaxis], k, asked.how, exact=asked.exact, where=asked.where)


def _neighbour(service: Service, hit: Hit) -> dict[str, Any]:
    found: dict[str, Any] = {
        "key": hit.key,
        "uri": hit.uri,
        "label": hit.label,
        "distance": hit.distance,
        "thumbnail": thumbnail_of(service, hit.key),
    }
    if hit.inliers is not None:
        found |= {"matches": hit.matches, "inliers": hit.inliers}
    return found


def thumbnail_of(service: Service, key: int) -> str | None:
    """Where the picture of a key is to be seen, if it may be."""
    return f"/v1/images/{key}" if service.thumbnails is not None and service.thumbnails.has(key) else None


class _Members:
    """The members of a JSON document, or the fields of a form, checked; what they lack comes from the address."""

    def __init__(self, body: Body) -> None:
        self._members: Mapping[str, Any] = body.members
        self._pictures = body.pictures
        if unknown := sorted(set(body.members) - set(_MEMBERS)):
            raise Problem(
                400, "unknown-member", f"{unknown[0]!r} is nothing that is asked here; known: {list(_MEMBERS)}"
            )
        kinds = [name for name in ("vector", "key") if body.members.get(name) is not None]
        kinds += ["image"] * len(body.pictures)
        if len(kinds) != 1:
            raise Problem(
                400, "no-one-query", f"give one of image, vector and key; these were given: {kinds or 'none'}"
            )
        self.kind = kinds[0]

    def query(self, dimension: int) -> bytes | int | NDArray[np.float32]:
        """The picture, the key, or the vector [D]."""
        if self.kind == "image":
            return self._pictures[0]
        if self.kind == "key":
            return self._whole("key", self._members["key"], SMALLEST_KEY, LARGEST_KEY)
        given = self._members["vector"]
        if not isinstance(given, list):
            raise Problem(400, "malformed-vector", f"vector must be a list of {dimension} numbers")
        if len(given) != dimension:  # before a look at millions of them
            raise Problem(422, "malformed-vector", f"vector must have {dimension} numbers, has {len(given)}")
        if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in given):
            raise Problem(400, "malformed-vector", f"vector must be a list of {dimension} numbers")
        with np.errstate(over="ignore"):  # infinite, and refused by the search
            try:
                return np.array(given, np.float64).astype(np.float32)
            except OverflowError:
                raise Problem(422, "malformed-vector", "vector holds a number beyond the range of floats") from None

    def count(self, name: str, default: int, most: int) -> int:
        return self._whole(name, self._members.get(name, default), 1, most)

    def number(self, name: str, default: float | None) -> float | None:
        value = self._members.get(name, default)
        value = _number(value) if isinstance(value, str) else value
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf
        ):
            raise Problem(400, "malformed-member", f"{name} must be a number above 0, is {value!r}")
        return value

    def truth(self, name: str, default: bool) -> bool:
        value = self._members.get(name, default)
        value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
        if not isinstance(value, bool):
            raise Problem(400, "malformed-member", f"{name} must be true or false, is {value!r}")
        return value

    def text(self, name: str, default: str | None, most: int) -> str | None:
        value = self._members.get(name, default)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > most:
            raise Problem(400, "malformed-member", f"{name} must be a string of at most {most} characters")
        return value

    def choice(self, name: str, default: str | None, known: tuple[str, ...]) -> str | None:
        value = self._members.get(name, default)
        if value is None or value is False or value == "":
            return None
        if value not in known:
            raise Problem(400, "malformed-member", f"{name} must be one of {list(known)}, is {value!r}")
        return str(value)

    @staticmethod
    def _whole(name: str, value: object, least: int, most: int) -> int:
        if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and value.removeprefix("-").isdecimal():
            value = int(value)  # of a form
        if isinstance(value, bool) or not isinstance(value, int):
            raise Problem(400, "malformed-member", f"{name} must be a whole number, is {value!r}")
        if not least <= value <= most:
            raise Problem(422, "out-of-range", f"{name} must be in {least}..{most}, is {value}")
        return value


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
