"""The bytes of a spooled record say what the exporters' own encoder says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as sdk_logs
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import SpanContext as Context

from spanback import _bounded
from spanback._log_records import Said, make_record
from spanback._spans import Carrier, make_carrier
from spanback._telemetry import Unsent
from spanback.export._spool import _bodies, _wire
from spanback.export._spool._post import REQUESTS
from spanback.export._spool._wire import encoded, request
from tests.export.telemetry import INSIDE_REMOTE, REMOTE, RESOURCE, log, span
from tests.instrumentation.test_spans import ATTRIBUTES, quick

PLAIN = Context(2**127 + 5, 2**63 + 7, is_remote=True, trace_flags=TraceFlags(1))
VALUES: dict[str, Any] = {
    "text": "x",
    "empty": "",
    "é\U0001f44d": "漢\U0001f44d" * 200,
    "yes": True,
    "no": False,
    "zero": 0,
    "most": 2**63 - 1,
    "least": -(2**63),
    "float": -0.0,
    "several": ["a", "é" * 90],
    "numbers": [1.5, -2.0],
    "flags": [True, False],
    "nothing": [],
    **{f"key.{'k' * 200}.{n}": n * 127 for n in range(8)},
}


def carrier(*, is_remote: bool = False) -> ReadableSpan:
    """A span with all that a carrier has, and a parent of this process or another one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("spanback", "1")
    parent = set_span_in_context(NonRecordingSpan(PLAIN) if is_remote else tracer.start_span("parent"))
    made = tracer.start_span("é" * 90, parent, attributes=VALUES, links=[Link(PLAIN, VALUES), Link(PLAIN)])
    made.add_event("event", VALUES, 5)
    made.add_event("bare", None, 6)
    made.end()
    return exporter.get_finished_spans()[0]


@pytest.fixture(autouse=True)
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the exporters' encoder was asked for."""
    asked: list[str] = []
    plain = _wire._encoded

    def noted(kind: Any, item: Any) -> Any:
        asked.append(kind)
        return plain(kind, item)

    monkeypatch.setattr(_wire, "_encoded", noted)
    _wire._LAST.clear()
    yield asked
    _wire._LAST.clear()


def both(kind: Any, item: Any) -> list[Any]:
    """The messages of one record: as the exporters encode it, and as it is from the second on."""
    signal = Unsent("1", item, None) if kind == "traces" else Unsent("1", None, item)
    return [REQUESTS[kind].FromString(request([record])) for record in encoded([signal, signal])]


@pytest.mark.parametrize(
    "item",
    [
        carrier(),
        span("", VALUES),
        span(events=[("event", VALUES, 5)], limits=SpanLimits(max_event_attributes=3)),
        span(attributes=VALUES, limits=SpanLimits(max_attributes=4)),
        span(events=[("a", {}, 1), ("b", {}, 2)], limits=SpanLimits(max_events=1)),
        span(status=Status(StatusCode.ERROR, "é" * 70)),
        span(status=Status(StatusCode.OK)),
        carrier(is_remote=True),
    ],
    ids=["carrier", "values", "event limit", "limit", "events limit", "error", "ok", "remote"],
)
def test_spans_are_the_same(item: ReadableSpan, foreign: list[str]) -> None:
    """Every field of a span is where the other encoder has it."""
    theirs, ours = both("traces", item)
    assert ours == theirs
    assert foreign == ["traces"]


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": VALUES, "body": "b" * 300, "event_name": "gen_ai.evaluation.result", "context": INSIDE_REMOTE},
        {"body": "", "severity_text": "INFO", "severity_number": SeverityNumber.WARN},
        {"body": 7, "timestamp": 0, "observed_timestamp": 0, "severity_number": None},
    ],
    ids=["whole", "empty", "bare"],
)
def test_log_records_are_the_same(fields: dict[str, Any], foreign: list[str]) -> None:
    """Every field of a log record is where the other encoder has it."""
    item = log(**fields)
    if fields.get("observed_timestamp") == 0:
        item.log_record.observed_timestamp = 0  # the SDK puts the time in where there is none
    theirs, ours = both("logs", item)
    assert ours == theirs
    assert foreign == ["logs"] * (1 if hasattr(sdk_logs, "InMemoryLogRecordExporter") else 2)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("traces", span(attributes={"text": "\ud83d"})),
        ("traces", span(links=[{}])),
        ("traces", span(remote=True)),
        ("logs", log(body={"a": 1})),
        ("logs", log(body=None)),
        ("logs", log({"bytes": b"x"})),
        ("logs", log({"huge": 2**63}, body="text")),
        ("logs", log({"mapping": {"a": 1}}, body="text")),
    ],
    ids=["surrogate", "link's state", "trace state", "mapping", "no body", "bytes", "huge", "attribute's mapping"],
)
def test_what_is_odd_is_left_to_the_exporters_encoder(kind: str, item: Any, foreign: list[str]) -> None:
    """What is not written here leaves as it always has."""
    theirs, ours = both(kind, item)
    assert ours == theirs
    assert foreign == [kind, kind]


