"""Spans that are made in fewer steps are those that the SDK's tracer makes, field by field."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk import version
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from spanback import _sdk_spans, _spans
from spanback._open_spans import OpenSpans
from spanback._spans import Carrier, end_span, make_carrier, start_client_span
from spanback.feedback import _emit
from spanback.feedback._carrier_tracer import always_on
from spanback.instrumentation._noticing import Noticing

is_quick = tuple(map(int, version.__version__.split(".")[:2])) >= (1, 45)
quick = pytest.mark.skipif(not is_quick, reason="the spans of this release of the SDK are made in the public way")

ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers() | st.lists(st.integers()),
)
STATE = TraceState([("vendor", "x")])
PARENTS = [
    None,
    *(
        SpanContext(7, 8, is_remote=is_remote, trace_flags=TraceFlags(flags), trace_state=state)
        for is_remote in (False, True)
        for flags in range(4)
        for state in (None, STATE)
    ),
    SpanContext(0, 8, is_remote=True),
]
SAMPLERS = [
    ALWAYS_ON,
    ALWAYS_OFF,
    DEFAULT_ON,
    DEFAULT_OFF,
    StaticSampler(Decision.RECORD_ONLY),
    TraceIdRatioBased(0.5),
    ParentBasedTraceIdRatio(0.5),
    ParentBased(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON, local_parent_sampled=ALWAYS_OFF),
    ParentBased(ALWAYS_ON, local_parent_not_sampled=StaticSampler(Decision.RECORD_ONLY)),
]


class Ids(RandomIdGenerator):
    """Ids of another make, one after the other."""

    def __init__(self) -> None:
        self._next = 0

    def generate_span_id(self) -> int:
        """The next."""
        self._next += 1
        return self._next

    def generate_trace_id(self) -> int:
        """The next."""
        return self.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """They are not."""
        return False


class Seen(SpanProcessor):
    """Notes what it is called for, and with what."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Notes."""
        self.calls.append(("start", dict(span.attributes), span.is_recording(), parent_context))

    def _on_ending(self, span: Any) -> None:
        self.calls.append(("ending", dict(span.attributes), span.is_recording()))

    def on_end(self, span: Any) -> None:
        """Notes."""
        self.calls.append(("end", dict(span.attributes), type(span)))


def around(parent: SpanContext | None) -> Context:
    """A context in which a span is current."""
    return Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context())


def provider_with(*processors: Any, **settings: Any) -> TracerProvider:
    """A provider of the SDK."""
    made = TracerProvider(shutdown_on_exit=False, **settings)
    for processor in processors:
        made.add_span_processor(processor)
    return made


def is_made_quickly(span: Any) -> bool:
    """Whether a span was made in fewer steps."""
    return type(span).__module__ == "spanback._spans"


def fields(span: Any) -> dict[str, Any]:
    """All fields of an ended span, as far as they can be compared."""
    found = dict(vars(span))
    lists = {name: [(dict(vars(one)), type(one)) for one in found.pop(name)] for name in ("_events", "_links")}
    for one in [one for ones in lists.values() for one, _ in ones]:
        one["_attributes"] = attributes_in(one["_attributes"])
    status, resource = found.pop("_status"), found.pop("_resource")
    return {
        **found,
        **lists,
        "_attributes": attributes_in(found["_attributes"]),
        "_status": (status.status_code, status.description),
        "_resource": resource.attributes["service.name"],
        "type": type(span),
        "context type": (type(span.context), type(span.context.trace_flags)),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
    }


def attributes_in(held: Any) -> Any:
    """What the SDK's own class holds, with its settings."""
    settings = {name: value for name, value in vars(held).items() if name not in {"_dict", "_lock"}}
    return type(held), settings, [(name, value, type(value)) for name, value in sorted(held.items())]


def shown(span: Any) -> dict[str, Any]:
    """The span as the SDK writes it, but for its resource, which is another for each provider."""
    return {name: value for name, value in json.loads(span.to_json()).items() if name != "resource"}


