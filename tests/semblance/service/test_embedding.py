"""POST /v1/embed: each picture its own vector, in the form that was asked for, in time or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import BackendError
from semblance.inference.encoder import Encoder
from tests.semblance.service.drawn import Held, Served, ask_and_leave, b64, encoded, picture, wait_for

Serve = Callable[..., Served]
Hold = Callable[..., Held]
CLOSE = 2e-6
BAD = b"this is no picture"
RAW = {"Accept": "application/octet-stream"}


def as_files(*pictures: bytes) -> Any:
    return [("images", (f"{at}.png", each, "image/png")) for at, each in enumerate(pictures)]


def is_close(found: Any, expected: NDArray[np.float32]) -> bool:
    return bool(np.allclose(np.array(found, np.float32), expected, rtol=CLOSE, atol=CLOSE * float(abs(expected).max())))


# ----------------------------------------------------------------------------------------------------------------------
# What is answered


def test_a_picture_as_it_is(client: httpx.Client, tiny_encoder: Encoder) -> None:
    content = picture(50)
    answer = client.post("/v1/embed", content=content, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    found = answer.json()
    (vector,) = found.pop("embeddings")
    assert is_close(vector, tiny_encoder.embed(content)[0])
    timing = found.pop("timing_ms")
    assert set(timing) == {"queue", "decode", "inference", "total"}
    assert timing["total"] >= timing["inference"] > 0
    assert found == {
        "model": "tiny", "precision": "fp32", "fingerprint": tiny_encoder.card.fingerprint, "dimension": 16,
        "metric": "l2sq", "errors": [],
    }  # fmt: skip


@pytest.mark.parametrize("form", ["files", "json"])
def test_several_in_their_order(client: httpx.Client, tiny_encoder: Encoder, form: str) -> None:
    pictures = [picture(60 + number, suffix=".jpg" if number % 2 else ".png") for number in range(20)]
    sent: dict[str, Any] = (
        {"files": as_files(*pictures)} if form == "files" else {"json": {"images": [b64(each) for each in pictures]}}
    )
    found = client.post("/v1/embed", **sent).json()
    assert is_close(found["embeddings"], tiny_encoder.embed(pictures))


def test_raw_numbers(client: httpx.Client, tiny_encoder: Encoder) -> None:
    pictures = [picture(80), picture(81)]
    answer = client.post("/v1/embed", files=as_files(*pictures), headers=RAW)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-semblance-shape"] == "2,16"
    assert answer.headers["x-semblance-dtype"] == "float32"
    assert answer.headers["x-semblance-model"] == "tiny"
    assert answer.headers["x-semblance-fingerprint"] == tiny_encoder.card.fingerprint
    assert answer.headers["server-timing"].startswith("queue;dur=")
    assert is_close(np.frombuffer(answer.content, "<f4").reshape(2, 16), tiny_encoder.embed(pictures))


def test_a_bad_picture_fails_alone(client: httpx.Client, tiny_encoder: Encoder) -> None:
    answer = client.post("/v1/embed", files=as_files(BAD, picture(1), b""))
    assert answer.status_code == 200
    found = answer.json()
    assert found["embeddings"][0] is None
    assert found["embeddings"][2] is None
    assert is_close(found["embeddings"][1], tiny_encoder.embed(picture(1))[0])
    assert [(each["index"], each["status"], each["type"]) for each in found["errors"]] == [
        (0, 422, "urn:semblance:problem:unusable-picture"), (2, 422, "urn:semblance:problem:unusable-picture"),
    ]  # fmt: skip


def test_among_raw_numbers_it_fails_all(client: httpx.Client) -> None:
    answer = client.post("/v1/embed", files=as_files(picture(1), BAD, BAD), headers=RAW)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["index"] == 1
    assert answer.json()["detail"].startswith("picture 1: ")


@pytest.mark.parametrize("headers", [{}, RAW])
def test_bad_ones_alone(client: httpx.Client, headers: Any) -> None:
    assert client.post("/v1/embed", files=as_files(BAD, BAD), headers=headers).status_code == 422
    answer = client.post("/v1/embed", content=BAD, headers=headers)
    assert answer.status_code == 422
    assert "index" not in answer.json()


def test_more_pixels_than_may_be(serve: Serve) -> None:
    one = serve(None, model=str(_model(serve)), max_pixels=1000)
    answer = one.client.post("/v1/embed", content=picture(1, 32, 32))
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:semblance:problem:picture-too-large")
    assert "--max-pixels" not in answer.json()["detail"]
    mixed = one.client.post("/v1/embed", files=as_files(picture(1, 32, 32), picture(1)))
    assert [each["status"] for each in mixed.json()["errors"]] == [413]


def _model(serve: Any) -> str:
    return "siamese"


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("sent", "status", "name"),
    [
        ({"content": b""}, 400, "empty-body"),
        ({"json": {}}, 400, "no-picture"),
        ({"json": {"vector": [1]}}, 400, "unknown-member"),
        ({"json": {"images": ["AAAA"], "k": 1}}, 400, "unknown-member"),
        ({"data": {"a": "b"}, "files": as_files(b"x")}, 400, "unknown-member"),
        ({"json": {"images": ["http://127.0.0.1/x.png"]}}, 400, "malformed-base64"),
        ({"content": b"x", "headers": {"Content-Type": "text/html"}}, 415, "unsupported-media-type"),
        ({"json": {"images": ["AAAA"] * 257}}, 413, "too-many-pictures"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed-json"),
    ],
)
def test_what_is_refused(client: httpx.Client, sent: Any, status: int, name: str) -> None:
    answer = client.post("/v1/embed", **sent)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:semblance:problem:{name}")
    assert answer.json()["instance"] == f"urn:semblance:request:{answer.headers['x-request-id']}"


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "-inf", "x", "", "1e400", "1,5"])
def test_a_timeout_that_is_none(client: httpx.Client, given: str) -> None:
    answer = client.post("/v1/embed", params={"timeout_ms": given}, content=picture(1))
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:semblance:problem:malformed-parameter")


def test_other_methods(client: httpx.Client) -> None:
    answer = client.get("/v1/embed")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_over_the_limit(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, max_body_bytes=1000)
    assert one.client.post("/v1/embed", content=b"x" * 1001).status_code == 413
    assert one.client.post("/v1/embed", content=iter([b"x" * 600, b"x" * 600])).status_code == 413
    assert one.client.post("/v1/embed", content=b"x" * 1000).status_code == 422
    wait_for(one.is_idle)


# ----------------------------------------------------------------------------------------------------------------------
# Time, room and failures


def test_a_deadline_that_passes(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True)
    held = hold(one.service.encoder, "run")
    answer = one.client.post("/v1/embed", params={"timeout_ms": 20}, content=picture(1))
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:semblance:problem:deadline-exceeded")
    held.let_go()
    wait_for(one.is_idle)
    assert one.figures("semblance_images_total") == {("expired",): 1.0}
    tiny = one.client.post("/v1/embed", params={"timeout_ms": 1e-9}, content=picture(1))
    assert tiny.status_code == 504


def test_the_service_itself_has_a_deadline(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, deadline_ms=20)
    hold(one.service.encoder, "run")
    for given in ({}, {"timeout_ms": 1e9}):
        assert one.client.post("/v1/embed", params=given, content=picture(1)).status_code == 504


def test_more_than_may_be_pending(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, max_pending_images=2, max_images=2)
    held = hold(one.service.encoder, "run")
    statuses = list[int]()
    first = threading.Thread(
        target=lambda: statuses.append(one.client.post("/v1/embed", files=as_files(picture(1), picture(2))).status_code)
    )
    first.start()
    held.wait()
    answer = one.client.post("/v1/embed", content=picture(3))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["type"] == "urn:semblance:problem:overloaded"
    held.let_go()
    first.join()
    assert statuses == [200]
    wait_for(one.is_idle)
    assert one.client.post("/v1/embed", content=picture(3)).status_code == 200


def test_more_bytes_than_may_be_pending(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    content = picture(1)
    one = serve(drawn_gallery, read_only=True, max_body_bytes=len(content), max_pending_bytes=len(content) + 10)
    held = hold(one.service.encoder, "run")
    statuses = list[int]()
    first = threading.Thread(target=lambda: statuses.append(one.client.post("/v1/embed", content=content).status_code))
    first.start()
    held.wait()
    assert one.service.budget.taken == len(content)
    assert one.client.post("/v1/embed", content=content).status_code == 429
    held.let_go()
    first.join()
    assert statuses == [200]
    wait_for(one.is_idle)


def test_a_client_that_leaves_costs_nothing_more(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, max_batch=1)
    held = hold(one.service.encoder, "run")
    ask_and_leave(one, held, "/v1/embed", files=as_files(*map(picture, range(5))))
    wait_for(lambda: one.service.budget.taken == 0)  # before the model is done
    held.let_go()
    wait_for(one.is_idle)
    assert held.num_calls == 1  # the other four were never run
    assert one.figures("semblance_images_total") == {("cancelled",): 5.0}
    wait_for(lambda: one.figures("semblance_requests_total") == {("POST", "/v1/embed", "499"): 1.0})


def test_a_model_that_fails(serve: Serve, drawn_gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = serve(drawn_gallery, read_only=True)

    def broken(_: Any) -> Any:
        raise BackendError("a secret of the GPU")

    monkeypatch.setattr(one.service.encoder, "run", broken)
    answer = one.client.post("/v1/embed", content=picture(1))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:semblance:problem:backend-failed")
    assert "secret" not in answer.text
    monkeypatch.undo()
    assert one.client.post("/v1/embed", content=picture(1)).status_code == 200


def test_a_model_alone_embeds(serve: Serve, drawn_gallery: Path, tiny_encoder: Encoder) -> None:
    one = serve(None, model=str(drawn_gallery.parent / "tiny.onnx"))
    assert is_close(
        one.client.post("/v1/embed", content=picture(5)).json()["embeddings"], tiny_encoder.embed(picture(5))
    )


def test_a_model_of_any_name_may_be_named_in_a_header(serve: Serve, tmp_path: Path) -> None:
    from tests.conftest import make_tiny_model

    model = make_tiny_model(tmp_path / "model.onnx", name="模型 one\r\nX-Evil: 1")
    answer = serve(None, model=str(model.path)).client.post("/v1/embed", content=picture(1), headers=RAW)
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert answer.headers["x-semblance-model"] == "%E6%A8%A1%E5%9E%8B%20one%0D%0AX-Evil:%201"


def test_an_embedding_that_is_no_number_is_still_json(
    serve: Serve, drawn_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = serve(drawn_gallery, read_only=True)
    monkeypatch.setattr(one.service.encoder, "run", lambda images: np.full((len(images), 16), np.nan, np.float32))
    assert one.client.post("/v1/embed", content=picture(1)).json()["embeddings"] == [[None] * 16]


def test_the_largest_number_of_pictures(client: httpx.Client, tiny_encoder: Encoder) -> None:
    dots = [encoded(np.full((1, 1), number, np.uint8)) for number in range(256)]
    found = client.post("/v1/embed", files=as_files(*dots), headers=RAW)
    assert is_close(np.frombuffer(found.content, "<f4").reshape(256, 16), tiny_encoder.embed(dots))
