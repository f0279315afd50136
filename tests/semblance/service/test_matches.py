"""POST /v1/images/{key}/matches: both pictures drawn, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from semblance.service import matches
from tests.semblance.service.drawn import (
    Held,
    Served,
    ask_and_leave,
    b64,
    decoded,
    detailed,
    kinds_of_work,
    picture,
    problem,
    wait_for,
)

Serve = Callable[..., Served]
Hold = Callable[..., Held]
BAD = b"this is no picture"


def test_matches_are_drawn(shared_sift: Served) -> None:
    client = shared_sift.client
    answer = client.post("/v1/images/3/matches", content=detailed(3))
    assert answer.headers["content-type"] == "image/png"
    assert int(answer.headers["x-semblance-matches"]) >= int(answer.headers["x-semblance-inliers"]) > 20
    height, width = decoded(answer).shape[:2]
    assert height >= 120
    assert width >= 320
    other = client.post("/v1/images/3/matches", json={"key": 3})
    assert other.headers["x-semblance-matches"] == answer.headers["x-semblance-matches"]
    assert client.post("/v1/images/3/matches", json={"key": 4}).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {}}, 400), ({"json": {"key": 3, "image": b64(picture(1))}}, 400), ({"json": {"key": 99}}, 404),
        ({"json": {"key": "x"}}, 404), ({"json": {"key": True}}, 404), ({"json": {"key": 2**63}}, 404),
        ({"json": {"key": 3, "kye": 4}}, 400), ({"json": {"vector": [1]}}, 400), ({"content": BAD}, 422),
        ({"content": picture(1), "params": {"timeout_ms": 1e-6}}, 504),
        ({"content": picture(1), "params": {"timeout_ms": "x"}}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_matched(shared_sift: Served, sent: Any, status: int) -> None:
    assert problem(shared_sift.client.post("/v1/images/3/matches", **sent))[0] == status
    wait_for(shared_sift.is_idle)


def test_matches_need_a_key_that_is_there(client: httpx.Client) -> None:
    assert problem(client.post("/v1/images/99/matches", content=picture(1))) == (404, "no-such-picture")


def test_a_client_that_leaves_while_matching(serve: Serve, hold: Hold, drawn_sift_gallery: Path) -> None:
    one = serve(drawn_sift_gallery, read_only=True)
    held = hold(matches, "_drawn")
    ask_and_leave(one, held, "/v1/images/3/matches", content=detailed(3))
    wait_for(one.is_idle)
    held.let_go()
    wait_for(lambda: ("POST", "/v1/images/{key}/matches", "499") in one.figures("semblance_requests_total"))


def test_matching_leaves_threads_for_the_others(
    serve: Serve, drawn_sift_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = serve(drawn_sift_gallery, read_only=True)
    kinds = kinds_of_work(one.service, monkeypatch)
    assert one.client.post("/v1/images/3/matches", json={"key": 4}).status_code == 200
    assert kinds == [True]
