"""Two hundred requests at a time, good, bad, late and given up: each ends in one way, and the figures add up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from semblance.inference.encoder import Encoder
from semblance.service.app import create_app
from semblance.service.state import Service
from tests.semblance.service.drawn import (
    PATIENCE_S,
    Held,
    Served,
    eventually,
    figures_of,
    picture,
    settings_of,
    wait_for,
)

Serve = Callable[..., Served]
NUM_REQUESTS = 200
CLOSE = 2e-6  # of an embedding's largest number
BAD = b"this is no picture"
KINDS = ("one", "one", "one", "raw", "several", "search", "bad", "mixed", "late", "gone", "malformed", "key")


def is_close(found: Any, expected: Any) -> bool:
    return bool(np.abs(np.asarray(found, np.float32) - expected).max() <= CLOSE * max(1.0, np.abs(expected).max()))


async def ask(client: httpx.AsyncClient, kind: str, seed: int, encoder: Encoder) -> tuple[str, str]:
    """The route that was asked, and how it ended: a status, or that the client left; checks what was answered."""
    pictures = [picture(10_000 + 5 * seed + each, suffix=".jpg" if seed % 3 == 0 else ".png") for each in range(3)]
    one = pictures[0]
    if kind == "search":
        answer = await client.post("/v1/search?k=1", content=picture(seed % 12))
        if answer.status_code == 200:
            assert answer.json()["neighbours"][0]["key"] == seed % 12
        return "/v1/search", str(answer.status_code)
    if kind == "key":
        answer = await client.post("/v1/search", json={"key": seed % 24, "k": 1})
        if answer.status_code == 200:
            assert answer.json()["neighbours"][0]["key"] == seed % 24
        return "/v1/search", str(answer.status_code)
    if kind == "gone":
        try:
            answer = await client.post("/v1/embed", content=one, timeout=httpx.Timeout(PATIENCE_S, read=0.001))
        except httpx.ReadTimeout:
            return "/v1/embed", "left"
        return "/v1/embed", str(answer.status_code)
    sent: dict[str, Any] = {
        "one": {"content": one},
        "raw": {"content": one, "headers": {"Accept": "application/octet-stream"}},
        "several": {"files": [("images", ("x", each)) for each in pictures]},
        "bad": {"content": BAD},
        "mixed": {"files": [("images", ("x", each)) for each in (one, BAD, pictures[2])]},
        "late": {"content": one, "params": {"timeout_ms": random.Random(seed).choice([0.0001, 0.5, 3.0])}},
        "malformed": {"json": {"images": ["!"]}},
    }[kind]
    answer = await client.post("/v1/embed", **sent)
    if answer.status_code == 200 and kind == "raw":
        assert is_close(np.frombuffer(answer.content, "<f4"), encoder.embed(one)[0])
    elif answer.status_code == 200:
        found = answer.json()["embeddings"]
        wanted = {"several": pictures, "mixed": [one, None, pictures[2]]}.get(kind, [one])
        assert len(found) == len(wanted)
        for vector, of in zip(found, wanted, strict=True):
            assert (vector is None) == (of is None)
            assert of is None or is_close(vector, encoder.embed(of)[0]), kind
    expected = {"bad": {422}, "malformed": {400}, "late": {200, 504}}.get(kind, {200})
    assert answer.status_code in expected | {429}, (kind, answer.text)
    return "/v1/embed", str(answer.status_code)


async def ask_all(address: str, encoder: Encoder) -> Counter[tuple[str, str]]:
    limits = httpx.Limits(max_connections=NUM_REQUESTS)
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S, limits=limits) as client:
        work = [ask(client, KINDS[seed % len(KINDS)], seed, encoder) for seed in range(NUM_REQUESTS)]
        return Counter(await asyncio.gather(*work))


@pytest.mark.parametrize("max_pending_images", [1024, 20])
def test_each_request_ends_in_one_way_and_the_figures_add_up(
    serve: Serve, drawn_gallery: Path, tiny_encoder: Encoder, max_pending_images: int
) -> None:
    one = serve(
        drawn_gallery, read_only=True, max_pending_images=max_pending_images, max_images=min(256, max_pending_images)
    )
    seen = asyncio.run(ask_all(one.address, tiny_encoder))
    assert seen.total() == NUM_REQUESTS
    wait_for(one.is_idle)
    wait_for(lambda: sum(one.figures("semblance_requests_total").values()) == NUM_REQUESTS)
    assert one.service.budget.taken == 0
    assert one.service.batcher.pending_images == 0
    assert one.service._num_beside == 0

    # what the clients saw; one that left was told nothing, and the service may have been done before it noticed
    counted = Counter[tuple[str, str]]()
    for (method, route, status), number in one.figures("semblance_requests_total").items():
        assert method == "POST"
        counted[route, status] += int(number)
    left = seen.pop(("/v1/embed", "left"), 0)
    unseen = counted - seen
    assert seen <= counted
    assert unseen.total() == left
    assert set(unseen) <= {("/v1/embed", "499"), ("/v1/embed", "200"), ("/v1/embed", "429")}
    assert sum(one.figures("semblance_request_seconds_count").values()) == NUM_REQUESTS

    # images by themselves: as many as were accepted, each once
    statistics = one.service.batcher.statistics()
    images = {outcome: int(number) for (outcome,), number in one.figures("semblance_images_total").items()}
    assert images == dict(statistics.outcomes)
    assert sum(images.values()) == statistics.accepted_images
    assert one.figures("semblance_queue_seconds_count")[()] == statistics.accepted_images
    assert one.figures("semblance_batch_size_sum")[()] == sum(
        size * number for size, number in statistics.batch_sizes.items()
    )
    assert one.figures("semblance_search_seconds_count")[()] == counted["/v1/search", "200"]
    if max_pending_images > NUM_REQUESTS * 3:
        assert not any(status == "429" for _, status in counted)
        assert counted["/v1/embed", "504"] > 0
        assert images["bad_image"] == sum(KINDS[seed % len(KINDS)] in ("bad", "mixed") for seed in range(NUM_REQUESTS))


def test_requests_whose_tasks_are_cancelled_give_everything_back(
    drawn_gallery: Path, tiny_encoder: Encoder, hold: Callable[..., Held]
) -> None:
    """As a server does it at its end, and a framework around this one may at any time."""
    service = Service(settings_of(drawn_gallery, read_only=True))
    app = create_app(service=service)

    async def main() -> None:
        transport = httpx.ASGITransport(app=app)
        async with service, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            held = hold(service.encoder, "run")
            paths = ["/v1/search" if seed % 4 == 0 else "/v1/embed" for seed in range(100)]
            tasks = [asyncio.ensure_future(client.post(path, content=picture(seed))) for seed, path in enumerate(paths)]
            await eventually(lambda: service.batcher.pending_images == 100)
            for seed, task in enumerate(tasks):
                if seed % 3 == 0:
                    task.cancel()
            await eventually(lambda: all(task.done() for task in tasks[::3]))
            held.let_go()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            for seed, end in enumerate(ends):
                if seed % 3 == 0:
                    assert isinstance(end, asyncio.CancelledError)
                    continue
                assert isinstance(end, httpx.Response)
                assert end.status_code == 200
                if seed % 4:
                    assert is_close(end.json()["embeddings"][0], tiny_encoder.embed(picture(seed))[0])
            await eventually(lambda: service.batcher.pending_images == 0)
            assert service._num_beside == 0
            assert service.budget.taken == 0
            counted = Counter[str]()
            for (_, _, status), number in figures_of(
                service.metrics.text().decode(), "semblance_requests_total"
            ).items():
                counted[status] += int(number)
            assert counted == {"499": 34, "200": 66}
            outcomes = service.batcher.statistics().outcomes
            assert dict(outcomes) == {"cancelled": 34, "embedded": 66}

    asyncio.run(main())
