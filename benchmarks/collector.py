"""What feedback costs in the collector: collector-config.yaml as it is, beside the same without its feedback parts.

    python -m benchmarks.collector [rounds]

Processor time of the collector is counted, so that what else the machine does matters little: a core that did nothing
but this would take so many in a second. Spans leave for a second collector that throws them away; files are written.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import yaml
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.backends.servers import COLLECTOR_CONFIG, Collector, eventually

import spanback
from spanback import signals
from spanback.testing import capture, fake_ref

SPANS_A_REQUEST = 512
REQUESTS = 80
WORKLOADS = {"signals alone": 0, "one signal on ten calls": 10}
"""How many calls come with a signal."""

Edit = Callable[[dict[str, Any]], object]
SINK = """
receivers: {otlp: {protocols: {grpc: {endpoint: "${env:SPANBACK_OTLP_GRPC_ENDPOINT}"}}}}
exporters: {debug: {verbosity: basic}}
extensions: {health_check: {endpoint: "${env:SPANBACK_HEALTH_ENDPOINT}"}}
service:
  extensions: [health_check]
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
  telemetry: {metrics: {level: none}, logs: {level: warn}}
"""


def without_feedback(config: dict[str, Any]) -> None:
    """Takes away what collector-config.yaml does for feedback; sampler, batch, exporters and files stay."""
    pipelines = config["service"]["pipelines"]
    del pipelines["traces/feedback"], pipelines["metrics/feedback"], config["connectors"]
    pipelines["traces/sampled"]["processors"] = ["memory_limiter", "tail_sampling", "batch"]
    policies = config["processors"]["tail_sampling"]["policies"]
    config["processors"]["tail_sampling"]["policies"] = [one for one in policies if "feedback" not in one["name"]]


PIPELINES: dict[str, Edit] = {"as recommended": lambda _: None, "without feedback parts": without_feedback}


def requests_of(calls: int) -> list[bytes]:
    """Encoded requests of a workload, every span in a trace of its own or in that of its call."""
    with capture() as telemetry:
        tracer = telemetry.tracer_provider.get_tracer("app")
        with tracer.start_as_current_span("chat gpt-4o-mini", attributes={"gen_ai.operation.name": "chat"}):
            pass
        spanback.record_feedback(fake_ref(), signals.THUMBS_UP)
        call, carrier = (encode_spans([span]) for span in telemetry.spans)
    made: list[bytes] = []
    for _ in range(REQUESTS):
        request = ExportTraceServiceRequest()
        request.CopyFrom(carrier)
        spans = request.resource_spans[0].scope_spans[0].spans
        template, call_template = carrier.resource_spans[0].scope_spans[0].spans[0], _span(call)
        del spans[:]
        for number in range(SPANS_A_REQUEST):
            span = spans.add()
            span.CopyFrom(call_template if number % (calls + 1) else template)
            span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
        made.append(request.SerializeToString())
    return made


def _span(request: ExportTraceServiceRequest) -> Any:
    return request.resource_spans[0].scope_spans[0].spans[0]


def cpu_s(collector: Collector) -> float:
    """The processor time that a collector has used, in seconds."""
    assert collector._process is not None
    fields = Path(f"/proc/{collector._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(collector: Collector, requests: list[bytes]) -> None:
    """Sends requests over four connections; all are taken."""

    def through(some: list[bytes]) -> None:
        connection = HTTPConnection(collector.otlp_http_endpoint.removeprefix("http://"), timeout=30)
        for request in some:
            connection.request("POST", "/v1/traces", request, {"Content-Type": "application/x-protobuf"})
            response = connection.getresponse()
            response.read()
            assert response.status == 200, response.status

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(through, (requests[first::4] for first in range(4))))


def measure(edit: Edit, requests: list[bytes], folder: Path) -> float:
    """Processor time in seconds that the collector takes for all of the requests, until the last is written."""
    (folder / "sink.yaml").write_text(SINK)
    config = yaml.safe_load(COLLECTOR_CONFIG.read_text())
    edit(config)
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(config))
    expected = len(requests) * SPANS_A_REQUEST
    with Collector(folder / "sink.yaml") as sink:
        env = {"SPANBACK_TRACES_ENDPOINT": sink.otlp_grpc_endpoint, "SPANBACK_SAMPLE_WAIT": "2s"}
        with Collector(folder / "pipeline.yaml", env) as collector:
            before_s = cpu_s(collector)
            send(collector, requests)
            eventually(lambda: _written(collector) >= expected, 120, pause_s=0.5)
            time.sleep(1)  # what is in the queue still leaves
            return cpu_s(collector) - before_s


def _written(collector: Collector) -> int:
    files = [*collector.telemetry.glob("feedback.jsonl"), *collector.telemetry.glob("traces.jsonl")]
    return sum(file.read_bytes().count(b'"endTimeUnixNano"') for file in files)


def main(rounds: int) -> None:
    """Prints processor time and signals a second of both pipelines, by workload."""
    for workload, calls in WORKLOADS.items():
        requests = requests_of(calls)
        count = REQUESTS * len(range(0, SPANS_A_REQUEST, calls + 1))
        taken: dict[str, list[float]] = {name: [] for name in PIPELINES}
        for _ in range(rounds):
            for name, edit in PIPELINES.items():
                with tempfile.TemporaryDirectory() as temp:
                    taken[name].append(measure(edit, requests, Path(temp)))
        spans = len(requests) * SPANS_A_REQUEST
        for name, times_s in taken.items():
            median_s = statistics.median(times_s)
            print(
                f"{workload}, {name}: {median_s / spans * 1e6:.1f} us a span, "
                f"{spans / median_s:,.0f} spans and {count / median_s:,.0f} signals a second and core"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
