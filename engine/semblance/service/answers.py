"""Answers that several routes give: JSON with arrays of numbers, and which form of an answer a client prefers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import orjson
from fastapi import Request
from numpy.typing import NDArray
from starlette.responses import Response

from semblance.service.accepts import prefers

JSON, RAW = "application/json", "application/octet-stream"
_MOST_AT_ONCE = 100_000  # numbers; they take about 4 ms
_A_TURN = 1 << 14  # numbers that are written until other requests have their turn


def as_json(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer; arrays of numbers become lists."""
    return Response(_written(document), status, headers, media_type=JSON)


async def rows_for_json(rows: Sequence[NDArray[np.float32] | None]) -> Sequence[object]:
    """The same for `as_json`; many numbers are written here, with turns of the event loop between.

    A thread would be no help: orjson keeps the interpreter to itself until it is done.
    """
    if sum(row.size for row in rows if row is not None) <= _MOST_AT_ONCE:
        return rows
    written, num_numbers = list[object](), 0
    for row in rows:
        written.append(None if row is None else orjson.Fragment(_written(row)))
        num_numbers += 0 if row is None else row.size
        if num_numbers >= _A_TURN:
            num_numbers = 0
            await asyncio.sleep(0)
    return written


def wants_raw(request: Request) -> bool:
    """Whether the client prefers raw numbers to JSON, by its Accept header."""
    return prefers(request.headers.get("accept", ""), RAW, JSON)


def wants_json(request: Request) -> bool:
    """Whether the client prefers what is known of a picture to the picture, by its Accept header."""
    return prefers(request.headers.get("accept", ""), JSON, "image/jpeg", "image/png")


def _written(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
