"""OTLP's protobuf bytes: one record each when it is spooled, many of them in one request when they are sent.

Protobuf's wire format lets messages be put together from parts: a repeated field is its elements one after another,
each with its tag and its length. So a record is encoded once, and a request is made without encoding it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from spanback._telemetry import Unsent
from spanback.export._spool._bodies import NotWritten, Seen, log_body, span_body, varint
from spanback.export._spool._store import Kind, Record

# Fields of opentelemetry/proto/collector/{trace,logs}/v1 and opentelemetry/proto/{trace,logs}/v1, all of wire type 2.
_RESOURCES: Final = b"\x0a"  # ExportTraceServiceRequest.resource_spans = 1, ExportLogsServiceRequest.resource_logs = 1
_ITEMS: Final = b"\x12"  # ResourceSpans.scope_spans = 2, ScopeSpans.spans = 2, and the same of logs

_ENCODERS: Final[dict[Kind, tuple[Callable[[Any], Any], str, str, str]]] = {
    "traces": (encode_spans, "resource_spans", "scope_spans", "spans"),
    "logs": (encode_logs, "resource_logs", "scope_logs", "log_records"),
}


class _Origin(NamedTuple):
    """Resource and scope of the last record of a kind: the SDK's objects, and their bytes."""

    resource: Any
    scope: Any
    resource_bytes: bytes
    scope_bytes: bytes


_NONE: Final = object()
_LAST: Final[dict[Kind, _Origin]] = {}


def encoded(signals: Iterable[Unsent]) -> list[Record]:
    """The records of signals, spans before logs.

    Raises:
        ValueError: One of them holds what protobuf has no form for.
    """
    spans: list[Record] = []
    logs: list[Record] = []
    for signal in signals:
        seen: Seen = {}
        if signal.span is not None:
            spans.append(_record("traces", signal, signal.span, seen))
        if signal.log is not None:
            logs.append(_record("logs", signal, signal.log, seen))
    return spans + logs


def request(records: Iterable[Record]) -> bytes:
    """One OTLP request with records of one kind, those of the same resource and scope together."""
    groups: dict[tuple[bytes, bytes], list[bytes]] = {}
    for record in records:
        groups.setdefault((record.resource, record.scope), []).append(record.body)
    parts: list[bytes] = []
    for (resource, scope), bodies in groups.items():
        scoped = b"".join([scope, *(part for body in bodies for part in (_ITEMS, varint(len(body)), body))])
        parts += _RESOURCES, _framed_length(resource, scoped), resource, _ITEMS, varint(len(scoped)), scoped
    return b"".join(parts)


def json_line(record: Record) -> bytes:
    """One record as a line of OTLP-JSON, its newline included."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - for the command line only

    from spanback.export._otlp_json import tree_line  # noqa: PLC0415 - as above
    from spanback.export._spool._post import REQUESTS  # noqa: PLC0415 - as above

    message = REQUESTS[record.kind].FromString(request([record]))
    return tree_line(MessageToDict(message, use_integers_for_enums=True))


def _framed_length(resource: bytes, scoped: bytes) -> bytes:
    return varint(len(resource) + len(_ITEMS) + len(varint(len(scoped))) + len(scoped))


def _record(kind: Kind, signal: Unsent, item: Any, seen: Seen) -> Record:
    """One form of a signal, by the exporters' encoder where it must be."""
    origin = _LAST.get(kind)
    body = None
    if origin is not None and _is_of(item, origin):
        try:
            dropped = 0 if kind == "traces" else item.dropped_attributes
            body = span_body(item, seen) if kind == "traces" else log_body(item.log_record, dropped, seen)
        except (NotWritten, UnicodeEncodeError):
            body = None
    if origin is None or body is None:
        origin, body = _encoded(kind, item)
        _LAST[kind] = origin
    has_twin = (signal.log if kind == "traces" else signal.span) is not None
    return Record(kind, signal.feedback_id, has_twin, origin.resource_bytes, origin.scope_bytes, body)


def _is_of(item: Any, origin: _Origin) -> bool:
    # The SDK's log records keep their resource elsewhere before 1.39; then the other encoder is asked each time.
    return getattr(item, "resource", None) is origin.resource and item.instrumentation_scope is origin.scope


def _encoded(kind: Kind, item: Any) -> tuple[_Origin, bytes]:
    """Origin and body of one record, as the exporters encode them."""
    encode, groups, scopes, bodies = _ENCODERS[kind]
    (group,) = getattr(encode([item]), groups)
    (scope,) = getattr(group, scopes)
    (body,) = getattr(scope, bodies)
    body_bytes = body.SerializeToString()
    scope.ClearField(bodies)
    scope_bytes = scope.SerializeToString()
    group.ClearField(scopes)
    origin = _Origin(
        getattr(item, "resource", _NONE), item.instrumentation_scope, group.SerializeToString(), scope_bytes
    )
    return origin, body_bytes
