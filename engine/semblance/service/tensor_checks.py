"""What is checked of each member of an inference request, and how its errors say where and what.

In: JSON objects as a stranger wrote them. Out: names, shapes and parameters that can be relied on, or TensorError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from semblance.errors import InputError

_MAX_DIMENSIONS = 8
_MAX_ELEMENTS = 1 << 60  # as much as numpy makes a shape of, also where another dimension is 0


class TensorError(InputError):
    """A request that is not what the protocol says, or whose data does not fit what it says of itself."""


class TooLarge(TensorError):
    """More than is taken of this kind; in another form, or in several requests, it may be."""


def entries_of(document: Mapping[str, Any], member: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects of the list `member`, each with how errors call it."""
    found = document.get(member)
    if not isinstance(found, list):
        raise TensorError(f'"{member}" must be a list of tensors, is {kind(found)}')
    for number, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise TensorError(f"{member}[{number}] must be an object, is {kind(entry)}")
        yield entry, f"{member}[{number}]"


def name_of(entry: Mapping[str, Any], where: str) -> str:
    """The member "name"."""
    found = entry.get("name")
    if not isinstance(found, str) or not found:
        raise TensorError(f'{where}: "name" must be a string, is {shown(found)}')
    return found


def shape_of(entry: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """The member "shape", whose product numpy can count."""
    shape = entry.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= _MAX_DIMENSIONS:
        raise TensorError(f'{where}: "shape" must be a list of 1 to {_MAX_DIMENSIONS} numbers')
    for size in shape:
        if type(size) is not int or size < 0:
            raise TensorError(f'{where}: "shape" must be of integers from 0 on, has {shown(size)}')
    if math.prod(size for size in shape if size) > _MAX_ELEMENTS:
        raise TensorError(f"{where}: shape {shape} is larger than any memory")
    return tuple(shape)


def parameters_of(entry: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The member "parameters": strings, numbers and booleans; empty where it is not there."""
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise TensorError(f'{where}: "parameters" must be an object, is {kind(parameters)}')
    for name, value in parameters.items():
        if isinstance(value, list | dict):
            raise TensorError(f"{where}: parameter {shown(name)} must be a string, number or boolean, is {kind(value)}")
        if name.startswith("shared_memory"):
            raise TensorError(f"{where}: shared memory is not offered; send tensors in the body")
    return parameters


def flag_of(parameters: Mapping[str, Any], name: str, where: str, *, default: bool = False) -> bool:
    """A parameter that is true or false."""
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise TensorError(f"{where}: {name} must be true or false, is {shown(value)}")
    return value


KINDS = {
    dict: "an object", list: "a list", str: "a string", int: "a number", float: "a fraction", bool: "a boolean",
    type(None): "nothing",
}  # fmt: skip


def kind(value: object) -> str:
    """What sort of JSON it is."""
    return KINDS[type(value)]


def shown(value: object) -> str:
    """What a client wrote, shortened: it may be megabytes."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:60]}...")
    return kind(value) if isinstance(value, list | dict) or value is None else repr(value)
