"""The tensor codec against plain encoders, against Triton's own client, and against garbage."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semblance.service.tensor_checks import TensorError, TooLarge
from semblance.service.tensors import InferenceRequest, Output, read_request, write_response

_RAW = ("image", (1, 4, 4, 1))


def _read(body: bytes, header_length: int | str | None = None, **options: Any) -> InferenceRequest:
    text = None if header_length is None else str(header_length)
    return read_request(body, text, raw=_RAW, **{"max_elements": 100, **options})


def _tensor(**members: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [2, 2], "datatype": "UINT8", "data": [1, 2, 3, 4], **members}


def _body(*inputs: Any, **members: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **members}).encode()


def _binary_body(*tensors: tuple[str, str, list[int], bytes], **members: Any) -> tuple[bytes, int]:
    """The plain encoder: JSON, then each tensor's bytes; and the JSON's length."""
    entries = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(content)}}
        for name, datatype, shape, content in tensors
    ]
    header = _body(*entries, **members)
    return header + b"".join(content for *_, content in tensors), len(header)


def _length_prefixed(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


_shapes = st.lists(st.integers(0, 5), min_size=1, max_size=4)
_arrays = st.tuples(_shapes, st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[1]).integers(0, 256, drawn[0], np.uint8)
)
_strings = st.lists(st.binary(max_size=40), max_size=6)


# ----------------------------------------------------------------------------------------------------------------------
# What is right


@settings(deadline=None)
@given(_arrays, _arrays)
def test_binary_tensors_come_out_as_they_went_in(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    body, header_length = _binary_body(
        ("one", "UINT8", list(one.shape), one.tobytes()), ("other", "UINT8", list(other.shape), other.tobytes())
    )
    first, second = _read(body, header_length).inputs
    np.testing.assert_array_equal(first.data, one)
    np.testing.assert_array_equal(second.data, other)
    assert (first.name, first.shape, second.name, second.shape) == ("one", one.shape, "other", other.shape)


@settings(deadline=None)
@given(_arrays, st.booleans())
def test_json_tensors_come_out_as_they_went_in(array: NDArray[np.uint8], is_nested: bool) -> None:
    data = array.tolist() if is_nested else array.ravel().tolist()
    (tensor,) = _read(_body(_tensor(shape=list(array.shape), data=data))).inputs
    np.testing.assert_array_equal(tensor.data, array)
    assert isinstance(tensor.data, np.ndarray)
    assert tensor.data.dtype == np.uint8


@settings(deadline=None)
@given(_strings)
def test_bytes_come_out_as_they_went_in_binary_and_in_base64(elements: list[bytes]) -> None:
    body, header_length = _binary_body(("image", "BYTES", [len(elements)], _length_prefixed(elements)))
    assert _read(body, header_length).inputs[0].data == elements
    texts = [base64.b64encode(each).decode() for each in elements]
    tensor = _tensor(shape=[len(elements), 1], datatype="BYTES", data=texts, parameters={"content_type": "base64"})
    assert _read(_body(tensor)).inputs[0].data == elements


@settings(deadline=None)
@given(st.lists(st.text(max_size=9), max_size=5))
def test_strings_of_json_are_their_utf_8(texts: list[str]) -> None:
    body = _body(_tensor(shape=[len(texts)], datatype="BYTES", data=texts))
    assert _read(body).inputs[0].data == [each.encode() for each in texts]


def test_a_binary_tensor_is_a_view_of_the_body() -> None:
    body, header_length = _binary_body(("image", "UINT8", [3, 5], bytes(15)))
    (tensor,) = _read(body, header_length).inputs
    assert isinstance(tensor.data, np.ndarray)
    assert np.shares_memory(tensor.data, np.frombuffer(body, np.uint8))


def test_a_body_may_be_one_tensor_by_itself() -> None:
    asked = _read(bytes(range(16)), 0)
    (tensor,) = asked.inputs
    assert (tensor.name, tensor.shape, asked.is_binary) == (*_RAW, True)
    np.testing.assert_array_equal(tensor.data, np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1))


def test_what_a_request_says_beside_its_tensors() -> None:
    asked = _read(_body(_tensor(), id="42", parameters={"timeout": 7}, outputs=None))
    assert (asked.id, asked.parameters, asked.outputs, asked.is_binary) == ("42", {"timeout": 7}, None, False)


@pytest.mark.parametrize(
    ("by_default", "own", "is_binary"),
    [(None, None, False), (True, None, True), (True, False, False), (False, True, True), (None, True, True)],
)
def test_an_outputs_own_word_goes_before_the_requests(
    by_default: bool | None, own: bool | None, is_binary: bool
) -> None:
    parameters = {} if by_default is None else {"binary_data_output": by_default}
    output = {"name": "embedding", **({} if own is None else {"parameters": {"binary_data": own}})}
    asked = _read(_body(_tensor(), parameters=parameters, outputs=[output]))
    assert asked.outputs == {"embedding": is_binary}


@pytest.mark.parametrize("is_binary", [True, False])
def test_it_reads_what_tritons_client_writes(is_binary: bool) -> None:
    client = pytest.importorskip("tritonclient.http")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 1), np.uint8)
    strings = np.array([b"one", b"", b"three"], np.object_)
    inputs = [client.InferInput("pixels", pixels.shape, "UINT8"), client.InferInput("strings", strings.shape, "BYTES")]
    inputs[0].set_data_from_numpy(pixels, binary_data=is_binary)
    inputs[1].set_data_from_numpy(strings, binary_data=is_binary)
    body, header_length = client.InferenceServerClient.generate_request_body(inputs, request_id="7", timeout=9)
    asked = _read(body, header_length)
    np.testing.assert_array_equal(asked.inputs[0].data, pixels)
    assert asked.inputs[1].data == [b"one", b"", b"three"]
    assert (asked.id, asked.parameters["timeout"], asked.outputs, asked.is_binary) == ("7", 9, None, True)


# ----------------------------------------------------------------------------------------------------------------------
# Responses


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_a_response_holds_the_same_numbers(num: int, dimension: int, is_binary: bool, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32)
    body, header_length = write_response({"model_name": "m"}, [Output("embedding", vectors, is_binary)])
    assert (header_length is not None) == is_binary
    document = json.loads(body[:header_length])
    (output,) = document["outputs"]
    assert (document["model_name"], output["datatype"], output["shape"]) == ("m", "FP32", [num, dimension])
    if is_binary:
        assert output["parameters"] == {"binary_data_size": len(body) - (header_length or 0)}
        values = np.frombuffer(body[header_length:], "<f4")
    else:
        values = np.array(output["data"], np.float32)
    np.testing.assert_array_equal(values.reshape(num, dimension), vectors)


def test_tritons_client_reads_it_with_both_forms_side_by_side() -> None:
    client = pytest.importorskip("tritonclient.http")
    one, other = np.float32([[1 / 3, -2]]), np.float32([[4, 5], [6, np.pi]])
    outputs = [Output("a", one, True), Output("b", other, False), Output("c", other.T, True)]
    body, header_length = write_response({"model_name": "m"}, outputs)
    result = client.InferenceServerClient.parse_response_body(body, header_length=header_length)
    for name, expected in (("a", one), ("b", other), ("c", other.T)):
        np.testing.assert_array_equal(result.as_numpy(name), expected)


# ----------------------------------------------------------------------------------------------------------------------
# What is wrong


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON cannot be read"),
        (b"[" * 100_000, "JSON cannot be read"),
        (b"[]", "must be a JSON object, is a list"),
        (b"{}", '"inputs" must be a list of tensors, is nothing'),
        (_body(), "one at least"),
        (_body(7), r"inputs\[0\] must be an object, is a number"),
        (_body(_tensor(name=7)), '"name" must be a string'),
        (_body(_tensor(), _tensor()), "an input 'image' already"),
        (_body(_tensor(shape=None)), '"shape" must be a list'),
        (_body(_tensor(shape=[])), "a list of 1 to 8 numbers"),
        (_body(_tensor(shape=[1] * 9)), "a list of 1 to 8 numbers"),
        (_body(_tensor(shape=[-1, 4])), "integers from 0 on, has -1"),
        (_body(_tensor(shape=[2.0, 2])), "integers from 0 on, has 2.0"),
        (_body(_tensor(shape=[True, 4])), "integers from 0 on, has True"),
        (_body(_tensor(shape=[2**63, 2**63])), "larger than any memory"),
        (_body(_tensor(shape=[0, 2**40, 2**40], data=[])), "larger than any memory"),
        (_body(_tensor(shape=[2**65, 1])), "integers from 0 on"),
        (_body(_tensor(datatype="FP32")), "must be UINT8 .* or BYTES .*, is 'FP32'"),
        (_body(_tensor(datatype="uint8")), "is 'uint8'"),
        (_body(_tensor(datatype=["UINT8"])), "is a list"),
        (_body(_tensor(data=None)), 'either "data" or the parameter binary_data_size'),
        (_body(_tensor(parameters={"binary_data_size": 4})), "and not both"),
        (_body(_tensor(data={})), '"data" must be a list, is an object'),
        (_body(_tensor(data=[1, 2, 3])), r"shape \[2, 2\] is 4 elements, data has 3"),
        (_body(_tensor(data=[[1, 2], [3]])), "2 along axis 1, data has a list of 1"),
        (_body(_tensor(data=[[1, 2], 3])), "2 along axis 1, data has a number"),
        (_body(_tensor(data=[[1, 2]])), "2 along axis 0, data has a list of 1"),
        (_body(_tensor(data=[1, 2, [3], 4])), "must be integers, has a list"),
        (_body(_tensor(data=[1, 2, 3, 256])), r"must be in 0..255, has 1\.\.256"),
        (_body(_tensor(data=[1, 2, 3, 2**63])), "must be in 0..255"),
        (_body(_tensor(data=[1, 2, 3, -1])), "must be in 0..255, has -1"),
        (_body(_tensor(data=[1, 2, 3, 4.0])), "must be integers, has a fraction"),
        (_body(_tensor(data=[1, 2, True, None])), "must be integers, has a boolean, nothing"),
        (_body(_tensor(shape=[1], datatype="BYTES", data=[7])), "must be strings, element 0 is a number"),
        (
            _body(_tensor(shape=[1], datatype="BYTES", data=["?"], parameters={"content_type": "base64"})),
            "element 0 is no base64",
        ),
        (
            _body(_tensor(shape=[1], datatype="BYTES", data=["é"], parameters={"content_type": "base64"})),
            "element 0 is no base64",
        ),
        (
            _body(_tensor(shape=[1], datatype="BYTES", data=["a"], parameters={"content_type": "hex"})),
            "content_type may be",
        ),
        (_body(_tensor(parameters=[])), '"parameters" must be an object'),
        (_body(_tensor(parameters={"a": []})), "parameter 'a' must be a string, number or boolean, is a list"),
        (_body(_tensor(parameters={"shared_memory_region": "r"})), "shared memory is not offered"),
        (
            _body({"name": "a", "shape": [4], "datatype": "UINT8", "parameters": {"binary_data_size": 4}}),
            "the header Inference-Header-Content-Length is missing",
        ),
        (_body(_tensor(), id=7), '"id" must be a string'),
        (_body(_tensor(), outputs={}), '"outputs" must be a list'),
        (_body(_tensor(), outputs=[{}]), '"name" must be a string'),
        (_body(_tensor(), outputs=[{"name": "a"}, {"name": "a"}]), "asked for already"),
        (_body(_tensor(), outputs=[{"name": "a", "parameters": {"classification": 3}}]), "classification is not"),
        (_body(_tensor(), outputs=[{"name": "a", "parameters": {"binary_data": 1}}]), "must be true or false, is 1"),
        (_body(_tensor(), parameters={"binary_data_output": "yes"}), "must be true or false, is 'yes'"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, message: str) -> None:
    with pytest.raises(TensorError, match=message):
        _read(body)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (("UINT8", [2, 2], bytes(3)), r"shape \[2, 2\] of UINT8 is 4 bytes, binary_data_size is 3"),
        (("UINT8", [2, 2], bytes(5)), r"shape \[2, 2\] of UINT8 is 4 bytes, binary_data_size is 5"),
        (("BYTES", [1], b"\x01\x00\x00"), "element 0 claims 1 bytes, 0 are left"),
        (("BYTES", [1], struct.pack("<I", 2**32 - 1)), "element 0 claims 4,294,967,295 bytes, 0 are left"),
        (("BYTES", [2], _length_prefixed([b"one"])), "2 elements, its 7 bytes of binary data hold 1"),
        (("BYTES", [1], _length_prefixed([b"one", b"two"])), "1 elements, its 14 bytes of binary data hold more"),
        (("BYTES", [0], b"x"), "0 elements, its 1 bytes of binary data hold more"),
    ],
)
def test_binary_data_that_does_not_fit_its_shape(tensor: tuple[str, list[int], bytes], message: str) -> None:
    body, header_length = _binary_body(("image", *tensor))
    with pytest.raises(TensorError, match=message):
        _read(body, header_length)


def test_binary_data_that_does_not_fit_the_body() -> None:
    body, header_length = _binary_body(("image", "UINT8", [4], bytes(4)))
    with pytest.raises(TensorError, match=r"binary_data_size is 4, the body has 3 bytes left$"):
        _read(body[:-1], header_length)
    with pytest.raises(TensorError, match="1 bytes after its last tensor"):
        _read(body + b"x", header_length)
    for size in (-1, True, 4.0, "4", 2**64):
        entry = {"name": "a", "shape": [4], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
        with pytest.raises(TensorError, match="binary_data_size"):
            _read(_body(entry), len(_body(entry)))


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", " 7", "+7", "0x10", "\u0663", "\u00b2", "9" * 20])
def test_a_header_length_that_is_no_number(text: str) -> None:
    with pytest.raises(TensorError, match="must be the number of bytes of the JSON"):
        _read(_body(_tensor()), text)


def test_a_header_length_beyond_the_body_or_within_the_json() -> None:
    body = _body(_tensor())
    with pytest.raises(TensorError, match="and the whole body has"):
        _read(body, len(body) + 1)
    with pytest.raises(TensorError, match="JSON cannot be read"):
        _read(body, len(body) - 1)
    with pytest.raises(TensorError, match="16 bytes; it has 15"):
        _read(bytes(15), 0)


def test_what_is_too_much_is_another_error() -> None:
    with pytest.raises(TooLarge, match="the request's JSON has"):
        _read(_body(_tensor()), max_json_bytes=20)
    with pytest.raises(TooLarge, match="is 101 elements, the limit is 100"):
        _read(_body(_tensor(datatype="BYTES", shape=[101], data=["x"])))


def test_a_message_does_not_repeat_megabytes() -> None:
    with pytest.raises(TensorError) as caught:
        _read(_body(_tensor(datatype="x" * 1_000_000)))
    assert len(str(caught.value)) < 300


def test_nothing_is_reserved_for_what_a_shape_claims() -> None:
    claims = [
        _tensor(shape=[2**50, 64]),
        _tensor(shape=[0, 2**59], data=[]),
        _tensor(datatype="BYTES", shape=[2**50], data=["x"]),
        {"name": "a", "shape": [2**40], "datatype": "UINT8", "parameters": {"binary_data_size": 2**40}},
    ]
    tracemalloc.start()
    for claim in claims:
        body = _body(claim)
        for header_length in (None, len(body)):
            with contextlib.suppress(TensorError):
                _read(body, header_length)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


# ----------------------------------------------------------------------------------------------------------------------
# Garbage: whatever comes, it is read or it is a TensorError


def _survives(body: bytes, header_length: str | None) -> None:
    try:
        asked = read_request(body, header_length, raw=_RAW, max_elements=100)
    except TensorError:
        return
    for tensor in asked.inputs:
        if isinstance(tensor.data, list):
            assert len(tensor.data) == math.prod(tensor.shape)
        else:
            assert tensor.data.shape == tensor.shape


@settings(deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(0, 220).map(str) | st.text(max_size=5))
def test_random_bytes(body: bytes, header_length: str | None) -> None:
    _survives(body, header_length)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
_sizes = st.integers(-1, 8) | st.sampled_from([2**31, 2**62, 2**63, 2**64])
_likely = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["image", "", "a"]) | _json,
        "shape": st.lists(_sizes, max_size=5) | _json,
        "datatype": st.sampled_from(["UINT8", "BYTES", "FP32"]) | _json,
        "data": st.lists(st.integers(-1, 300) | st.text(max_size=3), max_size=8) | _json,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": _sizes, "content_type": _json}) | _json,
    },
)
_documents = st.fixed_dictionaries(
    {"inputs": st.lists(_likely, max_size=3) | _json},
    optional={"id": _json, "outputs": st.lists(_likely, max_size=2) | _json, "parameters": _json},
)


@settings(deadline=None)
@given(_documents, st.binary(max_size=40), st.booleans())
def test_documents_that_are_almost_right(document: Any, rest: bytes, has_header: bool) -> None:
    header = json.dumps(document).encode()
    _survives(header + rest, str(len(header)) if has_header else None)


@settings(deadline=None)
@given(st.data())
def test_right_requests_with_a_few_bytes_changed(data: st.DataObject) -> None:
    elements = [b"abc", b"", b"0123456789"]
    body, header_length = _binary_body(
        ("image", "UINT8", [2, 3], bytes(range(6))), ("more", "BYTES", [3], _length_prefixed(elements))
    )
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    _survives(bytes(changed[:cut]), str(header_length))
