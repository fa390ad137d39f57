"""The one place where feedback is emitted: a carrier span, a log event, metrics.

A carrier has exactly one link to the rated span, and consumers know what is rated by that link and not by parentage.
Log event and span event are the same record by `feedback.id`.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from spanback import semconv
from spanback._never_raise import never_raise
from spanback._settings import Settings
from spanback._spanref import SpanRef
from spanback._telemetry import TELEMETRY
from spanback.feedback._carrier_tracer import always_on
from spanback.feedback._metrics import measure
from spanback.feedback._model import Feedback
from spanback.feedback._receipt import Placed, Receipt
from spanback.feedback._rules import Placement
from spanback.feedback._target import Target

CARRIER_DURATION_NS: Final = 1_000
"""Jaeger warns about a negative duration where a span ends as it starts."""

NO_PROVIDER: Final = "no OpenTelemetry provider that could take it is set: call spanback.instrument(), or set one"
NOT_TAKEN: Final = "the OpenTelemetry provider did not take it: it is switched off, or failed (logged at DEBUG)"
AS_LOG: Final = "as a log event only"

_CHILD: Final = "in the rated span's trace"
_LINKED: Final = "in a trace of its own, as asked"
_UNRESOLVED: Final = "in a trace of its own: which span is rated is not known"
_UNSAMPLED: Final = "in a trace of its own: the rated span was not sampled"
_LATE: Final = "in a trace of its own: the rated span started too long ago, or when is not known"

_SAMPLED_FLAGS: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_UNSAMPLED_FLAGS: Final = trace.TraceFlags(trace.TraceFlags.DEFAULT)
_RATES: Final = {semconv.FEEDBACK_RELATION: "rates"}

Attributes = dict[str, AttributeValue]


class _Record(NamedTuple):
    """What both forms say: the span takes the attributes and an event, the log event takes all in one."""

    feedback: Feedback
    attributes: Attributes
    event: Attributes
    now_ns: int


def is_enabled() -> bool:
    """Whether there is a provider to emit to. Never raises."""
    return TELEMETRY.tracer() is not None or TELEMETRY.logger() is not None


def emit(
    feedback: Feedback,
    target: Target,
    *,
    feedback_id: str,
    user_hash: str | None,
    omitted: tuple[str, ...],
    placement: Placement,
    settings: Settings,
) -> Receipt:
    """Emits one signal, in the forms that the settings ask for.

    Args:
        feedback: The signal, with nothing in it that must not be kept.
        target: What it is about.
        feedback_id: Its id.
        user_hash: Who gave it, or None.
        omitted: Names of arguments that were given and are not kept, for the receipt.
        placement: Where the app wants the carrier.
        settings: Those in force.

    Returns:
        What left. Never raises: what processors and exporters raise is logged at DEBUG.
    """
    tracer = TELEMETRY.tracer()  # asked in any case and first, since it may set up the other providers too
    tracer = None if settings.emit == "log" else tracer
    logger = None if settings.emit == "span" else TELEMETRY.logger()
    ref = target.ref
    if tracer is None and logger is None:
        return Receipt(feedback_id, "disabled", None, ref, None, None, omitted, NO_PROVIDER)
    dimensions = _dimensions(target)
    record = _Record(
        feedback,
        _attributes(feedback, feedback_id, user_hash, target, dimensions),
        _event_attributes(feedback, feedback_id, dimensions),
        time.time_ns(),
    )
    rated = trace.INVALID_SPAN if ref is None else trace.NonRecordingSpan(_span_context(ref))
    context = trace.set_span_in_context(rated)
    carrier, placed, reason = None, None, AS_LOG
    if tracer is not None:
        placed, reason = _place(ref, placement, record.now_ns - settings.child_window_s * 1e9)
        parent = context if placed == "child" else trace.set_span_in_context(trace.INVALID_SPAN)
        carrier = never_raise(_carry, tracer, record, parent, None if ref is None else rated.get_span_context())
    logged = logger is not None and never_raise(_log, logger, record, context) is True
    if carrier is None and not logged:
        return Receipt(feedback_id, "disabled", None, ref, None, None, omitted, NOT_TAKEN)
    meter = TELEMETRY.meter()
    if meter is not None:
        never_raise(measure, meter, feedback, dimensions, context)
    status = "unresolved" if ref is None else "recorded"
    if carrier is None:
        return Receipt(feedback_id, status, None, ref, None, None, omitted, AS_LOG)
    trace_id, span_id = f"{carrier.trace_id:032x}", f"{carrier.span_id:016x}"
    return Receipt(feedback_id, status, placed, ref, trace_id, span_id, omitted, reason)


def _place(ref: SpanRef | None, placement: Placement, earliest_ns: float) -> tuple[Placed, str]:
    """Where the carrier goes and why; a span that started after `earliest_ns` still gets its feedback as a child."""
    if ref is None:
        return "linked", _UNRESOLVED
    if placement == "linked":
        return "linked", _LINKED
    if not ref.sampled:
        return "linked", _UNSAMPLED
    if placement == "child" or (ref.start_time_ns is not None and ref.start_time_ns > earliest_ns):
        return "child", _CHILD
    return "linked", _LATE


def _carry(
    tracer: trace.Tracer, record: _Record, parent: Context, rated: trace.SpanContext | None
) -> trace.SpanContext | None:
    """Makes the carrier span and gives its context; None where the tracer records nothing."""
    feedback, attributes, event, now_ns = record
    links = () if rated is None else (trace.Link(rated, _RATES),)
    name = f"feedback {feedback.name}"
    span = always_on(tracer).start_span(name, parent, trace.SpanKind.INTERNAL, attributes, links, now_ns)
    if not span.is_recording():
        return None
    span.add_event(semconv.EVENT_EVALUATION_RESULT, event, now_ns)
    span.end(now_ns + CARRIER_DURATION_NS)
    return span.get_span_context()


def _log(logger: Logger, record: _Record, context: Context) -> bool:
    """Emits the log event; what it returns tells it from a call that raised."""
    feedback, attributes, event, now_ns = record
    category = feedback.label or feedback.sentiment
    logger.emit(
        LogRecord(
            timestamp=now_ns,
            observed_timestamp=now_ns,
            context=context,
            severity_text="INFO",
            severity_number=SeverityNumber.INFO,
            body=f"Feedback {feedback.name}" if category is None else f"Feedback {feedback.name}: {category}",
            attributes=attributes | event,
            event_name=semconv.EVENT_EVALUATION_RESULT,
        )
    )
    return True


def _span_context(ref: SpanRef) -> trace.SpanContext:
    # A reference travels as data, so the span counts as remote: it is never one that is active here.
    flags = _SAMPLED_FLAGS if ref.sampled else _UNSAMPLED_FLAGS
    return trace.SpanContext(ref.trace_id, ref.span_id, is_remote=True, trace_flags=flags)


def _dimensions(target: Target) -> dict[str, str]:
    """What is known of the response, as text that UTF-8 can carry."""
    if target.ref is not None:
        known = dict(target.ref.dimensions())
    else:
        known = {} if target.response_id is None else {semconv.GEN_AI_RESPONSE_ID: target.response_id}
    try:
        plain = "".join(known.values()).isascii()
    except TypeError:  # an app made a reference with something else in it
        plain = False
    return known if plain else {key: _carried(value) for key, value in known.items()}


def _carried(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()


def _attributes(
    feedback: Feedback, feedback_id: str, user_hash: str | None, target: Target, dimensions: dict[str, str]
) -> Attributes:
    """The span's attributes. Metadata comes first: where the SDK's limit on their number is low, the oldest go."""
    attributes: Attributes = dict(dimensions)
    if feedback.metadata:
        attributes = {semconv.FEEDBACK_METADATA + key: value for key, value in feedback.metadata} | attributes
    if feedback.comment is not None:
        attributes[semconv.FEEDBACK_COMMENT] = feedback.comment
    if feedback.improvement is not None:
        attributes[semconv.FEEDBACK_IMPROVEMENT] = feedback.improvement
    if feedback.label is not None:
        attributes[semconv.FEEDBACK_LABEL] = feedback.label
    if user_hash is not None:
        attributes[semconv.FEEDBACK_USER_HASH] = user_hash
    if feedback.observed_at is not None:
        attributes[semconv.FEEDBACK_OBSERVED_AT] = feedback.observed_at
    if feedback.raw is not None:
        raw, lowest, highest = feedback.raw
        attributes[semconv.FEEDBACK_SCORE_RAW] = raw
        attributes[semconv.FEEDBACK_SCORE_MIN] = lowest
        attributes[semconv.FEEDBACK_SCORE_MAX] = highest
    if target.ref is not None:
        attributes[semconv.FEEDBACK_TARGET_TRACE_ID] = f"{target.ref.trace_id:032x}"
        attributes[semconv.FEEDBACK_TARGET_SPAN_ID] = f"{target.ref.span_id:016x}"
        attributes[semconv.FEEDBACK_TARGET_SAMPLED] = target.ref.sampled
    attributes[semconv.FEEDBACK_TARGET_SCOPE] = target.scope
    attributes[semconv.FEEDBACK_TARGET_RESOLVED] = target.ref is not None
    if feedback.score is not None:
        attributes[semconv.FEEDBACK_SCORE] = feedback.score
        attributes[semconv.FEEDBACK_WEIGHTED_SCORE] = feedback.score * feedback.weight
        attributes[semconv.FEEDBACK_SENTIMENT] = feedback.sentiment or "neutral"
    attributes[semconv.FEEDBACK_WEIGHT] = feedback.weight
    attributes[semconv.FEEDBACK_SOURCE] = feedback.source
    attributes[semconv.FEEDBACK_TYPE] = feedback.type
    attributes[semconv.FEEDBACK_NAME] = feedback.name
    attributes[semconv.FEEDBACK_ACTION] = "set"
    attributes[semconv.FEEDBACK_ID] = feedback_id
    return attributes


def _event_attributes(feedback: Feedback, feedback_id: str, dimensions: dict[str, str]) -> Attributes:
    """The event's attributes: the conventions' own, and ours that say how to read them."""
    attributes: Attributes = {
        semconv.GEN_AI_EVALUATION_NAME: feedback.name,
        semconv.FEEDBACK_ID: feedback_id,
        semconv.FEEDBACK_WEIGHT: feedback.weight,
        semconv.FEEDBACK_SOURCE: feedback.source,
        semconv.FEEDBACK_TYPE: feedback.type,
    }
    if feedback.score is not None:
        attributes[semconv.GEN_AI_EVALUATION_SCORE_VALUE] = feedback.score
    category = feedback.label or feedback.sentiment
    if category is not None:
        attributes[semconv.GEN_AI_EVALUATION_SCORE_LABEL] = category
    if feedback.comment is not None:
        attributes[semconv.GEN_AI_EVALUATION_EXPLANATION] = feedback.comment
    if semconv.GEN_AI_RESPONSE_ID in dimensions:
        attributes[semconv.GEN_AI_RESPONSE_ID] = dimensions[semconv.GEN_AI_RESPONSE_ID]
    return attributes
