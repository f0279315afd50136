"""A tensor's "data" in JSON: one list of its elements, or lists of lists of them, to an array or to bytes.

In: what a JSON parser gave. Out: uint8 pixels, or the elements of BYTES. A JSON string cannot hold the bytes of a
picture and the protocol has no other word for it, so MLServer's is taken, "content_type": "base64":
https://github.com/SeldonIO/MLServer/blob/master/docs/user-guide/content-type.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.service.base64_text import from_base64
from semblance.service.tensor_checks import KINDS, TensorError, kind, shown


def flattened(data: object, shape: Sequence[int], where: str) -> list[Any]:
    """All elements in row-major order, whether they came in one list or in lists of lists as `shape` has it."""
    if not isinstance(data, list):
        raise TensorError(f'{where}: "data" must be a list, is {kind(data)}')
    num_elements = math.prod(shape)
    if not data or not isinstance(data[0], list):
        if len(data) != num_elements:
            raise TensorError(f"{where}: shape {list(shape)} is {num_elements:,} elements, data has {len(data):,}")
        return data
    level: list[Any] = [data]
    for axis, size in enumerate(shape):
        for each in level:
            if not isinstance(each, list) or len(each) != size:
                has = f"a list of {len(each):,}" if isinstance(each, list) else kind(each)
                raise TensorError(f"{where}: shape {list(shape)} has {size:,} along axis {axis}, data has {has}")
        level = list(chain.from_iterable(level))
    return level


def pixels(elements: list[Any], where: str) -> NDArray[np.uint8]:
    """Integers as uint8, in one dimension."""
    if unlike := set(map(type, elements)) - {int}:
        names = ", ".join(sorted(KINDS.get(each, each.__name__) for each in unlike))
        raise TensorError(f"{where}: data of UINT8 must be integers, has {names}")
    try:
        return np.frombuffer(bytes(elements), np.uint8) if elements else np.empty(0, np.uint8)
    except (ValueError, OverflowError):
        raise TensorError(f"{where}: data of UINT8 must be in 0..255, has {min(elements)}..{max(elements)}") from None


def strings(elements: list[Any], content_type: object, where: str) -> list[bytes]:
    """A string is the bytes of its UTF-8, as the protocol has it, or what it says in base64."""
    for number, each in enumerate(elements):
        if not isinstance(each, str):
            raise TensorError(f"{where}: data of BYTES must be strings, element {number} is {kind(each)}")
    if content_type is None:
        return [each.encode() for each in elements]
    if content_type != "base64":
        raise TensorError(f'{where}: content_type may be "base64", is {shown(content_type)}')
    decoded = []
    for number, each in enumerate(elements):
        try:
            decoded.append(from_base64(each))
        except ValueError as error:
            raise TensorError(f"{where}: element {number} is no base64: {error}") from None
    return decoded
