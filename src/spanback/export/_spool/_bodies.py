"""OTLP's Span and LogRecord as bytes, for a carrier as it usually is: a signal waits for its encoding.

The exporters' own encoder makes a tree of messages first, which costs several times what writing the bytes does, and
makes it twice, since span and log record say the same. What is not written here, such as attributes that are mappings
or text that UTF-8 cannot carry, is left to that encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, cast

from spanback import semconv
from spanback._bounded import plain

Seen = dict[str, tuple[object, bytes]]
"""Attributes that were written already: the value, and its KeyValue with the length before it."""

# Flags of spans and links: it is known whether the context is remote, and it is.
_REMOTE_KNOWN: Final = 0x100
_REMOTE: Final = 0x200
_INT64: Final = 1 << 63
_UINT64_MASK: Final = (1 << 64) - 1
_KEYS_LIMIT: Final = 256
_PAIRS_LIMIT: Final = 1_024
_KEPT_BYTES: Final = 256
_KEPT_KINDS: Final = frozenset((str, bool))  # a number equals others of other kinds
_OF_FEW_VALUES: Final = frozenset(
    (
        semconv.FEEDBACK_ACTION,
        semconv.FEEDBACK_NAME,
        semconv.FEEDBACK_RELATION,
        semconv.FEEDBACK_SENTIMENT,
        semconv.FEEDBACK_SOURCE,
        semconv.FEEDBACK_TARGET_RESOLVED,
        semconv.FEEDBACK_TARGET_SAMPLED,
        semconv.FEEDBACK_TARGET_SCOPE,
        semconv.FEEDBACK_TYPE,
        semconv.GEN_AI_EVALUATION_NAME,
        semconv.GEN_AI_EVALUATION_SCORE_LABEL,
        semconv.GEN_AI_PROMPT_NAME,
        semconv.GEN_AI_PROMPT_VERSION,
        semconv.GEN_AI_PROVIDER_NAME,
        semconv.GEN_AI_REQUEST_MODEL,
        semconv.GEN_AI_RESPONSE_MODEL,
    )
)
"""Names of attributes that say the same for most signals."""

_FIXED32: Final = Struct("<I").pack
_FIXED64: Final = Struct("<Q").pack
_DOUBLE: Final = Struct("<d").pack
_SHORT: Final = tuple(bytes((count,)) for count in range(128))
_KEYS: Final[dict[str, bytes]] = {}
_PAIRS: Final[dict[tuple[str, object], bytes]] = {}


class NotWritten(Exception):  # noqa: N818 - no error: the other encoder takes it
    """Something in a record is of a kind that is not written here."""


def varint(number: int) -> bytes:
    """A number from 0 on as protobuf writes it: seven bits a byte, the lowest first."""
    if number < 128:
        return _SHORT[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def span_body(span: Any, seen: Seen) -> bytes:
    """An ended span of the SDK as opentelemetry.proto.trace.v1.Span.

    Args:
        span: The span.
        seen: Takes what of its attributes the log record of the same signal can use.

    Raises:
        NotWritten: It has something that is not written here.
        UnicodeEncodeError: It has text that UTF-8 cannot carry.
    """
    context, parent, status = span.context, span.parent, span.status
    if context.trace_state:
        raise NotWritten
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
    if parent is not None:
        parts += b"\x22\x08", parent.span_id.to_bytes(8, "big")
    parts += _text(b"\x2a", span.name), b"\x30", varint(span.kind.value + 1)
    parts += b"\x39", _FIXED64(span.start_time), b"\x41", _FIXED64(span.end_time)
    attributes = getattr(span, "_attributes", None) or span.attributes  # the public one is a view that hides its kind
    parts += _attributes(b"\x4a", attributes, seen), _count(b"\x50", span.dropped_attributes)
    for event in span.events:
        parts.append(_framed(b"\x5a", _event(event, seen)))
    parts.append(_count(b"\x60", span.dropped_events))
    for link in span.links:
        if link.context.trace_state:
            raise NotWritten
        parts.append(_framed(b"\x6a", _link(link)))
    parts.append(_count(b"\x70", span.dropped_links))
    said = _text(b"\x12", status.description) if status.description else b""
    parts += _framed(b"\x7a", said + _count(b"\x18", status.status_code.value)), b"\x85\x01", _flags(parent)
    return b"".join(parts)


def log_body(record: Any, dropped_attributes: int, seen: Seen) -> bytes:
    """A log record of the SDK as opentelemetry.proto.logs.v1.LogRecord.

    Args:
        record: The record.
        dropped_attributes: How many of its attributes the SDK has dropped.
        seen: What of its attributes the span of the same signal has written.

    Raises:
        NotWritten: It has something that is not written here.
        UnicodeEncodeError: It has text that UTF-8 cannot carry.
    """
    severity, flags = record.severity_number, int(record.trace_flags)
    parts = [b"\x09", _FIXED64(record.timestamp)] if record.timestamp else []
    if severity is not None:
        parts.append(_count(b"\x10", severity.value))
    if record.severity_text:
        parts.append(_text(b"\x1a", record.severity_text))
    parts += _framed(b"\x2a", _value(record.body)), _attributes(b"\x32", record.attributes, seen)
    parts.append(_count(b"\x38", dropped_attributes))
    if flags:
        parts += b"\x45", _FIXED32(flags)
    if record.trace_id:
        parts += b"\x4a\x10", record.trace_id.to_bytes(16, "big")
    if record.span_id:
        parts += b"\x52\x08", record.span_id.to_bytes(8, "big")
    if record.observed_timestamp:
        parts += b"\x59", _FIXED64(record.observed_timestamp)
    if record.event_name:
        parts.append(_text(b"\x62", record.event_name))
    return b"".join(parts)


def _event(event: Any, seen: Seen) -> bytes:
    time = b"\x09" + _FIXED64(event.timestamp)
    said = _attributes(b"\x1a", event.attributes, seen)
    return b"".join((time, _text(b"\x12", event.name), said, _count(b"\x20", event.dropped_attributes)))


def _link(link: Any) -> bytes:
    context = link.context
    ids = b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")
    said = _attributes(b"\x22", link.attributes, {})
    return b"".join((*ids, said, _count(b"\x28", link.dropped_attributes), b"\x35", _flags(context)))


def _flags(context: Any) -> bytes:
    return _FIXED32(_REMOTE_KNOWN | _REMOTE if context is not None and context.is_remote else _REMOTE_KNOWN)


def _attributes(tag: bytes, attributes: Mapping[str, object] | None, seen: Seen) -> bytes:
    """Attributes, each with the tag before it."""
    parts: list[bytes] = []
    for key, value in plain(attributes).items():
        known = seen.get(key)
        if known is None or known[0] is not value:
            known = seen[key] = (value, _pair(key, value))
        parts += tag, known[1]
    return b"".join(parts)


def _pair(key: str, value: object) -> bytes:
    """A KeyValue with its length before it."""
    is_kept = key in _OF_FEW_VALUES and type(value) in _KEPT_KINDS
    kept = _PAIRS.get((key, value)) if is_kept else None
    if kept is None:
        pair = _key(key) + _framed(b"\x12", _value(value))
        kept = varint(len(pair)) + pair
        if is_kept and len(_PAIRS) < _PAIRS_LIMIT and len(kept) < _KEPT_BYTES:
            _PAIRS[key, value] = kept
    return kept


def _key(key: str) -> bytes:
    known = _KEYS.get(key)
    if known is None:
        known = _text(b"\x0a", key)
        if len(_KEYS) < _KEYS_LIMIT:  # keys of metadata are the app's, and endless
            _KEYS[key] = known
    return known


def _value(value: object) -> bytes:
    """An AnyValue."""
    kind = type(value)
    if kind is str:
        return _text(b"\x0a", cast("str", value))
    if kind is float:
        return b"\x21" + _DOUBLE(cast("float", value))
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is tuple:
        values = (_framed(b"\x0a", _value(one)) for one in cast("tuple[object, ...]", value))
        return _framed(b"\x2a", b"".join(values))
    if kind is int and -_INT64 <= cast("int", value) < _INT64:
        return b"\x18" + varint(cast("int", value) & _UINT64_MASK)
    raise NotWritten


def _text(tag: bytes, text: str) -> bytes:
    raw = text.encode()
    count = len(raw)
    return tag + (_SHORT[count] if count < 128 else varint(count)) + raw


def _framed(tag: bytes, message: bytes) -> bytes:
    count = len(message)
    return tag + (_SHORT[count] if count < 128 else varint(count)) + message


def _count(tag: bytes, number: int) -> bytes:
    """A number that is left out where it is 0, as protobuf does."""
    return tag + varint(number) if number else b""
