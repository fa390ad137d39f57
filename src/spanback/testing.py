"""An in-memory provider and made-up references, for your own tests.

    import pytest
    import spanback.testing

    @pytest.fixture
    def telemetry():
        with spanback.testing.capture() as telemetry:
            yield telemetry

    def test_a_thumb_is_recorded(telemetry, app):
        app.post("/thumb", json={"up": True})
        assert [(signal.name, signal.score) for signal in telemetry.feedback] == [("user_thumbs", 1.0)]

No OpenTelemetry globals are set, so such tests may run beside others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from spanback import _settings, semconv
from spanback._spanref import SpanRef
from spanback._telemetry import TELEMETRY
from spanback.reading._rows import nanoseconds

__all__ = ["FeedbackRow", "InMemoryTelemetry", "LogRow", "capture", "fake_ref"]


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """One signal as it was emitted, read back.

    Attributes:
        feedback_id: `feedback.id`.
        action: `feedback.action`.
        name: `feedback.name`.
        score: `feedback.score`, None where there was none.
        weight: `feedback.weight`.
        source: `feedback.source`.
        type: `feedback.type`.
        label: `feedback.label`.
        comment: `feedback.comment`; None also where content capture is off.
        improvement: `feedback.improvement`, decoded from JSON.
        metadata: Key to value.
        response_id: `gen_ai.response.id`.
        trace_id: Of the rated span, as an integer; None where it is not known.
        span_id: Of the rated span, as an integer; None where it is not known.
        attributes: All attributes.
        time_ns: When it was recorded, in ns since the epoch.
        given_time_ns: When it was given, which is when it was recorded unless `feedback.observed_at` says otherwise.
        user_hash: `feedback.user.hash`.
        rater_hash: `feedback.rater.hash`.
        criterion: `feedback.criterion`.
        scope: `feedback.target.scope`.
        conversation_id: `gen_ai.conversation.id`.
        choice: `feedback.target.choice`.
        tool_call_id: `gen_ai.tool.call.id`.
        document_id: `feedback.target.document.id`.
        rejected_trace_ids: `feedback.rejected.trace_ids`, of a preference; empty texts where not known.
        rejected_span_ids: `feedback.rejected.span_ids`, in the same order.
        rejected_response_ids: `feedback.rejected.response_ids`, in the same order.
        rejected_choices: `feedback.rejected.choices`, in the same order; -1 for a whole response.
    """

    feedback_id: str
    action: str
    name: str
    score: float | None
    weight: float
    source: str
    type: str
    label: str | None
    comment: str | None
    improvement: Any
    metadata: dict[str, Any]
    response_id: str | None
    trace_id: int | None
    span_id: int | None
    attributes: dict[str, Any]
    time_ns: int = 0
    given_time_ns: int = 0
    user_hash: str | None = None
    rater_hash: str | None = None
    criterion: str | None = None
    scope: str = "response"
    conversation_id: str | None = None
    choice: int | None = None
    tool_call_id: str | None = None
    document_id: str | None = None
    rejected_trace_ids: tuple[str, ...] = ()
    rejected_span_ids: tuple[str, ...] = ()
    rejected_response_ids: tuple[str, ...] = ()
    rejected_choices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LogRow:
    """One log event.

    Attributes:
        event_name: The event's name.
        timestamp: In ns since the epoch.
        trace_id: Of the span that it is about; 0 where there is none.
        span_id: Of the span that it is about; 0 where there is none.
        severity_text: Such as `INFO`.
        body: Display text.
        attributes: All attributes.
    """

    event_name: str | None
    timestamp: int | None
    trace_id: int
    span_id: int
    severity_text: str | None
    body: Any
    attributes: dict[str, Any]


class InMemoryTelemetry:
    """Three providers that keep what they get.

    Args:
        sampler: Which spans are sampled; all of them when None.

    Attributes:
        tracer_provider: The SDK's, to be passed where a provider is asked for.
        meter_provider: Likewise.
        logger_provider: Likewise.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        resource = Resource.get_empty()
        self._spans: Final = InMemorySpanExporter()
        self._reader: Final = InMemoryMetricReader()
        self._logs: Final = _KeptLogs()
        self.tracer_provider: Final = TracerProvider(sampler or ALWAYS_ON, resource, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider: Final = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        self.logger_provider: Final = LoggerProvider(resource, shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(self._logs)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All spans that have ended, in the order of their ends."""
        return self._spans.get_finished_spans()

    @property
    def logs(self) -> tuple[LogRow, ...]:
        """All log events, in the order in which they were emitted."""
        return tuple(self._logs.rows)

    @property
    def metrics(self) -> dict[str, tuple[Any, ...]]:
        """The SDK's data points by metric name, cumulative."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        return {metric.name: tuple(metric.data.data_points) for scope in scopes for metric in scope.metrics}

    @property
    def feedback(self) -> tuple[FeedbackRow, ...]:
        """All signals by the order of their first emission, each id once and as it was emitted last."""
        return tuple({(row.action, row.feedback_id): row for row in self.records}.values())

    @property
    def records(self) -> tuple[FeedbackRow, ...]:
        """All records of signals as they were emitted, replaced and repeated ones too: those of log events first."""
        emitted: list[tuple[Mapping[str, Any], int | None]] = [(log.attributes, log.timestamp) for log in self.logs]
        emitted += ((span.attributes or {}, span.start_time) for span in self.spans)
        return tuple(_row(said, time_ns or 0) for said, time_ns in emitted if semconv.FEEDBACK_ID in said)

    def clear(self) -> None:
        """Forgets spans and log events; metrics stay cumulative."""
        self._spans.clear()
        self._logs.rows.clear()


@contextmanager
def capture(
    *, sampler: Sampler | None = None, capture_content: bool | str | None = None
) -> Generator[InMemoryTelemetry]:
    """Keeps in memory what spanback emits, for the duration of a `with` block.

    Args:
        sampler: Which spans are sampled; all of them when None.
        capture_content: As in `instrument()`; comments and improvements are kept when it is on. None leaves it.

    Yields:
        What is kept. Afterwards the providers and settings that were in force before are in force again.

    Raises:
        InvalidSetting: `capture_content` is no mode.
    """
    settings = _settings.current()
    asked = settings if capture_content is None else _settings.with_content(settings, capture_content)
    telemetry = InMemoryTelemetry(sampler)
    before = dict(vars(TELEMETRY))
    TELEMETRY.configure(
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
        logger_provider=telemetry.logger_provider,
    )
    _settings.use(asked)
    try:
        yield telemetry
    finally:
        # Where only the environment was in force, a test that changes it afterwards is to be heard.
        _settings.use(None if settings == _settings.from_environment() else settings)
        vars(TELEMETRY).update(before)


def fake_ref(**overrides: Any) -> SpanRef:
    """A reference to a sampled span that started just now and does not exist.

    Args:
        overrides: Fields of `SpanRef`.

    Returns:
        The reference. Its ids are the same each time.

    Raises:
        TypeError: A field does not exist.
    """
    ref = SpanRef(
        trace_id=0x0AF7651916CD43DD8448EB211C80319C,
        span_id=0xB7AD6B7169203331,
        sampled=True,
        start_time_ns=time.time_ns(),
        response_id="chatcmpl-fake",
        provider_name="openai",
        request_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
    )
    return replace(ref, **overrides)


class _KeptLogs(LogRecordProcessor):
    """Keeps log records; the SDK's own in-memory exporter has changed its name between releases."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []

    def on_emit(self, log_record: Any) -> None:
        record = log_record.log_record
        self.rows.append(
            LogRow(
                event_name=record.event_name,
                timestamp=record.timestamp,
                trace_id=record.trace_id or 0,
                span_id=record.span_id or 0,
                severity_text=record.severity_text,
                body=record.body,
                attributes=dict(record.attributes or {}),
            )
        )

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing waits."""
        return True


def _row(attributes: Mapping[str, Any], time_ns: int) -> FeedbackRow:
    trace_id = cast("str | None", attributes.get(semconv.FEEDBACK_TARGET_TRACE_ID))
    span_id = cast("str | None", attributes.get(semconv.FEEDBACK_TARGET_SPAN_ID))
    improvement = attributes.get(semconv.FEEDBACK_IMPROVEMENT)
    observed_at = attributes.get(semconv.FEEDBACK_OBSERVED_AT)
    prefix = semconv.FEEDBACK_METADATA
    return FeedbackRow(
        feedback_id=attributes[semconv.FEEDBACK_ID],
        action=attributes[semconv.FEEDBACK_ACTION],
        name=attributes[semconv.FEEDBACK_NAME],
        score=attributes.get(semconv.FEEDBACK_SCORE),
        weight=attributes[semconv.FEEDBACK_WEIGHT],
        source=attributes[semconv.FEEDBACK_SOURCE],
        type=attributes[semconv.FEEDBACK_TYPE],
        label=attributes.get(semconv.FEEDBACK_LABEL),
        comment=attributes.get(semconv.FEEDBACK_COMMENT),
        improvement=None if improvement is None else json.loads(improvement),
        metadata={key.removeprefix(prefix): value for key, value in attributes.items() if key.startswith(prefix)},
        response_id=attributes.get(semconv.GEN_AI_RESPONSE_ID),
        trace_id=None if trace_id is None else int(trace_id, 16),
        span_id=None if span_id is None else int(span_id, 16),
        attributes=dict(attributes),
        time_ns=time_ns,
        given_time_ns=time_ns if observed_at is None else nanoseconds(observed_at) or time_ns,
        user_hash=attributes.get(semconv.FEEDBACK_USER_HASH),
        rater_hash=attributes.get(semconv.FEEDBACK_RATER_HASH),
        criterion=attributes.get(semconv.FEEDBACK_CRITERION),
        scope=attributes[semconv.FEEDBACK_TARGET_SCOPE],
        conversation_id=attributes.get(semconv.GEN_AI_CONVERSATION_ID),
        choice=attributes.get(semconv.FEEDBACK_TARGET_CHOICE),
        tool_call_id=attributes.get(semconv.GEN_AI_TOOL_CALL_ID),
        document_id=attributes.get(semconv.FEEDBACK_TARGET_DOCUMENT_ID),
        rejected_trace_ids=tuple(attributes.get(semconv.FEEDBACK_REJECTED_TRACE_IDS, ())),
        rejected_span_ids=tuple(attributes.get(semconv.FEEDBACK_REJECTED_SPAN_IDS, ())),
        rejected_response_ids=tuple(attributes.get(semconv.FEEDBACK_REJECTED_RESPONSE_IDS, ())),
        rejected_choices=tuple(attributes.get(semconv.FEEDBACK_REJECTED_CHOICES, ())),
    )
