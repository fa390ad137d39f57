"""`flush` reaches the providers that an app gave to `instrument()`."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import spanback


def test_flush_reaches_a_provider_that_was_given():
    """A span waiting in the batch of a given provider has left when `flush` returns True."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    spanback.instrument(tracer_provider=provider, set_up=False)
    try:
        provider.get_tracer("app").start_span("held").end()
        assert exporter.get_finished_spans() == ()
        assert spanback.flush(timeout_s=5.0) is True
        assert [span.name for span in exporter.get_finished_spans()] == ["held"]
    finally:
        spanback.uninstrument()
        provider.shutdown()
