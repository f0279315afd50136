"""Which form of an answer a client asks for, and whether it has the answer already (RFC 9110, 12.5.1 and 13.1.2).

In: its headers. Out: whether a form is to be sent that is not the usual one, or nothing at all. A client has to name
such a form: whoever takes anything gets what is usual.
"""

from __future__ import annotations

from starlette.requests import Request


def prefers(accept: str, kind: str, *others: str) -> bool:
    """Whether the media type `kind` is named, and preferred to `others` as far as these are named too."""
    accept = accept.lower()
    if kind not in accept:  # nearly always
        return False
    qualities = dict(_qualities(accept))
    own = qualities.get(kind, 0.0)
    if not own > 0:
        return False
    for other in others:
        if other in qualities:
            if qualities[other] >= own:
                return False
        elif qualities.get(f"{other.partition('/')[0]}/*", qualities.get("*/*", 0.0)) > own:
            return False
    return True


def has_already(request: Request, tag: str) -> bool:
    """Whether the client says by If-None-Match that it has what `tag`, in its quotes, stands for."""
    told = request.headers.get("if-none-match", "")
    return tag in told or told.strip() == "*"


def _qualities(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        found.append((name, quality))
    return found
