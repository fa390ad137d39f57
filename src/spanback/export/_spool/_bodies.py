"""OTLP's Span and LogRecord as bytes, for a carrier as it usually is: a signal waits for its encoding.

The exporters' own encoder makes a tree of messages first, which costs several times what writing the bytes does, and
makes it twice, since span and log record say the same. What is not written here, such as attributes that are mappings
or text that UTF-8 cannot carry, is left to that encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import filterfalse, repeat
from operator import is_
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, cast

from spanback import semconv
from spanback._bounded import plain

if TYPE_CHECKING:
    from spanback import _log_records, _spans

Seen = tuple[dict[str, object], dict[str, bytes]]
"""Attributes that were written already: their values, and each as a KeyValue with the length before it."""

_INT64: Final = 1 << 63
_UINT64_MASK: Final = (1 << 64) - 1
_KEYS_LIMIT: Final = 256
_PAIRS_LIMIT: Final = 1_024
_KEPT_BYTES: Final = 256
_KEPT_KINDS: Final = frozenset((str, bool))
_OFTEN: Final = frozenset(number / 20 for number in range(-20, 21) if number)  # 0.0 equals -0.0
_OF_FEW_VALUES: Final = frozenset(
    (
        semconv.FEEDBACK_ACTION,
        semconv.FEEDBACK_NAME,
        semconv.FEEDBACK_RELATION,
        semconv.FEEDBACK_SCORE,
        semconv.FEEDBACK_SENTIMENT,
        semconv.FEEDBACK_SOURCE,
        semconv.FEEDBACK_TARGET_RESOLVED,
        semconv.FEEDBACK_TARGET_SAMPLED,
        semconv.FEEDBACK_TARGET_SCOPE,
        semconv.FEEDBACK_TYPE,
        semconv.FEEDBACK_WEIGHT,
        semconv.FEEDBACK_WEIGHTED_SCORE,
        semconv.GEN_AI_EVALUATION_NAME,
        semconv.GEN_AI_EVALUATION_SCORE_LABEL,
        semconv.GEN_AI_EVALUATION_SCORE_VALUE,
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
# Flags of spans and links: it is known whether the context is remote, and it is or is not.
_REMOTE_FLAGS: Final = _FIXED32(0x300)
_LOCAL_FLAGS: Final = _FIXED32(0x100)
_SHORT: Final = tuple(bytes((count,)) for count in range(128))
_SHORT_TEXT: Final = tuple(bytes((count + 2, 0x0A, count)) for count in range(126))
_ABSENT: Final = repeat(object())
_KEYS: Final[dict[str, bytes]] = {}
_PAIRS: Final[dict[tuple[str, object, type], bytes]] = {}
"""KeyValues, with the kind of their value, since numbers equal others of other kinds."""


class NotWritten(Exception):  # noqa: N818 - no error: the other encoder takes it
    """Something in a record is of a kind that is not written here."""


def varint(number: int) -> bytes:
    """A number from 0 on as protobuf writes it: seven bits a byte, the lowest first."""
    if number < 128:
        return _SHORT[number]
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
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
        seen: What of its attributes the log record of the same signal has written.

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
        parts.append(_event(event.timestamp, event.name, event.attributes, seen, event.dropped_attributes))
    parts.append(_count(b"\x60", span.dropped_events))
    for link in span.links:
        parts.append(_link(link.context, link.attributes, link.dropped_attributes))
    parts.append(_count(b"\x70", span.dropped_links))
    said = _text(b"\x12", status.description) if status.description else b""
    parts += _framed(b"\x7a", said + _count(b"\x18", status.status_code.value)), b"\x85\x01", _flags(parent)
    return b"".join(parts)


def carrier_body(made: _spans.Made, seen: Seen) -> bytes:
    """As `span_body`, of a span that is not made yet: of kind INTERNAL, without a state, and nothing is dropped."""
    name, parent, attributes, (event_name, said), links, start_ns, end_ns = made.carrier
    trace_id, span_id, *_ = made.context
    parts = (
        b"\x0a\x10",
        trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        span_id.to_bytes(8, "big"),
        b"" if parent is None else b"\x22\x08" + parent[1].to_bytes(8, "big"),
        _text(b"\x2a", name),
        b"\x30\x01\x39",
        _FIXED64(start_ns),
        b"\x41",
        _FIXED64(end_ns),
        _attributes(b"\x4a", attributes, seen),
        _event(start_ns, event_name, said, seen),
        *[_link(linked, linked_said) for linked, linked_said in links],
        b"\x7a\x00\x85\x01",
        _flags(parent),
    )
    return b"".join(parts)


def log_body(item: Any, seen: Seen) -> bytes:
    """A log record of the SDK as opentelemetry.proto.logs.v1.LogRecord.

    Args:
        item: The record with its resource and scope.
        seen: Takes what of its attributes the span of the same signal can use.

    Raises:
        NotWritten: It has something that is not written here.
        UnicodeEncodeError: It has text that UTF-8 cannot carry.
    """
    record = item.log_record
    severity, flags = record.severity_number, int(record.trace_flags)
    parts = [b"\x09", _FIXED64(record.timestamp)] if record.timestamp else []
    if severity is not None:
        parts.append(_count(b"\x10", severity.value))
    if record.severity_text:
        parts.append(_text(b"\x1a", record.severity_text))
    parts += _framed(b"\x2a", _value(record.body)), _attributes(b"\x32", record.attributes, seen)
    parts.append(_count(b"\x38", item.dropped_attributes))
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


def said_body(made: _log_records.Made, seen: Seen) -> bytes:
    """As `log_body`, of a record that is not made yet: of severity INFO, and nothing is dropped."""
    name, body, rated, attributes, time_ns = made.said
    trace_id, span_id, _, flags, *_ = rated
    at = _FIXED64(time_ns)
    parts = (
        b"\x09",
        at,
        b"\x10\x09\x1a\x04INFO",
        _framed(b"\x2a", _text(b"\x0a", body)),
        _attributes(b"\x32", attributes, seen),
        b"\x45" + _FIXED32(flags) if flags else b"",
        b"\x4a\x10" + trace_id.to_bytes(16, "big") if trace_id else b"",
        b"\x52\x08" + span_id.to_bytes(8, "big") if span_id else b"",
        b"\x59",
        at,
        _text(b"\x62", name),
    )
    return b"".join(parts)


def _event(
    time_ns: int, name: str, attributes: Mapping[str, object] | None, seen: Seen, dropped_attributes: int = 0
) -> bytes:
    said = _attributes(b"\x1a", attributes, seen)
    parts = (b"\x09", _FIXED64(time_ns), _text(b"\x12", name), said, _count(b"\x20", dropped_attributes))
    return _framed(b"\x5a", b"".join(parts))


def _link(context: Any, attributes: Mapping[str, object] | None, dropped_attributes: int = 0) -> bytes:
    trace_id, span_id, _, _, state, _ = context
    if state:
        raise NotWritten
    ids = b"\x0a\x10", trace_id.to_bytes(16, "big"), b"\x12\x08", span_id.to_bytes(8, "big")
    pairs = [_pair(key, value) for key, value in plain(attributes).items()]
    said = b"\x22" + b"\x22".join(pairs) if pairs else b""
    return _framed(b"\x6a", b"".join((*ids, said, _count(b"\x28", dropped_attributes), b"\x35", _flags(context))))


def _flags(context: Any) -> bytes:
    return _REMOTE_FLAGS if context is not None and context[2] else _LOCAL_FLAGS


def _attributes(tag: bytes, attributes: Mapping[str, object] | None, seen: Seen) -> bytes:
    """Attributes, each with the tag before it."""
    said = plain(attributes)
    values, pairs = seen
    # Some sixty attributes a signal: what can go over all of them in C does.
    if not all(map(is_, said.values(), map(values.get, said, _ABSENT))):
        try:
            kept = map(_PAIRS.get, zip(said, said.values(), map(type, said.values()), strict=True))
            written = dict(zip(said, kept, strict=True))
        except TypeError:  # a list has no hash
            written = dict.fromkeys(said)
        for key in filterfalse(written.get, said):
            value = said[key]
            written[key] = pairs[key] if value is values.get(key, _ABSENT) else _pair(key, value)
        values.update(said)
        pairs.update(cast("dict[str, bytes]", written))
    return tag + tag.join(map(pairs.__getitem__, said)) if said else b""


def _pair(key: str, value: Any) -> bytes:
    """A KeyValue with its length before it."""
    pair = _KEYS.get(key) or _key(key)
    kind = type(value)
    if kind is str:
        raw = value.encode()
        count = len(raw)
        pair += _SHORT_TEXT[count] + raw if count < 126 else _framed(b"", _text(b"\x0a", value))
    elif kind is float:
        pair += b"\x09\x21" + _DOUBLE(value)
    else:
        pair += _framed(b"", _value(value))
    count = len(pair)
    pair = (_SHORT[count] if count < 128 else varint(count)) + pair
    is_kept = key in _OF_FEW_VALUES and (kind in _KEPT_KINDS or (kind is float and value in _OFTEN))
    if is_kept and count < _KEPT_BYTES and len(_PAIRS) < _PAIRS_LIMIT:
        _PAIRS[key, value, kind] = pair
    return pair


def _key(key: str) -> bytes:
    """A key, and the tag of its value."""
    known = _text(b"\x0a", key) + b"\x12"
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
    if kind is tuple or kind is list:
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
