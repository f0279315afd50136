"""What the service counts, for Prometheus: every figure observed in one place.

In: reports of the batcher, of commits, and of each request at its end. Out: the text at /metrics. Requests count as
they are answered and images as the batcher is done with them, whatever brought them, so each adds up by itself.
Several processes keep theirs in files that whoever is asked adds up. He can only read what is written there: so what is
measured and not counted is written whenever it may have changed.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from semblance.inference.counts import BatchReport, ImageReport

if TYPE_CHECKING:
    from semblance.service.state import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # names where prometheus_client keeps the figures of several processes
# seconds: from a small model on a GPU to a large one that waits in a full queue
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The instruments of one process."""

    def __init__(self, *, enabled: bool = True) -> None:
        """Without `enabled` everything is a call that does nothing."""
        self._enabled = enabled
        self._is_shared = FOLDER in os.environ
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "semblance_requests",
            "Requests answered, by route, method and status.",
            ("route", "method", "status"),
            registry=own,
        )
        self.request_seconds = Histogram(
            "semblance_request_seconds",
            "From a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=own,
        )
        self.images = Counter(
            "semblance_images", "Images that were accepted, by how they ended.", ("outcome",), registry=own
        )
        self.queue_seconds = Histogram(
            "semblance_queue_seconds",
            "An image's time waiting, to be decoded and for a batch.",
            buckets=_SECONDS,
            registry=own,
        )
        self.decode_seconds = Histogram(
            "semblance_decode_seconds", "Decoding and resizing an image.", buckets=_SECONDS, registry=own
        )
        self.inference_seconds = Histogram(
            "semblance_inference_seconds", "One run of the model.", buckets=_SECONDS, registry=own
        )
        self.batch_size = Histogram(
            "semblance_batch_size", "Images in a run of the model, without padding.", buckets=_SIZES, registry=own
        )
        self.failed_batches = Counter("semblance_failed_batches", "Runs of the model that gave nothing.", registry=own)
        self.search_seconds = Histogram(
            "semblance_search_seconds", "One search, without embedding.", buckets=_SECONDS, registry=own
        )
        self.commit_seconds = Histogram(
            "semblance_commit_seconds", "One commit of changes to the gallery.", buckets=_SECONDS, registry=own
        )
        self.changes = Counter("semblance_changes", "Changes to the gallery that are on the disk.", registry=own)
        self.refused_connections = Counter(
            "semblance_refused_connections",
            "Connections answered before a request was complete, by why.",
            ("reason",),
            registry=own,
        )
        self.pending_images = Gauge(
            "semblance_pending_images", "Images accepted and not done.", multiprocess_mode="livesum", registry=own
        )
        self.pending_bytes = Gauge(
            "semblance_pending_bytes",
            "Bytes of bodies that are being read or worked on.",
            multiprocess_mode="livesum",
            registry=own,
        )
        self.gallery_images = Gauge(
            "semblance_gallery_images",
            "Images in the gallery.",
            multiprocess_mode="livemostrecent",  # each sees each change: whoever did last is right
            registry=own,
        )
        self._service: Service | None = None
        self._setting = threading.Lock()

    def watch(self, service: Service) -> None:
        """Read the gauges from there: the gallery's whenever it changes, the others when they are asked for."""
        self._service = service
        if service.gallery is not None:
            service.gallery.on_refresh = self._refreshed
            self._refreshed(service.gallery.now)

    def image(self, report: ImageReport) -> None:
        """An image is done; called by the batcher."""
        if self._enabled:
            self.images.labels(report.outcome).inc()
            self.queue_seconds.observe(report.queue_seconds)
            if report.decode_seconds:  # else it was dropped before
                self.decode_seconds.observe(report.decode_seconds)
            self._changed()

    def batch(self, report: BatchReport) -> None:
        """The model was run; called by the batcher."""
        if self._enabled:
            self.batch_size.observe(report.size)
            self.inference_seconds.observe(report.seconds)
            if report.error is not None:
                self.failed_batches.inc()

    def committed(self, num_operations: int, seconds: float) -> None:
        """Changes are on the disk."""
        if self._enabled:
            self.changes.inc(num_operations)
            self.commit_seconds.observe(seconds)

    def searched(self, seconds: float) -> None:
        """A search is done."""
        if self._enabled:
            self.search_seconds.observe(seconds)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request is at its end; 499 is one whose client left."""
        if self._enabled:
            self.requests.labels(route, method, str(status)).inc()
            self.request_seconds.labels(route).observe(seconds)
            self._changed()  # what the request held, it has given back

    def refused(self, reason: str) -> None:
        """A connection never came to a request."""
        if self._enabled:
            self.refused_connections.labels(reason).inc()

    def update_gauges(self) -> None:
        """Set what is measured and not counted."""
        if (service := self._service) is not None:
            with self._setting:  # else a thread could set what it read before another
                self.pending_images.set(service.batcher.pending_images)
                self.pending_bytes.set(service.budget.taken)

    def text(self) -> bytes:
        """All figures, of all processes together."""
        self.update_gauges()
        if not self._is_shared:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # it has no annotations
        return generate_latest(together)

    def _refreshed(self, _: object) -> None:
        if self._enabled and self._service is not None and self._service.gallery is not None:
            with self._setting:
                self.gallery_images.set(len(self._service.gallery.now))

    def _changed(self) -> None:
        if self._is_shared and self._enabled:
            self.update_gauges()


def forget(pid: int, folder: Path) -> None:
    """A process of several has ended: what it held it holds no more; what it counted stays."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]  # nor has this
