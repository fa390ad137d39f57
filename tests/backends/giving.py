"""Apps of tests that give feedback, in a process of their own or in this one, and what arrives of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import spanback
from tests.backends import otlp
from tests.backends.servers import Collector, Jaeger, Tempo, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


class Told(NamedTuple):
    """What the app printed of one signal."""

    feedback_id: str
    status: str
    placement: str
    trace_id: str
    span_id: str
    target_trace_id: str
    target_span_id: str
    sampled: bool


class Ran(NamedTuple):
    """What an app that has ended told: its receipts, and what it logged."""

    signals: list[Told]
    log: str


def run_app(server: Collector | Jaeger | Tempo, protocol: str, service: str, *what: str, **more: str) -> Ran:
    """Runs the app to its end, sending to one server."""
    endpoint = f"http://{server.otlp_grpc_endpoint}" if protocol == "grpc" else server.otlp_http_endpoint
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_SERVICE_NAME": service,
        **more,
    }
    command = [sys.executable, "-m", "tests.backends.app", *what]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = [Told(**{name: receipt[name] for name in Told._fields}) for receipt in json.loads(done.stdout)]
    return Ran(told, done.stderr)


@contextmanager
def app(server: Collector, service: str, *, capture_content: bool = False, **resource: str) -> Iterator[TracerProvider]:
    """An app whose spans and feedback leave for a collector in small batches; all have left when the block ends."""
    provider = TracerProvider(resource=Resource({"service.name": service, **resource}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=server.otlp_grpc_endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=50, max_export_batch_size=64))
    spanback.instrument(tracer_provider=provider, clients=[], set_up=False, capture_content=capture_content)
    try:
        yield provider
    finally:
        spanback.uninstrument()
        provider.shutdown()


def arrived(trace: Callable[[str], list[otlp.Span]], trace_id: str, span_id: str) -> otlp.Span:
    """A span, once a server has it: of a trace, feedback may be there before the rest."""
    return eventually(lambda: next((span for span in trace(trace_id) if span.span_id == span_id), None))


def post(collector: Collector, feedback_id: str, **more: str) -> int:
    """Sends one signal of service `full` by HTTP, all attributes as text, and gives the status of the answer."""
    attributes = {"id": feedback_id, "action": "set", "name": "full", "source": "user", "type": "explicit", **more}
    span: dict[str, Any] = {
        "traceId": feedback_id * 2,
        "spanId": feedback_id,
        "name": "feedback full",
        "startTimeUnixNano": str(time.time_ns()),
        "endTimeUnixNano": str(time.time_ns()),
        "attributes": [
            {"key": f"feedback.{name}", "value": {"stringValue": value}} for name, value in attributes.items()
        ],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "full"}}]}
    payload = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    url, headers = f"{collector.otlp_http_endpoint}/v1/traces", {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(payload).encode(), headers), timeout=5
        ) as done:
            return done.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
