"""`semblance serve` from its settings to its end: one process, or several.

In: `Settings`. Out: an exit status, when all is drained. The port is bound before the model is loaded, so that one in
use is told at once; connections wait until the service is ready.
"""

from __future__ import annotations

import gc
import logging
import sys
from typing import Any

from semblance.service import logs, sockets
from semblance.service.app import create_app
from semblance.service.gate import Limits
from semblance.service.overload import Overload
from semblance.service.server import ServerOptions, serve
from semblance.service.settings import Settings
from semblance.service.sources import as_flags, from_flags
from semblance.service.state import Service
from semblance.service.worker import Worker
from semblance.service.workers import WorkerOptions, supervise

_COLLECTED_AT = 10_000  # containers made and not freed; a request makes about 100 that refer to each other
_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until a signal. Raises ServiceError, InputError, and what opening the model or the gallery raises."""
    _configure_logs(settings)
    settings.read_token()  # before the port is taken
    listening = (
        sockets.listen_on_path(settings.uds)
        if settings.uds is not None
        else sockets.listen(settings.host, settings.port)
    )
    where = sockets.address(listening)
    told = settings.gallery or settings.model

    def on_ready() -> None:
        _log.info("serving %s at %s", told, where, extra={"address": where})

    if settings.workers == 1:
        service = Service(settings)
        try:
            serve(create_app(service=service), _options(service, on_ready), listening)
        finally:
            sockets.close(listening)
    else:
        options = WorkerOptions(
            num_workers=settings.workers, drain_s=settings.drain_s, drain_delay_s=settings.drain_delay_s
        )
        supervise(f"{__name__}:run_worker", as_flags(settings), listening, options, on_ready)
    return 0


def run_worker(given: dict[str, Any], worker: Worker) -> None:
    """One of several processes; `given` is what `as_flags` made of the settings."""
    settings = from_flags(given)
    _configure_logs(settings)
    service = Service(settings, changes_path=worker.writes_path, is_writer=worker.is_writer)
    worker.serve(create_app(service=service), _options(service, lambda: None))


def _options(service: Service, on_ready: Any) -> ServerOptions:
    settings = service.settings

    def on_drain() -> None:
        service.is_draining = True

    def ready() -> None:
        _settle()
        on_ready()

    return ServerOptions(
        limits=Limits(
            max_connections=settings.max_connections,
            header_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            keep_alive_s=settings.keep_alive_s,
        ),
        drain_s=settings.drain_s,
        drain_delay_s=settings.drain_delay_s,
        trusted_proxies=",".join(settings.trusted_proxy) or None,
        on_ready=ready,
        on_drain=on_drain,
        on_refused=service.metrics.refused,
        turn_away=Overload(service).turn_away,
    )


def _settle() -> None:
    """Have the collector of cyclic garbage leave alone what is there to stay.

    Measured under overload: a quarter of the event loop's time went into looking for garbage among modules and models,
    with Python's lock held.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AT, 20, 20)


def _configure_logs(settings: Settings) -> None:
    format = settings.log_format
    if format == "auto":
        format = "text" if sys.stderr.isatty() else "json"
    logs.configure(format, settings.log_level)
