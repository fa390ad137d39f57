"""Feedback as metrics: by which attributes, how many combinations of them, and which span an exemplar leads to."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from spanback import _series, signals
from spanback._spanref import SpanRef
from spanback.feedback import record_feedback
from spanback.testing import InMemoryTelemetry, fake_ref

FEW = 3


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is reached soon."""
    monkeypatch.setattr(_series, "SERIES_LIMIT", FEW)


def of_version(version: str) -> SpanRef:
    """A rated span whose prompt has a version."""
    return fake_ref(prompt_name="support", prompt_version=version)


def test_prompts_tell_series_apart(telemetry: InMemoryTelemetry) -> None:
    """Name and version of the rated span's prompt are attributes of both metrics."""
    record_feedback(of_version("4"), signals.THUMBS_UP)
    attributes = {
        "feedback.name": "user_thumbs",
        "feedback.source": "user",
        "feedback.type": "explicit",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.prompt.name": "support",
        "gen_ai.prompt.version": "4",
    }
    for name in ("feedback.count", "feedback.score.normalized"):
        (point,) = telemetry.metrics[name]
        assert dict(point.attributes) == attributes


def test_the_number_of_series_is_capped(
    telemetry: InMemoryTelemetry, few: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the limit signals are counted by source and type alone, what is known goes on, and it is logged once."""
    for version in (*"0123456789", "0"):
        record_feedback(of_version(version), signals.THUMBS_UP)
    record_feedback(of_version("new"), signals.THUMBS_UP, source="system")

    metrics = telemetry.metrics
    counts = [(point.attributes, point.value) for point in metrics["feedback.count"]]
    assert [(known["gen_ai.prompt.version"], count) for known, count in counts[:FEW]] == [("0", 2), ("1", 1), ("2", 1)]
    assert [(dict(overflow), count) for overflow, count in counts[FEW:]] == [
        ({"feedback.source": source, "feedback.type": "explicit", "otel.metric.overflow": True}, count)
        for source, count in (("user", 7), ("system", 1))
    ]
    assert sum(point.count for point in metrics["feedback.score.normalized"]) == 12
    lines = [record for record in caplog.records if record.name == "spanback.feedback"]
    told = "Feedback came in more than 3 combinations of signal name, model and prompt version."
    assert [(record.levelno, record.getMessage().startswith(told)) for record in lines] == [(logging.WARNING, True)]


def test_threads_do_not_exceed_the_cap(telemetry: InMemoryTelemetry, few: None) -> None:
    """Signals of many threads at once are all counted, in no more series than the limit and those beyond it."""
    refs = [of_version(str(number % 20)) for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda ref: record_feedback(ref, signals.COPIED), refs))
    points = telemetry.metrics["feedback.count"]
    assert (len(points), sum(point.value for point in points)) == (FEW + 1, 400)


def test_exemplars_lead_to_the_rated_span(telemetry: InMemoryTelemetry) -> None:
    """The exemplars of both metrics hold the rated span's ids; those of a span that was not sampled do not exist."""
    rated, unsampled = fake_ref(span_id=7), fake_ref(span_id=8, sampled=False)
    record_feedback(rated, signals.THUMBS_DOWN)
    record_feedback(unsampled, signals.THUMBS_DOWN)
    metrics = telemetry.metrics  # read once, since exemplars are handed out once
    for name in ("feedback.count", "feedback.score.normalized"):
        (point,) = metrics[name]
        assert {(one.trace_id, one.span_id) for one in point.exemplars} == {(rated.trace_id, 7)}
