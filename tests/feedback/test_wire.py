"""What leaves: whole spans, whole log events, metrics."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from spanback import signals
from spanback.feedback import record_feedback
from spanback.testing import InMemoryTelemetry, LogRow, fake_ref
from tests.feedback.conftest import NOW_NS

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0xB7AD6B7169203331

DIMENSIONS = {
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-fake",
}
TARGET = {
    "feedback.target.trace_id": "0af7651916cd43dd8448eb211c80319c",
    "feedback.target.span_id": "b7ad6b7169203331",
    "feedback.target.sampled": True,
    "feedback.target.resolved": True,
    "feedback.target.scope": "response",
}
THUMB = {
    "feedback.id": "f-1",
    "feedback.action": "set",
    "feedback.name": "user_thumbs",
    "feedback.score": 1.0,
    "feedback.weight": 0.8,
    "feedback.weighted_score": 0.8,
    "feedback.sentiment": "positive",
    "feedback.source": "user",
    "feedback.type": "explicit",
}
THUMB_EVENT = {
    "gen_ai.evaluation.name": "user_thumbs",
    "gen_ai.evaluation.score.value": 1.0,
    "gen_ai.evaluation.score.label": "positive",
    "gen_ai.response.id": "chatcmpl-fake",
    "feedback.id": "f-1",
    "feedback.weight": 0.8,
    "feedback.source": "user",
    "feedback.type": "explicit",
}

pytestmark = pytest.mark.usefixtures("clock")


def test_a_thumb_is_one_carrier_span_with_one_link_and_one_event(telemetry: InMemoryTelemetry) -> None:
    """The whole span of a thumb is as the design says."""
    receipt = record_feedback(fake_ref(), signals.THUMBS_UP, feedback_id="f-1")

    (span,) = telemetry.spans
    (link,) = span.links
    (event,) = span.events
    assert span.name == "feedback user_thumbs"
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert (span.start_time, span.end_time) == (NOW_NS, NOW_NS + 1_000)
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id, span.parent.is_remote) == (TRACE_ID, SPAN_ID, True)
    assert dict(span.attributes or {}) == DIMENSIONS | TARGET | THUMB
    assert (link.context.trace_id, link.context.span_id, link.context.trace_flags.sampled) == (TRACE_ID, SPAN_ID, True)
    assert dict(link.attributes or {}) == {"feedback.relation": "rates"}
    assert (event.name, event.timestamp) == ("gen_ai.evaluation.result", NOW_NS)
    assert dict(event.attributes or {}) == THUMB_EVENT
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "spanback"
    assert span.context is not None
    assert (receipt.trace_id, receipt.span_id) == (f"{TRACE_ID:032x}", f"{span.context.span_id:016x}")


def test_a_thumb_is_also_one_log_event_about_the_rated_span(telemetry: InMemoryTelemetry) -> None:
    """The whole log event holds the same record, with the rated span's ids."""
    record_feedback(fake_ref(), signals.THUMBS_UP, feedback_id="f-1")
    assert telemetry.logs == (
        LogRow(
            event_name="gen_ai.evaluation.result",
            timestamp=NOW_NS,
            trace_id=TRACE_ID,
            span_id=SPAN_ID,
            severity_text="INFO",
            body="Feedback user_thumbs: positive",
            attributes=DIMENSIONS | TARGET | THUMB | THUMB_EVENT,
        ),
    )


def test_every_field_has_its_attribute(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """A signal with everything in it loses nothing where content and user hashes are kept."""
    configure(feedback_content=True, user_hash_key=b"key")
    record_feedback(
        fake_ref(prompt_name="greeting", prompt_version="7", conversation_id="conv-1"),
        rating=2,
        scale=(1, 5),
        name="helpfulness",
        weight=0.5,
        source="system",
        type="implicit",
        label="too long",
        comment="Grüße 👍",
        improvement={"text": "Grüße", "n": [1, None, True]},
        metadata={"page": "chat", "beta": True, "turn": 3, "confidence": 0.25, "empty": ""},
        user_id="anna@example.com",
        rater_id="rater 7",
        criterion="length",
        feedback_id="f-2",
        observed_at=datetime(2025, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2))),
    )
    (span,) = telemetry.spans
    assert dict(span.attributes or {}) == DIMENSIONS | TARGET | {
        "gen_ai.prompt.name": "greeting",
        "gen_ai.prompt.version": "7",
        "gen_ai.conversation.id": "conv-1",
        "feedback.id": "f-2",
        "feedback.action": "set",
        "feedback.name": "helpfulness",
        "feedback.score": -0.5,
        "feedback.score.raw": 2.0,
        "feedback.score.min": 1.0,
        "feedback.score.max": 5.0,
        "feedback.weight": 0.5,
        "feedback.weighted_score": -0.25,
        "feedback.sentiment": "negative",
        "feedback.source": "system",
        "feedback.type": "implicit",
        "feedback.label": "too long",
        "feedback.comment": "Grüße 👍",
        "feedback.improvement": '{"text":"Grüße","n":[1,null,true]}',
        "feedback.metadata.page": "chat",
        "feedback.metadata.beta": True,
        "feedback.metadata.turn": 3,
        "feedback.metadata.confidence": 0.25,
        "feedback.metadata.empty": "",
        "feedback.user.hash": "dacc3a00f39633478e2d3282f4d45aa2bf322acbfa61ac9e3da826a305a33a7d",
        "feedback.rater.hash": hmac.digest(b"key", b"rater 7", "sha256").hex(),
        "feedback.criterion": "length",
        "feedback.observed_at": "2025-03-01T10:30:00+00:00",
    }
    (event,) = span.events
    assert dict(event.attributes or {}) == {
        "gen_ai.evaluation.name": "helpfulness",
        "gen_ai.evaluation.score.value": -0.5,
        "gen_ai.evaluation.score.label": "too long",
        "gen_ai.evaluation.explanation": "Grüße 👍",
        "gen_ai.response.id": "chatcmpl-fake",
        "feedback.id": "f-2",
        "feedback.weight": 0.5,
        "feedback.source": "system",
        "feedback.type": "implicit",
    }
    (log,) = telemetry.logs
    assert log.attributes == {**(span.attributes or {}), **(event.attributes or {})}
    assert log.body == "Feedback helpfulness: too long"


