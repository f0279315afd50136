"""/v1/images/{key}: shown, put, removed; and that what is acknowledged is on the disk."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from semblance.gallery.gallery import VectorGallery
from semblance.inference.encoder import Encoder
from tests.semblance.service.drawn import Held, Served, b64, decoded, detailed, encoded, picture, problem, wait_for

Serve = Callable[..., Served]
Hold = Callable[..., Held]
BAD = b"this is no picture"
JSON = {"Accept": "application/json"}
EDGES = (2**63 - 1, -(2**63), -1, 2**53 + 1)


# ----------------------------------------------------------------------------------------------------------------------
# Shown


def test_what_is_known_of_a_picture(client: httpx.Client) -> None:
    answer = client.get("/v1/images/7", headers=JSON)
    assert answer.json() == {
        "key": 7, "uri": "dogs/07.png", "label": "dogs", "sha256": hashlib.sha256(picture(7)).hexdigest(), "width": 32,
        "height": 24, "columns": {}, "thumbnail": "/v1/images/7",
    }  # fmt: skip
    assert answer.headers["vary"] == "Accept"


def test_the_picture_small(client: httpx.Client) -> None:
    answer = client.get("/v1/images/7")
    assert answer.headers["content-type"] == "image/png"
    expected = cv2.imdecode(np.frombuffer(picture(7), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded(answer), expected)
    assert decoded(client.get("/v1/images/7?size=16")).shape == (12, 16, 3)


@pytest.mark.parametrize(
    "accept", ["image/avif,image/webp,*/*;q=0.8", "*/*", "image/*, application/json;q=0.5", "application/json;q=0"]
)
def test_a_browser_is_shown_the_picture(client: httpx.Client, accept: str) -> None:
    assert client.get("/v1/images/7", headers={"Accept": accept}).headers["content-type"] == "image/png"


def test_what_the_client_has_is_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/v1/images/7")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for told in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get("/v1/images/7", headers={"If-None-Match": told})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/v1/images/7", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get("/v1/images/7?size=16").headers["etag"] != tag
    assert client.get("/v1/images/6").headers["etag"] != tag


def test_a_head_has_no_content(client: httpx.Client) -> None:
    answer = client.head("/v1/images/7")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(client.get("/v1/images/7").content)


@pytest.mark.parametrize("key", [12, *EDGES])
def test_a_key_that_is_not_there(client: httpx.Client, key: int) -> None:
    assert problem(client.get(f"/v1/images/{key}")) == (404, "no-such-picture")


@pytest.mark.parametrize(
    "path", ["x", "1.5", str(2**63), str(-(2**63) - 1), "9" * 5000, "7?size=7", "7?size=1025", "7?size=x", "%00"]
)
def test_what_is_no_key_or_size(client: httpx.Client, path: str) -> None:
    assert problem(client.get(f"/v1/images/{path}"))[0] == 400


def test_a_model_alone_has_no_pictures(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(None, model=str(drawn_gallery.parent / "tiny.onnx"))
    for answer in (one.client.get("/v1/images/1"), one.client.put("/v1/images/1", content=picture(1)),
                   one.client.delete("/v1/images/1"), one.client.post("/v1/images/1/matches",
                   content=picture(1))):  # fmt: skip
        assert problem(answer) == (404, "no-gallery")


def test_where_no_pictures_are_shown(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, thumbnails=False)
    assert problem(one.client.get("/v1/images/7")) == (404, "not-shown")
    assert one.client.get("/v1/images/7", headers=JSON).json()["thumbnail"] is None
    assert problem(one.client.post("/v1/images/7/matches", content=picture(1))) == (404, "not-shown")
    assert one.client.post("/v1/search", json={"key": 7}).json()["neighbours"][0]["thumbnail"] is None


def test_a_picture_has_its_deadline_too(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True, deadline_ms=50)
    assert one.service.thumbnails is not None
    hold(one.service.thumbnails, "thumbnail")
    assert problem(one.client.get("/v1/images/7")) == (504, "deadline-exceeded")


# ----------------------------------------------------------------------------------------------------------------------
# Put and removed


def test_put_is_on_the_disk_and_found_at_once(serve: Serve, own_gallery: Path, tiny_encoder: Encoder) -> None:
    one = serve(own_gallery)
    content = picture(100, 30, 20)
    answer = one.client.put("/v1/images/500", params={"uri": "mine/a.png", "label": "chair"}, content=content)
    assert answer.status_code == 201
    assert answer.json() == {
        "key": 500, "created": True, "uri": "mine/a.png", "label": "chair",
        "sha256": hashlib.sha256(content).hexdigest(),
        "width": 20, "height": 30,
    }  # fmt: skip
    on_disk = VectorGallery.open(own_gallery)
    assert on_disk.facts(np.array([500]))[0].label == "chair"
    assert np.allclose(on_disk.vectors_of(np.array([500])), tiny_encoder.embed(content), rtol=2e-6)
    found = one.client.post("/v1/search?k=1", content=content).json()
    assert [each["key"] for each in found["neighbours"]] == [500]
    assert found["gallery"]["images"] == 13
    assert one.client.get("/v1/images/500", headers=JSON).json()["thumbnail"] is None
    assert problem(one.client.get("/v1/images/500")) == (404, "not-shown")


def test_another_takes_its_place(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    assert one.client.put("/v1/images/500", json={"image": b64(picture(100))}).json()["uri"] == "upload/500"
    again = one.client.put(
        "/v1/images/500?label=address", json={"image": b64(picture(101)), "label": "document", "uri": None}
    )
    assert (again.status_code, again.json()["created"], again.json()["label"]) == (200, False, "document")
    assert VectorGallery.open(own_gallery).facts(np.array([500]))[0].sha256 == hashlib.sha256(picture(101)).hexdigest()
    form = one.client.put("/v1/images/500", files={"image": ("a.png", picture(102))}, data={"label": "form"})
    assert (form.status_code, form.json()["label"]) == (200, "form")


def test_in_the_place_of_one_of_a_folder_the_folders_picture_is_not_shown(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    assert one.client.get("/v1/images/7").status_code == 200
    for uri in ("dogs/07.png", "cats/01.png", "upload/7"):
        assert one.client.put("/v1/images/7", params={"uri": uri}, content=picture(100)).status_code == 200
        assert problem(one.client.get("/v1/images/7")) == (404, "not-shown")


def test_removed_is_removed_from_the_disk(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    answer = one.client.delete("/v1/images/7")
    assert (answer.status_code, answer.content) == (204, b"")
    assert 7 not in VectorGallery.open(own_gallery)
    assert problem(one.client.delete("/v1/images/7")) == (404, "no-such-picture")
    assert problem(one.client.get("/v1/images/7")) == (404, "no-such-picture")
    assert one.client.put("/v1/images/7", content=picture(7)).status_code == 201


def test_keys_of_all_64_bits(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    for seed, key in enumerate(EDGES):
        assert one.client.put(f"/v1/images/{key}", content=picture(200 + seed)).status_code == 201, key
    for seed, key in enumerate(EDGES):
        found = one.client.post("/v1/search?k=1", content=picture(200 + seed)).json()["neighbours"]
        assert [each["key"] for each in found] == [key]
        assert one.client.post("/v1/search", json={"key": key, "k": 1}).json()["neighbours"][0]["key"] == key
        assert one.client.get(f"/v1/images/{key}", headers=JSON).json()["key"] == key
        assert one.client.put(f"/v1/images/{key}", content=picture(300 + seed)).status_code == 200
        assert one.client.delete(f"/v1/images/{key}").status_code == 204
    assert len(VectorGallery.open(own_gallery)) == 12


def test_as_it_is_seen(serve: Serve, own_gallery: Path) -> None:
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    plain = picture(1, 20, 40, ".jpg")
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    found = serve(own_gallery).client.put("/v1/images/500", content=turned).json()
    assert (found["width"], found["height"]) == (20, 40)


@pytest.mark.parametrize(
    ("sent", "status", "name"),
    [
        ({"content": b""}, 400, "empty-body"), ({"content": BAD}, 422, "unusable-picture"),
        ({"json": {"label": "x"}}, 400, "no-picture"), ({"json": {"image": b64(BAD)}}, 422, "unusable-picture"),
        ({"json": {"image": b64(picture(1)), "colums": {}}}, 400, "unknown-member"),
        ({"json": {"image": b64(picture(1)), "label": 5}}, 400, "malformed-member"),
        ({"json": {"image": b64(picture(1)), "uri": "x" * 4097}}, 400, "malformed-member"),
        ({"json": {"image": b64(picture(1)), "columns": [1]}}, 400, "malformed-member"),
        ({"json": {"image": b64(picture(1)), "columns": {"a": [1]}}}, 400, "malformed-member"),
        ({"json": {"image": b64(picture(1)), "columns": {str(n): n for n in range(65)}}}, 400, "malformed-member"),
        ({"json": {"image": b64(picture(1)), "columns": {"unheard-of": 1}}}, 422, "unusable-request"),
        ({"json": {"images": [b64(picture(1))] * 2}}, 413, "too-many-pictures"),
        ({"content": picture(1), "params": {"label": "x" * 4097}}, 400, "malformed-parameter"),
        ({"content": picture(1), "params": {"timeout_ms": "0"}}, 400, "malformed-parameter"),
        ({"content": picture(1), "params": {"timeout_ms": "0.000001"}}, 504, "deadline-exceeded"),
    ],
    ids=lambda each: str(each)[:30],
)  # fmt: skip
def test_what_cannot_be_put(written: Served, sent: Any, status: int, name: str) -> None:
    assert problem(written.client.put("/v1/images/600", **sent)) == (status, name)
    assert problem(written.client.get("/v1/images/600")) == (404, "no-such-picture")
    wait_for(written.is_idle)


@pytest.fixture(scope="module")
def written(drawn_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service that writes, for tests that leave it as it was."""
    from tests.semblance.service import drawn

    own = drawn.copy_of(drawn_gallery, tmp_path_factory.mktemp("written"))
    with drawn.served(drawn.settings_of(own)) as one:
        yield one


