"""The bytes of a spooled record say what the exporters' own encoder says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import export as sdk_logs
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace import SpanContext as Context

from spanback import _bounded
from spanback._telemetry import Unsent
from spanback.export._spool import _bodies, _wire
from spanback.export._spool._post import REQUESTS
from spanback.export._spool._wire import encoded, request
from tests.export.telemetry import INSIDE_REMOTE, RESOURCE, log, span

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
    ],
    ids=["surrogate", "link's state", "trace state", "mapping", "no body", "bytes", "huge"],
)
def test_what_is_odd_is_left_to_the_exporters_encoder(kind: str, item: Any, foreign: list[str]) -> None:
    """What is not written here leaves as it always has."""
    theirs, ours = both(kind, item)
    assert ours == theirs
    assert foreign == [kind, kind]


def test_both_forms_share_what_they_say(foreign: list[str]) -> None:
    """A log record takes from its span only what is the very same value."""
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
    """Known texts and truths are kept, up to a limit of bytes and of number; equal numbers and ids are not."""
    monkeypatch.setattr(_bodies, "_PAIRS", {})
    monkeypatch.setattr(_bodies, "_PAIRS_LIMIT", 2)
    said = {"feedback.name": "n" * 300, "feedback.source": "user", "feedback.id": "one", "feedback.weight": 1.0}
    theirs, ours = both(
        "traces", span(attributes={**said, "feedback.target.sampled": True, "feedback.type": "implicit"})
    )
    assert ours == theirs
    assert list(_bodies._PAIRS) == [("feedback.source", "user"), ("feedback.target.sampled", True)]
    theirs, ours = both("traces", span(attributes={"feedback.source": "user", "feedback.target.sampled": 1}))
    assert ours == theirs
    assert foreign == ["traces", "traces"]
