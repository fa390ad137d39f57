"""Attributes that are set at once are those that the SDK would have set one after the other."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, SpanKind

from spanback import _bounded
from spanback._bounded import Record, add_event, add_link, emit, set_attributes, start_client_span
from spanback._open_spans import OpenSpans
from spanback.instrumentation._noticing import Noticing

# What they are called in newer and in older releases.
InMemoryLogs: Any = vars(export).get("InMemoryLogRecordExporter") or vars(export)["InMemoryLogExporter"]

NAMES = st.sampled_from(["a", "b", "c", "d"])
PLAIN = st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers() | st.floats(allow_nan=False)
VALUES = PLAIN | st.lists(st.text(st.characters(exclude_categories=["Cs"])))
ATTRIBUTES = st.dictionaries(NAMES, VALUES)


def span_with(limits: SpanLimits | None = None) -> Any:
    """A span that is open, with two attributes."""
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    return provider.get_tracer("test").start_span("call", attributes={"a": "first", "z": 1})


@given(ATTRIBUTES)
def test_the_same_as_the_sdks_own(attributes: dict[str, Any]) -> None:
    """Names, values and types are those that the SDK's own way gives."""
    ours, theirs = span_with(), span_with()
    set_attributes(ours, attributes)
    theirs.set_attributes(attributes)
    assert [(name, value, type(value)) for name, value in sorted(ours.attributes.items())] == [
        (name, value, type(value)) for name, value in sorted(theirs.attributes.items())
    ]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (SpanLimits(max_span_attributes=3), {"z": 1, "b": "long text", "c": 2}),
        (SpanLimits(max_span_attributes=4), {"a": "first", "z": 1, "b": "long text", "c": 2}),
        (SpanLimits(max_span_attributes=SpanLimits.UNSET), {"a": "first", "z": 1, "b": "long text", "c": 2}),
        (SpanLimits(max_span_attribute_length=4), {"a": "firs", "z": 1, "b": "long", "c": 2}),
    ],
    ids=["too many", "just enough", "no limit", "too long"],
)
def test_limits_of_the_sdk(limits: SpanLimits, kept: dict[str, Any], complaints: Any) -> None:
    """A limit that the app has set on number or length holds; some releases of the SDK say so."""
    span = span_with(limits)
    set_attributes(span, {"b": "long text", "c": 2})
    complaints.take()
    assert dict(span.attributes) == kept


def test_another_layout(monkeypatch: Any) -> None:
    """Where the SDK keeps attributes in another way they are set in the public one."""
    monkeypatch.setattr(_bounded, "_KNOWN", False)
    span = span_with()
    set_attributes(span, {"b": ["x"]})
    assert dict(span.attributes) == {"a": "first", "z": 1, "b": ("x",)}


def test_a_span_that_has_ended(complaints: Any) -> None:
    """What has ended is not changed any more, which the SDK says."""
    span = span_with()
    span.end()
    set_attributes(span, {"b": 1})
    assert complaints.take() == ["Setting attribute on ended span."]
    assert dict(span.attributes) == {"a": "first", "z": 1}


def test_a_span_of_another_make() -> None:
    """A span that keeps nothing takes the attributes and forgets them."""
    span = NonRecordingSpan(SpanContext(1, 2, is_remote=False))
    set_attributes(span, {"b": 1})
    assert not hasattr(span, "attributes")


class Looking(Sampler, SpanProcessor):
    """A sampler and a processor that note which attributes a span starts with."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        """Takes every span."""
        attributes = kwargs["attributes"] if "attributes" in kwargs else args[4]
        self.seen.append(dict(attributes or {}))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        """Its name."""
        return "looking"

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Notes."""
        self.seen.append(dict(span.attributes))


class LookingParentBased(ParentBased):
    """Decides by attributes, though of a kind that does not."""

    seen: list[dict[str, Any]]

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        """Takes what its base takes."""
        self.seen.append(dict(kwargs.get("attributes") or args[4] or {}))
        return super().should_sample(*args, **kwargs)


def started(provider: TracerProvider) -> Any:
    """A span, started with one attribute."""
    return start_client_span(provider.get_tracer("test"), "call", Context(), {"a": "b"}, 5)


