"""Reads OTLP-JSON as Jaeger, Tempo and the collector's file exporter write it.

The three differ in small things (ids in hex or base64, enums by name or number); what comes out
of here does not, so one assertion serves all of them.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


@dataclass(frozen=True)
class Event:
    """A span event."""

    name: str
    time_ns: int
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Link:
    """A span link; ids in lower-case hex."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Span:
    """A span; ids in lower-case hex, ``parent_span_id`` empty for a root."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    service: str
    scope: str
    attributes: dict[str, Any]
    events: tuple[Event, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class LogRecord:
    """A log record; ids in lower-case hex, empty where it has no span context."""

    trace_id: str
    span_id: str
    event_name: str
    time_ns: int
    service: str
    scope: str
    body: Any
    attributes: dict[str, Any]


def hex_id(value: str) -> str:
    """A trace or span id in hex, from hex or base64."""
    return value.lower() if len(value) in (0, 16, 32) else base64.b64decode(value).hex()


def any_value(value: Mapping[str, Any]) -> Any:
    """The Python value of an OTLP ``AnyValue``, None for an empty one."""
    for key, content in value.items():
        return _READERS[key](content)
    return None


def attributes(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mapping that a list of OTLP ``KeyValue`` stands for."""
    return {pair["key"]: any_value(pair.get("value", {})) for pair in pairs}


_READERS: dict[str, Callable[[Any], Any]] = {
    "stringValue": str,
    "boolValue": bool,
    "intValue": int,  # a string in JSON
    "doubleValue": float,  # "NaN" is a string in JSON
    "bytesValue": base64.b64decode,
    "arrayValue": lambda array: [any_value(item) for item in array.get("values", ())],
    "kvlistValue": lambda pairs: attributes(pairs.get("values", ())),
}


def spans(payload: Mapping[str, Any]) -> list[Span]:
    """All spans of a ``TracesData`` message, by start time."""
    found = [_span(*item) for item in _items(payload, "resourceSpans", "scopeSpans", "spans")]
    return sorted(found, key=lambda span: span.start_ns)


def log_records(payload: Mapping[str, Any]) -> list[LogRecord]:
    """All records of a ``LogsData`` message, in their order."""
    return [_log_record(*item) for item in _items(payload, "resourceLogs", "scopeLogs", "logRecords")]


def _items(
    payload: Mapping[str, Any], by_resource: str, by_scope: str, key: str
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for resource in payload.get(by_resource, ()):
        service = attributes(resource.get("resource", {}).get("attributes", ())).get("service.name", "")
        for scoped in resource.get(by_scope, ()):
            scope = scoped.get("scope", {}).get("name", "")
            for item in scoped.get(key, ()):
                yield service, scope, item


def _kind(value: str | int) -> str:
    return KINDS[value] if isinstance(value, int) else value.removeprefix("SPAN_KIND_")


def _span(service: str, scope: str, span: Mapping[str, Any]) -> Span:
    return Span(
        trace_id=hex_id(span["traceId"]),
        span_id=hex_id(span["spanId"]),
        parent_span_id=hex_id(span.get("parentSpanId", "")),
        name=span["name"],
        kind=_kind(span.get("kind", 0)),
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        service=service,
        scope=scope,
        attributes=attributes(span.get("attributes", ())),
        events=tuple(
            Event(event["name"], int(event["timeUnixNano"]), attributes(event.get("attributes", ())))
            for event in span.get("events", ())
        ),
        links=tuple(
            Link(hex_id(link["traceId"]), hex_id(link["spanId"]), attributes(link.get("attributes", ())))
            for link in span.get("links", ())
        ),
    )


def _log_record(service: str, scope: str, record: Mapping[str, Any]) -> LogRecord:
    return LogRecord(
        trace_id=hex_id(record.get("traceId", "")),
        span_id=hex_id(record.get("spanId", "")),
        event_name=record.get("eventName", ""),
        time_ns=int(record.get("timeUnixNano", 0)),
        service=service,
        scope=scope,
        body=any_value(record.get("body", {})),
        attributes=attributes(record.get("attributes", ())),
    )
