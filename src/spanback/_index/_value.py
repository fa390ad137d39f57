"""What stands in a shared index for one response: where its span is, and what feedback copies; no content, no user."""

from __future__ import annotations

import json
from dataclasses import astuple, fields, replace
from typing import Any, Final, cast

from spanback._never_raise import never_raise
from spanback._spanref import SpanRef

VERSION: Final = 1
LIMIT_CHARACTERS: Final = 16_384
_WIDTH: Final = len(fields(SpanRef))


def packed(ref: SpanRef) -> str:
    """A reference as JSON: the version, then its fields in order, without those at the end that are not set."""
    values: list[object] = list(astuple(ref))
    empty = [field.default for field in fields(SpanRef)]
    while values[-1] == empty[len(values) - 1]:
        values.pop()
    return json.dumps([VERSION, *values], separators=(",", ":"))


def unpacked(text: str) -> SpanRef | None:
    """The reference that a text stands for; None where it is of a later version, or anything else. Never raises."""
    return never_raise(_read, text) if len(text) <= LIMIT_CHARACTERS else None


def _read(text: str) -> SpanRef | None:
    values: object = json.loads(text)
    if not isinstance(values, list):
        return None
    version, *rest = cast("list[Any]", values)
    if version != VERSION or not 2 <= len(rest) <= _WIDTH:
        return None
    ref = SpanRef(*rest)
    trace_id, span_id, sampled, start_time_ns, *texts = astuple(ref)
    *texts, tags, experiment, variant, root_span_id = texts
    is_ref = (
        _is_id(trace_id, 128)
        and _is_id(span_id, 64)
        and isinstance(sampled, bool)
        and (start_time_ns is None or _is_id(start_time_ns, 64))
        and (root_span_id is None or _is_id(root_span_id, 64))
        and all(isinstance(one, str) for one in tags)
        and all(one is None or isinstance(one, str) for one in (*texts, experiment, variant))
    )
    return replace(ref, tags=tuple(tags)) if is_ref else None


def _is_id(value: object, bits: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << bits