def test_both_forms_share_what_they_say(foreign: list[str]) -> None:
    """A span takes from its log record only what is the very same value."""
    signal = Unsent("1", span(attributes={"one": 1, "same": "text"}), log({"one": True, "same": "text"}, body="b"))
    first, again = encoded([signal]), encoded([signal])
    for theirs, ours in zip(first, again, strict=True):
        assert REQUESTS[ours.kind].FromString(request([ours])) == REQUESTS[ours.kind].FromString(request([theirs]))
    assert [record.has_twin for record in again] == [True, True]
    assert "logs" in foreign


def test_attributes_of_another_sdk_are_read_by_their_public_names(
    foreign: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the SDK keeps them in another way they are read one by one."""
    monkeypatch.setattr(_bounded, "_KNOWN", False)
    theirs, ours = both("traces", carrier())
    assert ours == theirs
    assert foreign == ["traces"]


def test_keys_without_end_are_not_kept(foreign: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of metadata are the app's: those beyond the limit are written anew each time."""
    monkeypatch.setattr(_bodies, "_KEYS", {})
    monkeypatch.setattr(_bodies, "_KEYS_LIMIT", 2)
    theirs, ours = both("traces", span(attributes=VALUES))
    assert ours == theirs
    assert list(_bodies._KEYS) == ["text", "empty"]
    assert foreign == ["traces"]


def test_what_most_signals_say_is_written_once(foreign: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Known texts, truths and round scores are kept, up to limits of bytes and of number; other numbers and ids not."""
    monkeypatch.setattr(_bodies, "_PAIRS", {})
    monkeypatch.setattr(_bodies, "_PAIRS_LIMIT", 3)
    said = {"feedback.name": "n" * 300, "feedback.source": "user", "feedback.id": "one", "feedback.weight": 0.0}
    more = {"feedback.target.sampled": True, "feedback.score": -0.8, "feedback.type": "implicit"}
    theirs, ours = both("traces", span(attributes={**said, **more}))
    assert ours == theirs
    assert list(_bodies._PAIRS) == [
        ("feedback.source", "user", str),
        ("feedback.target.sampled", True, bool),
        ("feedback.score", -0.8, float),
    ]
    for sampled, score, weight in ((1, -1, -0.0), (1.0, True, 0), (False, -0.8, 0.3), (True, 0.7999, 5)):
        alike = {"feedback.target.sampled": sampled, "feedback.score": score, "feedback.weight": weight}
        theirs, ours = both("traces", span(attributes=alike))
        assert ours == theirs
    assert foreign == ["traces"] * 5


@pytest.mark.parametrize("size", [0, 1, 100, 110, 120, 125, 126, 127, 128, 16_383, 16_384])
def test_texts_of_every_length_are_the_same(size: int, foreign: list[str]) -> None:
    """Lengths take one byte more from 128 on, those of what a text is in somewhat earlier."""
    said: dict[str, Any] = {"k" * size: "v" * (126 - size % 126), "text": "v" * size, f"n{'k' * size}": 0.5}
    theirs, ours = both("traces", span(attributes=said))
    assert ours == theirs
    assert foreign == ["traces"]


def test_a_span_that_says_what_its_log_record_says_is_the_same(foreign: list[str]) -> None:
    """What the log record has written is taken over as a whole, in the order of span and event, or in part."""
    one, other = dict(reversed(VALUES.items())), {"text": "other", "yes": True}
    for attributes in (VALUES, one, {**one, **other}, {**VALUES, "new": 0.25}, {}):
        signal = Unsent("1", span("", VALUES), log(attributes, body="b"))
        first, again = encoded([signal]), encoded([signal])
        for theirs, ours in zip(first, again, strict=True):
            assert REQUESTS[ours.kind].FromString(request([ours])) == REQUESTS[ours.kind].FromString(request([theirs]))
    assert "traces" in foreign


TRACER = TracerProvider(resource=RESOURCE, shutdown_on_exit=False).get_tracer("spanback", "1")
LOGGER = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False).get_logger("spanback", "1")
LOCAL = Context(2**100 + 3, 9, is_remote=False)


def unmade(
    attributes: dict[str, Any],
    event: dict[str, Any],
    parent: Context | None = None,
    links: tuple[Context, ...] = (PLAIN,),
    rated: Context = PLAIN,
) -> Unsent:
    """A signal whose forms are not made yet, as feedback has them."""
    linked = [(one, {"feedback.relation": "rates"}) for one in links]
    span = make_carrier(TRACER, Carrier("feedback x", parent, attributes, ("rated", event), linked, 5, 1_005))
    record = make_record(LOGGER, Said("rated", "Feedback x: positive", rated, attributes | event, 5))
    assert span is not None
    assert record is not None
    return Unsent("1", span, record)


def assert_same(signal: Unsent, asked: list[str], expected: list[str]) -> None:
    """The bytes are those of the exporters' encoder, which is asked of a first signal, and then as expected."""
    first = encoded([signal])
    asked.clear()
    assert encoded([signal]) == first
    assert asked == expected


@quick
@pytest.mark.parametrize("parent", [None, PLAIN, LOCAL], ids=["none", "remote", "local"])
@pytest.mark.parametrize("rated", [INVALID_SPAN_CONTEXT, PLAIN, Context(0, 9, True), Context(9, 0, True)])
def test_forms_that_are_not_made_are_the_same(parent: Context | None, rated: Context, foreign: list[str]) -> None:
    """Byte by byte, with any parent, any number of links and whatever is known of the rated span."""
    for links in ((), (PLAIN,), (PLAIN, LOCAL)):
        assert_same(unmade(VALUES, {"text": "x", "more": ["a"]}, parent, links, rated), foreign, [])
    assert_same(unmade({}, {}, parent), foreign, [])


@quick
@given(ATTRIBUTES, ATTRIBUTES)
def test_any_attributes_of_forms_that_are_not_made(attributes: dict[str, Any], event: dict[str, Any]) -> None:
    """Names and values, alike or not in span and event, are written as the exporters' encoder writes them."""
    _wire._LAST.clear()
    try:
        first = encoded([unmade(attributes, event, PLAIN)])
    except ValueError:  # a number that is too large for protobuf
        return
    again = encoded([unmade(attributes, event, PLAIN)])
    for theirs, ours in zip(first, again, strict=True):
        assert ids_away(ours) == ids_away(theirs)


def ids_away(record: Any) -> Any:
    """The message of a record, without the id that each carrier has of its own."""
    message = REQUESTS[record.kind].FromString(request([record]))
    for group in getattr(message, "resource_spans", ()):
        group.scope_spans[0].spans[0].span_id = b""
    return message


@quick
@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ({"attributes": {"text": "\ud83d"}, "event": {}}, ["logs", "traces"]),
        ({"attributes": {}, "event": {"text": "\ud83d"}}, ["logs", "traces"]),
        ({"attributes": {}, "event": {}, "links": (REMOTE,)}, ["traces"]),
    ],
    ids=["surrogate", "event's surrogate", "link's state"],
)
def test_what_is_odd_is_made_for_the_exporters_encoder(
    signal: dict[str, Any], expected: list[str], foreign: list[str]
) -> None:
    """What is not written here is made as the SDK makes it, and leaves as it always has."""
    assert_same(unmade(**signal), foreign, expected)
