"""Checks that options of several parts share."""

from __future__ import annotations

import operator

from semblance.errors import InputError


def checked_count(name: str, value: object, *, least: int = 1) -> int:
    """`value` as an int, if it is an integer (numpy's too, but no bool) of at least `least`; else InputError."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise InputError(f"{name} must be an integer of at least {least}, is {value!r}")
    return number
