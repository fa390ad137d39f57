"""The one place where feedback is emitted: a carrier span, a log event, metrics.

A carrier has exactly one link to the rated span, two or more for a preference, and consumers know what is rated by
that link and not by parentage. Log event and span event are the same record by `feedback.id`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.context import Context

from spanback import _bounded, semconv
from spanback._log_records import Said, make_record
from spanback._never_raise import never_raise
from spanback._settings import Settings
from spanback._spanref import SpanRef
from spanback._spans import Carrier, make_carrier
from spanback._telemetry import TELEMETRY, Spool
from spanback.errors import SpoolUnavailable
from spanback.feedback._attributes import (
    Attributes,
    Emission,
    Relation,
    dimensions_of,
    event_attributes,
    span_attributes,
)
from spanback.feedback._carrier_tracer import always_on
from spanback.feedback._held import Held
from spanback.feedback._metrics import measure
from spanback.feedback._receipt import Placed, Receipt, Status
from spanback.feedback._recent import RECENT
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
_CONVERSATION: Final = "in a trace of its own: a conversation has no span"
_NO_ROOT: Final = "; on the given span, since which one its trace began with is not known"
_UNSAMPLED: Final = "in a trace of its own: the rated span was not sampled"
_LATE: Final = "in a trace of its own: the rated span started too long ago, or when is not known"

_SAMPLED_FLAGS: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_UNSAMPLED_FLAGS: Final = trace.TraceFlags(trace.TraceFlags.DEFAULT)
_LINKS: Final[dict[Relation, Attributes]] = {
    relation: {semconv.FEEDBACK_RELATION: relation} for relation in ("rates", "chosen", "rejected")
}


class _Record(NamedTuple):
    """What both forms say: the span takes the attributes and an event, the log event takes all in one."""

    emission: Emission
    links: Sequence[tuple[trace.SpanContext, Attributes]]
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
        What left, or what is on disk and will. What processors and exporters raise is logged at DEBUG.

    Raises:
        SpoolUnavailable: There is a spool, it does not take the record, and the app wants to be told.
    """
    spool = TELEMETRY.spool
    if spool is None:
        return _noted(_emitted(emission, settings, None))
    held = Held(spool, emission.feedback_id)
    made = _emitted(emission, settings, held)
    return _released(made, held, _put(spool, (held,)))


def emit_all(emissions: Sequence[Emission], settings: Settings) -> list[Receipt]:
    """Emits many records; with a spool they are committed together, all or none. Else as `emit`."""
    spool = TELEMETRY.spool
    if spool is None:
        return [_noted(_emitted(emission, settings, None)) for emission in emissions]
    holds = [Held(spool, emission.feedback_id) for emission in emissions]
    made = [_emitted(emission, settings, held) for emission, held in zip(emissions, holds, strict=True)]
    trouble = _put(spool, holds)
    return [_released(one, held, trouble) for one, held in zip(made, holds, strict=True)]


def _put(spool: Spool, holds: Sequence[Held]) -> str | None:
    """Commits what is held; says what kept it from that where the app is not told by an error."""
    unsent = [held for held in holds if held.span is not None or held.log is not None]
    try:
        if unsent:
            spool.put(unsent)
    except SpoolUnavailable as error:
        if not spool.falls_back:
            raise
        return f"not spooled, since {error.reason}; "
    return None


class _Emitted(NamedTuple):
    """What one emission came to: what its receipt says, and what is counted."""

    emission: Emission
    dimensions: dict[str, str]
    rated: trace.SpanContext
    status: Status
    placed: Placed | None
    carrier: trace.SpanContext | None
    reason: str


def _released(emitted: _Emitted, held: Held, trouble: str | None) -> Receipt:
    """Lets the exporters that wait for a signal have it, and notes it."""
    held.release(is_spooled=trouble is None)
    if trouble is not None:
        return _noted(emitted, None, trouble)
    return _noted(emitted, None if held.span is None and held.log is None else "spooled")


def _noted(emitted: _Emitted, kept: Status | None = None, trouble: str = "") -> Receipt:
    """Counts a signal that is out or on disk, and remembers it for its withdrawal.

    Args:
        emitted: What it came to.
        kept: Its status, where that is another one by now.
        trouble: What goes before its reason.
    """
    emission, dimensions, rated, status, placed, carrier, reason = emitted
    feedback_id, targets = emission.feedback_id, emission.targets
    if status != "disabled":
        feedback = emission.feedback
        meter = TELEMETRY.meter() if emission.action == "set" else None
        if meter is not None:
            never_raise(measure, meter, feedback, dimensions, _around(rated))
        RECENT.add(feedback_id, (targets, feedback.name, feedback.source, feedback.type, feedback.criterion))
    trace_id, span_id = None, None
    if carrier is not None:
        trace_id, span_id = f"{carrier[0]:032x}", f"{carrier[1]:016x}"
    ref = targets[0][0].ref
    return Receipt(feedback_id, kept or status, placed, ref, trace_id, span_id, emission.omitted, trouble + reason)