def both(
    theirs: Callable[[Any], Any], ours: Callable[[Any], Any], make_ids: Any = RandomIdGenerator, **settings: Any
) -> tuple[Any, Any]:
    """What an exporter gets of the same, made by the SDK and by us, with the same ids."""
    exported = []
    for way in (theirs, ours):
        exporter = InMemorySpanExporter()
        provider = provider_with(SimpleSpanProcessor(exporter), id_generator=make_ids(), **settings)
        random.seed(5)
        way(provider.get_tracer("test", "1"))
        exported.append(exporter.get_finished_spans())
    return exported[0], exported[1]


@quick
def test_spans_of_this_release_are_made_quickly() -> None:
    """A release that this module does not know costs time only, so that nobody would notice but for this test."""
    assert is_made_quickly(start_client_span(provider_with().get_tracer("test"), "call", Context(), {}, 5))


@pytest.mark.parametrize("has_other_ids", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.get_description())
@pytest.mark.parametrize("parent", PARENTS)
def test_a_span_of_a_call(parent: SpanContext | None, sampler: Sampler, has_other_ids: bool) -> None:
    """Every field is that of the span which the tracer makes, whatever the parent and the sampler are."""
    attributes = {"a": "b", "c": ["d"], "e": 1.0}
    contexts = []

    def theirs(tracer: Any) -> None:
        span = tracer.start_span("call", around(parent), SpanKind.CLIENT, attributes, start_time=5)
        contexts.append((span.get_span_context(), span.is_recording()))
        span.set_attributes({"z": [1], "e": 2})
        span.end(9)

    def ours(tracer: Any) -> None:
        span = start_client_span(tracer, "call", around(parent), attributes, 5)
        assert is_made_quickly(span) == (is_quick and span.is_recording())
        contexts.append((span.get_span_context(), span.is_recording()))
        end_span(span, {"z": [1], "e": 2}, 9)

    expected, found = both(theirs, ours, sampler=sampler, make_ids=Ids if has_other_ids else RandomIdGenerator)
    assert [fields(span) for span in found] == [fields(span) for span in expected]
    assert contexts[0] == contexts[1]
    assert [shown(span) for span in found] == [shown(span) for span in expected]


@given(ATTRIBUTES, ATTRIBUTES)
def test_any_attributes(first: dict[str, Any], last: dict[str, Any]) -> None:
    """Names, values and types are those that the SDK's own way gives."""

    def theirs(tracer: Any) -> None:
        span = tracer.start_span("call", Context(), SpanKind.CLIENT, first, start_time=5)
        span.set_attributes(last)
        span.end(9)

    expected, found = both(
        theirs, lambda tracer: end_span(start_client_span(tracer, "call", Context(), first, 5), last, 9)
    )
    assert [fields(span) for span in found] == [fields(span) for span in expected]


def used(span: Any) -> None:
    """What an app may do with the current span."""
    span.set_attribute("own", "x")
    span.set_attributes({"two": 2})
    span.add_event("looked", {"b": 1}, 6)
    span.add_link(SpanContext(1, 2, is_remote=True), {"c": 1})
    span.update_name("renamed")
    span.set_status(Status(StatusCode.ERROR, "broken"))
    span.record_exception(ValueError("x"), timestamp=7)


@pytest.mark.parametrize("limits", [{}, {"max_events": 1, "max_links": 0}, {"max_span_attributes": 2}])
def test_what_an_app_does_with_the_span(limits: dict[str, int], complaints: Any) -> None:
    """Everything that can be done with a span of the SDK is done, within the limits that the app has set."""

    def theirs(tracer: Any) -> None:
        span = tracer.start_span("call", Context(), SpanKind.CLIENT, {"a": 1}, start_time=5)
        used(span)
        span.end(9)

    def ours(tracer: Any) -> None:
        span = start_client_span(tracer, "call", Context(), {"a": 1}, 5)
        assert repr(span).startswith('_Span(name="call"')
        assert isinstance(span, (trace.Span, sdk.Span, ReadableSpan))
        used(span)
        end_span(span, {}, 9)

    settings = {"span_limits": SpanLimits(**limits)}
    expected, found = both(theirs, ours, **settings)
    complaints.take()
    assert [fields(span) for span in found] == [fields(span) for span in expected]
    assert [shown(span) for span in found] == [shown(span) for span in expected]


