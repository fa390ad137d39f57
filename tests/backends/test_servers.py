"""The servers themselves: a span of the plain OpenTelemetry SDK goes in, and comes out of every one."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, TraceFlags

from tests.backends import otlp
from tests.backends.servers import (
    COLLECTOR_CONFIG,
    Collector,
    Jaeger,
    Match,
    Tempo,
    eventually,
    validate_collector_config,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.backends

RATED_TRACE_ID, RATED_SPAN_ID = "b71c0e5a94d24f0e8f3a6d2c1e907f45", "c3d85f1e6a7b9024"
RATED = SpanContext(
    trace_id=int(RATED_TRACE_ID, 16),
    span_id=int(RATED_SPAN_ID, 16),
    is_remote=True,
    trace_flags=TraceFlags(TraceFlags.SAMPLED),
)


def send(server: Collector | Jaeger | Tempo, protocol: str, service: str) -> otlp.Span:
    """Sends one span by ``grpc`` or ``http`` and returns what every backend should hold of it."""
    if protocol == "grpc":
        exporter = GrpcSpanExporter(endpoint=server.otlp_grpc_endpoint, insecure=True)
    else:
        exporter = HttpSpanExporter(endpoint=f"{server.otlp_http_endpoint}/v1/traces")
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes = {"feedback.score": -1.0, "feedback.label": "bad", "feedback.raw": 1, "feedback.resolved": True}
    link = Link(RATED, {"feedback.relation": "rates"})
    span = provider.get_tracer("by-hand").start_span("feedback by_hand", attributes=attributes, links=[link])
    span.add_event("gen_ai.evaluation.result", {"gen_ai.evaluation.score.value": -1.0})
    span.end()
    provider.shutdown()
    assert isinstance(span, ReadableSpan)
    assert span.start_time
    assert span.end_time
    context = span.get_span_context()
    return otlp.Span(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_span_id="",
        name="feedback by_hand",
        kind="INTERNAL",
        start_ns=span.start_time,
        end_ns=span.end_time,
        service=service,
        scope="by-hand",
        attributes=attributes,
        events=(
            otlp.Event("gen_ai.evaluation.result", span.events[0].timestamp, {"gen_ai.evaluation.score.value": -1.0}),
        ),
        links=(otlp.Link(RATED_TRACE_ID, RATED_SPAN_ID, {"feedback.relation": "rates"}),),
    )


def post_json(server: Collector, signal: str, payload: dict[str, Any]) -> None:
    """Sends OTLP by HTTP as JSON."""
    url = f"{server.otlp_http_endpoint}/v1/{signal}"
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(payload).encode(), headers), timeout=5) as done:
        assert done.status == 200


def resource_metrics_of(collector: Collector) -> list[dict[str, Any]]:
    """All metrics in the collector's file, by resource; other tests of the run send some too."""
    return [found for line in collector.file_lines() for found in line.get("resourceMetrics", ())]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_collector_to_jaeger_and_file(collector: Collector, jaeger: Jaeger, protocol: str) -> None:
    """A span sent to the collector is in Jaeger and in the file as it was sent."""
    sent = send(collector, protocol, f"jaeger-{protocol}")

    assert eventually(lambda: jaeger.trace(sent.trace_id)) == [sent]
    assert eventually(lambda: collector.file_spans(sent.trace_id)) == [sent]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_collector_to_tempo_and_file(start_collector: Callable[..., Collector], tempo: Tempo, protocol: str) -> None:
    """The same configuration with one variable changed sends the span to Tempo."""
    collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": tempo.otlp_grpc_endpoint})
    sent = send(collector, protocol, f"tempo-{protocol}")

    assert eventually(lambda: tempo.trace(sent.trace_id)) == [sent]
    assert eventually(lambda: collector.file_spans(sent.trace_id)) == [sent]


