"""Bodies that come compressed, and answers that are to be: gzip and deflate (RFC 9110, section 8.4.1).

In: a body and its Content-Encoding. Out: what it holds, inflated piece by piece, so that a few kilobytes that hold
gigabytes are refused at the limit and never laid out. And the other way for an answer, by a request's Accept-Encoding.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib

from semblance.service.budget import Share
from semblance.service.problems import Problem

_GZIP, _ZLIB = 31, 15  # zlib's "window bits": they say which header there is; deflate means zlib's
_WINDOW_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
_PIECE_BYTES = 4 << 20  # inflated at a time; what is left is copied each time, so they are not small
_LEVEL = 1  # numbers hardly shrink further, in several times the time
_WORTH_BYTES = 1024  # a shorter answer is one packet either way


async def inflated(content: bytes, encoding: str, share: Share, max_bytes: int) -> bytes:
    """What `content` holds, by its header Content-Encoding; at most `max_bytes`, for which `share` is asked.

    Raises Problem: 415 for another encoding, 400 for damaged content, 413; Overloaded.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return content
    if encoding not in _WINDOW_BITS:
        raise Problem(
            415,
            "unsupported-encoding",
            f"Content-Encoding {encoding[:60]!r} is not taken; send gzip, deflate, or the body as it is",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    pieces, num_bytes, left = list[bytes](), 0, content
    while not inflater.eof:
        try:
            piece = await asyncio.to_thread(inflater.decompress, left, min(_PIECE_BYTES, max_bytes - num_bytes + 1))
        except zlib.error as error:
            raise _damaged(encoding, str(error)) from None
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise Problem(413, "body-too-large", f"the body inflates to more than {max_bytes:,} bytes, the limit")
        share.grow_to(len(content) + num_bytes)
        pieces.append(piece)
        left = inflater.unconsumed_tail
        if not piece and not left and not inflater.eof:
            raise _damaged(encoding, "it ends too soon")
    if inflater.unused_data:
        raise _damaged(encoding, f"{len(inflater.unused_data):,} bytes come after its end")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _damaged(encoding: str, why: str) -> Problem:
    return Problem(400, "malformed-encoding", f"the body is no {encoding}, as Content-Encoding says: {why}")


async def deflated(content: bytes, accepted: str) -> tuple[bytes, str | None]:
    """`content` as the header Accept-Encoding asks for it, and the Content-Encoding to send (None: as it is).

    Whoever sends it says `Vary: Accept-Encoding`, so that no cache gives it to a client that asks otherwise.
    """
    encoding = _preferred(accepted) if len(content) >= _WORTH_BYTES else None
    if encoding == "gzip":
        return await asyncio.to_thread(gzip.compress, content, _LEVEL, mtime=0), encoding
    if encoding == "deflate":
        return await asyncio.to_thread(zlib.compress, content, _LEVEL), encoding
    return content, None


def _preferred(accepted: str) -> str | None:
    """gzip or deflate, whichever has the higher weight; None where neither is named."""
    weights = {"gzip": 0.0, "deflate": 0.0}
    for item in accepted.lower().split(","):
        name, _, weight = (each.strip() for each in item.partition(";"))
        if name in weights:
            try:
                weights[name] = float(weight.removeprefix("q=")) if weight else 1.0
            except ValueError:
                weights[name] = 0.0
    best = max(weights, key=lambda name: weights[name])
    return best if weights[best] > 0 else None
