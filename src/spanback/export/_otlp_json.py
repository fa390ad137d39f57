"""OTLP-JSON as the collector's file exporter writes it, straight from what the SDK hands to its exporters.

The mapping is protobuf's JSON mapping of OTLP with OTLP's own exceptions: ids are hex, enums are integers, 64-bit
integers are strings, fields at their default value are left out
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).

Spans and logs are written by hand, since the way over protobuf messages takes four times as long and holds the
interpreter while it does. Metrics leave once a minute and go over the official encoder.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext

Json = dict[str, Any]

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
# SpanFlags of opentelemetry/proto/trace/v1/trace.proto.
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


def spans_line(spans: Sequence[ReadableSpan]) -> bytes:
    """One line for a batch of spans, its newline included. Never raises on what the SDK accepts as attributes."""
    groups = _grouped(spans, lambda span: span.resource, "scopeSpans", "spans", _span)
    return _line({"resourceSpans": groups})


def logs_line(batch: Sequence[Any]) -> bytes:
    """One line for a batch of log records, its newline included.

    Args:
        batch: `ReadableLogRecord` objects, or before SDK 1.39 `LogData` objects.
    """
    groups = _grouped(batch, _log_resource, "scopeLogs", "logRecords", _log)
    return _line({"resourceLogs": groups})


def metrics_line(data: MetricsData) -> bytes:
    """One line for a collection of metrics, its newline included."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - protobuf loads with the first metrics only
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics  # noqa: PLC0415 - as above

    return tree_line(MessageToDict(encode_metrics(data), use_integers_for_enums=True))


def tree_line(tree: Json) -> bytes:
    """One line for a request in protobuf's own JSON mapping, whose ids become hex; its newline included."""
    _ids_to_hex(tree)
    return _line(tree)


def _line(tree: Json) -> bytes:
    # A lone surrogate has no UTF-8 form; it becomes a question mark, as half a character is not worth a batch.
    return (_ENCODER.encode(tree) + "\n").encode("utf-8", "replace")


def _grouped(
    items: Iterable[Any],
    resource_of: Callable[[Any], Resource],
    scopes_key: str,
    items_key: str,
    encode: Callable[[Any], Json],
) -> list[Json]:
    """Items by resource and scope. Resources are told apart by identity: their hash serialises all attributes."""
    resources: dict[int, Json] = {}
    scopes: dict[tuple[int, Any], list[Json]] = {}
    for item in items:
        resource = resource_of(item)
        scope = item.instrumentation_scope
        group = scopes.get((id(resource), scope))
        if group is None:
            group = scopes[id(resource), scope] = []
            entry = resources.get(id(resource))
            if entry is None:
                entry = resources[id(resource)] = {
                    "resource": _present({"attributes": _attributes(resource.attributes)}),
                    scopes_key: [],
                    **_present({"schemaUrl": resource.schema_url}),
                }
            entry[scopes_key].append(_scope(scope, items_key, group))
        group.append(encode(item))
    return list(resources.values())


def _scope(scope: InstrumentationScope | None, items_key: str, items: list[Json]) -> Json:
    if scope is None:
        return {"scope": {}, items_key: items}
    described = {"name": scope.name, "version": scope.version, "attributes": _attributes(scope.attributes)}
    return {"scope": _present(described), items_key: items, **_present({"schemaUrl": scope.schema_url})}


def _span(span: ReadableSpan) -> Json:
    context, parent, status = span.get_span_context(), span.parent, span.status
    out = _present(
        {
            **_ids(context),
            "traceState": _trace_state(context),
            "parentSpanId": f"{parent.span_id:016x}" if parent is not None else "",
            "flags": _flags(parent),
            "name": span.name,
            "kind": span.kind.value + 1,  # the API counts from 0, OTLP from 1
            "startTimeUnixNano": _integer(span.start_time),
            "endTimeUnixNano": _integer(span.end_time),
            "attributes": _attributes(span.attributes),
            "droppedAttributesCount": span.dropped_attributes,
            "events": [_event(event) for event in span.events],
            "droppedEventsCount": span.dropped_events,
            "links": [_link(link) for link in span.links],
            "droppedLinksCount": span.dropped_links,
        }
    )
    out["status"] = _present({"code": status.status_code.value, "message": status.description})
    return out


