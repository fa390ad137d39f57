"""Attributes set and read at once, behind the public names of the SDK.

The SDK looks at each attribute by itself, again, though spanback has only values of exact types and texts that can be
sent; that is a third of what a span costs, and half of what a log record does. Where a limit on the length of values
is set, where there is little room left, where somebody looks at attributes as a span starts, and where the SDK keeps
things in another way than those of 1.38 to 1.45 do, the public way is gone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry._logs import Logger, LogRecord
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Tracer

from spanback._never_raise import never_raise

_SDK: Final = "opentelemetry.sdk.trace"
_LOGS_SDK: Final = "opentelemetry.sdk._logs"
_HELD: Final[Any] = BoundedAttributes
_KNOWN: Final = {"_dict", "maxlen", "max_value_len", "_immutable"} <= vars(BoundedAttributes(immutable=False)).keys()


def start_client_span(
    tracer: Tracer, name: str, context: Context, attributes: Mapping[str, Any], start_time_ns: int
) -> Span:
    """Starts a span of kind CLIENT.

    Where neither the sampler nor a processor looks at the attributes of a start, they are set at once after it.

    Args:
        tracer: Any tracer.
        name: Of the span.
        context: Its parent's.
        attributes: As for `set_attributes`.
        start_time_ns: In ns since the epoch.
    """
    sampler, processors = getattr(tracer, "sampler", None), getattr(tracer, "span_processor", None)
    processors = getattr(processors, "_span_processors", None)
    seen = _LOOKED_AT[0]
    if seen[0] is not sampler or seen[1] is not processors:
        seen = _LOOKED_AT[0] = sampler, processors, _is_looked_at(sampler, processors)
    if seen[2]:
        return tracer.start_span(name, context, SpanKind.CLIENT, attributes, start_time=start_time_ns)
    span = tracer.start_span(name, context, SpanKind.CLIENT, start_time=start_time_ns)
    set_attributes(span, attributes)
    return span


def set_attributes(span: Span, attributes: Mapping[str, Any]) -> None:
    """Sets the attributes of a span that is open.

    Args:
        span: Any span.
        attributes: Names, and values of type str, bool, int or float, or lists and tuples of those.
    """
    if not (span.is_recording() and _filled(getattr(span, "_attributes", None), attributes)):
        span.set_attributes(attributes)


def add_event(span: Span, name: str, attributes: Mapping[str, Any], time_ns: int) -> None:
    """Adds an event to a span that is open.

    Args:
        span: Any span.
        name: The event's name.
        attributes: As for `set_attributes`.
        time_ns: When it was, in ns since the epoch.
    """
    event: Any = None
    limits: Any = getattr(span, "_limits", None)
    if limits is not None and hasattr(span, "_add_event"):
        event = never_raise(_event, limits, name, attributes, time_ns)
    if event is None:
        span.add_event(name, attributes, time_ns)
    else:
        adding: Any = span
        adding._add_event(event)  # noqa: SLF001 - `add_event` ends there


def add_link(span: Span, context: SpanContext, attributes: Mapping[str, Any]) -> None:
    """Adds a link to a span that is open.

    Args:
        span: Any span.
        context: Of the span that is linked to.
        attributes: As for `set_attributes`.
    """
    link: Any = None
    limits: Any = getattr(span, "_limits", None)
    if limits is not None and hasattr(span, "_add_link"):
        link = never_raise(_link, limits, context, attributes)
    if link is None:
        span.add_link(context, attributes)
    else:
        adding: Any = span
        adding._add_link(link)  # noqa: SLF001 - `add_link` ends there


class Record(LogRecord):
    """A log record that is copied in one step: the SDK's batch processor copies each, and `copy` goes a long way."""

    def __copy__(self) -> Record:
        copied = Record.__new__(Record)
        vars(copied).update(vars(self))
        return copied


