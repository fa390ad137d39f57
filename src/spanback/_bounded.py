"""Attributes set and read at once, behind the public names of the SDK.

The SDK looks at each attribute by itself, again, though spanback has only values of exact types and texts that can be
sent; that is a third of what a span costs. Where a limit on the length of values is set, where there is little room
left, where somebody looks at attributes as a span starts, and where the SDK keeps things in another way than those of
1.38 to 1.45 do, the public way is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer

_HELD: Final[Any] = BoundedAttributes
_KNOWN: Final = {"_dict", "maxlen", "max_value_len", "_immutable"} <= vars(BoundedAttributes(immutable=False)).keys()


def start_client_span(
    tracer: Tracer, name: str, context: Context, attributes: Mapping[str, Any], start_time_ns: int
) -> Span:
    """Starts a span of kind CLIENT.

    Where neither the sampler nor a processor looks at the attributes of a start, they are set at once after it.

    Args:
        tracer: Any tracer.
        name: Of the span.
        context: Its parent's.
        attributes: As for `set_attributes`.
        start_time_ns: In ns since the epoch.
    """
    sampler, processors = getattr(tracer, "sampler", None), getattr(tracer, "span_processor", None)
    processors = getattr(processors, "_span_processors", None)
    seen = _LOOKED_AT[0]
    if seen[0] is not sampler or seen[1] is not processors:
        seen = _LOOKED_AT[0] = sampler, processors, _is_looked_at(sampler, processors)
    if seen[2]:
        return tracer.start_span(name, context, SpanKind.CLIENT, attributes, start_time=start_time_ns)
    span = tracer.start_span(name, context, SpanKind.CLIENT, start_time=start_time_ns)
    set_attributes(span, attributes)
    return span


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


_LOOKED_AT: Final[list[tuple[Any, Any, bool]]] = [(None, None, True)]
"""Sampler and processors of the tracer that was asked last, and whether any of them may look at attributes: a provider
keeps the same objects until a processor is added."""


def _is_looked_at(sampler: Any, processors: Any) -> bool:
    if sampler is None or not isinstance(processors, tuple):
        return True
    from opentelemetry.sdk.trace import export, sampling  # noqa: PLC0415 - whoever has such a tracer has imported it

    blind = {export.BatchSpanProcessor, export.SimpleSpanProcessor}
    others = [one for one in processors if type(one) not in blind and getattr(one, "looks_at_starts", True)]
    return bool(others) or not _is_blind(sampler, sampling)


def _is_blind(sampler: Any, sampling: Any) -> bool:
    """Whether a sampler decides by trace and parent alone."""
    if isinstance(sampler, sampling.ParentBased):
        own = "should_sample" in vars(type(sampler)) and type(sampler) is not sampling.ParentBased
        return not own and all(_is_blind(one, sampling) for one in vars(sampler).values())
    return type(sampler) in {sampling.StaticSampler, sampling.TraceIdRatioBased}