def _event(event: Event) -> Json:
    return _present(
        {
            "timeUnixNano": _integer(event.timestamp),
            "name": event.name,
            "attributes": _attributes(event.attributes),
            "droppedAttributesCount": event.dropped_attributes,
        }
    )


def _link(link: Link) -> Json:
    return _present(
        {
            **_ids(link.context),
            "attributes": _attributes(link.attributes),
            "droppedAttributesCount": link.dropped_attributes,
            "flags": _flags(link.context),
        }
    )


def _ids(context: SpanContext | None) -> Json:
    return {} if context is None else {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}


def _flags(context: SpanContext | None) -> int:
    return _HAS_IS_REMOTE | _IS_REMOTE if context is not None and context.is_remote else _HAS_IS_REMOTE


def _log_resource(item: Any) -> Resource:
    # SDK 1.39 moved the resource, and what was dropped, from the record to the object around it.
    return item.resource if hasattr(item, "resource") else item.log_record.resource


def _log(item: Any) -> Json:
    record = item.log_record
    holder = item if hasattr(item, "dropped_attributes") else record
    out = _present(
        {
            "timeUnixNano": _integer(record.timestamp),
            "observedTimeUnixNano": _integer(record.observed_timestamp),
            "severityNumber": record.severity_number.value if record.severity_number is not None else 0,
            "severityText": record.severity_text,
            "attributes": _attributes(record.attributes),
            "droppedAttributesCount": holder.dropped_attributes,
            "flags": int(record.trace_flags or 0),
            "traceId": f"{record.trace_id:032x}" if record.trace_id else "",
            "spanId": f"{record.span_id:016x}" if record.span_id else "",
            "eventName": record.event_name,
        }
    )
    if record.body is not None:
        out["body"] = _value(record.body)
    return out


def _present(fields: Json) -> Json:
    """The fields that differ from protobuf's default value."""
    return {key: value for key, value in fields.items() if value}


def _integer(value: int | None) -> str:
    return str(value) if value else ""


def _trace_state(context: SpanContext | None) -> str:
    return ",".join([f"{key}={value}" for key, value in context.trace_state.items()]) if context is not None else ""


def _attributes(attributes: Mapping[str, Any] | None) -> list[Json]:
    return [{"key": str(key), "value": _value(value)} for key, value in attributes.items()] if attributes else []


def _value(value: Any) -> Json:
    """An AnyValue, which is empty for what OTLP has no form for."""
    encode = _VALUES.get(type(value))
    if encode is None:
        encode = next((encode for kind, encode in _VALUES.items() if isinstance(value, kind)), _no_value)
    return encode(value)


def _no_value(_value: Any) -> Json:
    return {}


def _int_value(value: int) -> Json:
    # One integer beyond 64 bits would make a reader pass over the whole line.
    return {"intValue": str(int(value))} if _INT64_MIN <= value <= _INT64_MAX else {"stringValue": f"{value:#x}"}


def _double_value(value: float) -> Json:
    if isfinite(value):
        return {"doubleValue": float(value)}
    return {"doubleValue": "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"}


# In the order in which they are tried: a bool is an int, text and bytes are sequences.
_VALUES: Final[dict[type, Callable[[Any], Json]]] = {
    str: lambda value: {"stringValue": value},
    bool: lambda value: {"boolValue": value},
    int: _int_value,
    float: _double_value,
    bytes: lambda value: {"bytesValue": b64encode(value).decode()},
    Mapping: lambda value: {"kvlistValue": _present({"values": _attributes(value)})},
    Sequence: lambda value: {"arrayValue": _present({"values": [_value(item) for item in value]})},
}


def _ids_to_hex(tree: Any) -> None:
    """Ids, which protobuf's own JSON mapping writes as base64, become hex in place."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("traceId", "spanId", "parentSpanId"):
                tree[key] = b64decode(value).hex()
            else:
                _ids_to_hex(value)
    elif isinstance(tree, list):
        for item in tree:
            _ids_to_hex(item)
