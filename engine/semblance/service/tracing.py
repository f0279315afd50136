"""Spans of OpenTelemetry within a request, where its SDK is set up; else nothing.

In: names and attributes. Out: context managers. The span of a request itself is FastAPI's, by the conventions that all
HTTP servers share. Nothing is set up here: whoever wants spans installs the SDK with an exporter and runs the service
by `opentelemetry-instrument`, or with FASTAPI_OTEL_AUTO_CONFIGURE=true and OTEL_EXPORTER_OTLP_ENDPOINT.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace

_tracer = trace.get_tracer("semblance")


@contextmanager
def span(name: str, **attributes: str | int | float) -> Iterator[None]:
    """A step within a request."""
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        with _tracer.start_as_current_span(f"semblance.{name}", attributes=attributes):
            yield
    else:  # to ask costs less than to make one in vain
        yield


def trace_id() -> str | None:
    """Of the trace that is being recorded, 32 hex digits."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
