"""Tensors as the Open Inference Protocol writes them, in JSON and as binary data: requests in, responses out.

In: a request's body and its header Inference-Header-Content-Length. Out: its inputs as arrays, checked. And the other
way: arrays in, a response's body out. Sources:

- the protocol, with what "data" may be ("Tensor Data"):
  https://github.com/kserve/kserve/blob/master/docs/predict-api/v2/required_api.md and
  https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
- binary data after the JSON, and bodies without any JSON ("Raw Binary Request"):
  https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

A stranger writes the sizes: nothing is reserved, counted through or reshaped by one before as many bytes were found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from semblance.service.tensor_checks import (
    TensorError,
    TooLarge,
    entries_of,
    flag_of,
    kind,
    name_of,
    parameters_of,
    shape_of,
    shown,
)
from semblance.service.tensor_json import flattened, pixels, strings

MAX_JSON_BYTES = 8 << 20  # its objects take up to 25 times as much, and reading it holds up all other requests
_LENGTH_BYTES = 4  # before each element of BYTES, little-endian


@dataclass(frozen=True, slots=True)
class Input:
    """One input tensor. `data` is uint8 of `shape`, or for BYTES the elements in row-major order."""

    name: str
    datatype: str  # "UINT8" or "BYTES"
    shape: tuple[int, ...]
    data: NDArray[np.uint8] | list[bytes]  # the array is a view of the body where it came as binary data


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a client asks for."""

    id: str | None
    parameters: Mapping[str, Any]
    inputs: tuple[Input, ...]
    outputs: Mapping[str, bool] | None  # by name, whether as binary data; None: all outputs
    is_binary: bool  # what holds for outputs that are not named


@dataclass(frozen=True, slots=True)
class Output:
    """One output tensor, float32 of any shape."""

    name: str
    data: NDArray[np.float32]
    is_binary: bool


# ----------------------------------------------------------------------------------------------------------------------
# Requests


def read_request(
    body: bytes,
    header_length: str | None = None,
    *,
    raw: tuple[str, tuple[int, ...]],
    max_elements: int,
    max_json_bytes: int = MAX_JSON_BYTES,
) -> InferenceRequest:
    """The request in `body`, of which the first `header_length` bytes are JSON (None: all of it).

    With a `header_length` of 0 the body is the pixels of one UINT8 tensor, whose name and shape are `raw`.
    `max_elements` is the most in a tensor of BYTES. Raises TensorError, TooLarge.
    """
    num_json_bytes = json_length(header_length, len(body))
    if header_length is not None and num_json_bytes == 0:
        return _raw_request(body, *raw)
    if num_json_bytes > max_json_bytes:
        raise TooLarge(
            f"the request's JSON has {num_json_bytes:,} bytes, the limit is {max_json_bytes:,}; send the tensors as "
            'binary data ("binary_data_size"), which has its own limit'
        )
    document = _json_object(memoryview(body)[:num_json_bytes])
    parameters = parameters_of(document, "the request")
    is_binary = flag_of(parameters, "binary_data_output", "the request")
    binary = _Binary(memoryview(body)[num_json_bytes:], has_header=header_length is not None)
    inputs = _inputs(document, binary, max_elements)
    binary.check_end()
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise TensorError(f'"id" must be a string, is {kind(request_id)}')
    return InferenceRequest(request_id, parameters, inputs, _requested(document, is_binary), is_binary)


def json_length(text: str | None, num_bytes: int) -> int:
    """How many of a body's `num_bytes` are JSON, by the header Inference-Header-Content-Length. Raises TensorError."""
    if text is None:
        return num_bytes
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TensorError(f"Inference-Header-Content-Length must be the number of bytes of the JSON, is {shown(text)}")
    if int(text) > num_bytes:
        raise TensorError(
            f"Inference-Header-Content-Length is {int(text):,}, and the whole body has {num_bytes:,} bytes; it is the "
            "length of the JSON before any compression"
        )
    return int(text)


def _raw_request(body: bytes, name: str, shape: tuple[int, ...]) -> InferenceRequest:
    if len(body) != math.prod(shape):
        raise TensorError(
            f"Inference-Header-Content-Length is 0, so that the body is the tensor {name!r} of shape {list(shape)} by "
            f"itself, {math.prod(shape):,} bytes; it has {len(body):,}"
        )
    array = np.frombuffer(body, np.uint8).reshape(shape)
    return InferenceRequest(None, {}, (Input(name, "UINT8", shape, array),), None, True)


def _json_object(text: memoryview) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise TensorError(
            f"the request's JSON cannot be read: {error}; binary data after it needs the header "
            "Inference-Header-Content-Length with the length of the JSON"
        ) from None
    if not isinstance(document, dict):
        raise TensorError(f"the request must be a JSON object, is {kind(document)}")
    return document