def test_an_app_may_use_it_as_a_context_manager() -> None:
    """What is raised inside is on the span, which has ended then."""
    exporter = InMemorySpanExporter()
    tracer = provider_with(SimpleSpanProcessor(exporter)).get_tracer("test")
    with pytest.raises(ValueError, match="x"), start_client_span(tracer, "call", Context(), {}, 5):
        raise ValueError("x")
    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, [event.name for event in span.events]) == (StatusCode.ERROR, ["exception"])
    assert span.end_time is not None
    assert span.end_time > 5


@pytest.mark.parametrize("attributes", [{}, {"late": 1}])
def test_a_span_that_has_ended(attributes: dict[str, Any], complaints: Any) -> None:
    """It ends once, nothing can be set on it any more, and the SDK says so."""
    exporter = InMemorySpanExporter()
    span: Any = start_client_span(
        provider_with(SimpleSpanProcessor(exporter)).get_tracer("test"), "call", Context(), {"a": 1}, 5
    )
    end_span(span, {}, 9)
    end_span(span, attributes, 10)
    used(span)
    said = complaints.take()
    assert said.count("Calling end() on an ended span.") == 1
    assert said.count("Setting attribute on ended span.") == len(attributes) + 2
    (ended,) = exporter.get_finished_spans()
    assert (dict(ended.attributes), ended.end_time, ended.events, ended.name) == ({"a": 1}, 9, (), "call")
    if is_quick:  # some releases of the SDK let it be changed, and cannot copy it
        with pytest.raises(TypeError):
            ended.attributes["b"] = 1
        assert json.loads(copy.deepcopy(ended).to_json()) == json.loads(ended.to_json())


def test_more_attributes_at_the_end_than_there_is_room_for(complaints: Any) -> None:
    """The newest stay, as the SDK has it."""
    exporter = InMemorySpanExporter()
    provider = provider_with(SimpleSpanProcessor(exporter), span_limits=SpanLimits(max_span_attributes=2))
    end_span(start_client_span(provider.get_tracer("test"), "call", Context(), {"a": 1, "b": 2}, 5), {"c": 3}, 9)
    complaints.take()
    (span,) = exporter.get_finished_spans()
    assert (dict(span.attributes), span.dropped_attributes, span.end_time) == ({"b": 2, "c": 3}, 1, 9)


class Redacting(SpanProcessor):
    """Puts other attributes in the place of a span's own, as some do."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Redacts."""
        span._attributes = type(span._attributes)(immutable=False)
        span._attributes.update({"redacted": True})

    def on_end(self, span: Any) -> None:
        """Redacts again."""
        span._attributes = {"gone": True}


def test_a_processor_that_puts_other_attributes_into_a_span() -> None:
    """They are what is exported."""
    exporter = InMemorySpanExporter()
    provider = provider_with(Redacting(), SimpleSpanProcessor(exporter))
    span: Any = start_client_span(provider.get_tracer("test"), "call", Context(), {"a": 1}, 5)
    assert dict(span.attributes) == {"redacted": True}
    end_span(span, {"b": 2}, 9)
    assert dict(exporter.get_finished_spans()[0].attributes) == {"gone": True}


class Replacing(SpanProcessor):
    """Puts a plain dict in the place of what the SDK holds attributes in."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Replaces."""
        span._attributes = Plain(a=0)


class Plain(dict[str, Any]):
    """A dict that can do what the SDK asks of its own."""

    def _set_items(self, attributes: Any) -> None:
        self.update(attributes)


def test_a_processor_that_holds_attributes_in_another_way() -> None:
    """The span ends as ever."""
    exporter = InMemorySpanExporter()
    provider = provider_with(Replacing(), SimpleSpanProcessor(exporter))
    end_span(start_client_span(provider.get_tracer("test"), "call", Context(), {"a": 1}, 5), {"b": 2}, 9)
    (span,) = exporter.get_finished_spans()
    assert (dict(span.attributes), span.end_time) == ({"a": 0, "b": 2}, 9)


def test_processors_are_called_as_ever() -> None:
    """Start with the attributes, just before the end, and the end, each in the order of the processors."""
    context, shared = Context({"k": "v"}), []
    first, second = Seen(), Seen()
    first.calls = second.calls = shared
    provider = provider_with(first, second)
    end_span(start_client_span(provider.get_tracer("test"), "call", context, {"a": 1}, 5), {"b": 2}, 9)
    ending = [("ending", {"a": 1, "b": 2}, False)] * 2 if hasattr(SpanProcessor, "_on_ending") else []
    assert shared == [
        *[("start", {"a": 1}, True, context)] * 2,
        *ending,
        *[("end", {"a": 1, "b": 2}, ReadableSpan)] * 2,
    ]


