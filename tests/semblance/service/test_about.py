"""What is served, whether it can be asked, and its figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import semblance
from semblance.errors import BackendError
from tests.semblance.service.drawn import Served, figures_of

Serve = Callable[..., Served]


def test_what_is_served(client: httpx.Client, shared: Served) -> None:
    card = shared.service.encoder.card
    found = client.get("/v1/info").json()
    assert found.pop("model") == {
        "name": "tiny", "precision": "fp32", "dimension": 16, "metric": "l2sq", "fingerprint": card.fingerprint,
        "input": {"height": 8, "width": 8, "channels": 1}, "backend": shared.service.encoder.backend,
        "description": shared.service.encoder.description,
    }  # fmt: skip
    assert found == {
        "name": "semblance", "version": semblance.__version__,
        "gallery": {
            "name": "gallery", "images": 12, "columns": {}, "has_keypoints": False, "has_thumbnails": True,
            "is_writable": False,
        },
        "limits": {
            "body_bytes": 32 << 20, "images": 256, "pixels": 50_000_000, "pending_images": 1024, "k": 1000,
            "timeout_ms": 30_000.0,
        },
        "batch": {"max_batch": 8, "max_delay_ms": 2.0},
    }  # fmt: skip


def test_no_path_of_the_server_is_told(client: httpx.Client, drawn_gallery: Path) -> None:
    assert str(drawn_gallery.parent) not in client.get("/v1/info").text


def test_keypoints_and_a_gallery_that_is_written(shared_sift: Served, serve: Serve, own_gallery: Path) -> None:
    assert shared_sift.client.get("/v1/info").json()["gallery"]["has_keypoints"] is True
    one = serve(own_gallery, thumbnails=False)
    found = one.client.get("/v1/info").json()["gallery"]
    assert (found["is_writable"], found["has_thumbnails"]) == (True, False)
    assert one.client.delete("/v1/images/1").status_code == 204
    assert one.client.get("/v1/info").json()["gallery"]["images"] == 11


def test_a_model_alone(serve: Serve, drawn_gallery: Path) -> None:
    one = serve(None, model=str(drawn_gallery.parent / "tiny.onnx"), metrics=False, docs=False, page=False)
    assert one.client.get("/v1/info").json()["gallery"] is None
    for path in ("/metrics", "/openapi.json", "/", "/page/style.css", "/docs", "/redoc"):
        answer = one.client.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("path", "status"), [("/healthz", "alive"), ("/readyz", "ready")])
def test_health(client: httpx.Client, path: str, status: str) -> None:
    assert client.get(path).json() == {"status": status}
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert client.post(path).status_code == 405


def test_metrics(client: httpx.Client, shared: Served) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert {family.name for family in text_string_to_metric_families(answer.text)} >= {
        "semblance_requests", "semblance_images", "semblance_pending_images",
    }  # fmt: skip
    assert figures_of(answer.text, "semblance_gallery_images") == {(): 12.0}


def test_a_model_that_fails_for_good_is_neither_ready_nor_alive(
    serve: Serve, drawn_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = serve(drawn_gallery, read_only=True)
    picture = next((drawn_gallery.parent / "pictures").rglob("*.png")).read_bytes()

    def embedded() -> int:
        headers = {"Content-Type": "image/png"}
        return one.client.post("/v1/embed", content=picture, headers=headers).status_code

    def states() -> list[tuple[int, str]]:
        answers = [one.client.get(path) for path in ("/healthz", "/readyz")]
        return [(each.status_code, each.json()["status"]) for each in answers]

    def lost(images: object) -> object:
        raise BackendError("the device is lost")

    with monkeypatch.context() as patch:
        patch.setattr(one.service.encoder, "run", lost)
        assert embedded() == 503  # one request may be unlucky
        assert states() == [(200, "alive"), (200, "ready")]
        assert {embedded() for _ in range(4)} == {503}
        assert states() == [(503, "failing"), (503, "failing")]
        assert one.client.get("/v2/health/ready").json()["error"].startswith("the model cannot be run")
    assert embedded() == 200  # it is still tried, and that is that
    assert states() == [(200, "alive"), (200, "ready")]