def test_logs_and_metrics_to_file(collector: Collector) -> None:
    """A log record and a metric sent to the collector are in the file as they were sent."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "logs-and-metrics"}}]}
    record = {
        "timeUnixNano": "1700000000000000000",
        "eventName": "gen_ai.evaluation.result",
        "body": {"stringValue": "too long"},
        "attributes": [{"key": "tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}}],
        "traceId": RATED_TRACE_ID,
        "spanId": RATED_SPAN_ID,
    }
    point = {"asDouble": 0.5, "timeUnixNano": "1700000000000000000"}
    metrics = [{"name": "m", "gauge": {"dataPoints": [point]}}]
    resource_metrics = {"resource": resource, "scopeMetrics": [{"metrics": metrics}]}

    post_json(collector, "logs", {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]})
    post_json(collector, "metrics", {"resourceMetrics": [resource_metrics]})

    assert eventually(lambda: collector.file_logs(RATED_TRACE_ID)) == [
        otlp.LogRecord(
            trace_id=RATED_TRACE_ID,
            span_id=RATED_SPAN_ID,
            event_name="gen_ai.evaluation.result",
            time_ns=1_700_000_000_000_000_000,
            service="logs-and-metrics",
            scope="",
            body="too long",
            attributes={"tags": ["a", 1]},
        )
    ]
    assert eventually(lambda: [found for found in resource_metrics_of(collector) if found["resource"] == resource]) == [
        {"resource": resource, "scopeMetrics": [{"scope": {}, "metrics": metrics}]}
    ]


def test_the_file_outlives_a_restart(start_collector: Callable[..., Collector], tmp_path: Path) -> None:
    """A span is in the file although the collector is stopped at once, and still there after the next start."""
    sent: list[str] = []
    for _ in range(2):
        collector = start_collector(env={"SPANBACK_COLLECTOR_FOLDER": str(tmp_path)})
        sent.append(send(collector, "grpc", "restart").trace_id)
        collector.stop()
        assert collector.exit_code == 0

    lines = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
    assert [span.trace_id for line in lines for span in otlp.spans(line)] == sent


def test_jaeger_search(jaeger: Jaeger) -> None:
    """Jaeger finds a span by service, operation and tags, of the span or its event, and by nothing else."""
    sent = send(jaeger, "grpc", "jaeger-search")

    assert eventually(lambda: jaeger.search("jaeger-search")) == [sent]
    assert jaeger.search("jaeger-search", operation="feedback by_hand") == [sent]
    assert jaeger.search("jaeger-search", operation="chat") == []
    assert jaeger.search("jaeger-search", tags={"feedback.score": "-1", "feedback.label": "bad"}) == [sent]
    assert jaeger.search("jaeger-search", tags={"gen_ai.evaluation.score.value": "-1"}) == [sent]
    assert jaeger.search("jaeger-search", tags={"feedback.label": "good"}) == []
    assert jaeger.search("no-such-service") == []
    assert jaeger.trace("1" * 32) == []
    assert jaeger.warnings(sent.trace_id) == {}


def test_tempo_search(tempo: Tempo) -> None:
    """TraceQL finds a span by attribute, event and link, and selects its attributes."""
    sent = send(tempo, "grpc", "tempo-search")
    where = 'resource.service.name = "tempo-search"'
    found = [Match(sent.trace_id, sent.span_id, "feedback by_hand", {"service.name": "tempo-search"})]

    assert eventually(lambda: tempo.search(f"{{ {where} }} | select(name)")) == found
    assert [m.span_id for m in tempo.search(f"{{ {where} && span.feedback.score < 0.0 }}")] == [sent.span_id]
    assert tempo.search(f"{{ {where} && span.feedback.score > 0.0 }}") == []
    assert [m.span_id for m in tempo.search(f'{{ {where} && link:spanID = "{RATED_SPAN_ID}" }}')] == [sent.span_id]
    assert tempo.trace("1" * 32) == []


def test_tempo_metrics(tempo: Tempo) -> None:
    """A TraceQL metrics query averages an attribute of recent spans."""
    send(tempo, "grpc", "tempo-metrics")
    query = '{ resource.service.name = "tempo-metrics" } | avg_over_time(span.feedback.score) by (span.feedback.label)'

    (series,) = eventually(lambda: tempo.query_range(query))

    assert series.labels == {"span.feedback.label": "bad"}
    assert [value for _, value in series.samples] == [-1.0]


def test_the_shipped_configuration_is_valid(collector_binary: None) -> None:
    """The collector accepts collector-config.yaml as it is."""
    done = validate_collector_config(COLLECTOR_CONFIG)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_configuration_is_refused(collector_binary: None, tmp_path: Path) -> None:
    """The collector refuses the same file with one key misspelt, and names the key."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(COLLECTOR_CONFIG.read_text().replace("limit_mib:", "limit_mb:"))

    done = validate_collector_config(broken)

    assert done.returncode == 1
    assert "limit_mb" in done.stderr


def test_both_spellings_of_the_otlp_exporter_are_valid(collector_binary: None, tmp_path: Path) -> None:
    """The built collector accepts `otlp_grpc` where collector-config.yaml says `otlp`."""
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(COLLECTOR_CONFIG.read_text().replace("otlp/traces", "otlp_grpc/traces"))

    assert validate_collector_config(renamed).returncode == 0