def test_a_processor_that_is_added_later() -> None:
    """It sees what follows: the end of a span that is open, too."""
    provider, seen = provider_with(), Seen()
    tracer = provider.get_tracer("test")
    span = start_client_span(tracer, "call", Context(), {"a": 1}, 5)
    provider.add_span_processor(seen)
    end_span(span, {}, 9)
    start_client_span(tracer, "call", Context(), {"b": 1}, 5)
    assert [call[:2] for call in seen.calls if call[0] != "ending"] == [("end", {"a": 1}), ("start", {"b": 1})]


@pytest.mark.parametrize("name", ["on_start", "_on_ending", "on_end"])
def test_a_method_that_somebody_has_put_on_a_processor(name: str, monkeypatch: Any) -> None:
    """It is called, though those of the kind do nothing or are known."""
    exporter = InMemorySpanExporter()
    processor = BatchSpanProcessor(exporter)
    if not hasattr(processor, name):
        pytest.skip("this release of the SDK does not call it")
    called: list[str] = []
    monkeypatch.setattr(processor, name, lambda *_, **__: called.append(name))
    end_span(start_client_span(provider_with(processor).get_tracer("test"), "call", Context(), {}, 5), {}, 9)
    processor.force_flush()
    processor.shutdown()
    assert (called, len(exporter.get_finished_spans())) == ([name], 0 if name == "on_end" else 1)


@pytest.mark.parametrize("is_sampled", [True, False])
def test_the_queue_of_a_batch_processor(is_sampled: bool) -> None:
    """A span that is recorded but not sampled does not get into it."""
    exporter = InMemorySpanExporter()
    processor = BatchSpanProcessor(exporter)
    decision = Decision.RECORD_AND_SAMPLE if is_sampled else Decision.RECORD_ONLY
    provider = provider_with(processor, sampler=StaticSampler(decision))
    end_span(start_client_span(provider.get_tracer("test"), "call", Context(), {}, 5), {}, 9)
    processor.force_flush()
    processor.shutdown()
    assert len(exporter.get_finished_spans()) == is_sampled


def test_processors_of_ours() -> None:
    """Open spans are kept while they are open, and no span of ours is taken for somebody else's."""
    kept = OpenSpans()
    kept.install()
    tracer = provider_with(kept, Noticing()).get_tracer("test")
    span = start_client_span(tracer, "call", Context(), {}, 5)
    assert list(kept._spans.values()) == [span]
    end_span(span, {}, 9)
    assert not kept._spans


class Looking(Sampler):
    """A sampler that notes which attributes a span starts with, and adds one."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        """Takes every span."""
        attributes = kwargs["attributes"] if "attributes" in kwargs else args[4]
        self.seen.append(dict(attributes or {}))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {**attributes, "sampler": "looking"})

    def get_description(self) -> str:
        """Its name."""
        return "looking"


class LookingParentBased(ParentBased):
    """Decides by attributes, though of a kind that does not."""

    seen: list[dict[str, Any]]

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        """Takes what its base takes."""
        self.seen.append(dict(kwargs.get("attributes") or args[4] or {}))
        return super().should_sample(*args, **kwargs)


@pytest.mark.parametrize("is_delegate", [False, True])
def test_a_sampler_that_looks_at_attributes(is_delegate: bool) -> None:
    """A sampler of the app sees them and may add some, also one that a sampler of the SDK asks."""
    looking = Looking()
    provider = provider_with(sampler=ParentBased(looking) if is_delegate else looking)
    span: Any = start_client_span(provider.get_tracer("test"), "call", Context(), {"a": "b"}, 5)
    assert looking.seen == [{"a": "b"}]
    assert dict(span.attributes) == {"a": "b", "sampler": "looking"}


def test_a_sampler_derived_from_the_sdks() -> None:
    """One that decides in its own way sees them, too."""
    sampler = LookingParentBased(ALWAYS_ON)
    sampler.seen = []
    start_client_span(provider_with(sampler=sampler).get_tracer("test"), "call", Context(), {"a": "b"}, 5)
    assert sampler.seen == [{"a": "b"}]


class OtherTracer(sdk.Tracer):
    """A tracer that somebody has derived from the SDK's."""


