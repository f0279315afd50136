"""Figures: each observed once, in Prometheus' form, and none where none are wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from semblance.inference.counts import BatchReport, ImageReport
from semblance.service.metrics import FOLDER, Metrics, forget
from tests.semblance.service.drawn import figures_of


def figures(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return figures_of(metrics.text().decode(), name)


def a_service(pending_images: int = 0, taken: int = 0, num_images: int = 12) -> Any:
    return SimpleNamespace(
        batcher=SimpleNamespace(pending_images=pending_images), budget=SimpleNamespace(taken=taken),
        gallery=SimpleNamespace(now=range(num_images), on_refresh=None),
    )  # fmt: skip


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Metrics]:
    """`worker(pid)` -> the figures of a process of that number, which shares its folder with the others."""
    monkeypatch.setenv(FOLDER, str(tmp_path))

    def made(pid: int) -> Metrics:
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: pid))
        return Metrics()

    return made


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
    metrics, service = Metrics(), a_service(3, 99)
    metrics.watch(service)
    assert figures(metrics, "semblance_pending_images") == {(): 3.0}
    service.batcher.pending_images = 0
    assert figures(metrics, "semblance_pending_images") == {(): 0.0}
    assert figures(metrics, "semblance_pending_bytes") == {(): 99.0}
    assert figures(metrics, "semblance_gallery_images") == {(): 12.0}
    service.gallery.now = range(7)
    service.gallery.on_refresh(service.gallery.now)
    assert figures(metrics, "semblance_gallery_images") == {(): 7.0}
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


def test_of_several_processes_nothing_is_pending_at_rest(worker: Callable[[int], Metrics]) -> None:
    one, other = worker(1), worker(2)
    service = a_service(1, 500)
    one.watch(service)
    other.watch(a_service())
    one.image(ImageReport("embedded", 0.01, 0.002, 0.003))  # while the request still holds its body
    assert figures(other, "semblance_pending_bytes") == {(): 500.0}
    service.batcher.pending_images = service.budget.taken = 0
    one.answered("/v1/embed", "POST", 200, 0.01)
    for asked in (other, one):
        assert figures(asked, "semblance_pending_bytes") == {(): 0.0}
        assert figures(asked, "semblance_pending_images") == {(): 0.0}


def test_of_several_processes_the_gallery_is_as_last_seen(worker: Callable[[int], Metrics], tmp_path: Path) -> None:
    metrics, services = [worker(1), worker(2), worker(3)], [a_service() for _ in range(3)]
    for each, service in zip(metrics, services, strict=True):
        each.watch(service)
    for service in services[:2]:  # the third is busy
        service.gallery.now = range(11)
        service.gallery.on_refresh(service.gallery.now)
    metrics[2].answered("/v1/embed", "POST", 200, 0.01)
    assert [figures(each, "semblance_gallery_images")[()] for each in metrics] == [11.0] * 3
    services[2].gallery.now = range(11)
    services[2].gallery.on_refresh(services[2].gallery.now)
    assert figures(metrics[0], "semblance_gallery_images") == {(): 11.0}
    forget(2, tmp_path)
    assert figures(metrics[0], "semblance_gallery_images") == {(): 11.0}


def test_a_gauge_is_never_set_to_what_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread reads, another reads and sets what is true by then, and the first sets what it read."""
    metrics, service = Metrics(), a_service()
    reading, is_changed = threading.Event(), threading.Event()

    class Batcher:
        num_looks = 0

        @property
        def pending_images(self) -> int:
            self.num_looks += 1
            if self.num_looks == 1:
                reading.set()
                is_changed.wait(0.3)
                return 1
            return 0

    metrics.watch(a_service())
    service.batcher = Batcher()
    monkeypatch.setattr(metrics, "_service", service)
    first = threading.Thread(target=metrics.update_gauges)
    first.start()
    reading.wait(1)
    metrics.update_gauges()
    is_changed.set()
    first.join()
    assert metrics.registry.get_sample_value("semblance_pending_images") == 0
