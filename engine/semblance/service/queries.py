"""What a search is asked for by its document or form: each member checked.

In: a body. Out: its query, and the options as numbers, truths and texts. Raises Problem for what is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.gallery.manifest import LARGEST_KEY
from semblance.service.bodies import Body
from semblance.service.parameters import SMALLEST_KEY
from semblance.service.problems import Problem

_LONGEST_NUMBER = 20  # characters; no number of 64 bits has more
_MEMBERS = ("k", "where", "exact", "rerank", "shortlist", "vector", "key", "timeout_ms")


class Members:
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
