"""Our spans, made in fewer steps than the SDK's tracer makes them.

Most of what a bare span costs is the way from `Tracer.start_span` to the queue of an exporter: the parent is looked up
four times, the same fields are handed from object to object, and processors are called that do nothing. What comes of
it here is the same, field by field, and every processor that does anything is called as ever. Where a tracer is not
just as the SDK makes it, and for what is rare, everything goes the public way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from threading import Lock
from time import time_ns
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer

from spanback._bounded import bounded, set_attributes, with_tuples
from spanback._never_raise import never_raise
from spanback._sdk_spans import ENDED, OPEN, Processors, decisions_of, fields_of, of_last, plain_sdk, processors_by_use

# The key of the current span has no public name. Knowing it spares `get_current_span` and `set_span_in_context`.
SPAN_KEY: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))
_SAMPLED: Final = 1
_RANDOM: Final = 2
_FLAGS: Final = [TraceFlags(flags) for flags in range(4)]
_NO_STATE: Final = trace.INVALID_SPAN_CONTEXT.trace_state
_HELD: Final[Any] = BoundedAttributes
_new: Final[Any] = object.__new__
_said: Final[Any] = itemgetter(1)


def start_client_span(
    tracer: Tracer, name: str, context: Context, attributes: Mapping[str, Any], start_time_ns: int
) -> Span:
    """Starts a span of kind CLIENT.

    Args:
        tracer: Any tracer.
        name: Of the span.
        context: Its parent's.
        attributes: As for `_bounded.set_attributes`. Samplers and processors see them.
        start_time_ns: In ns since the epoch.
    """
    quick = _quick(tracer)
    span = None if quick is None else quick.start(name, context, attributes, start_time_ns)
    if span is None:
        return tracer.start_span(name, context, SpanKind.CLIENT, attributes, start_time=start_time_ns)
    return span


def end_span(span: Span, attributes: Mapping[str, Any], end_time_ns: int) -> None:
    """Sets the last attributes of a span and ends it.

    Args:
        span: Any span.
        attributes: As for `_bounded.set_attributes`.
        end_time_ns: In ns since the epoch.
    """
    end_with: Any = getattr(span, "_end_with", None)
    if end_with is None:
        if attributes:
            set_attributes(span, attributes)
        span.end(end_time_ns)
    else:
        end_with(attributes, end_time_ns)


class Carrier(NamedTuple):
    """A span that carries feedback, from beginning to end.

    Attributes:
        name: Of the span.
        parent: Of the span; None for one that begins a trace.
        attributes: As for `_bounded.set_attributes`; so are those of the event and the links.
        event: Name and attributes of its one event, at the time of the start.
        links: The spans that are linked to, each with attributes.
        start_time_ns: In ns since the epoch.
        end_time_ns: Likewise.
    """

    name: str
    parent: SpanContext | None
    attributes: Mapping[str, Any]
    event: tuple[str, Mapping[str, Any]]
    links: Sequence[tuple[SpanContext, Mapping[str, Any]]]
    start_time_ns: int
    end_time_ns: int


class Made(NamedTuple):
    """A span that has ended and that nobody has seen: what it takes to make it, since the spool does without it.

    Attributes:
        carrier: What it says.
        context: Its own.
        resource: As the SDK's spans have it.
        instrumentation_scope: Likewise.
        processors: Those that are to have it.
        make: Makes it.
    """

    carrier: Carrier
    context: SpanContext
    resource: Any
    instrumentation_scope: Any
    processors: Sequence[Any]
    make: Callable[[Made], Any]

    def whole(self) -> Any:
        """The span as the SDK's processors get it at its end."""
        return self.make(self)


def make_carrier(tracer: Tracer, carrier: Carrier) -> Made | None:
    """Makes a span of kind INTERNAL at once. It is sampled, whatever the tracer's sampler says.

    Args:
        tracer: Any tracer.
        carrier: What the span says.

    Returns:
        The span; None where it must be started and ended in the public way, as where a processor sees it in between.
    """
    quick = _quick(tracer)
    return None if quick is None else never_raise(quick.make, carrier)


