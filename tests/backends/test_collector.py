"""What collector-config.yaml does with feedback: keeps all of it, counts it, redacts it, and samples around it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import StatusCode

import spanback
from spanback import signals
from spanback.testing import fake_ref
from tests.backends.giving import app, arrived, post, run_app
from tests.backends.prometheus import RELEASES
from tests.backends.servers import COLLECTOR_CONFIG, Collector, Jaeger, eventually, validate_collector_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spanback import SpanRef
    from tests.backends import otlp
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
    prometheus = start_prometheus(collector.metrics_endpoint, collector.sdk_metrics_endpoint)
    scores = [(number % 21 - 10) / 10 for number in range(500)]
    weights = [(number % 7 + 1) / 7 for number in range(500)]
    for instance in ("1", "2"):
        with app(collector, "counted", **{"service.instance.id": instance}):
            for score, weight in zip(scores, weights, strict=True):
                spanback.record_feedback(fake_ref(), score=score, weight=weight)
            spanback.record_feedback(fake_ref(), label="too long")

    prometheus.reach("sum(feedback_signals_total)", 1_002)
    assert prometheus.query('feedback_signals_total{feedback_sentiment="none"}')[0].value == 2
    (count,) = eventually(lambda: prometheus.query("feedback_score_count"))
    assert {name: count.labels.get(name) for name in LABELS} == LABELS
    assert (count.labels["job"], count.value) == ("counted", 1_000)
    prometheus.reach("sum(feedback_score_sum)", 2 * sum(scores))
    prometheus.reach('sum(feedback_score_bucket{le="-0.75"})', 2 * sum(score <= -0.75 for score in scores))
    prometheus.reach("sum(feedback_weight_sum)", 2 * sum(weights))
    weighted = sum(score * weight for score, weight in zip(scores, weights, strict=True))
    mean = "2 * sum(feedback_weighted_score_normalized_sum) / sum(feedback_weight_sum) - 1"
    prometheus.reach(mean, weighted / sum(weights))


def test_withdrawn_feedback_is_not_counted_again(
    jaeger: Jaeger, start_collector: Callable[..., Collector], start_prometheus: Callable[..., Prometheus]
) -> None:
    """A retraction is no signal more; it reaches the backend like any other."""
    collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint})
    prometheus = start_prometheus(collector.metrics_endpoint, collector.sdk_metrics_endpoint)
    with app(collector, "withdrawn"):
        ref = fake_ref(trace_id=1 << 64)  # a trace that no other test adds to
        given = spanback.record_feedback(ref, signals.THUMBS_UP)
        spanback.retract_feedback(given.feedback_id, ref)
    found = eventually(lambda: jaeger.search("withdrawn", tags={"feedback.action": "retract"}))
    assert {span.attributes["feedback.id"] for span in found} == {given.feedback_id}
    prometheus.reach("sum(feedback_signals_total)", 1)


def test_odd_scores_do_no_harm(
    jaeger: Jaeger, start_collector: Callable[..., Collector], start_prometheus: Callable[..., Prometheus]
) -> None:
    """A score that is a text, from whoever sends spans, is taken, delivered and counted, and added to no sum."""
    collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint})
    prometheus = start_prometheus(collector.metrics_endpoint)
    assert post(collector, "00000000000000aa", score="five", weight="much") == 200
    assert eventually(lambda: jaeger.trace("00000000000000aa" * 2))
    prometheus.reach("sum(feedback_signals_total)", 1)
    assert prometheus.query("feedback_score_count") == []


def test_series_are_capped(
    tmp_path: Path, start_collector: Callable[..., Collector], start_prometheus: Callable[..., Prometheus]
) -> None:
    """Beyond the cap no prompt version makes a series more, and the collector counts in its own metrics what is lost."""
    few = tmp_path / "few.yaml"
    few.write_text(COLLECTOR_CONFIG.read_text().replace("max_streams: 20000", "max_streams: 12"))
    collector = start_collector(few)
    prometheus = start_prometheus(collector.metrics_endpoint, collector.own_metrics_endpoint)
    with app(collector, "capped"):
        for version in range(40):
            ref = fake_ref(prompt_name="travel", prompt_version=str(version))
            spanback.record_feedback(ref, signals.THUMBS_UP)
    lost = 'sum({__name__=~"otelcol_deltatocumulative_datapoints.*", error="limit"})'
    eventually(lambda: (prometheus.value(lost) or 0) >= 4 * 40 - 12)
    for metric in ("signals_total", "score_count", "weight_count", "weighted_score_normalized_count"):
        assert (prometheus.value(f"count(feedback_{metric})") or 0) <= 12


@pytest.mark.parametrize("redact", ["true", "false"])
def test_redaction(redact: str, jaeger: Jaeger, start_collector: Callable[..., Collector]) -> None:
    """Comments, corrections and user hashes are taken away by one variable, from the backend and from all files."""
    env = {"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint, "SPANBACK_REDACT": redact}
    collector, service = start_collector(env=env), f"redacted-{redact}"
    told = run_app(collector, "grpc", service, "rated", SPANBACK_USER_HASH_KEY="key").signals[1]

    carrier = arrived(jaeger.trace, told.trace_id, told.span_id)
    assert carrier == arrived(collector.file_spans, told.trace_id, told.span_id)
    logs = eventually(lambda: collector.file_logs(told.target_trace_id))
    record = next(log for log in logs if log.attributes["feedback.id"] == told.feedback_id)
    private = {"feedback.comment", "feedback.improvement", "feedback.user.hash", "gen_ai.evaluation.explanation"}
    there = carrier.attributes.keys() | carrier.events[0].attributes.keys()
    expected = set() if redact == "true" else private
    assert (private & there, private & record.attributes.keys()) == (expected, expected)
    assert carrier.attributes["feedback.score"] == record.attributes["feedback.score"] == -1.0


def test_feedback_is_kept_whatever_becomes_of_its_trace(
    jaeger: Jaeger, start_collector: Callable[..., Collector]
) -> None:
    """Quick or late, good or bad, in the call's trace or its own: feedback gets through; quick bad feedback keeps it."""
    sampling = {"SPANBACK_SAMPLE_PERCENT": "0", "SPANBACK_SAMPLE_WAIT": "1s"}
    collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint, **sampling})
    with app(collector, "sampled") as provider:

        def call(name: str) -> SpanRef:
            with provider.get_tracer("app").start_as_current_span(name) as span:
                if name == "failed":
                    span.set_status(StatusCode.ERROR)
                ref = spanback.reference(span)
            assert ref is not None
            return ref

        calls = {name: call(name) for name in ("none", "failed", "good", "bad", "late bad", "late good", "linked bad")}
        told = [
            spanback.record_feedback(calls["good"], signals.THUMBS_UP),
            spanback.record_feedback(calls["bad"], signals.THUMBS_DOWN),
            spanback.record_feedback(calls["linked bad"], signals.THUMBS_DOWN, placement="linked"),
        ]
        provider.force_flush()
        eventually(lambda: [span for span in jaeger.trace(f"{calls['bad'].trace_id:032x}") if span.name == "bad"])
        told += [
            spanback.record_feedback(calls["late bad"], signals.THUMBS_DOWN, placement="child"),
            spanback.record_feedback(calls["late good"], signals.THUMBS_UP, placement="child"),
            spanback.record_feedback(calls["bad"], signals.THUMBS_UP, placement="child"),
        ]
    given = {receipt.feedback_id for receipt in told}
    found = eventually(lambda: _whole(jaeger.search("sampled"), given))
    feedback = [span.attributes["feedback.id"] for span in found if "feedback.id" in span.attributes]
    assert sorted(feedback) == sorted(given)
    assert sorted(span.name for span in found if "feedback.id" not in span.attributes) == ["bad", "failed"]


