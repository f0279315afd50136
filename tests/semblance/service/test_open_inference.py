"""The Open Inference Protocol against a real server on loopback, asked by Triton's own client and by plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from semblance.errors import BackendError, Closed, DeadlineExceeded, ImageError, Overloaded
from semblance.inference.encoder import Encoder
from semblance.service import inferring
from semblance.service.app import create_app
from semblance.service.problems import Problem
from semblance.service.settings import Settings
from semblance.service.state import Service

tritonclient = pytest.importorskip("tritonclient.http")

_INFER = "/v2/models/siamese/infer"
_HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Running:
    """A server in a thread of this process."""

    address: str  # host:port
    service: Service

    @property
    def encoder(self) -> Encoder:
        return self.service.encoder


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    service = Service(Settings(model="siamese", max_images=100, max_body_bytes=4 << 20, log_level="error"))
    config = uvicorn.Config(create_app(service=service), log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        end = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.01)
        host, port = listening.getsockname()
        yield Running(f"{host}:{port}", service)
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def triton(running: Running) -> Iterator[Any]:
    with tritonclient.InferenceServerClient(running.address, concurrency=4) as client:
        yield client


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{running.address}", timeout=30) as client:
        yield client


def _pictures(num: int, height: int = 28, width: int = 28, channels: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(num).integers(0, 256, (num, height, width, channels), np.uint8)


def _input(pictures: NDArray[Any], *, datatype: str = "UINT8", name: str = "image", is_binary: bool = True) -> Any:
    tensor = tritonclient.InferInput(name, list(pictures.shape), datatype)
    tensor.set_data_from_numpy(pictures, binary_data=is_binary)
    return tensor


def _encoded(pictures: NDArray[np.uint8]) -> list[bytes]:
    return [cv2.imencode(".png", each)[1].tobytes() for each in pictures]


def _asking(**tensor: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "shape": [1, 1, 1, 1], "datatype": "UINT8", "data": [7], **tensor}]}


# ----------------------------------------------------------------------------------------------------------------------
# What the server says of itself


def test_liveness_and_readiness(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("siamese")
    assert triton.is_model_ready("siamese", "1")
    assert not triton.is_model_ready("siamese", "2")
    assert not triton.is_model_ready("resnet101")


def test_what_is_not_ready_says_so(http: httpx.Client, triton: Any, running: Running, monkeypatch: Any) -> None:
    monkeypatch.setattr(running.service, "is_draining", True)
    assert triton.is_server_live()
    assert not triton.is_server_ready()
    assert not triton.is_model_ready("siamese")
    answer = http.get("/v2/health/ready")
    assert (answer.status_code, "stopping" in answer.json()["error"]) == (503, True)
    assert triton.get_model_repository_index()[0]["state"] == "UNAVAILABLE"
    assert http.post("/v2/repository/index", json={"ready": True}).json() == []
    triton.infer("siamese", [_input(_pictures(1))])  # until those who ask have heard of it
    monkeypatch.setattr(running.service, "is_open", False)
    with pytest.raises(tritonclient.InferenceServerException, match="stopping"):
        triton.infer("siamese", [_input(_pictures(1))])


def test_metadata(triton: Any) -> None:
    server = triton.get_server_metadata()
    assert (server["name"], "binary_tensor_data" in server["extensions"]) == ("semblance", True)
    model = triton.get_model_metadata("siamese")
    assert model == triton.get_model_metadata("siamese", "1")
    assert (model["name"], model["versions"]) == ("siamese", ["1"])
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}]
    assert model["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 64]}]
    assert triton.get_model_repository_index() == [{"name": "siamese", "version": "1", "state": "READY", "reason": ""}]


def test_configuration(triton: Any) -> None:
    configuration = triton.get_model_config("siamese")
    assert configuration == triton.get_model_config("siamese", "1")
    assert configuration["max_batch_size"] == 100
    assert configuration["input"][0]["dims"] == [28, 28, 1]
    assert configuration["output"] == [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [64]}]


def test_statistics_count_pictures(triton: Any) -> None:
    def counted() -> dict[str, Any]:
        (model,) = triton.get_inference_statistics("siamese")["model_stats"]
        return dict(model)

    before = counted()
    triton.infer("siamese", [_input(_pictures(5))])
    after = counted()
    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] > before["execution_count"]
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert triton.get_inference_statistics()["model_stats"][0]["name"] == "siamese"


def test_the_description_has_every_route_and_examples_that_work(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    for path in ("", "/health/live", "/health/ready", "/repository/index", "/models/stats"):
        assert f"/v2{path}" in paths
    for end in ("", "/ready", "/config", "/stats", "/infer"):
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            (operation,) = paths[f"{model}{end}"].values()
            named = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert named == [name for name in ("model", "version") if f"{{{name}}}" in model]
    body = paths["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["examples"]) == 2
    for example in body["examples"].values():
        assert http.post(_INFER, json=example["value"]).status_code == 200


# ----------------------------------------------------------------------------------------------------------------------
# Inference


@pytest.mark.parametrize("num", [1, 5, 70])
@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize("version", ["", "1"])
def test_it_answers_as_the_encoder(triton: Any, running: Running, num: int, is_binary: bool, version: str) -> None:
    pictures = _pictures(num)
    outputs = [tritonclient.InferRequestedOutput("embedding", binary_data=is_binary)]
    inputs = [_input(pictures, is_binary=is_binary)]
    result = triton.infer("siamese", inputs, model_version=version, outputs=outputs, request_id="r 1")
    assert result.as_numpy("embedding").dtype == np.float32
    np.testing.assert_allclose(result.as_numpy("embedding"), running.encoder.embed(pictures), rtol=0, atol=1e-6)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r 1", "siamese", "1")


@pytest.mark.parametrize("shape", [(3, 40, 31, 1), (2, 20, 60, 3), (1, 28, 28, 3)])
def test_other_sizes_and_colours_are_brought_to_the_models(triton: Any, running: Running, shape: Any) -> None:
    pictures = _pictures(*shape)
    result = triton.infer("siamese", [_input(pictures)]).as_numpy("embedding")
    np.testing.assert_allclose(result, running.encoder.embed(list(pictures)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_encoded_pictures(triton: Any, running: Running, shape: tuple[int, ...]) -> None:
    encoded = _encoded(_pictures(4, 30, 50))
    result = triton.infer("siamese", [_input(np.array(encoded, np.object_).reshape(shape), datatype="BYTES")])
    np.testing.assert_allclose(result.as_numpy("embedding"), running.encoder.embed(encoded), rtol=0, atol=1e-6)


def test_encoded_pictures_in_json(http: httpx.Client, running: Running) -> None:
    encoded = _encoded(_pictures(2))
    texts = [base64.b64encode(each).decode() for each in encoded]
    asking = _asking(shape=[2], datatype="BYTES", data=texts, parameters={"content_type": "base64"})
    (output,) = http.post(_INFER, json=asking).json()["outputs"]
    got = np.array(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_allclose(got, running.encoder.embed(encoded), rtol=0, atol=1e-6)


def test_a_picture_by_itself(http: httpx.Client, running: Running) -> None:
    picture = _pictures(1)
    answer = http.post(_INFER, content=picture.tobytes(), headers={_HEADER_LENGTH: "0"})
    assert answer.headers["content-type"] == "application/octet-stream"
    got = np.frombuffer(answer.content[int(answer.headers[_HEADER_LENGTH]) :], "<f4")
    np.testing.assert_allclose(got, running.encoder.embed(picture)[0], rtol=0, atol=1e-6)


def test_no_pictures_have_no_embeddings(triton: Any) -> None:
    for is_binary in (True, False):
        outputs = [tritonclient.InferRequestedOutput("embedding", binary_data=is_binary)]
        result = triton.infer("siamese", [_input(_pictures(0), is_binary=is_binary)], outputs=outputs)
        assert result.as_numpy("embedding").shape == (0, 64)


def test_large_json(http: httpx.Client, running: Running) -> None:
    pictures = _pictures(90)
    (output,) = http.post(_INFER, json=_asking(shape=list(pictures.shape), data=pictures.tolist())).json()["outputs"]
    got = np.array(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_allclose(got, running.encoder.embed(pictures), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sent", [None, "gzip", "deflate"])
@pytest.mark.parametrize("wanted", [None, "gzip", "deflate"])
def test_compressed_bodies(triton: Any, running: Running, sent: str | None, wanted: str | None) -> None:
    pictures = _pictures(40)
    result = triton.infer(
        "siamese",
        [_input(pictures)],
        request_compression_algorithm=sent,
        response_compression_algorithm=wanted,
    )
    np.testing.assert_allclose(result.as_numpy("embedding"), running.encoder.embed(pictures), rtol=0, atol=1e-6)


def test_an_answer_says_how_it_is_compressed(http: httpx.Client) -> None:
    pictures = _pictures(20)
    asking = _asking(shape=list(pictures.shape), data=pictures.ravel().tolist())
    plain = http.post(_INFER, json=asking, headers={"Accept-Encoding": "identity"})
    assert plain.headers["vary"] == "Accept-Encoding"
    for encoding in ("gzip", "deflate"):
        packed = http.post(_INFER, json=asking, headers={"Accept-Encoding": encoding})
        assert packed.headers["content-encoding"] == encoding
        assert packed.headers["vary"] == "Accept-Encoding"
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
        assert packed.json()["outputs"] == plain.json()["outputs"]


def test_many_requests_at_a_time_get_their_own_answers(triton: Any, running: Running) -> None:
    sent = [_pictures(num) for num in (1, 2, 3, 5, 8, 13, 21, 1, 34, 4)]
    asked = [triton.async_infer("siamese", [_input(each)]) for each in sent]
    for pictures, each in zip(sent, asked, strict=True):
        got = each.get_result(timeout=30).as_numpy("embedding")
        np.testing.assert_allclose(got, running.encoder.embed(pictures), rtol=0, atol=1e-6)


def test_tritons_asynchronous_client(running: Running) -> None:
    aio = pytest.importorskip("tritonclient.http.aio")
    pictures = _pictures(6)

    async def work() -> tuple[Any, Any]:
        async with aio.InferenceServerClient(running.address) as client:
            result = await client.infer("siamese", [_input(pictures)], response_compression_algorithm="gzip")
            with pytest.raises(tritonclient.InferenceServerException) as caught:
                await client.infer("resnet", [_input(pictures)])
            return result, caught.value

    result, error = asyncio.run(work())
    np.testing.assert_allclose(result.as_numpy("embedding"), running.encoder.embed(pictures), rtol=0, atol=1e-6)
    assert str(error) == "[404] unknown model 'resnet'; this service has: siamese"


# ----------------------------------------------------------------------------------------------------------------------
# What is refused, and that Triton's client shows why


@pytest.mark.parametrize(
    ("shape", "dtype", "datatype", "name", "message"),
    [
        ((28, 28), np.uint8, "UINT8", "image", r"^\[400\] .*must be of shape \[N, height, width, channels\]"),
        ((1, 28, 28, 4), np.uint8, "UINT8", "image", r"^\[400\] .* is \[1, 28, 28, 4\]"),
        ((1, 1, 28, 28), np.uint8, "UINT8", "image", r"^\[400\] .* is \[1, 1, 28, 28\]"),
        ((2, 0, 28, 1), np.uint8, "UINT8", "image", r"^\[400\] .* is \[2, 0, 28, 1\]"),
        ((1, 28, 28, 1), np.float32, "FP32", "image", r"^\[400\] .*must be UINT8 .* is 'FP32'"),
        ((1, 28, 28, 1), np.uint8, "UINT8", "input_1", r"^\[400\] unknown input 'input_1'; the model has: image"),
        ((101, 28, 28, 1), np.uint8, "UINT8", "image", r"^\[413\] .*101 pictures, the limit is 100"),
        ((100_000, 1, 1, 1), np.uint8, "UINT8", "image", r"^\[413\] .*100,000 pictures"),
        ((10_000_000, 0, 1, 1), np.uint8, "UINT8", "image", r"^\[413\] .*10,000,000 pictures"),
    ],
)
def test_a_wrong_input(triton: Any, shape: Any, dtype: Any, datatype: str, name: str, message: str) -> None:
    tensor = _input(np.zeros(shape, dtype), datatype=datatype, name=name)
    with pytest.raises(tritonclient.InferenceServerException) as caught:
        triton.infer("siamese", [tensor])
    assert re.search(message, str(caught.value)), str(caught.value)


def test_a_wrong_model_version_or_output(triton: Any) -> None:
    tensors = [_input(_pictures(1))]
    with pytest.raises(tritonclient.InferenceServerException, match=r"unknown model 'resnet'.*has: siamese") as caught:
        triton.infer("resnet", tensors)
    assert caught.value.status() == "404"
    with pytest.raises(tritonclient.InferenceServerException, match="unknown version 7") as caught:
        triton.infer("siamese", tensors, model_version="7")
    assert caught.value.status() == "404"
    with pytest.raises(tritonclient.InferenceServerException, match="a whole number, is 'latest'") as caught:
        triton.get_model_metadata("siamese", "latest")
    assert caught.value.status() == "400"
    with pytest.raises(tritonclient.InferenceServerException, match="unknown output 'logits'") as caught:
        triton.infer("siamese", tensors, outputs=[tritonclient.InferRequestedOutput("logits")])
    assert caught.value.status() == "400"


def test_one_bad_picture_fails_the_request_and_is_named(http: httpx.Client, triton: Any) -> None:
    encoded = [*_encoded(_pictures(3)), b"no picture", *_encoded(_pictures(2))]
    with pytest.raises(tritonclient.InferenceServerException, match="picture 3: ") as caught:
        triton.infer("siamese", [_input(np.array(encoded, np.object_), datatype="BYTES")])
    assert caught.value.status() == "422"
    answer = http.post(_INFER, json=_asking(shape=[1], datatype="BYTES", data=["no picture"]))
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert (problem["status"], problem["index"], problem["error"]) == (422, 0, problem["detail"])
    assert answer.headers["x-request-id"] in problem["instance"]


def test_a_deadline(triton: Any) -> None:
    with pytest.raises(tritonclient.InferenceServerException, match="deadline") as caught:
        triton.infer("siamese", [_input(_pictures(1))], timeout=1)
    assert caught.value.status() == "504"
    for timeout in (0, 30_000_000, 2**62):
        triton.infer("siamese", [_input(_pictures(1))], timeout=timeout)
    with pytest.raises(tritonclient.InferenceServerException, match="whole microseconds, is '-1'"):
        triton.infer("siamese", [_input(_pictures(1))], timeout=-1)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Overloaded("full"), 429, "1"),
        (Closed("gone"), 503, "1"),
        (BackendError("lost"), 503, "1"),
        (OSError(), 500, None),
    ],
)
def test_what_the_batcher_refuses(
    http: httpx.Client, running: Running, monkeypatch: Any, error: Exception, status: int, retry_after: str | None
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(running.service.batcher, "submit_many", refuse)
    answer = http.post(_INFER, json=_asking())
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert answer.json()["error"]


def test_bodies_that_are_too_large_or_bombs(http: httpx.Client) -> None:
    too_large = http.post(_INFER, content=bytes(5 << 20))
    bomb = http.post(_INFER, content=gzip.compress(bytes(64 << 20)), headers={"Content-Encoding": "gzip"})
    damaged = http.post(_INFER, content=b"not gzip", headers={"Content-Encoding": "gzip"})
    unknown = http.post(_INFER, content=b"x", headers={"Content-Encoding": "br"})
    assert [each.status_code for each in (too_large, bomb, damaged, unknown)] == [413, 413, 400, 415]
    assert all(each.json()["error"] for each in (too_large, bomb, damaged, unknown))


def test_garbage_is_never_an_error_of_the_server(http: httpx.Client) -> None:
    rng = np.random.default_rng(3)
    header = json.dumps(
        {
            "inputs": [
                {"name": "image", "shape": [1, 2, 2, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 4}}
            ]
        }
    ).encode()
    statuses = set()
    for _ in range(200):
        body = bytearray(header + bytes(4))
        for position in rng.integers(0, len(body), rng.integers(0, 4)):
            body[position] = rng.integers(0, 256)
        cut = int(rng.integers(len(body) // 2, len(body) + 1))
        length = len(header) + int(rng.integers(-1, 2))
        answer = http.post(_INFER, content=bytes(body[:cut]), headers={_HEADER_LENGTH: str(length)})
        statuses.add(answer.status_code)
        assert answer.status_code == 200 or answer.json()["error"]
    assert statuses <= {200, 400, 413, 422}
    assert http.post("/v2/repository/index", content=b"{").status_code == 400
    assert http.post("/v2/repository/index", json=[]).status_code == 400


# ----------------------------------------------------------------------------------------------------------------------
# The pictures of one request together, on a batcher that does as it is told


class _ToldBatcher:
    def __init__(self) -> None:
        self.pending: list[Future[NDArray[np.float32]]] = []

    def submit_many(self, pictures: Any, *, timeout_s: float) -> list[Future[NDArray[np.float32]]]:
        self.pending = [Future() for _ in pictures]
        return self.pending


def _embed_with(batcher: _ToldBatcher, num: int, then: Any) -> Any:
    async def work() -> Any:
        service: Any = SimpleNamespace(batcher=batcher)
        task = asyncio.ensure_future(inferring._embed(service, [b"x"] * num, 5.0))
        while not batcher.pending:
            await asyncio.sleep(0)
        then(task)
        return await task

    return asyncio.run(asyncio.wait_for(work(), 10))


def test_the_first_that_fails_drops_the_others() -> None:
    batcher = _ToldBatcher()
    with pytest.raises(Problem, match="picture 2: torn") as caught:
        _embed_with(batcher, 4, lambda _: batcher.pending[2].set_exception(ImageError("torn")))
    assert (caught.value.status, caught.value.members) == (422, {"index": 2})
    assert [each.cancelled() for each in batcher.pending] == [True, True, False, True]


def test_other_failures_come_out_as_they_are() -> None:
    batcher = _ToldBatcher()
    with pytest.raises(DeadlineExceeded, match="late"):
        _embed_with(
            batcher, 3, lambda _: [each.set_exception(DeadlineExceeded("late")) for each in batcher.pending[:1]]
        )


def test_whoever_leaves_drops_all() -> None:
    batcher = _ToldBatcher()
    with pytest.raises(asyncio.CancelledError):
        _embed_with(batcher, 3, lambda task: asyncio.get_running_loop().call_later(0.01, task.cancel))
    assert all(each.cancelled() for each in batcher.pending)
