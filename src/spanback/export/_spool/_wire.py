"""OTLP's protobuf bytes: one record each when it is spooled, many of them in one request when they are sent.

Protobuf's wire format lets messages be put together from parts: a repeated field is its elements one after another,
each with its tag and its length. So a record is encoded once, and a request is made without encoding it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from spanback._telemetry import Unsent
from spanback.export._spool._store import Kind, Record

# Fields of opentelemetry/proto/collector/{trace,logs}/v1 and opentelemetry/proto/{trace,logs}/v1, all of wire type 2.
_RESOURCES: Final = b"\x0a"  # ExportTraceServiceRequest.resource_spans = 1, ExportLogsServiceRequest.resource_logs = 1
_ITEMS: Final = b"\x12"  # ResourceSpans.scope_spans = 2, ScopeSpans.spans = 2, and the same of logs

_ENCODERS: Final[dict[Kind, tuple[Callable[[Any], Any], str, str, str]]] = {
    "traces": (encode_spans, "resource_spans", "scope_spans", "spans"),
    "logs": (encode_logs, "resource_logs", "scope_logs", "log_records"),
}


def encoded(signals: Iterable[Unsent]) -> list[Record]:
    """The records of signals, spans before logs."""
    signals = list(signals)
    spans = [(signal.feedback_id, signal.span, signal.log is not None) for signal in signals if signal.span is not None]
    logs = [(signal.feedback_id, signal.log, signal.span is not None) for signal in signals if signal.log is not None]
    return [*_records("traces", spans), *_records("logs", logs)]


def request(records: Iterable[Record]) -> bytes:
    """One OTLP request with records of one kind, those of the same resource and scope together."""
    groups: dict[tuple[bytes, bytes], list[bytes]] = {}
    for record in records:
        groups.setdefault((record.resource, record.scope), []).append(record.body)
    parts: list[bytes] = []
    for (resource, scope), bodies in groups.items():
        scoped = b"".join([scope, *(part for body in bodies for part in (_ITEMS, _length(len(body)), body))])
        parts += _RESOURCES, _framed_length(resource, scoped), resource, _ITEMS, _length(len(scoped)), scoped
    return b"".join(parts)


def json_line(record: Record) -> bytes:
    """One record as a line of OTLP-JSON, its newline included."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - for the command line only

    from spanback.export._otlp_json import tree_line  # noqa: PLC0415 - as above
    from spanback.export._spool._post import REQUESTS  # noqa: PLC0415 - as above

    message = REQUESTS[record.kind].FromString(request([record]))
    return tree_line(MessageToDict(message, use_integers_for_enums=True))


def _framed_length(resource: bytes, scoped: bytes) -> bytes:
    return _length(len(resource) + len(_ITEMS) + len(_length(len(scoped))) + len(scoped))


def _records(kind: Kind, items: Sequence[tuple[str, Any, bool]]) -> list[Record]:
    """In one go where all have the same resource and scope, as those of one process do; else one by one."""
    if not items:
        return []
    encode, *path = _ENCODERS[kind]
    message = encode([item for _, item, _ in items])
    groups = getattr(message, path[0])
    if len(groups) > 1 or len(getattr(groups[0], path[1])) > 1:
        return [record for item in items for record in _records(kind, [item])]
    (scope,) = getattr(groups[0], path[1])
    bodies = [body.SerializeToString() for body in getattr(scope, path[2])]
    scope.ClearField(path[2])
    scope_bytes = scope.SerializeToString()
    groups[0].ClearField(path[1])
    resource_bytes = groups[0].SerializeToString()
    return [
        Record(kind, feedback_id, has_twin, resource_bytes, scope_bytes, body)
        for (feedback_id, _, has_twin), body in zip(items, bodies, strict=True)
    ]


def _length(count: int) -> bytes:
    """A number as protobuf writes lengths: seven bits a byte, the lowest first."""
    out = bytearray()
    while count > 127:
        out.append(count & 127 | 128)
        count >>= 7
    out.append(count)
    return bytes(out)