@pytest.mark.parametrize("sampler", [ALWAYS_ON, DEFAULT_ON, TraceIdRatioBased(1.0), ParentBasedTraceIdRatio(1.0)])
def test_a_start_that_nobody_looks_at(sampler: Sampler, monkeypatch: Any) -> None:
    """The span has its attributes right after the start, though the SDK is given none: our own processors need none."""
    given: list[object] = []
    monkeypatch.setattr(_bounded, "set_attributes", lambda span, attributes: given.append((span, attributes)))
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    for processor in (SimpleSpanProcessor(InMemorySpanExporter()), OpenSpans(), Noticing()):
        provider.add_span_processor(processor)
    span = started(provider)
    assert given == [(span, {"a": "b"})]
    assert (span.name, span.kind, span.start_time) == ("call", SpanKind.CLIENT, 5)
    assert dict(span.attributes) == {}
    monkeypatch.undo()
    assert dict(started(provider).attributes) == {"a": "b"}


@pytest.mark.parametrize("is_delegate", [False, True])
def test_a_sampler_that_looks_at_attributes(is_delegate: bool) -> None:
    """A sampler of the app sees them, also one that a sampler of the SDK asks."""
    looking = Looking()
    span = started(TracerProvider(ParentBased(looking) if is_delegate else looking, shutdown_on_exit=False))
    assert looking.seen == [{"a": "b"}]
    assert dict(span.attributes) == {"a": "b"}


def test_a_sampler_derived_from_the_sdks() -> None:
    """One that decides in its own way sees them, too."""
    sampler = LookingParentBased(ALWAYS_ON)
    sampler.seen = []
    started(TracerProvider(sampler, shutdown_on_exit=False))
    assert sampler.seen == [{"a": "b"}]


def test_a_processor_that_is_added_later() -> None:
    """It sees the attributes of the very next span."""
    provider, looking = TracerProvider(shutdown_on_exit=False), Looking()
    started(provider)
    provider.add_span_processor(looking)
    started(provider)
    assert looking.seen == [{"a": "b"}]


def test_a_start_that_is_not_sampled() -> None:
    """There is nothing to set on a span that does not record."""
    assert not started(TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)).is_recording()


def test_a_tracer_of_another_make() -> None:
    """It is used as the API says."""
    span = start_client_span(NoOpTracer(), "call", Context(), {"a": "b"}, 5)
    assert not span.is_recording()


def shown(attributes: Any) -> list[tuple[str, Any, type]]:
    """Names, values and types."""
    return [(name, value, type(value)) for name, value in attributes.items()]


LINKED = SpanContext(1, 2, is_remote=True)
ADDING: dict[str, tuple[Any, Any, Any]] = {
    "event": (
        lambda span, attributes: add_event(span, "rated", attributes, 7),
        lambda span, attributes: span.add_event("rated", attributes, 7),
        lambda span: [(one.name, one.timestamp, one.attributes, type(one)) for one in span.events],
    ),
    "link": (
        lambda span, attributes: add_link(span, LINKED, attributes),
        lambda span, attributes: span.add_link(LINKED, attributes),
        lambda span: [(one.context, None, one.attributes, type(one)) for one in span.links],
    ),
}
"""How we add one to a span, how the SDK does, and what is there then."""
either = pytest.mark.parametrize("kind", ADDING)


@either
@given(attributes=ATTRIBUTES)
def test_what_is_added_is_the_sdks_own(kind: str, attributes: dict[str, Any]) -> None:
    """Its attributes are in the same order, too, and nobody can change them any more."""
    add, theirs_adds, read = ADDING[kind]
    ours, theirs = span_with(), span_with()
    add(ours, attributes)
    theirs_adds(theirs, attributes)
    ((named, timed, held, of_type),), ((its_name, its_time, expected, its_type),) = read(ours), read(theirs)
    assert (named, timed, shown(held), of_type) == (its_name, its_time, shown(expected), its_type)
    assert (named, timed) == {"event": ("rated", 7), "link": (LINKED, None)}[kind]
    with pytest.raises(TypeError):
        held["more"] = 1


