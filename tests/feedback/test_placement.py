"""Where a carrier goes, and that no sampler ever drops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

from spanback import signals
from spanback.feedback import record_feedback
from spanback.feedback._carrier_tracer import always_on
from spanback.testing import InMemoryTelemetry, capture, fake_ref

CHILD = "in the rated span's trace"
ASKED = "in a trace of its own, as asked"
UNSAMPLED = "in a trace of its own: the rated span was not sampled"
LATE = "in a trace of its own: the rated span started too long ago, or when is not known"


@pytest.mark.parametrize(
    ("asked", "sampled", "age_s", "expected"),
    [
        ("auto", True, 0, ("child", CHILD)),
        ("auto", True, 299, ("child", CHILD)),
        ("auto", True, -5, ("child", CHILD)),
        ("auto", True, 301, ("linked", LATE)),
        ("auto", True, None, ("linked", LATE)),
        ("auto", False, 0, ("linked", UNSAMPLED)),
        ("auto", False, None, ("linked", UNSAMPLED)),
        ("child", True, 0, ("child", CHILD)),
        ("child", True, 301, ("child", CHILD)),
        ("child", True, None, ("child", CHILD)),
        ("child", False, 0, ("linked", UNSAMPLED)),
        ("linked", True, 0, ("linked", ASKED)),
        ("linked", False, 301, ("linked", ASKED)),
    ],
)
def test_the_carrier_goes_where_it_is_found_and_does_no_harm(
    telemetry: InMemoryTelemetry, asked: Any, sampled: bool, age_s: int | None, expected: tuple[str, str]
) -> None:
    """A young, sampled span gets its feedback as a child, others by link alone; there is always exactly one link."""
    placed, reason = expected
    started_ns = None if age_s is None else time.time_ns() - age_s * 1_000_000_000
    ref = fake_ref(sampled=sampled, start_time_ns=started_ns)
    receipt = record_feedback(ref, signals.THUMBS_UP, placement=asked)
    assert (receipt.status, receipt.placement, receipt.reason) == ("recorded", placed, reason)
    (span,) = telemetry.spans
    (link,) = span.links
    assert span.context is not None
    assert (link.context.trace_id, link.context.span_id) == (ref.trace_id, ref.span_id)
    assert link.context.trace_flags.sampled is sampled
    assert (span.attributes or {})["feedback.target.sampled"] is sampled
    assert (span.context.trace_id == ref.trace_id) is (placed == "child")
    assert (span.parent.span_id if span.parent else None) == (ref.span_id if placed == "child" else None)
    assert telemetry.logs[0].span_id == ref.span_id


def test_the_window_is_a_setting(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """An app may want feedback in the trace for longer or not at all."""
    ref = fake_ref(start_time_ns=time.time_ns() - 400_000_000_000)
    configure(child_window_s=500.0)
    assert record_feedback(ref, signals.THUMBS_UP).placement == "child"
    configure(child_window_s=0.0)
    assert record_feedback(fake_ref(), signals.THUMBS_UP).placement == "linked"


@pytest.mark.parametrize("sampler", [ParentBased(TraceIdRatioBased(0.0)), ALWAYS_OFF, TraceIdRatioBased(0.0)])
def test_feedback_on_an_unsampled_span_arrives(configure: Callable[..., Any], sampler: Sampler) -> None:
    """The app's sampler drops every span but no carrier."""
    with capture(sampler=sampler) as telemetry:
        span = telemetry.tracer_provider.get_tracer("app").start_span("chat")
        span.end()
        receipt = record_feedback(span, signals.THUMBS_DOWN)
    (carrier,) = telemetry.spans
    (log,) = telemetry.logs
    assert carrier.context is not None
    assert carrier.context.trace_flags.sampled
    assert carrier.links[0].context.span_id == span.get_span_context().span_id
    assert log.span_id == span.get_span_context().span_id
    assert (receipt.placement, receipt.status, receipt.reason) == ("linked", "recorded", UNSAMPLED)


def test_the_twin_shares_what_becomes_of_its_tracer(telemetry: InMemoryTelemetry) -> None:
    """What the SDK changes on a tracer later holds for carriers too, and the tracer keeps its own sampler."""
    tracer = telemetry.tracer_provider.get_tracer("app")
    assert isinstance(tracer, Tracer)
    sampler = tracer.sampler
    tracer.sampler = ALWAYS_OFF
    twin = always_on(tracer)
    tracer.resource = Resource({"service.name": "changed"})
    span: Any = twin.start_span("carrier")
    span.end()
    assert span.is_recording() is False
    assert telemetry.spans[0].resource.attributes == {"service.name": "changed"}
    assert isinstance(twin, Tracer)
    assert tracer.sampler is ALWAYS_OFF
    assert twin.sampler is not ALWAYS_OFF
    tracer.sampler = sampler


def test_there_is_one_twin_a_tracer(telemetry: InMemoryTelemetry) -> None:
    """The twin is made once and made anew when the app changes its provider."""
    first, second = (telemetry.tracer_provider.get_tracer(name) for name in ("a", "b"))
    assert always_on(first) is always_on(first)
    assert always_on(first) is not always_on(second)


@pytest.mark.parametrize("sdk", [True, False])
def test_a_tracer_of_another_kind_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, sdk: bool) -> None:
    """Nothing is known of how it samples; where the SDK was never imported every tracer is another one."""
    tracer = trace.NoOpTracer()
    if not sdk:
        monkeypatch.delitem(__import__("sys").modules, "opentelemetry.sdk.trace")
    assert always_on(tracer) is tracer