def other_fields(_: Any, monkeypatch: Any) -> None:
    """The SDK's spans have a field that they did not have."""
    init = sdk.Span.__init__

    def more(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._more = 1

    more.__module__ = sdk.__name__
    monkeypatch.setattr(sdk.Span, "__init__", more)


def wrapped(_: Any, monkeypatch: Any) -> None:
    """Somebody has put a function around one of the SDK's."""
    end = sdk.Span.end

    def around_it(self: Any, end_time: int | None = None) -> None:
        end(self, end_time)

    monkeypatch.setattr(sdk.Span, "end", around_it)


SLOW: dict[str, Callable[[Any, Any], None]] = {
    "another release": lambda _, patch: patch.setattr(version, "__version__", "1.99.0"),
    "another class": lambda tracer, _: setattr(tracer, "__class__", OtherTracer),
    "another kind of processor": lambda tracer, _: setattr(
        tracer, "span_processor", sdk.ConcurrentMultiSpanProcessor(1)
    ),
    "metrics of its own": lambda tracer, _: setattr(
        tracer, "_tracer_metrics", type("Own", (type(tracer._tracer_metrics),), {})()
    ),
    "a limit on length": lambda tracer, _: setattr(tracer, "_span_limits", SpanLimits(max_span_attribute_length=3)),
    "other fields": other_fields,
    "a function of somebody else": wrapped,
}


@quick
@pytest.mark.parametrize("change", SLOW.values(), ids=SLOW)
def test_a_tracer_that_is_not_just_as_the_sdk_makes_it(
    change: Callable[[Any, Any], None], monkeypatch: Any, complaints: Any
) -> None:
    """Its spans are made in the public way."""
    tracer: Any = provider_with().get_tracer("test")
    change(tracer, monkeypatch)
    span: Any = start_client_span(tracer, "call", Context(), {"a": "long"}, 5)
    assert not is_made_quickly(span)
    assert (span.name, span.kind, span.start_time) == ("call", SpanKind.CLIENT, 5)
    assert dict(span.attributes) == {"a": "lon" if change is SLOW["a limit on length"] else "long"}
    end_span(span, {"b": 1}, 9)
    assert (span.end_time, span.attributes["b"]) == (9, 1)
    assert make_carrier(tracer, carrier()) is None
    said = complaints.take()
    assert all("truncating" in one for one in said)
    assert bool(said) == (change is SLOW["a limit on length"])


def test_a_tracer_that_is_switched_off() -> None:
    """It makes spans that record nothing, and no carriers."""
    tracer: Any = provider_with().get_tracer("test")
    if not hasattr(tracer, "_tracer_config"):
        pytest.skip("tracers of this release of the SDK cannot be switched off")
    tracer._tracer_config = type(tracer._tracer_config)(is_enabled=False)
    assert not start_client_span(tracer, "call", Context(), {}, 5).is_recording()
    assert make_carrier(tracer, carrier()) is None


def test_more_attributes_at_the_start_than_there_is_room_for(complaints: Any) -> None:
    """The newest stay, as the SDK has it."""
    provider = provider_with(span_limits=SpanLimits(max_span_attributes=1))
    span: Any = start_client_span(provider.get_tracer("test"), "call", Context(), {"a": 1, "b": 2}, 5)
    complaints.take()
    assert dict(span.attributes) == {"b": 2}


def test_something_in_a_context_that_is_no_span() -> None:
    """The SDK passes it over."""
    context = Context({_spans.SPAN_KEY: object()})
    span: Any = start_client_span(provider_with().get_tracer("test"), "call", context, {}, 5)
    assert span.parent is None


def test_a_tracer_of_another_make() -> None:
    """It is used as the API says."""
    span = start_client_span(NoOpTracer(), "call", Context(), {"a": "b"}, 5)
    assert not span.is_recording()
    end_span(span, {"a": 1}, 9)
    end_span(span, {}, 9)
    assert make_carrier(NoOpTracer(), carrier()) is None


LINKED = SpanContext(1, 2, is_remote=True)


def carrier(parent: SpanContext | None = None, **changes: Any) -> Carrier:
    """What a carrier says."""
    links = [(LINKED, {"feedback.relation": "rates"}), (LINKED, {})]
    made = Carrier("feedback x", parent, {"a": 1, "b": ["c"]}, ("rated", {"d": [1.0], "e": True}), links, 5, 9)
    return made._replace(**changes)


@quick
@pytest.mark.parametrize("sampler", [DEFAULT_ON, ALWAYS_OFF], ids=["on", "off"])
@pytest.mark.parametrize("parent", [one for one in PARENTS if one is None or one.is_valid])
def test_a_carrier(parent: SpanContext | None, sampler: Sampler) -> None:
    """Every field is that of the span which is started and ended in the public way, and it is never sampled out."""

    def theirs(tracer: Any) -> None:
        _emit._carry_openly(always_on(tracer), carrier(parent))

    def ours(tracer: Any) -> None:
        made = make_carrier(tracer, carrier(parent))
        assert made is not None
        for processor in made.processors:
            processor.on_end(made.whole())

    expected, found = both(theirs, ours, sampler=sampler)
    assert len(found) == 1
    assert [fields(span) for span in found] == [fields(span) for span in expected]
    assert [shown(span) for span in found] == [shown(span) for span in expected]
    for held in (found[0].attributes, found[0].events[0].attributes, found[0].links[0].attributes):
        with pytest.raises(TypeError):
            held["more"] = 1


@pytest.mark.parametrize(
    "limits",
    [
        {"max_span_attributes": 1},
        {"max_event_attributes": 1},
        {"max_link_attributes": 0},
        {"max_attribute_length": 3},
        {"max_events": 0},
        {"max_links": 1},
    ],
    ids=str,
)
def test_a_carrier_that_goes_beyond_a_limit(limits: dict[str, int], complaints: Any) -> None:
    """It is made in the public way, and the SDK makes it fit."""
    exporter = InMemorySpanExporter()
    provider = provider_with(SimpleSpanProcessor(exporter), span_limits=SpanLimits(**limits))
    tracer = provider.get_tracer("test")
    assert make_carrier(tracer, carrier()) is None
    assert _emit._carry_openly(always_on(tracer), carrier()) is not None
    complaints.take()
    assert len(exporter.get_finished_spans()) == 1


@pytest.mark.parametrize("limits", [SpanLimits.UNSET, 2])
def test_a_carrier_that_just_fits(limits: int) -> None:
    """No limit is as good as one that is kept."""
    names = ("span_attributes", "event_attributes", "link_attributes", "events", "links")
    provider = provider_with(span_limits=SpanLimits(**{f"max_{name}": limits for name in names}))
    made = make_carrier(provider.get_tracer("test"), carrier())
    assert (made is not None) == is_quick


def test_a_processor_that_sees_carriers_begin() -> None:
    """Then the carrier is started and ended in the public way."""
    seen = Seen()
    tracer = provider_with(OpenSpans(), Noticing(), seen).get_tracer("test")
    assert make_carrier(tracer, carrier()) is None
    assert _emit._carry_openly(always_on(tracer), carrier()) is not None
    assert [call[0] for call in seen.calls if call[0] != "ending"] == ["start", "end"]


@quick
def test_processors_of_ours_do_not_get_carriers() -> None:
    """They would forget or pass over what they get."""
    exporting = SimpleSpanProcessor(InMemorySpanExporter())
    made = make_carrier(provider_with(OpenSpans(), exporting, Noticing()).get_tracer("test"), carrier())
    assert made is not None
    assert list(made.processors) == [exporting]


def test_fields_are_asked_of_the_class_without_harm() -> None:
    """Whoever looks through a class finds what makes the field, and none is made."""
    span: Any = start_client_span(provider_with().get_tracer("test"), "call", Context(), {}, 5)
    assert not list(span._events)
    if is_quick:
        assert isinstance(type(span)._events, _spans._Lazy)


def test_a_sampler_that_must_be_asked() -> None:
    """What it decides of a span depends on the trace."""
    assert _sdk_spans.decisions_of(ParentBased(TraceIdRatioBased(0.5)), sdk.sampling) is None
    assert _sdk_spans.decisions_of(DEFAULT_OFF, sdk.sampling) == [False, False, True, False, True]
