"""What the receipt says, and that nothing else ever reaches the app."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor

from spanback import signals
from spanback._telemetry import TELEMETRY
from spanback.feedback import Receipt, record_feedback
from spanback.testing import InMemoryTelemetry, capture, fake_ref

NO_PROVIDER = "no OpenTelemetry provider that could take it is set: call spanback.instrument(), or set one"
NOT_TAKEN = "the OpenTelemetry provider did not take it: it is switched off, or failed (logged at DEBUG)"


def test_without_a_provider_the_receipt_says_what_to_do() -> None:
    """The app goes on, and its developer sees why nothing arrives."""
    ref = fake_ref()
    assert record_feedback(ref, signals.THUMBS_UP, feedback_id="f-1") == Receipt(
        feedback_id="f-1",
        status="disabled",
        placement=None,
        target=ref,
        trace_id=None,
        span_id=None,
        omitted=(),
        reason=NO_PROVIDER,
    )


@pytest.mark.parametrize(
    ("emit", "given"),
    [("span", {"logger_provider"}), ("log", {"tracer_provider"})],
)
def test_a_provider_for_another_form_is_of_no_use(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any], emit: str, given: set[str]
) -> None:
    """Asked for one form, spanback does not fall back to the other in silence."""
    configure(emit=emit)
    TELEMETRY.configure(**{name: getattr(telemetry, name) for name in given})
    receipt = record_feedback(fake_ref(), signals.THUMBS_UP)
    assert (receipt.status, receipt.reason) == ("disabled", NO_PROVIDER)


@pytest.mark.parametrize(("given", "spans", "logs"), [("tracer_provider", 1, 0), ("logger_provider", 0, 1)])
def test_one_provider_is_enough(telemetry: InMemoryTelemetry, given: str, spans: int, logs: int) -> None:
    """A backend that takes only traces, or only logs, gets what it takes."""
    TELEMETRY.configure(**{given: getattr(telemetry, given)})
    assert record_feedback(fake_ref(), signals.THUMBS_UP).status == "recorded"
    assert (len(telemetry.spans), len(telemetry.logs)) == (spans, logs)


@pytest.mark.parametrize(
    ("choices", "arguments", "omitted"),
    [
        ({}, {}, ()),
        ({}, {"comment": "c"}, ("comment",)),
        ({}, {"improvement": "i"}, ("improvement",)),
        ({}, {"comment": "c", "improvement": "i", "user_id": "u"}, ("comment", "improvement", "user_id")),
        ({"feedback_content": True}, {"comment": "c", "improvement": "i"}, ()),
        ({"user_hash_key": b"key"}, {"user_id": "u", "comment": "c"}, ("comment",)),
        ({"feedback_content": True, "user_hash_key": b"key"}, {"user_id": "u", "comment": "c"}, ()),
    ],
)
def test_what_is_not_kept_is_named(
    telemetry: InMemoryTelemetry,
    configure: Callable[..., Any],
    choices: dict[str, Any],
    arguments: dict[str, Any],
    omitted: tuple[str, ...],
) -> None:
    """Comments and improvements are content, a user id needs a key: what is left out is nowhere on the wire."""
    configure(**choices)
    receipt = record_feedback(fake_ref(), score=1, **arguments)
    assert receipt.omitted == omitted
    (row,) = telemetry.feedback
    assert row.comment == (None if "comment" in omitted else arguments.get("comment"))
    assert row.improvement == (None if "improvement" in omitted else arguments.get("improvement"))
    assert ("feedback.user.hash" in row.attributes) is ("user_id" in arguments and "user_id" not in omitted)
    assert "u" not in row.attributes.values()


class Failing(SpanProcessor, LogRecordProcessor):
    """A processor that fails at one point."""

    def __init__(self, where: str) -> None:
        self._where = where

    def _fail(self, where: str) -> None:
        if where == self._where:
            raise RuntimeError(where)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """May fail."""
        self._fail("start")

    def on_end(self, span: Any) -> None:
        """May fail."""
        self._fail("end")

    def on_emit(self, log_record: Any) -> None:
        """May fail."""
        self._fail("emit")

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits."""
        return True


@pytest.mark.parametrize("where", ["start", "end"])
def test_a_failing_span_processor_does_not_reach_the_app(
    telemetry: InMemoryTelemetry, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """The log event leaves all the same, and the receipt knows of no carrier."""
    telemetry.tracer_provider.add_span_processor(Failing(where))
    with caplog.at_level(logging.DEBUG, "spanback"):
        receipt = record_feedback(fake_ref(), signals.THUMBS_UP)
    assert (receipt.status, receipt.placement, receipt.reason) == ("recorded", None, "as a log event only")
    assert len(telemetry.logs) == 1
    assert [record.getMessage() for record in caplog.records] == ["_carry raised; the app goes on"]


def test_a_failing_log_processor_does_not_reach_the_app(telemetry: InMemoryTelemetry) -> None:
    """The carrier span leaves all the same."""
    telemetry.logger_provider.add_log_record_processor(Failing("emit"))
    receipt = record_feedback(fake_ref(), signals.THUMBS_UP)
    assert (receipt.status, receipt.placement) == ("recorded", "child")
    assert len(telemetry.spans) == 1


def test_where_everything_fails_the_receipt_says_so(telemetry: InMemoryTelemetry) -> None:
    """A signal that nobody took is not called recorded, and is not counted."""
    telemetry.tracer_provider.add_span_processor(Failing("start"))
    telemetry.logger_provider.add_log_record_processor(Failing("emit"))
    receipt = record_feedback(fake_ref(), signals.THUMBS_UP)
    assert (receipt.status, receipt.placement, receipt.reason) == ("disabled", None, NOT_TAKEN)
    assert telemetry.metrics == {}


class _Unmetered:
    """A meter that fails."""

    def create_counter(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError


def test_a_failing_meter_does_not_reach_the_app(telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal itself has left by then."""
    monkeypatch.setattr(TELEMETRY, "meter", _Unmetered)
    assert record_feedback(fake_ref(), signals.THUMBS_UP).status == "recorded"


class _Dropping(trace.Tracer):
    """A tracer of another kind whose sampler drops everything."""

    def start_span(self, *_: Any, **__: Any) -> trace.Span:
        return trace.INVALID_SPAN

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class _DroppingProvider(trace.TracerProvider):
    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return _Dropping()


def test_a_tracer_that_records_nothing_took_nothing() -> None:
    """A foreign tracer may drop a carrier; the receipt does not claim that it arrived."""
    with capture():
        TELEMETRY.configure(tracer_provider=_DroppingProvider())
        receipt = record_feedback(fake_ref(), signals.THUMBS_UP)
    assert (receipt.status, receipt.reason) == ("disabled", NOT_TAKEN)