def _whole(spans: list[otlp.Span], given: set[str]) -> list[otlp.Span] | None:
    return spans if given <= {str(span.attributes.get("feedback.id")) for span in spans} else None


@pytest.mark.parametrize("start_prometheus", RELEASES, indirect=True)
def test_exemplars_lead_to_the_rated_span(
    jaeger: Jaeger, start_collector: Callable[..., Collector], start_prometheus: Callable[..., Prometheus]
) -> None:
    """The SDK's metrics of feedback and calls are in Prometheus, with exemplars that name the rated span."""
    collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint})
    prometheus = start_prometheus(collector.metrics_endpoint, collector.sdk_metrics_endpoint)
    told = run_app(collector, "grpc", "exemplars", "rated").signals

    assert {(one["traceId"], one["spanId"]) for one in eventually(lambda: exemplars(collector, "feedback.count"))} == {
        (signal.target_trace_id, signal.target_span_id) for signal in told
    }
    assert exemplars(collector, "feedback.score.normalized")
    prometheus.reach("sum(feedback_count_total)", 3)
    prometheus.reach("sum(feedback_score_normalized_sum)", 1.0 + 0.0 + 0.25)
    prometheus.reach("sum(gen_ai_client_inference_duration_seconds_count)", 2)
    for metric in ("feedback_count_total", "feedback_score_normalized_bucket"):
        found = eventually(lambda metric=metric: prometheus.exemplars(metric))
        assert {one["labels"]["span_id"] for one in found} <= {signal.target_span_id for signal in told}


def exemplars(collector: Collector, metric: str) -> list[dict[str, Any]]:
    """The exemplars of a metric as the SDK exported them."""
    metrics = [
        one
        for line in collector.file_lines("metrics")
        for resource in line["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for one in scope["metrics"]
        if one["name"] == metric
    ]
    points = [point for one in metrics for point in (one.get("sum") or one["histogram"])["dataPoints"]]
    return [exemplar for point in points for exemplar in point.get("exemplars", ())]
