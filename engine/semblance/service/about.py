"""What is served, whether it can be asked, and its figures: /v1/info, /healthz, /readyz, /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

import semblance
from semblance.service import documents
from semblance.service.answers import as_json
from semblance.service.metrics import CONTENT_TYPE
from semblance.service.problems import Problem

if TYPE_CHECKING:
    from semblance.service.state import Service

router = APIRouter()


@router.get("/v1/info", responses=documents.INFO, response_class=Response)
async def info(request: Request) -> Response:
    """The model, the gallery, and the limits of a request."""
    service: Service = request.app.state.service
    settings = service.settings
    if not service.is_open and not service.is_draining:
        raise Problem(503, "starting", "the service is not ready yet; ask again", headers={"Retry-After": "1"})
    card = service.encoder.card
    return as_json(
        {
            "name": "semblance",
            "version": semblance.__version__,
            "model": {
                "name": card.name,
                "precision": card.precision,
                "dimension": card.dimension,
                "metric": card.metric,
                "fingerprint": service.fingerprint,
                "input": {"height": card.height, "width": card.width, "channels": card.channels},
                "backend": service.encoder.backend,
                "description": service.encoder.description,
            },
            "gallery": _gallery(service),
            "limits": {
                "body_bytes": settings.max_body_bytes,
                "images": settings.max_images,
                "pixels": settings.max_pixels,
                "pending_images": settings.max_pending_images,
                "k": settings.max_k,
                "timeout_ms": settings.deadline_ms,
            },
            "batch": {
                "max_batch": min(settings.max_batch, service.encoder.max_batch),
                "max_delay_ms": settings.max_delay_ms,
            },
        }
    )


def _gallery(service: Service) -> dict[str, Any] | None:
    if service.gallery is None:
        return None
    vectors = service.gallery.now.vectors
    return {
        "name": service.gallery.path.name,
        "images": len(vectors),
        "columns": dict(vectors.manifest.columns or {}),
        "has_keypoints": vectors.manifest.has_keypoints,
        "has_thumbnails": service.thumbnails is not None,
        "is_writable": service.gallery.writer is not None,
    }


@router.get("/healthz", responses=documents.HEALTH, response_class=Response)
async def alive(request: Request) -> Response:
    """Whether the process answers, and has not failed for good, as its model may: else only another process helps."""
    service: Service = request.app.state.service
    if service.is_failing:
        return as_json({"status": "failing"}, 503)
    return as_json({"status": "alive"})


@router.get("/readyz", responses=documents.HEALTH, response_class=Response)
async def ready(request: Request) -> Response:
    """Whether it is to be asked: the model is warmed, the gallery open, and it is not stopping."""
    service: Service = request.app.state.service
    if service.is_ready:
        return as_json({"status": "ready"})
    status = "draining" if service.is_draining else "failing" if service.is_failing else "starting"
    return as_json({"status": status}, 503)


@router.get("/metrics", include_in_schema=False, response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    service: Service = request.app.state.service
    if not service.settings.metrics:
        raise Problem(404, "not-found", "no metrics are served")
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)
