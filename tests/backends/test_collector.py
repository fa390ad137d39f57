"""What collector-config.yaml does with feedback: keeps all of it, counts it, redacts it, and samples around it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import spanback
from spanback.testing import fake_ref
from tests.backends.servers import COLLECTOR_CONFIG, Collector, Jaeger, eventually, validate_collector_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.backends.prometheus import Prometheus

pytestmark = pytest.mark.backends

NEW_SPELLINGS = {
    "otlp/feedback": "otlp_grpc/feedback",
    "otlp/traces": "otlp_grpc/traces",
    "signaltometrics": "signal_to_metrics",
}
LABELS = {
    "feedback_name": "user_feedback",
    "feedback_source": "user",
    "feedback_type": "explicit",
    "gen_ai_prompt_name": "none",
    "gen_ai_prompt_version": "none",
    "gen_ai_request_model": "gpt-4o-mini",
}


@pytest.fixture(params=["older", "newer"])
def spelt(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """collector-config.yaml as it is, for older and newer collectors, and in the names of the newer ones alone."""
    if request.param == "older":
        return COLLECTOR_CONFIG
    text = re.sub("|".join(NEW_SPELLINGS), lambda found: NEW_SPELLINGS[found[0]], COLLECTOR_CONFIG.read_text())
    path = tmp_path / "newer.yaml"
    path.write_text(text)
    return path


@contextmanager
def app(server: Collector, service: str, **resource: str) -> Iterator[TracerProvider]:
    """An app whose spans and feedback leave for a collector in small batches; all have left when the block ends."""
    provider = TracerProvider(resource=Resource({"service.name": service, **resource}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=server.otlp_grpc_endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=50, max_export_batch_size=64))
    spanback.instrument(tracer_provider=provider, clients=[], set_up=False)
    try:
        yield provider
    finally:
        spanback.uninstrument()
        provider.shutdown()


def value(prometheus: Prometheus, promql: str) -> float | None:
    """The value of a query that gives one; None while it gives none."""
    found = prometheus.query(promql)
    return found[0].value if found else None


def reach(prometheus: Prometheus, promql: str, expected: float) -> None:
    """Waits until a query gives a value."""
    eventually(lambda: value(prometheus, promql) == pytest.approx(expected, abs=1e-9))


def test_both_spellings_are_valid(collector_binary: None, spelt: Path) -> None:
    """The collector accepts the file in the older and in the newer names of its components."""
    done = validate_collector_config(spelt)
    assert (done.returncode, done.stderr) == (0, "")


def test_feedback_becomes_metrics(
    spelt: Path,
    jaeger: Jaeger,
    start_collector: Callable[..., Collector],
    start_prometheus: Callable[..., Prometheus],
) -> None:
    """Count, scores and weighted scores of two processes add up in Prometheus, batch after batch."""
    collector = start_collector(spelt, {"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint})
    prometheus = start_prometheus(collector.metrics_endpoint)
    scores = [(number % 21 - 10) / 10 for number in range(500)]
    weights = [(number % 7 + 1) / 7 for number in range(500)]
    for instance in ("1", "2"):
        with app(collector, "counted", **{"service.instance.id": instance}):
            for score, weight in zip(scores, weights, strict=True):
                spanback.record_feedback(fake_ref(), score=score, weight=weight)
            spanback.record_feedback(fake_ref(), label="too long")

    reach(prometheus, "sum(feedback_signals_total)", 1_002)
    assert prometheus.query('feedback_signals_total{feedback_sentiment="none"}')[0].value == 2
    (count,) = eventually(lambda: prometheus.query("feedback_score_count"))
    assert {name: count.labels.get(name) for name in LABELS} == LABELS
    assert (count.labels["job"], count.value) == ("counted", 1_000)
    reach(prometheus, "sum(feedback_score_sum)", 2 * sum(scores))
    reach(prometheus, 'sum(feedback_score_bucket{le="-0.75"})', 2 * sum(score <= -0.75 for score in scores))
    reach(prometheus, "sum(feedback_weight_sum)", 2 * sum(weights))
    weighted = sum(score * weight for score, weight in zip(scores, weights, strict=True))
    mean = "2 * sum(feedback_weighted_score_normalized_sum) / sum(feedback_weight_sum) - 1"
    reach(prometheus, mean, weighted / sum(weights))