def emit(logger: Logger, record: LogRecord, attributes: Mapping[str, Any]) -> None:
    """Emits a log record.

    Args:
        logger: Any logger.
        record: The record, without attributes.
        attributes: As for `set_attributes`.
    """
    made: Any = never_raise(_made, logger, record) if hasattr(logger, "_log_record_limits") else None
    if made is not None and _filled(record.attributes, attributes):
        logger.emit(made)
    else:
        record.attributes = attributes
        logger.emit(record)


def plain(held: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Attributes as a dict where the SDK has them in one: its own class makes several calls of each that is read.

    Args:
        held: Attributes of a span that has ended, an event, a link or a log record.
    """
    bounded: Any = held
    if _KNOWN and type(bounded) is _HELD:
        return bounded._dict  # noqa: SLF001 - as above
    return held or {}


def _event(limits: Any, name: str, attributes: Mapping[str, Any], time_ns: int) -> Any:
    """An event as the SDK's spans hold it; None where the attributes must be looked at."""
    held = _held(limits.max_event_attributes, limits, attributes)
    return None if held is None else sys.modules[_SDK].Event(name, held, time_ns)


def _link(limits: Any, context: SpanContext, attributes: Mapping[str, Any]) -> Link | None:
    """A link as the SDK's spans hold it; None where the attributes must be looked at."""
    held = _held(limits.max_link_attributes, limits, attributes)
    return None if held is None else Link(context, held)


def _held(most: int | None, limits: Any, attributes: Mapping[str, Any]) -> Any:
    """Attributes as the SDK holds them for good; None where they must be looked at."""
    held: Any = _HELD(most, None, immutable=True, max_value_len=limits.max_attribute_length)
    return held if _filled(held, attributes) else None


def _made(logger: Any, record: LogRecord) -> Any:
    """What the SDK's logger would make of a record; None for a logger of another make."""
    sdk: Any = sys.modules.get(_LOGS_SDK)
    if sdk is None or not isinstance(logger, sdk.Logger):
        return None
    scope, limits = logger.instrumentation_scope, logger._log_record_limits  # noqa: SLF001 - it has no public name
    return sdk.ReadWriteLogRecord(record, logger.resource, scope, limits)


def _filled(held: Any, attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes are there now, or must be set in the public way."""
    if not _KNOWN or type(held) is not _HELD or held.max_value_len is not None:
        return False
    values: dict[str, Any] = held._dict  # noqa: SLF001 - it has no public name
    if held.maxlen is not None and len(values) + len(attributes) > held.maxlen:
        return False
    values.update(attributes if list not in map(type, attributes.values()) else _with_tuples(attributes))
    return True


def _with_tuples(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if type(value) is list else value for name, value in attributes.items()}


_LOOKED_AT: Final[list[tuple[Any, Any, bool]]] = [(None, None, True)]
"""Sampler and processors of the tracer that was asked last, and whether any of them may look at attributes: a provider
keeps the same objects until a processor is added."""


def _is_looked_at(sampler: Any, processors: Any) -> bool:
    if sampler is None or not isinstance(processors, tuple):
        return True
    from opentelemetry.sdk.trace import export, sampling  # noqa: PLC0415 - whoever has such a tracer has imported it

    blind = {export.BatchSpanProcessor, export.SimpleSpanProcessor}
    others = [one for one in processors if type(one) not in blind and getattr(one, "looks_at_starts", True)]
    return bool(others) or not _is_blind(sampler, sampling)


def _is_blind(sampler: Any, sampling: Any) -> bool:
    """Whether a sampler decides by trace and parent alone."""
    if isinstance(sampler, sampling.ParentBased):
        own = "should_sample" in vars(type(sampler)) and type(sampler) is not sampling.ParentBased
        return not own and all(_is_blind(one, sampling) for one in vars(sampler).values())
    return type(sampler) in {sampling.StaticSampler, sampling.TraceIdRatioBased}