def test_names_of_all_kinds(written: Served) -> None:
    for text in ("ä 模型 \U0001f600", 'a"b\\c', "a\r\nSet-Cookie: x=1", "\x00\x01", "'; DROP TABLE x; --", " "):
        told = {"image": b64(picture(1)), "uri": text, "label": text}
        answer = written.client.put("/v1/images/700", json=told)
        assert answer.status_code in (200, 201), answer.text
        for found in (answer, written.client.get("/v1/images/700", headers=JSON)):
            assert (found.json()["uri"], found.json()["label"]) == (text, text)
            assert "set-cookie" not in found.headers
    assert written.client.put("/v1/images/700?label=%ff%0a", content=picture(1)).json()["label"] == "\ufffd\n"
    assert written.client.delete("/v1/images/700").status_code == 204


def test_own_columns(serve: Serve, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from semblance.search import Gallery
    from tests.conftest import make_tiny_model

    rows = {"image": [picture(n) for n in range(3)], "price": [1, 2, None], "name": ["a", "b", None]}
    pq.write_table(pa.table(rows), tmp_path / "table.parquet")
    model = make_tiny_model(tmp_path / "tiny.onnx")
    Gallery.build(tmp_path / "table.parquet", Encoder.load(str(model.path)), tmp_path / "gallery")
    one = serve(tmp_path / "gallery")
    columns = one.client.get("/v1/info").json()["gallery"]["columns"]
    assert set(columns) == {"price", "name"}
    put = {"image": b64(picture(9)), "columns": {"price": 7, "name": "c"}}
    assert one.client.put("/v1/images/50", json=put).status_code == 201
    assert one.client.get("/v1/images/50", headers=JSON).json()["columns"] == {"price": 7, "name": "c"}
    found = one.client.post("/v1/search", json={"key": 50, "where": "price > 1"}).json()["neighbours"]
    assert [each["key"] for each in found] == [50, 1] or {each["key"] for each in found} == {50, 1}
    for wrong in ({"price": "x"}, {"price": 2**63}, {"price": 1.5}, {"price": True}, {"nothing": 1}, {"name": 5}):
        # beside a right one: what is wrong with one picture is its own affair
        with ThreadPoolExecutor(2) as pool:
            bad = pool.submit(one.client.put, "/v1/images/51", json={**put, "columns": wrong})
            good = pool.submit(one.client.put, "/v1/images/50", json=put)
            assert good.result().status_code == 200
            assert problem(bad.result())[0] == 422, wrong


def test_many_at_a_time_are_all_there(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: one.client.put(f"/v1/images/{1000 + n % 20}", content=picture(n)), range(60)))
    assert all(each.status_code in (200, 201) for each in answers)
    assert sum(each.json()["created"] for each in answers) == 20
    assert set(range(1000, 1020)) <= set(VectorGallery.open(own_gallery).keys.tolist())
    wait_for(one.is_idle)
    assert one.figures("semblance_changes_total") == {(): 60.0}


