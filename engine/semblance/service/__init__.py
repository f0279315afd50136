"""The engine behind HTTP: an API, the Open Inference Protocol, and a page, over the batcher and a gallery.

`semblance serve` is the usual way in. From Python, `create_app(Settings(...))` is the same ASGI application, to be run
by any ASGI server; it is ready once its lifespan has begun. It needs the extra `serve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semblance.service.app import create_app
    from semblance.service.settings import Settings

__all__ = ["Settings", "create_app"]


def __getattr__(name: str) -> Any:
    if name == "Settings":
        from semblance.service.settings import Settings

        return Settings
    if name == "create_app":
        from semblance.service.app import create_app

        return create_app
    raise AttributeError(f"module 'semblance.service' has no attribute {name!r}")