class _Quick:
    """What is the same for all spans of a tracer of the SDK.

    Attributes:
        limits: Of the tracer's spans.
        most: The most attributes of a span.
        make_list: Makes what holds events or links, given the most of them.
    """

    def __init__(self, tracer: Any, sdk: Any, fields: Mapping[str, Any]) -> None:
        self._tracer = tracer
        self._sdk = sdk
        self.limits = limits = tracer._span_limits
        self.most = _number(limits.max_span_attributes)
        self._most_of_event = _number(limits.max_event_attributes)
        self._most_of_link = _number(limits.max_link_attributes)
        self._most_links = _number(limits.max_links)
        self._takes_carriers = limits.max_attribute_length is None and limits.max_events != 0
        self.make_list: Any = type(fields["_events"])
        self._none = self.make_list(0)
        self._decisions = decisions_of(tracer.sampler, sdk.sampling)
        self._has_random_ids = type(tracer.id_generator) is sdk.RandomIdGenerator
        self._processors = Processors(None, (), (), (), ())
        self._fields = {name: fields[name] for name in ENDED - {"_events", "_links"}}
        self._fields["_kind"] = SpanKind.CLIENT
        self._scope = fields["_instrumentation_scope"]
        self._ended = sdk.ReadableSpan
        self._open = _open_kind(self, sdk._Span, {name: fields[name] for name in OPEN - {"_lock"}})

    def start(self, name: str, context: Context, attributes: Mapping[str, Any], start_time_ns: int) -> Span | None:
        """Starts a span of kind CLIENT; None where only the public way will do."""
        tracer = self._tracer
        around: Any = context.get(SPAN_KEY)
        parent: Any = None
        if around is not None:
            parent = around.get_span_context() if isinstance(around, Span) else None
            if type(parent) is not SpanContext:
                return None
            parent = parent if parent[5] else None
        if len(attributes) > self.most or not tracer._tracer_config.is_enabled:
            return None
        trace_id, flags, state = self._begun(parent)
        if self._decisions is None:
            result = tracer.sampler.should_sample(context, trace_id, name, SpanKind.CLIENT, attributes, ())
            is_recording, state = result.decision.is_recording(), result.trace_state
            flags |= result.decision.is_sampled()
        else:
            is_recording = self._decisions[0 if parent is None else 1 + (parent[3] & _SAMPLED) + 2 * bool(parent[2])]
            flags |= is_recording
        own = self._context(trace_id, flags, state)
        if not is_recording:
            return NonRecordingSpan(own)
        span = _new(self._open)
        span._lock = Lock()
        fields = self._fields.copy()  # filled in, which is faster than a dict that grows
        fields["_name"] = name
        fields["_context"] = own
        fields["_parent"] = parent
        fields["_resource"] = tracer.resource
        fields["_start_time"] = start_time_ns
        fields["_attributes"] = bounded(attributes, self.limits.max_span_attributes, None, is_open=True)
        span.__dict__ = fields
        for processor in self.processors().starting:
            processor.on_start(span, parent_context=context)
        return span

    def end(self, span: Any) -> None:
        """Hands a span that has just got its end to the processors."""
        processors = self.processors()
        for processor in processors.ending:
            processor._on_ending(span)
        ended = _new(self._ended)
        ended.__dict__ = fields = span.__dict__  # nothing can be set on the span any more
        fields.setdefault("_events", self._none)
        fields.setdefault("_links", self._none)
        is_sampled = fields["_context"][3] & _SAMPLED
        for processor, queue in processors.ended:
            if is_sampled and queue is not None:
                queue(ended)
            else:
                processor.on_end(ended)

    def make(self, carrier: Carrier) -> Made | None:
        """Makes a span of kind INTERNAL; None where only the public way will do."""
        tracer, processors = self._tracer, self.processors().carried
        _, parent, attributes, event, links, _, _ = carrier
        if (
            processors is None
            or not self._takes_carriers
            or not tracer._tracer_config.is_enabled
            or len(attributes) > self.most
            or len(event[1]) > self._most_of_event
            or len(links) > self._most_links
            or max(map(len, map(_said, links)), default=0) > self._most_of_link
        ):
            return None
        trace_id, flags, _ = self._begun(parent)
        own = self._context(trace_id, flags | _SAMPLED, None)
        return Made(carrier, own, tracer.resource, self._scope, processors, self._whole)

    def _whole(self, made: Made) -> Any:
        carrier, limits = made.carrier, self.limits
        start_time_ns = carrier.start_time_ns
        event = bounded(carrier.event[1], limits.max_event_attributes, None)
        links = [trace.Link(one, bounded(said, limits.max_link_attributes, None)) for one, said in carrier.links]
        span = _new(self._ended)
        span.__dict__ = {
            **self._fields,
            "_kind": SpanKind.INTERNAL,
            "_name": carrier.name,
            "_context": made.context,
            "_parent": carrier.parent,
            "_resource": made.resource,
            "_start_time": start_time_ns,
            "_end_time": carrier.end_time_ns,
            "_attributes": bounded(carrier.attributes, limits.max_span_attributes, None),
            "_events": self._listed(limits.max_events, [self._sdk.Event(carrier.event[0], event, start_time_ns)]),
            "_links": self._listed(limits.max_links, links),
        }
        return span

    def processors(self) -> Processors:
        """The provider's processors of now."""
        now = self._tracer.span_processor._span_processors
        processors = self._processors
        if processors.all is not now:
            self._processors = processors = processors_by_use(now, self._sdk)
        return processors

    def _begun(self, parent: Any) -> tuple[int, int, Any]:
        """Of which trace a span is, with which flags besides that of the sampler, and in which state."""
        if parent is not None:
            return parent[0], parent[3] & _RANDOM, parent[4]
        ids = self._tracer.id_generator
        return ids.generate_trace_id(), _RANDOM if ids.is_trace_id_random() else 0, None

    def _context(self, trace_id: int, flags: int, state: Any) -> SpanContext:
        span_id = self._tracer.id_generator.generate_span_id()
        if not self._has_random_ids:
            return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_FLAGS[flags], trace_state=state)
        fields: Any = (trace_id, span_id, False, _FLAGS[flags], _NO_STATE if state is None else state, True)
        return tuple.__new__(SpanContext, fields)

    def _listed(self, most: int | None, things: Sequence[Any]) -> Any:
        made = self.make_list(most)
        made.extend(things)
        return made