def test_served_for_reading_only(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True)
    assert problem(one.client.put("/v1/images/1", content=picture(1))) == (403, "read-only")
    assert problem(one.client.delete("/v1/images/1")) == (403, "read-only")
    assert one.client.get("/v1/info").json()["gallery"]["is_writable"] is False


def test_a_deadline_that_passed_before_a_change_begins_changes_nothing(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    assert problem(one.client.delete("/v1/images/7?timeout_ms=0.000001")) == (504, "deadline-exceeded")
    assert one.client.get("/v1/images/7", headers=JSON).status_code == 200


def test_a_change_that_has_begun_is_done_though_nobody_waits(
    serve: Serve, own_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = serve(own_gallery)
    may_go = threading.Event()
    is_syncing = threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        is_syncing.set()
        may_go.wait(10)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    try:
        answers = list[httpx.Response]()
        first = threading.Thread(
            target=lambda: answers.append(one.client.put("/v1/images/900?timeout_ms=1000", content=picture(1)))
        )
        first.start()
        assert is_syncing.wait(10)
        first.join()
        assert problem(answers[0]) == (504, "deadline-exceeded")  # not acknowledged: it is not on the disk yet
        assert 900 not in VectorGallery.open(own_gallery)
    finally:
        may_go.set()
    wait_for(lambda: 900 in VectorGallery.open(own_gallery))
    wait_for(one.is_idle)


def test_a_disk_that_fails_is_no_acknowledgement(
    serve: Serve, own_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = serve(own_gallery)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device", "/secret/path")

    monkeypatch.setattr(os, "fsync", full)
    answer = one.client.put("/v1/images/900", content=picture(1))
    assert problem(answer) == (503, "gallery-failed")
    assert "secret" not in answer.text
    monkeypatch.undo()
    assert problem(one.client.get("/v1/images/900")) == (404, "no-such-picture")
    assert one.client.put("/v1/images/900", content=picture(1)).status_code == 201


def test_a_gallery_with_keypoints_keeps_those_of_what_is_put(serve: Serve, own_sift_gallery: Path) -> None:
    one = serve(own_sift_gallery)
    assert one.client.put("/v1/images/50", content=detailed(9)).status_code == 201
    found = one.client.post("/v1/search?rerank=sift&k=1", content=detailed(9)).json()["neighbours"]
    assert found[0]["key"] == 50
    assert found[0]["inliers"] > 20
    flat = encoded(np.full((40, 40), 128, np.uint8))
    assert one.client.put("/v1/images/51", content=flat).status_code == 201  # has none at all


# ----------------------------------------------------------------------------------------------------------------------
# What the service does meanwhile


def test_the_gallery_is_read_beside_the_event_loop(
    serve: Serve, drawn_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = serve(drawn_gallery, read_only=True)
    threads = list[str]()
    for name in ("__contains__", "facts"):
        monkeypatch.setattr(VectorGallery, name, named(threads, getattr(VectorGallery, name)))
    assert one.client.get("/v1/images/7").status_code == 200
    assert one.client.get("/v1/images/7", headers=JSON).status_code == 200
    assert problem(one.client.get("/v1/images/99")) == (404, "no-such-picture")
    assert one.client.post("/v1/images/7/matches", json={"key": 6}).status_code == 200
    assert problem(one.client.post("/v1/images/7/matches", json={"key": 99})) == (404, "no-such-picture")
    assert problem(one.client.post("/v1/images/99/matches", content=picture(1))) == (404, "no-such-picture")
    assert len(threads) >= 8
    assert all(each.startswith("semblance-beside") for each in threads), threads


def named(threads: list[str], method: Any) -> Any:
    """`method`, which notes the thread that calls it."""

    def noting(*given: Any) -> Any:
        threads.append(threading.current_thread().name)
        return method(*given)

    return noting


def test_a_removal_needs_no_room(serve: Serve, hold: Hold, own_gallery: Path) -> None:
    one = serve(own_gallery, max_pending_images=1, max_images=1)
    held = hold(one.service.encoder, "run")
    waiting = threading.Thread(target=lambda: one.client.post("/v1/embed", content=picture(1)))
    waiting.start()
    held.wait()
    assert problem(one.client.put("/v1/images/500", content=picture(2))) == (429, "overloaded")
    assert one.client.delete("/v1/images/7").status_code == 204
    held.let_go()
    waiting.join()


def test_a_writer_that_ended_is_not_the_end_of_the_service(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery)
    assert one.service._commits is not None
    one.service._commits.stop()
    for answer in (one.client.put("/v1/images/500", content=picture(1)), one.client.delete("/v1/images/7")):
        assert problem(answer) == (503, "not-writing")
        assert str(own_gallery) not in answer.text
    one.service.is_draining = True
    assert problem(one.client.delete("/v1/images/7")) == (503, "draining")
