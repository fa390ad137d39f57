"""Attributes set and read at once, behind the public names of the SDK.

The SDK looks at each attribute by itself, again, though spanback has only values of exact types and texts that can be
sent; that is a third of what a span costs, and half of what a log record does. Where a limit on the length of values
is set, where there is little room left, and where the SDK keeps things in another way than those of 1.38 to 1.45 do,
the public way is gone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from opentelemetry._logs import Logger, LogRecord
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Link, Span, SpanContext

from spanback._never_raise import never_raise

_SDK: Final = "opentelemetry.sdk.trace"
_LOGS_SDK: Final = "opentelemetry.sdk._logs"
_HELD: Final[Any] = BoundedAttributes
_FIELDS: Final = vars(BoundedAttributes(immutable=False)).keys()
_KNOWN: Final = {"_dict", "maxlen", "max_value_len", "_immutable"} <= _FIELDS
_KNOWN_WHOLE: Final = {"_dict", "maxlen", "dropped", "max_value_len", "_lock", "_immutable"} == _FIELDS


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
        adding._add_event(event)  # `add_event` ends there


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
        adding._add_link(link)  # `add_link` ends there


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
        return bounded._dict  # as above
    return held or {}


def bounded(
    attributes: Mapping[str, Any], most: int | None, most_characters: int | None, *, is_open: bool = False
) -> Any:
    """Attributes as the SDK holds them.

    Args:
        attributes: As for `set_attributes`.
        most: The most of them that may be held; None for no limit.
        most_characters: The longest text that may be; None for no limit.
        is_open: Whether others may be added.

    Returns:
        What holds them; None where the SDK must look at them itself.
    """
    held: Any
    if most_characters is not None or (most is not None and len(attributes) > most):
        return None
    if not _KNOWN_WHOLE:
        held = _HELD(most, None, immutable=not is_open)
        return held if _filled(held, attributes) else None
    held = _HELD.__new__(_HELD)
    held._dict = {**attributes} if list not in map(type, attributes.values()) else with_tuples(attributes)
    held.maxlen = most
    held.dropped = 0
    held.max_value_len = None
    held._lock = Lock()
    held._immutable = not is_open
    return held


def _event(limits: Any, name: str, attributes: Mapping[str, Any], time_ns: int) -> Any:
    """An event as the SDK's spans hold it; None where the attributes must be looked at."""
    held = bounded(attributes, limits.max_event_attributes, limits.max_attribute_length)
    return None if held is None else sys.modules[_SDK].Event(name, held, time_ns)


def _link(limits: Any, context: SpanContext, attributes: Mapping[str, Any]) -> Link | None:
    """A link as the SDK's spans hold it; None where the attributes must be looked at."""
    held = bounded(attributes, limits.max_link_attributes, limits.max_attribute_length)
    return None if held is None else Link(context, held)


def _made(logger: Any, record: LogRecord) -> Any:
    """What the SDK's logger would make of a record; None for a logger of another make."""
    sdk: Any = sys.modules.get(_LOGS_SDK)
    if sdk is None or not isinstance(logger, sdk.Logger):
        return None
    scope, limits = logger.instrumentation_scope, logger._log_record_limits  # it has no public name
    return sdk.ReadWriteLogRecord(record, logger.resource, scope, limits)


def _filled(held: Any, attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes are there now, or must be set in the public way."""
    if not _KNOWN or type(held) is not _HELD or held.max_value_len is not None:
        return False
    values: dict[str, Any] = held._dict  # it has no public name
    if held.maxlen is not None and len(values) + len(attributes) > held.maxlen:
        return False
    values.update(attributes if list not in map(type, attributes.values()) else with_tuples(attributes))
    return True


def with_tuples(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes whose lists have become tuples, as the SDK holds them."""
    return {name: tuple(value) if type(value) is list else value for name, value in attributes.items()}
