"""Real telemetry to export: spans, log records and metrics made with providers of their own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as sdk_logs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, TraceFlags, TraceState, set_span_in_context

RESOURCE = Resource({"service.name": "shop"}, schema_url="https://opentelemetry.io/schemas/1.37.0")
REMOTE = SpanContext(
    0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7, True, TraceFlags(1), TraceState([("a", "1")])
)
INSIDE_REMOTE = set_span_in_context(NonRecordingSpan(REMOTE))
# The SDK renamed it with 1.39 and warns about the old name.
_InMemoryLogs: Any = vars(sdk_logs).get("InMemoryLogRecordExporter") or vars(sdk_logs)["InMemoryLogExporter"]


def span(
    name: str = "chat",
    attributes: Mapping[str, Any] | None = None,
    *,
    events: Iterable[tuple[str, Mapping[str, Any], int]] = (),
    links: Sequence[Mapping[str, Any]] = (),
    status: Status | None = None,
    remote: bool = False,
    limits: SpanLimits | None = None,
    scope: str = "maker",
) -> ReadableSpan:
    """One ended span, from 1 s to 2 s after the epoch."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    started = provider.get_tracer(scope, "1.2", "https://example.org/scope", {"scope.kind": "test"}).start_span(
        name,
        context=INSIDE_REMOTE if remote else None,
        attributes=attributes,
        links=[Link(REMOTE, link) for link in links],
        start_time=1_000_000_000,
    )
    for event_name, event_attributes, at in events:
        started.add_event(event_name, event_attributes, at)
    if status is not None:
        started.set_status(status)
    started.end(2_000_000_000)
    return exporter.get_finished_spans()[0]


def log(attributes: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    """One log record as the SDK gives it to exporters."""
    exporter = _InMemoryLogs()
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(sdk_logs.SimpleLogRecordProcessor(exporter))
    values = {"timestamp": 3, "observed_timestamp": 4, "severity_number": SeverityNumber.INFO, **fields}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SDK 1.37 warns about how it makes its own records
        provider.get_logger("maker", "1.2").emit(LogRecord(attributes=dict(attributes or {}), **values))
    return exporter.get_finished_logs()[0]


def metrics() -> MetricsData:
    """A counter, a gauge with an exemplar made inside a span, and a histogram."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("maker", "1.2")
    meter.create_counter("calls", unit="{call}", description="Calls").add(3, {"model": "m"})
    meter.create_histogram("duration", unit="s").record(0.5, {"model": "m"}, context=INSIDE_REMOTE)
    meter.create_gauge("load").set(0.25)
    data = reader.get_metrics_data()
    assert data is not None
    return data