def _emitted(emission: Emission, settings: Settings, held: Held | None) -> _Emitted:
    """Makes the forms of one record, which leave at once unless they are held."""
    tracer = TELEMETRY.tracer()  # asked in any case and first, since it may set up the other providers too
    tracer = None if settings.emit == "log" else tracer
    logger = None if settings.emit == "span" else TELEMETRY.logger()
    targets = emission.targets
    target = targets[0][0]
    ref = target.ref
    if tracer is None and logger is None:
        return _Emitted(emission, {}, trace.INVALID_SPAN_CONTEXT, "disabled", None, None, NO_PROVIDER)
    dimensions = dimensions_of(target)
    attributes, event = span_attributes(emission, dimensions), event_attributes(emission, dimensions)
    links: list[tuple[trace.SpanContext, Attributes]] = []
    for one, relation in targets:
        if one.ref is not None:
            links.append((_span_context(one.ref), _link_attributes(one, relation)))
    is_known = len(links) == len(targets) or target.scope == "conversation"
    record = _Record(emission, links, attributes, event, time.time_ns())
    rated = trace.INVALID_SPAN_CONTEXT if ref is None else links[0][0]
    carrier, placed, reason = None, None, AS_LOG
    if tracer is not None:
        placed, reason = _place(target, emission.placement, record.now_ns - settings.child_window_s * 1e9)
        if target.scope == "trace" and ref is not None and ref.root_span_id is None:
            reason += _NO_ROOT
        carrier = never_raise(_carry, tracer, held, record, rated if placed == "child" else None)
    logged = logger is not None and never_raise(_log, logger, held, record, rated) is True
    status: Status = "recorded" if is_known else "unresolved"
    if carrier is None:
        placed, reason = None, AS_LOG
        if not logged:
            status, reason = "disabled", NOT_TAKEN
    return _Emitted(emission, dimensions, rated, status, placed, carrier, reason)


def _place(target: Target, placement: Placement, earliest_ns: float) -> tuple[Placed, str]:
    """Where the carrier goes and why; a span that started after `earliest_ns` still gets its feedback as a child."""
    ref = target.ref
    if ref is None:
        return "linked", _CONVERSATION if target.scope == "conversation" else _UNRESOLVED
    if placement == "linked":
        return "linked", _LINKED
    if not ref.sampled:
        return "linked", _UNSAMPLED
    if placement == "child" or (ref.start_time_ns is not None and ref.start_time_ns > earliest_ns):
        return "child", _CHILD
    return "linked", _LATE


def _carry(
    tracer: trace.Tracer, held: Held | None, record: _Record, parent: trace.SpanContext | None
) -> trace.SpanContext | None:
    """Makes the carrier span and gives its context; None where the tracer records nothing."""
    emission, links, attributes, event, now_ns = record
    carrier = Carrier(
        f"feedback {emission.feedback.name}",
        parent,
        attributes,
        (semconv.EVENT_EVALUATION_RESULT, event),
        links,
        now_ns,
        now_ns + CARRIER_DURATION_NS,
    )
    made = make_carrier(tracer, carrier)
    if made is None:
        return _carry_openly(always_on(tracer) if held is None else held.tracer(tracer), carrier)
    if held is not None and held.takes_spans:
        held.keep_carrier(made)
    else:
        span = made.whole()
        for processor in made.processors:
            processor.on_end(span)
    return made.context


def _carry_openly(tracer: trace.Tracer, carrier: Carrier) -> trace.SpanContext | None:
    """As `_carry`, by a tracer that samples every span: processors see the carrier begin."""
    around = _around(trace.INVALID_SPAN_CONTEXT if carrier.parent is None else carrier.parent)
    # Its sampler looks at nothing, so that it needs neither attributes nor links to begin with.
    span = tracer.start_span(carrier.name, around, trace.SpanKind.INTERNAL, start_time=carrier.start_time_ns)
    if not span.is_recording():
        return None
    for context, attributes in carrier.links:
        _bounded.add_link(span, context, attributes)
    _bounded.set_attributes(span, carrier.attributes)
    _bounded.add_event(span, *carrier.event, carrier.start_time_ns)
    span.end(carrier.end_time_ns)
    return span.get_span_context()


def _log(logger: Logger, held: Held | None, record: _Record, rated: trace.SpanContext) -> bool:
    """Emits the log event; what it returns tells it from a call that raised."""
    (feedback, _, _, action, *_), _, attributes, event, now_ns = record
    category = "withdrawn" if action == "retract" else feedback.label or feedback.sentiment
    body = f"Feedback {feedback.name}" if category is None else f"Feedback {feedback.name}: {category}"
    said = Said(semconv.EVENT_EVALUATION_RESULT, body, rated, attributes | event, now_ns)
    made = make_record(logger, said)
    if made is None:
        _log_openly(logger if held is None else held.logger(logger), said)
    elif held is not None and held.takes_logs:
        held.keep_log(made)
    else:
        log_record = made.whole()
        for _, queue in made.queues:
            queue(log_record)
    return True


def _log_openly(logger: Logger, said: Said) -> None:
    """As `_log`, by a logger whose processors see the record."""
    log_record = _bounded.Record(
        timestamp=said.time_ns,
        observed_timestamp=said.time_ns,
        context=_around(said.rated),
        severity_text="INFO",
        severity_number=SeverityNumber.INFO,
        body=said.body,
        event_name=said.name,
    )
    _bounded.emit(logger, log_record, said.attributes)


def _around(context: trace.SpanContext) -> Context:
    """A context in which a span is the current one."""
    return trace.set_span_in_context(trace.NonRecordingSpan(context))


def _link_attributes(target: Target, relation: Relation) -> Attributes:
    """Two sides of a preference may be choices of one response, which only their links tell apart."""
    if relation == "rates" or target.scope != "choice" or target.detail is None:
        return _LINKS[relation]
    return {**_LINKS[relation], semconv.FEEDBACK_TARGET_CHOICE: target.detail}


def _span_context(ref: SpanRef) -> trace.SpanContext:
    # A reference travels as data, so the span counts as remote: it is never one that is active here.
    flags = _SAMPLED_FLAGS if ref.sampled else _UNSAMPLED_FLAGS
    return trace.SpanContext(ref.trace_id, ref.span_id, is_remote=True, trace_flags=flags)
