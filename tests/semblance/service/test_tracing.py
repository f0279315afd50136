"""Spans where somebody listens, and nothing where nobody does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from semblance.service import tracing
from semblance.service.tracing import span, trace_id


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("semblance"))
    yield exporter
    provider.shutdown()


def test_a_step_is_a_span(exported: InMemorySpanExporter) -> None:
    with span("embed", images=3):
        inside = trace_id()
        with span("decode"):
            assert trace_id() == inside
    inner, outer = exported.get_finished_spans()
    assert (outer.name, inner.name) == ("semblance.embed", "semblance.decode")
    assert dict(outer.attributes or {}) == {"images": 3}
    assert outer.context is not None
    assert inside == f"{outer.context.trace_id:032x}"
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id


def test_what_breaks_is_on_the_span(exported: InMemorySpanExporter) -> None:
    with pytest.raises(KeyError), span("embed"):
        raise KeyError("x")
    (broken,) = exported.get_finished_spans()
    assert not broken.status.is_ok
    assert broken.events[0].name == "exception"


def test_nothing_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    with span("embed", images=3):
        assert trace_id() is None
    with pytest.raises(KeyError), span("embed"):
        raise KeyError("x")