@pytest.mark.parametrize(
    ("score", "sentiment"),
    [(1, "positive"), (0.001, "positive"), (0, "neutral"), (-0.0, "neutral"), (-0.001, "negative"), (-1, "negative")],
)
def test_the_sentiment_is_the_sign_of_the_score(telemetry: InMemoryTelemetry, score: float, sentiment: str) -> None:
    """Backends that cannot compare numbers find bad feedback by a word."""
    record_feedback(fake_ref(), score=score)
    (row,) = telemetry.feedback
    assert row.attributes["feedback.sentiment"] == sentiment
    assert str(row.score) != "-0.0"


def test_without_a_score_there_is_neither_sentiment_nor_score(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """A comment alone says nothing of good or bad."""
    configure(feedback_content=True)
    record_feedback(fake_ref(), comment="hm", feedback_id="f-3")
    (span,) = telemetry.spans
    assert dict(span.attributes or {}) == DIMENSIONS | TARGET | {
        "feedback.id": "f-3",
        "feedback.action": "set",
        "feedback.name": "user_feedback",
        "feedback.weight": 1.0,
        "feedback.source": "user",
        "feedback.type": "explicit",
        "feedback.comment": "hm",
    }
    assert telemetry.logs[0].body == "Feedback user_feedback"
    assert "gen_ai.evaluation.score.label" not in telemetry.logs[0].attributes


@pytest.mark.parametrize(("emit", "spans", "logs"), [("both", 1, 1), ("span", 1, 0), ("log", 0, 1)])
def test_the_app_chooses_the_form(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any], emit: str, spans: int, logs: int
) -> None:
    """`emit` asks for the carrier span, the log event, or both; the receipt is `recorded` in each case."""
    configure(emit=emit)
    receipt = record_feedback(fake_ref(), signals.THUMBS_DOWN)
    assert (len(telemetry.spans), len(telemetry.logs), len(telemetry.feedback)) == (spans, logs, 1)
    assert receipt.status == "recorded"
    assert (receipt.placement, receipt.reason) == (
        ("child", "in the rated span's trace") if spans else (None, "as a log event only")
    )
    assert (receipt.trace_id is None) is (spans == 0)


def test_metrics_count_signals_and_their_scores(telemetry: InMemoryTelemetry) -> None:
    """Scores are recorded as 0..1, since histograms take no negative amounts; a signal without one is only counted."""
    record_feedback(fake_ref(), signals.THUMBS_UP)
    record_feedback(fake_ref(), signals.THUMBS_DOWN)
    record_feedback(fake_ref(), name="user_thumbs", label="odd")
    dimensions = {
        "feedback.name": "user_thumbs",
        "feedback.source": "user",
        "feedback.type": "explicit",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
    }
    (count,) = telemetry.metrics["feedback.count"]
    (score,) = telemetry.metrics["feedback.score.normalized"]
    assert (dict(count.attributes), count.value) == (dimensions, 3)
    assert (dict(score.attributes), score.count, score.sum) == (dimensions, 2, 1.0)
    assert tuple(score.explicit_bounds) == (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
    assert tuple(score.bucket_counts) == (1, 0, 0, 0, 0, 0, 0, 0, 1, 0)
    assert {(exemplar.trace_id, exemplar.span_id) for exemplar in count.exemplars} == {(TRACE_ID, SPAN_ID)}


def test_metrics_of_an_unknown_target_have_no_model(telemetry: InMemoryTelemetry) -> None:
    """What is not known is left out."""
    record_feedback("chatcmpl-unknown", signals.READ)
    (count,) = telemetry.metrics["feedback.count"]
    assert dict(count.attributes) == {"feedback.name": "read", "feedback.source": "user", "feedback.type": "implicit"}


def test_where_the_sdk_keeps_few_attributes_metadata_goes_first(
    telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK drops the oldest attributes beyond its limit, so those that identify a signal come last."""
    tracer = telemetry.tracer_provider.get_tracer("spanback")
    monkeypatch.setattr(tracer._span_limits, "max_span_attributes", 20)
    record_feedback(fake_ref(), signals.THUMBS_UP, metadata={f"k{i}": i for i in range(10)}, feedback_id="f-1")
    attributes = dict(telemetry.spans[0].attributes or {})
    assert {key: value for key, value in attributes.items() if "metadata" not in key} == DIMENSIONS | TARGET | THUMB
    assert len(attributes) == 20


class _BaggageNoted(SpanProcessor):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        self.seen.append(baggage.get_baggage("tenant", parent_context))


@pytest.mark.parametrize("placement", ["child", "linked"])
def test_processors_see_the_baggage_of_the_caller(telemetry: InMemoryTelemetry, placement: Any) -> None:
    """What an app adds to all its spans from baggage is added to carriers too."""
    noted = _BaggageNoted()
    telemetry.tracer_provider.add_span_processor(noted)
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    record_feedback(fake_ref(), signals.THUMBS_UP, placement=placement)
    context.detach(token)
    assert noted.seen == ["acme"]