class _Lazy:
    """A field of an open span that few spans need: it is made when it is first asked for."""

    def __init__(self, name: str, make: Any) -> None:
        self._name = name
        self._make = make

    def __get__(self, span: Any, _kind: Any = None) -> Any:
        return self if span is None else span.__dict__.setdefault(self._name, self._make())


def _open_kind(quick: _Quick, base: Any, same: Mapping[str, Any]) -> Any:
    """The class of a tracer's open spans. What all of them have alike is its own, so that each keeps only the rest."""

    def get_span_context(self: Any) -> SpanContext:
        return self._context

    def end(self: Any, end_time: int | None = None) -> None:
        self._end_with({}, time_ns() if end_time is None else end_time)

    def end_with(self: Any, attributes: Mapping[str, Any], end_time_ns: int) -> None:
        with self._lock:
            held = self._attributes
            takes = self._end_time is None and type(held) is _HELD and len(held._dict) + len(attributes) <= quick.most
            if takes:
                held._dict.update(attributes if list not in map(type, attributes.values()) else with_tuples(attributes))
                self._end_time = end_time_ns
                held._immutable = True
        if takes:
            quick.end(self)
            return
        if attributes:
            self.set_attributes(attributes)  # the SDK says what is too many, or too late
        base.end(self, end_time_ns)

    return type(
        base.__name__,
        (base,),
        {
            **same,
            "__slots__": ("_lock",),
            "__module__": __name__,
            "_events": _Lazy("_events", partial(quick.make_list, quick.limits.max_events)),
            "_links": _Lazy("_links", partial(quick.make_list, quick.limits.max_links)),
            "get_span_context": get_span_context,
            "end": end,
            "_end_with": end_with,
        },
    )


def _number(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit


def _made(tracer: Any) -> _Quick | None:
    sdk = plain_sdk(tracer)
    fields = None if sdk is None else fields_of(tracer, sdk)
    return None if fields is None else _Quick(tracer, sdk, fields)


_quick: Final = of_last(_made)
