"""Figures: each observed once, in Prometheus' form, and none where none are wanted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from semblance.inference.counts import BatchReport, ImageReport
from semblance.service.metrics import Metrics
from tests.semblance.service.drawn import figures_of


def figures(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return figures_of(metrics.text().decode(), name)


def test_images_by_how_they_ended() -> None:
    metrics = Metrics()
    metrics.image(ImageReport("embedded", 0.01, 0.002, 0.003))
    metrics.image(ImageReport("embedded", 0.02, 0.002, 0.003))
    metrics.image(ImageReport("expired", 0.5, 0.0, 0.0))
    assert figures(metrics, "semblance_images_total") == {("embedded",): 2.0, ("expired",): 1.0}
    assert figures(metrics, "semblance_queue_seconds_count") == {(): 3.0}
    assert figures(metrics, "semblance_queue_seconds_sum")[()] == pytest.approx(0.53)
    assert figures(metrics, "semblance_decode_seconds_count") == {(): 2.0}  # the other was dropped before


def test_batches() -> None:
    metrics = Metrics()
    metrics.batch(BatchReport(7, 0.01, None))
    metrics.batch(BatchReport(3, 0.01, ValueError()))
    assert figures(metrics, "semblance_batch_size_sum") == {(): 10.0}
    assert figures(metrics, "semblance_inference_seconds_count") == {(): 2.0}
    assert figures(metrics, "semblance_failed_batches_total") == {(): 1.0}


def test_requests_commits_searches_and_connections() -> None:
    metrics = Metrics()
    metrics.answered("/v1/embed", "POST", 200, 0.01)
    metrics.answered("/v1/embed", "POST", 499, 0.01)
    metrics.committed(5, 0.02)
    metrics.searched(0.001)
    metrics.refused("connections")
    assert figures(metrics, "semblance_requests_total") == {
        ("POST", "/v1/embed", "200"): 1.0, ("POST", "/v1/embed", "499"): 1.0,
    }  # fmt: skip
    assert figures(metrics, "semblance_request_seconds_count") == {("/v1/embed",): 2.0}
    assert figures(metrics, "semblance_changes_total") == {(): 5.0}
    assert figures(metrics, "semblance_commit_seconds_count") == {(): 1.0}
    assert figures(metrics, "semblance_search_seconds_count") == {(): 1.0}
    assert figures(metrics, "semblance_refused_connections_total") == {("connections",): 1.0}


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics = Metrics()
    service: Any = SimpleNamespace(
        batcher=SimpleNamespace(pending_images=3), budget=SimpleNamespace(taken=99),
        gallery=SimpleNamespace(now=range(12)),
    )  # fmt: skip
    metrics.watch(service)
    assert figures(metrics, "semblance_pending_images") == {(): 3.0}
    service.batcher.pending_images = 0
    assert figures(metrics, "semblance_pending_images") == {(): 0.0}
    assert figures(metrics, "semblance_pending_bytes") == {(): 99.0}
    assert figures(metrics, "semblance_gallery_images") == {(): 12.0}
    service.gallery = None
    metrics.text()


def test_every_figure_has_a_meaning_and_a_unit() -> None:
    for family in text_string_to_metric_families(Metrics().text().decode()):
        assert family.name.startswith("semblance_")
        assert family.documentation.endswith("."), family.name
        assert (family.type == "histogram") == family.name.endswith(("_seconds", "_size"))


def test_none_where_none_are_wanted() -> None:
    metrics = Metrics(enabled=False)
    metrics.image(ImageReport("embedded", 0.01, 0.002, 0.003))
    metrics.batch(BatchReport(7, 0.01, None))
    metrics.answered("/v1/embed", "POST", 200, 0.01)
    metrics.committed(5, 0.02)
    metrics.searched(0.001)
    metrics.refused("connections")
    assert not any(figures(metrics, name) for name in ("semblance_images_total", "semblance_requests_total"))
    assert figures(metrics, "semblance_changes_total") == {(): 0.0}


def test_two_services_in_a_process_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.searched(0.001)
    assert figures(other, "semblance_search_seconds_count") == {(): 0.0}
