"""OTLP's protobuf bytes: one record each when it is spooled, many of them in one request when they are sent.

Protobuf's wire format lets messages be put together from parts: a repeated field is its elements one after another,
each with its tag and its length. So a record is encoded once, and a request is made without encoding it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from spanback import _log_records, _spans
from spanback._telemetry import Unsent
from spanback.export._spool._bodies import NotWritten, Seen, carrier_body, log_body, said_body, span_body, varint
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


_WHOLE_BODIES: Final[dict[Kind, Callable[[Any, Seen], bytes]]] = {"traces": span_body, "logs": log_body}
_BODIES: Final[dict[type, Callable[[Any, Seen], bytes]]] = {_spans.Made: carrier_body, _log_records.Made: said_body}
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
        seen: Seen = ({}, {})
        feedback_id, span, log = signal.feedback_id, signal.span, signal.log
        has_twin = span is not None and log is not None
        if log is not None:  # it goes first, since it says all that the span and its event do
            logs.append(_record("logs", feedback_id, log, seen, has_twin))
        if span is not None:
            spans.append(_record("traces", feedback_id, span, seen, has_twin))
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


def _record(kind: Kind, feedback_id: str, item: Any, seen: Seen, has_twin: bool) -> Record:
    """One form of a signal, by the exporters' encoder where it must be."""
    origin = _LAST.get(kind)
    body = None
    # The SDK's log records keep their resource elsewhere before 1.39; then the other encoder is asked each time.
    if (
        origin is not None
        and item.instrumentation_scope is origin.scope
        and getattr(item, "resource", None) is origin.resource
    ):
        try:
            body = _BODIES.get(type(item), _WHOLE_BODIES[kind])(item, seen)
        except (NotWritten, UnicodeEncodeError):
            body = None
    if origin is None or body is None:
        origin, body = _encoded(kind, item.whole() if type(item) in _BODIES else item)
        _LAST[kind] = origin
    return Record(kind, feedback_id, has_twin, origin.resource_bytes, origin.scope_bytes, body)


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