class _Binary:
    """The bytes after the JSON, which the inputs take in their order."""

    def __init__(self, view: memoryview, *, has_header: bool) -> None:
        self._view = view
        self._start = 0
        self._has_header = has_header

    def take(self, num_bytes: int, where: str) -> memoryview:
        left = len(self._view) - self._start
        if num_bytes > left:
            missing = "" if self._has_header else "; the header Inference-Header-Content-Length is missing"
            raise TensorError(f"{where}: binary_data_size is {num_bytes:,}, the body has {left:,} bytes left{missing}")
        self._start += num_bytes
        return self._view[self._start - num_bytes : self._start]

    def check_end(self) -> None:
        if left := len(self._view) - self._start:
            raise TensorError(
                f"the body has {left:,} bytes after its last tensor; the sum of all binary_data_size and "
                "Inference-Header-Content-Length must be its length"
            )


def _inputs(document: Mapping[str, Any], binary: _Binary, max_elements: int) -> tuple[Input, ...]:
    found: dict[str, Input] = {}
    for entry, where in entries_of(document, "inputs"):
        name = name_of(entry, where)
        if name in found:
            raise TensorError(f"{where}: there is an input {shown(name)} already; send each once")
        found[name] = _input(entry, name, f"{where} {shown(name)}", binary, max_elements)
    if not found:
        raise TensorError('"inputs" must be a list of tensors, one at least')
    return tuple(found.values())


def _input(entry: Mapping[str, Any], name: str, where: str, binary: _Binary, max_elements: int) -> Input:
    datatype, shape = entry.get("datatype"), shape_of(entry, where)
    parameters = parameters_of(entry, where)
    num_elements = math.prod(shape)
    if datatype not in ("UINT8", "BYTES"):
        raise TensorError(f"{where}: datatype must be UINT8 (pixels) or BYTES (encoded pictures), is {shown(datatype)}")
    if datatype == "BYTES" and num_elements > max_elements:
        raise TooLarge(f"{where}: shape {list(shape)} is {num_elements:,} elements, the limit is {max_elements:,}")
    size = parameters.get("binary_data_size")
    if (size is None) == (entry.get("data") is None):
        raise TensorError(f'{where}: either "data" or the parameter binary_data_size must be there, and not both')
    if size is None:
        elements = flattened(entry["data"], shape, where)
        if datatype == "BYTES":
            return Input(name, datatype, shape, strings(elements, parameters.get("content_type"), where))
        return Input(name, datatype, shape, pixels(elements, where).reshape(shape))
    if type(size) is not int or size < 0:
        raise TensorError(f"{where}: binary_data_size must be a number of bytes, is {shown(size)}")
    content = binary.take(size, where)
    if datatype == "BYTES":
        return Input(name, datatype, shape, _split(content, num_elements, where))
    if size != num_elements:
        raise TensorError(
            f"{where}: shape {list(shape)} of UINT8 is {num_elements:,} bytes, binary_data_size is {size:,}"
        )
    array = np.frombuffer(content, np.uint8) if size else np.empty(0, np.uint8)
    return Input(name, datatype, shape, array.reshape(shape))


def _split(content: memoryview, num_elements: int, where: str) -> list[bytes]:
    """The elements of BYTES as binary data: each is its length in 4 bytes and then as many."""
    elements, start = list[bytes](), 0
    while start < len(content) and len(elements) < num_elements:
        end = start + _LENGTH_BYTES
        length = int.from_bytes(content[start:end], "little")
        if end + length > len(content):
            raise TensorError(
                f"{where}: element {len(elements)} claims {length:,} bytes, {max(len(content) - end, 0):,} are left; "
                "each element is its length in 4 bytes, little-endian, and then itself"
            )
        start = end + length
        elements.append(bytes(content[end:start]))
    if len(elements) != num_elements or start != len(content):
        raise TensorError(
            f"{where}: shape says {num_elements:,} elements, its {len(content):,} bytes of binary data hold "
            f"{f'{len(elements):,}' if start == len(content) else 'more'}"
        )
    return elements


def _requested(document: Mapping[str, Any], is_binary: bool) -> Mapping[str, bool] | None:
    if document.get("outputs") in (None, []):  # none named: all of them
        return None
    found: dict[str, bool] = {}
    for entry, where in entries_of(document, "outputs"):
        name, parameters = name_of(entry, where), parameters_of(entry, where)
        if name in found:
            raise TensorError(f"{where}: output {shown(name)} is asked for already; ask for each once")
        if parameters.get("classification"):
            raise TensorError(f"{where}: classification is not offered; the output is an embedding")
        found[name] = flag_of(parameters, "binary_data", where, default=is_binary)
    return found


# ----------------------------------------------------------------------------------------------------------------------
# Responses


def write_response(members: Mapping[str, Any], outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """A response's body, and for Inference-Header-Content-Length the length of its JSON (None: it is nothing else).

    `members` are those beside "outputs".
    """
    entries, binary = list[dict[str, Any]](), list[bytes]()
    for output in outputs:
        entry: dict[str, Any] = {"name": output.name, "datatype": "FP32", "shape": list(output.data.shape)}
        values = np.ascontiguousarray(output.data, np.float32)
        if output.is_binary:
            binary.append(values.astype("<f4", copy=False).tobytes())
            entry["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            entry["data"] = values.reshape(-1)
        entries.append(entry)
    header = orjson.dumps({**members, "outputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((header, *binary)), len(header) if binary else None