@either
@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"max_{}_attributes": 1}, [{"c": 2}]),
        ({"max_{}_attributes": 2}, [{"b": "long text", "c": 2}]),
        ({"max_{}_attributes": SpanLimits.UNSET}, [{"b": "long text", "c": 2}]),
        ({"max_attribute_length": 4}, [{"b": "long", "c": 2}]),
        ({"max_{}s": 0}, []),
    ],
    ids=["too many", "just enough", "no limit", "too long", "none"],
)
def test_limits_of_the_sdk_on_what_is_added(
    kind: str, limits: dict[str, Any], kept: list[Any], complaints: Any
) -> None:
    """What the app allows is what there is."""
    add, _, read = ADDING[kind]
    span = span_with(SpanLimits(**{name.format(kind): limit for name, limit in limits.items()}))
    add(span, {"b": "long text", "c": 2})
    complaints.take()
    assert [dict(attributes) for _, _, attributes, _ in read(span)] == kept


@either
def test_what_is_added_to_spans_of_another_layout_or_that_take_none(
    kind: str, monkeypatch: Any, complaints: Any
) -> None:
    """It goes in the public way, which says what it does not take."""
    add, _, read = ADDING[kind]
    if kind == "event":  # the SDK takes a link at any time
        ended = span_with()
        ended.end()
        add(ended, {"b": 1})
        assert (complaints.take(), ended.events) == (["Tried calling _add_event on an ended span."], ())
    add(NonRecordingSpan(SpanContext(1, 2, is_remote=False)), {"b": 1})
    monkeypatch.setattr(_bounded, "_KNOWN", False)
    span = span_with()
    add(span, {"b": ["x"]})
    assert [dict(attributes) for _, _, attributes, _ in read(span)] == [{"b": ("x",)}]


def emitted(attributes: dict[str, Any]) -> Any:
    """A log record as an exporter gets it."""
    exporter = InMemoryLogs()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(export.SimpleLogRecordProcessor(exporter))
    emit(provider.get_logger("test", "1"), LogRecord(timestamp=7, observed_timestamp=8, event_name="rated"), attributes)
    (found,) = exporter.get_finished_logs()
    return found


@pytest.mark.parametrize(
    ("variable", "kept"),
    [
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT=1", {"c": 2}),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT=2", {"b": "long text", "c": 2}),
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT=4", {"b": "long", "c": 2}),
    ],
)
@pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
def test_limits_of_the_sdk_on_log_records(variable: str, kept: Any, monkeypatch: Any, complaints: Any) -> None:
    """They are those of the SDK's variables."""
    monkeypatch.setenv(*variable.split("="))
    found = emitted({"b": "long text", "c": 2})
    complaints.take()
    if not hasattr(LoggerProvider(shutdown_on_exit=False), "_log_record_limits"):
        pytest.skip("this release of the SDK keeps limits for itself")
    assert dict(found.log_record.attributes) == kept


@pytest.mark.parametrize("is_known", [True, False])
def test_a_log_record_is_the_sdks_own(is_known: bool, monkeypatch: Any) -> None:
    """It has the resource and the scope of its logger, and the attributes that it was given."""
    monkeypatch.setattr(_bounded, "_KNOWN", is_known)
    found = emitted({"b": ["x"], "c": 1.0, "d": True})
    assert shown(found.log_record.attributes) == [("b", ("x",), tuple), ("c", 1.0, float), ("d", True, bool)]
    assert (found.log_record.timestamp, found.log_record.event_name) == (7, "rated")
    assert found.instrumentation_scope.name == "test"
    resource = getattr(found, "resource", None) or found.log_record.resource
    assert resource.attributes["telemetry.sdk.name"] == "opentelemetry"


def test_a_logger_of_another_make() -> None:
    """It gets the record with its attributes."""
    taken: list[Any] = []

    class Other:
        _log_record_limits = None

        def emit(self, record: LogRecord) -> None:
            taken.append(record)

    other: Any = Other()
    emit(other, LogRecord(timestamp=7), {"b": 1})
    assert [(type(record), record.attributes) for record in taken] == [(LogRecord, {"b": 1})]


def test_a_record_is_copied_as_any_other() -> None:
    """The copy says the same, and what is put into one of them is not in the other."""
    record = Record(timestamp=7, body="x", attributes={"b": 1})
    copied = copy(record)
    assert (type(copied), vars(copied)) == (Record, vars(record))
    copied.body = "y"
    assert record.body == "x"
