"""The one place where feedback is emitted: a carrier span, a log event, metrics.

A carrier has exactly one link to the rated span, two or more for a preference, and consumers know what is rated by
that link and not by parentage. Log event and span event are the same record by `feedback.id`.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context

from spanback import semconv
from spanback._never_raise import never_raise
from spanback._settings import Settings
from spanback._spanref import SpanRef
from spanback._telemetry import TELEMETRY
from spanback.feedback._attributes import (
    Attributes,
    Emission,
    Relation,
    dimensions_of,
    event_attributes,
    span_attributes,
)
from spanback.feedback._carrier_tracer import always_on
from spanback.feedback._metrics import measure
from spanback.feedback._receipt import Placed, Receipt
from spanback.feedback._recent import RECENT
from spanback.feedback._rules import Placement

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
_LINKS: Final[dict[Relation, dict[str, str]]] = {
    relation: {semconv.FEEDBACK_RELATION: relation} for relation in ("rates", "chosen", "rejected")
}


class _Record(NamedTuple):
    """What both forms say: the span takes the attributes and an event, the log event takes all in one."""

    emission: Emission
    links: list[trace.Link]
    attributes: Attributes
    event: Attributes
    now_ns: int


def is_enabled() -> bool:
    """Whether there is a provider to emit to. Never raises."""
    return TELEMETRY.tracer() is not None or TELEMETRY.logger() is not None


def emit(emission: Emission, settings: Settings) -> Receipt:
    """Emits one record of a signal, in the forms that the settings ask for.

    Args:
        emission: The record.
        settings: Those in force.

    Returns:
        What left. Never raises: what processors and exporters raise is logged at DEBUG.
    """
    tracer = TELEMETRY.tracer()  # asked in any case and first, since it may set up the other providers too
    tracer = None if settings.emit == "log" else tracer
    logger = None if settings.emit == "span" else TELEMETRY.logger()
    feedback, targets, feedback_id, omitted = (
        emission.feedback,
        emission.targets,
        emission.feedback_id,
        emission.omitted,
    )
    target = targets[0][0]
    ref = target.ref
    if tracer is None and logger is None:
        return Receipt(feedback_id, "disabled", None, ref, None, None, omitted, NO_PROVIDER)
    dimensions = dimensions_of(target)
    attributes, event = span_attributes(emission, dimensions), event_attributes(emission, dimensions)
    links: list[trace.Link] = []
    for one, relation in targets:
        if one.ref is not None:
            links.append(trace.Link(_span_context(one.ref), _LINKS[relation]))
    record = _Record(emission, links, attributes, event, time.time_ns())
    rated = trace.INVALID_SPAN if ref is None else trace.NonRecordingSpan(links[0].context)
    context = trace.set_span_in_context(rated)
    carrier, placed, reason = None, None, AS_LOG
    if tracer is not None:
        placed, reason = _place(ref, emission.placement, record.now_ns - settings.child_window_s * 1e9)
        parent = context if placed == "child" else trace.set_span_in_context(trace.INVALID_SPAN)
        carrier = never_raise(_carry, tracer, record, parent)
    logged = logger is not None and never_raise(_log, logger, record, context) is True
    if carrier is None and not logged:
        return Receipt(feedback_id, "disabled", None, ref, None, None, omitted, NOT_TAKEN)
    if emission.action == "set":
        meter = TELEMETRY.meter()
        if meter is not None:
            never_raise(measure, meter, feedback, dimensions, context)
    RECENT.add(feedback_id, (targets, feedback.name, feedback.source, feedback.type, feedback.criterion))
    status = "recorded" if len(links) == len(targets) else "unresolved"
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


def _carry(tracer: trace.Tracer, record: _Record, parent: Context) -> trace.SpanContext | None:
    """Makes the carrier span and gives its context; None where the tracer records nothing."""
    emission, links, attributes, event, now_ns = record
    name = f"feedback {emission.feedback.name}"
    span = always_on(tracer).start_span(name, parent, trace.SpanKind.INTERNAL, attributes, links, now_ns)
    if not span.is_recording():
        return None
    span.add_event(semconv.EVENT_EVALUATION_RESULT, event, now_ns)
    span.end(now_ns + CARRIER_DURATION_NS)
    return span.get_span_context()


def _log(logger: Logger, record: _Record, context: Context) -> bool:
    """Emits the log event; what it returns tells it from a call that raised."""
    (feedback, _, _, action, *_), _, attributes, event, now_ns = record
    category = "withdrawn" if action == "retract" else feedback.label or feedback.sentiment
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
