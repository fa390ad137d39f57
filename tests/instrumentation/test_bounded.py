"""Attributes that are set at once are those that the SDK would have set one after the other."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext

from spanback import _bounded
from spanback._bounded import Record, add_event, add_link, bounded, emit, set_attributes

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


@given(attributes=ATTRIBUTES)
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("is_open", [True, False])
def test_what_holds_attributes(is_known: bool, is_open: bool, attributes: dict[str, Any]) -> None:
    """It is the SDK's own, field by field, in every release."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_bounded, "_KNOWN_WHOLE", is_known and _bounded._KNOWN_WHOLE)
        held = bounded(attributes, 4, None, is_open=is_open)
    expected = BoundedAttributes(4, attributes, immutable=not is_open)
    without = {"_dict", "_lock"}
    assert {name: value for name, value in vars(held).items() if name not in without} == {
        name: value for name, value in vars(expected).items() if name not in without
    }
    assert (type(held), shown(held)) == (BoundedAttributes, shown(expected))
    assert type(held._lock) is type(expected._lock)
    assert held._dict is not attributes


@pytest.mark.parametrize(("most", "most_characters"), [(1, None), (None, 4)])
def test_attributes_that_the_sdk_must_look_at(most: int | None, most_characters: int | None) -> None:
    """There are too many of them, or one may be too long."""
    assert bounded({"a": 1, "b": 2}, most, most_characters) is None


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
