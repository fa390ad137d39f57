"""Attributes set and read at once, behind the public names of the SDK.

The SDK looks at each attribute by itself, again, though spanback has only values of exact types and texts that can be
sent; that is a tenth of what a span costs. Where a limit on the length of values is set, where there is little room
left, and where the SDK keeps attributes in another way than those of 1.38 to 1.45 do, the public way is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Span

_HELD: Final[Any] = BoundedAttributes
_KNOWN: Final = {"_dict", "maxlen", "max_value_len", "_immutable"} <= vars(BoundedAttributes(immutable=False)).keys()


def set_attributes(span: Span, attributes: Mapping[str, Any]) -> None:
    """Sets the attributes of a span that is open.

    Args:
        span: Any span.
        attributes: Names, and values of type str, bool, int or float, or lists and tuples of those.
    """
    held: Any = getattr(span, "_attributes", None)
    if _KNOWN and type(held) is _HELD and span.is_recording() and held.max_value_len is None:
        values: dict[str, Any] = held._dict  # noqa: SLF001 - it has no public name
        if held.maxlen is None or len(values) + len(attributes) <= held.maxlen:
            values.update(attributes if list not in map(type, attributes.values()) else _with_tuples(attributes))
            return
    span.set_attributes(attributes)


def plain(held: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Attributes as a dict where the SDK has them in one: its own class makes several calls of each that is read.

    Args:
        held: Attributes of a span that has ended, an event, a link or a log record.
    """
    bounded: Any = held
    if _KNOWN and type(bounded) is _HELD:
        return bounded._dict  # noqa: SLF001 - as above
    return held or {}


def _with_tuples(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if type(value) is list else value for name, value in attributes.items()}
