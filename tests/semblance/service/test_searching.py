"""POST /v1/search: who is found, by what, how many, and what cannot be asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from semblance.search import Gallery
from semblance.service import searching
from tests.semblance.service.drawn import (
    NUM_PICTURES,
    Held,
    Served,
    b64,
    detailed,
    kinds_of_work,
    picture,
    problem,
    wait_for,
)

Serve = Callable[..., Served]
Hold = Callable[..., Held]
BAD = b"this is no picture"


def keys(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [each["key"] for each in answer.json()["neighbours"]]


# ----------------------------------------------------------------------------------------------------------------------
# Queries


def test_a_picture_finds_itself_first(client: httpx.Client, shared: Served, drawn_gallery: Path) -> None:
    answer = client.post("/v1/search", params={"k": 3}, content=picture(7))
    expected = Gallery.open(drawn_gallery, shared.service.encoder).hits(picture(7), k=3)[0]
    found = answer.json()
    assert keys(answer) == [hit.key for hit in expected]
    assert [each["distance"] for each in found["neighbours"]] == pytest.approx(
        [hit.distance for hit in expected], rel=1e-5, abs=1e-4
    )
    first = {**found["neighbours"][0], "distance": 0.0}
    assert first == {"key": 7, "uri": "dogs/07.png", "label": "dogs", "distance": 0.0, "thumbnail": "/v1/images/7"}
    assert found["query"] == {"image": True}
    assert found["metric"] == "l2sq"
    assert found["gallery"] == {"name": "gallery", "images": NUM_PICTURES}
    assert set(found["timing_ms"]) == {"queue", "decode", "inference", "search", "total"}


def test_every_form_of_a_query_finds_the_same(client: httpx.Client, shared: Served) -> None:
    vector = shared.service.encoder.embed(picture(7))[0].tolist()
    expected = keys(client.post("/v1/search?k=4", content=picture(7)))
    forms: list[dict[str, Any]] = [
        {"json": {"image": b64(picture(7)), "k": 4}},
        {"json": {"images": [b64(picture(7))], "k": 4}},
        {"files": [("image", ("a.png", picture(7)))], "data": {"k": "4"}},
        {"json": {"key": 7, "k": 4}},
        {"json": {"vector": vector, "k": 4}},
        {"json": {"key": 7, "k": 4, "vector": None, "where": None, "rerank": None}},
        {"json": {"key": "7", "k": 4}, "params": {"k": 9}},  # what the document says comes first
        {"files": {"key": (None, b"7"), "k": (None, b"4"), "exact": (None, b"true")}},
    ]  # fmt: skip
    for form in forms:
        assert keys(client.post("/v1/search", **form)) == expected, form
    by_key = client.post("/v1/search", json={"key": 7, "k": 4}).json()
    assert by_key["query"] == {"key": 7}
    assert by_key["timing_ms"]["inference"] == 0
    assert client.post("/v1/search", json={"vector": vector, "k": 4}).json()["query"] == {"vector": True}


def test_ten_unless_told_otherwise_and_no_more_than_there_are(client: httpx.Client) -> None:
    assert len(keys(client.post("/v1/search", json={"key": 1}))) == 10
    assert sorted(keys(client.post("/v1/search?k=1000", json={"key": 1}))) == list(range(NUM_PICTURES))


def test_conditions(client: httpx.Client) -> None:
    dogs = {"where": "label = 'dogs'"}
    assert set(keys(client.post("/v1/search", json={"key": 1, "k": 12, **dogs}))) == set(range(6, 12))
    assert len(keys(client.post("/v1/search", params={"k": 2, **dogs}, content=picture(1)))) == 2
    assert keys(client.post("/v1/search", json={"key": 1, "where": "width > 5000"})) == []
    assert len(keys(client.post("/v1/search", json={"key": 1, "where": ""}))) == 10


def test_exact(client: httpx.Client) -> None:
    assert keys(client.post("/v1/search?exact=true&k=5", json={"key": 1})) == keys(
        client.post("/v1/search?k=5", json={"key": 1, "exact": False})
    )


@pytest.mark.parametrize("key", [12, -1, 2**63 - 1, -(2**63), 2**53 + 1])
def test_a_key_that_is_not_there(client: httpx.Client, key: int) -> None:
    answer = client.post("/v1/search", json={"key": key})
    assert problem(answer) == (404, "no-such-picture")
    assert str(key) in answer.json()["detail"]


# ----------------------------------------------------------------------------------------------------------------------
# What cannot be asked


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({}, 400), ({"key": 1, "vector": [0] * 16}, 400), ({"image": b64(picture(1)), "key": 1}, 400),
        ({"images": [b64(picture(1))] * 2}, 413), ({"keys": [1]}, 400), ({"key": 1, "K": 2}, 400),
        ({"key": 2**63}, 422), ({"key": -(2**63) - 1}, 400), ({"key": 2**64}, 400), ({"key": 10**400}, 400),
        ({"key": 1.0}, 400), ({"key": True}, 400), ({"key": [1]}, 400), ({"key": "one"}, 400), ({"key": ""}, 400),
        ({"key": "9" * 5000}, 400), ({"key": "-"}, 400), ({"key": "--1"}, 400), ({"key": "²"}, 400),
        ({"key": 1, "k": 0}, 422), ({"key": 1, "k": 1001}, 422), ({"key": 1, "k": -5}, 422),
        ({"key": 1, "k": 1.5}, 400),
        ({"key": 1, "k": "9" * 5000}, 400), ({"key": 1, "k": False}, 400), ({"key": 1, "k": [1]}, 400),
        ({"key": 1, "exact": 1}, 400), ({"key": 1, "exact": "maybe"}, 400), ({"key": 1, "rerank": "orb"}, 400),
        ({"key": 1, "rerank": True}, 400), ({"key": 1, "rerank": ["sift"]}, 400), ({"key": 1, "where": 5}, 400),
        ({"key": 1, "where": "x" * 4097}, 400), ({"key": 1, "where": "nothing like this"}, 422),
        ({"key": 1, "where": "1"}, 422), ({"key": 1, "where": "label = 'a'; DROP TABLE x"}, 422),
        ({"key": 1, "timeout_ms": 0}, 400), ({"key": 1, "timeout_ms": "soon"}, 400),
        ({"key": 1, "timeout_ms": True}, 400),
        ({"key": 1, "timeout_ms": "nan"}, 400), ({"vector": [0] * 15}, 422), ({"vector": []}, 422),
        ({"vector": [0] * 17}, 422), ({"vector": "0"}, 400), ({"vector": {"0": 1}}, 400),
        ({"vector": [None] * 16}, 400),
        ({"vector": ["1"] * 16}, 400), ({"vector": [[0] * 16]}, 422), ({"vector": [True] * 16}, 400),
        ({"vector": [1e39] * 16}, 422), ({"vector": [10**30] + [0] * 15, "k": 0}, 422), ({"image": b64(BAD)}, 422),
        ({"image": ""}, 422), ({"key": 1, "rerank": "sift"}, 422),
    ],
    ids=lambda each: json.dumps(each)[:40],
)  # fmt: skip
def test_what_cannot_be_asked(client: httpx.Client, document: Any, status: int) -> None:
    answer = client.post("/v1/search", json=document)
    assert problem(answer)[0] == status, answer.text
    assert len(answer.content) < 4000


@pytest.mark.parametrize(
    "content",
    [
        b'{"vector": [NaN]}', b'{"vector": [1e400, ' + b"0, " * 14 + b"0]}", b'{"vector": [' + b"9" * 5000 + b"]}",
        b'{"key": 1e2}', b'{"key": 1' + b"0" * 5000 + b"}",
    ],
)  # fmt: skip
def test_numbers_beyond_all_bounds(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/v1/search", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize(
    "query", ["k=0", "k=x", "k=1e3", "k=99999999999999999999", "exact=2", "rerank=orb", "shortlist=0", "shortlist=1001",
              "timeout_ms=0", "timeout_ms=nan", "timeout_ms=inf", "where=" + "x" * 4097],
)  # fmt: skip
def test_parameters_that_are_none(client: httpx.Client, query: str) -> None:
    answer = client.post(f"/v1/search?{query}", json={"key": 1})
    assert problem(answer) == (400, "malformed-parameter")
    assert answer.json()["detail"].startswith(query.partition("=")[0])


@pytest.mark.parametrize("where", ["nothing like this", "colour = 1", "width", "label = 'a'; SELECT 1", "x" * 4096])
def test_a_condition_that_is_none_has_a_name_of_its_own(client: httpx.Client, where: str) -> None:
    answer = client.post("/v1/search", json={"key": 1, "where": where})
    assert problem(answer) == (422, "unusable-condition")
    assert answer.json()["detail"].startswith("where ")


def test_a_condition_that_is_no_utf8(client: httpx.Client) -> None:
    assert client.post("/v1/search?where=label%20%3D%20%27%ff%27", json={"key": 1}).json()["neighbours"] == []


def test_the_most_neighbours_may_be_fewer_than_the_usual(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, max_k=4)
    assert len(keys(one.client.post("/v1/search", json={"key": 1}))) == 4
    assert problem(one.client.post("/v1/search?k=10", json={"key": 1})) == (422, "out-of-range")


def test_a_model_alone_has_nothing_to_search(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(None, model=str(drawn_gallery.parent / "tiny.onnx"))
    assert problem(one.client.post("/v1/search", content=picture(1))) == (404, "no-gallery")


def test_a_gallery_that_has_become_empty(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    for key in range(NUM_PICTURES):
        assert one.client.delete(f"/v1/images/{key}").status_code == 204
    answer = one.client.post("/v1/search", content=picture(1))
    assert keys(answer) == []
    assert answer.json()["gallery"]["images"] == 0
    assert problem(one.client.post("/v1/search", json={"key": 1})) == (404, "no-such-picture")
    assert one.client.put("/v1/images/1", content=picture(1)).status_code == 201
    assert keys(one.client.post("/v1/search", content=picture(1))) == [1]


# ----------------------------------------------------------------------------------------------------------------------
# By keypoints


def test_reranked(shared_sift: Served) -> None:
    client = shared_sift.client
    by_picture = client.post("/v1/search?rerank=sift&k=2", content=detailed(3))
    by_key = client.post("/v1/search", json={"key": 3, "rerank": "sift", "k": 2, "shortlist": 3})
    for answer in (by_picture, by_key):
        first = answer.json()["neighbours"][0]
        assert first["key"] == 3
        assert first["inliers"] > 20
        assert first["matches"] >= first["inliers"]
    assert len(keys(client.post("/v1/search?rerank=sift&k=5&shortlist=1", content=detailed(3)))) == 5
    filtered = client.post("/v1/search?rerank=sift&k=5", json={"key": 3, "where": "uri = '02.png'"})
    assert keys(filtered) == [2]


def test_keypoints_need_a_picture(shared_sift: Served) -> None:
    assert problem(shared_sift.client.post("/v1/search?rerank=sift", json={"vector": [0.5] * 16})) == (
        422,
        "no-picture",
    )
    assert problem(shared_sift.client.post("/v1/search?rerank=sift", content=BAD))[0] == 422


def test_a_picture_is_decoded_within_the_services_limits(
    serve: Serve, drawn_sift_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = serve(drawn_sift_gallery, read_only=True, max_pixels=54_321)
    seen = list[int]()
    decode = searching.decode

    def noted(content: Any, **how: Any) -> Any:
        seen.append(how["limits"].max_pixels)
        return decode(content, **how)

    monkeypatch.setattr(searching, "decode", noted)
    assert keys(one.client.post("/v1/search?rerank=sift&k=1", content=detailed(3))) == [3]
    assert seen == [54_321]


# ----------------------------------------------------------------------------------------------------------------------
# Time


@pytest.mark.parametrize(
    ("document", "is_slow"),
    [({}, False), ({"exact": True}, False), ({"where": "width > 1"}, True), ({"rerank": "sift"}, True)],
)
def test_what_may_take_seconds_leaves_threads_for_the_others(
    serve: Serve, drawn_sift_gallery: Path, monkeypatch: pytest.MonkeyPatch, document: Any, is_slow: bool
) -> None:
    one = serve(drawn_sift_gallery, read_only=True)
    kinds = kinds_of_work(one.service, monkeypatch)
    assert keys(one.client.post("/v1/search", json={"key": 3, **document}))
    assert kinds == [is_slow]


def test_a_deadline_that_passes_while_searching(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True)
    hold(searching, "_timed")
    for sent in ({"json": {"key": 1, "timeout_ms": 50}}, {"json": {"key": 1}, "params": {"timeout_ms": 50}},
                 {"content": picture(1), "params": {"timeout_ms": 50}}):  # fmt: skip
        assert problem(one.client.post("/v1/search", **sent)) == (504, "deadline-exceeded")
    wait_for(one.is_idle)


def test_the_time_counts_from_the_arrival_of_the_request(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True)
    waiting = threading.Event()

    def slowly() -> Any:
        yield b'{"key": 1, '
        waiting.wait(0.1)
        yield b'"timeout_ms": 50}'

    answer = one.client.post("/v1/search", content=slowly(), headers={"Content-Type": "application/json"})
    assert problem(answer) == (504, "deadline-exceeded")


def test_a_search_that_nobody_waits_for_any_more_is_never_begun(
    serve: Serve, hold: Hold, drawn_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblance.service.state.available_threads", lambda: 1)
    one = serve(drawn_gallery, read_only=True)
    held = hold(searching, "_timed")
    for _ in range(6):
        assert one.client.post("/v1/search?timeout_ms=30", json={"key": 1}).status_code == 504
    num_begun = held.num_calls
    held.let_go()
    assert keys(one.client.post("/v1/search", json={"key": 1}))
    assert num_begun <= one.service._pool._max_workers < 6  # as many as there are threads
    assert held.num_calls == num_begun + 1


def test_no_more_searches_than_may_be_pending(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, max_pending_images=1, max_images=1)
    held = hold(searching, "_timed")
    statuses = list[int]()
    first = threading.Thread(target=lambda: statuses.append(one.client.post("/v1/search", json={"key": 1}).status_code))
    first.start()
    held.wait()
    answer = one.client.post("/v1/search", json={"key": 2})
    assert problem(answer) == (429, "overloaded")
    assert answer.headers["retry-after"] == "1"
    held.let_go()
    first.join()
    assert statuses == [200]
    assert one.client.post("/v1/search", json={"key": 2}).status_code == 200


def test_searches_are_counted_once(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True)
    for _ in range(3):
        one.client.post("/v1/search", json={"key": 1})
    one.client.post("/v1/search", json={"key": 99})
    assert one.figures("semblance_search_seconds_count") == {(): 3.0}
    assert one.figures("semblance_images_total") == {}


def test_a_gallery_by_cosine_refuses_a_vector_without_direction(serve: Serve, tmp_path: Path) -> None:
    from semblance.inference.encoder import Encoder
    from tests.conftest import make_tiny_model

    model = make_tiny_model(tmp_path / "tiny.onnx", metric="cos")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(picture(0))
    Gallery.build(tmp_path / "pictures", Encoder.load(str(model.path)), tmp_path / "gallery")
    one = serve(tmp_path / "gallery", read_only=True)
    assert problem(one.client.post("/v1/search", json={"vector": [0.0] * 16})) == (422, "unusable-request")
    assert keys(one.client.post("/v1/search", json={"vector": np.ones(16).tolist()})) == [0]
