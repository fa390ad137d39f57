"""A batch is recorded whole or not at all, at the pace of its export."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanback import InvalidBatch, InvalidFeedback, declare, export, record_many, signals
from spanback._settings import Settings, Way
from spanback._telemetry import TELEMETRY
from spanback.feedback import _many, _progress, _rules
from spanback.feedback._declared import DECLARED
from spanback.testing import InMemoryTelemetry, fake_ref
from tests.conftest import LogExporter

PAST = datetime(2025, 3, 1, tzinfo=timezone.utc)


def test_each_item_is_a_signal_of_its_own(telemetry: InMemoryTelemetry) -> None:
    """Receipts come in the order of the items, and what is back-dated keeps its time."""
    receipts = record_many(
        [
            {"target": fake_ref(), "signal": signals.THUMBS_UP},
            {"target": fake_ref(), "rating": 4, "scale": (1, 5), "name": "stars", "observed_at": PAST},
            {"target": "chatcmpl-unknown", "signal": signals.READ, "placement": "linked", "feedback_id": "mine"},
        ]
    )
    assert [receipt.status for receipt in receipts] == ["recorded", "recorded", "unresolved"]
    assert [(row.name, row.score) for row in telemetry.feedback] == [
        ("user_thumbs", 1.0),
        ("stars", 0.5),
        ("read", 0.5),
    ]
    assert [row.feedback_id for row in telemetry.feedback] == [receipt.feedback_id for receipt in receipts]
    assert telemetry.feedback[1].attributes["feedback.observed_at"] == "2025-03-01T00:00:00+00:00"


def test_an_empty_batch_is_no_mistake(telemetry: InMemoryTelemetry) -> None:
    """Nothing to record is recorded."""
    assert record_many(iter(())) == []


class Hostile(Mapping[str, Any]):
    """A mapping whose reading fails."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


def test_all_that_is_wrong_is_told_at_once(telemetry: InMemoryTelemetry) -> None:
    """Every problem of every item, also several in one; and nothing is emitted, not even what is right."""
    hostile = Hostile()
    items: list[Any] = [
        {"target": fake_ref(), "signal": signals.THUMBS_UP},
        {"target": 7, "score": 5, "weight": "x", "name": "A", "placement": "in", "metadata": {"k": None}},
        {"target": fake_ref()},
        7,
        {"target": fake_ref(), "score": 1, "colour": "red", 3: 4},
        hostile,
    ]
    with pytest.raises(InvalidBatch) as refusal:
        record_many(items)
    assert [(number, problem.field, problem.value) for number, problem in refusal.value.problems] == [
        (1, "name", "A"),
        (1, "score", 5),
        (1, "weight", "x"),
        (1, "metadata['k']", None),
        (1, "target", 7),
        (1, "placement", "in"),
        (2, "score", None),
        (3, "item", 7),
        (4, "item", "colour"),
        (4, "item", 3),
        (5, "item", hostile),
    ]
    assert str(refusal.value).splitlines()[:3] == [
        "5 of 6 items cannot be recorded, so none was:",
        f"  item 1: name='A' {_rules.NAME_RULE}",
        f"  item 1: score=5 {_rules.SCORE_RULE}",
    ]
    assert (telemetry.spans, telemetry.logs, telemetry.metrics) == ((), (), {})


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({"score": 5, "comment": ""}, ["score", "comment"]),
        ({"signal": 7, "label": "\n"}, ["signal", "label"]),
        ({"rating": "x", "scale": (5, 1)}, ["scale", "rating"]),
        ({"rating": 4, "scale": (5, 1), "weight": 2}, ["scale", "weight"]),
        ({"rating": 4}, ["scale"]),
        ({"rating": 9, "scale": (1, 5), "weight": 2}, ["rating", "weight"]),
        ({"scale": (1, 5)}, ["scale"]),
        ({"score": 1, "rating": 4, "scale": (1, 5), "user_id": ""}, ["rating", "user_id"]),
        ({"weight": 2}, ["score", "weight"]),
        ({"score": 1, "metadata": 7}, ["metadata"]),
        ({"score": 1, "metadata": {"": 1, "a": None, "b": [], "c": 1}}, ["metadata", "metadata['a']", "metadata['b']"]),
        ({"score": 1, "metadata": {None: 1, "a": None}}, ["metadata", "metadata['a']"]),
        ({"rating": 2, "name": "declared"}, ["score"]),
        ({"signal": signals.THUMBS_DOWN, "name": "declared"}, ["score"]),
        ({"score": -1, "name": "declared", "label": "b"}, ["label", "score"]),
    ],
)
def test_several_problems_of_one_item(telemetry: InMemoryTelemetry, arguments: Any, fields: list[str]) -> None:
    """Each mistake is named once, and none that only follows from another."""
    declare("declared", scale=(1, 5), scores=(0, 1), labels=["a"])
    with pytest.raises(InvalidBatch) as refusal:
        record_many([{"target": fake_ref(), **arguments}])
    DECLARED.clear()
    assert [problem.field for _, problem in refusal.value.problems] == fields


def test_a_long_list_of_problems_is_shortened_for_people() -> None:
    """The message stays readable, the attribute has them all; and the error survives a pickle."""
    with pytest.raises(InvalidBatch) as refusal:
        record_many([{"score": number} for number in range(2, 102)])
    assert len(refusal.value.problems) == 100
    lines = str(refusal.value).splitlines()
    assert (lines[0], lines[-1]) == ("100 of 100 items cannot be recorded, so none was:", "  and 80 more")
    assert len(lines) == 22
    copy = pickle.loads(pickle.dumps(refusal.value))
    assert (str(copy), len(copy.problems), copy.count) == (str(refusal.value), 100, 100)
    assert isinstance(copy, ValueError)


@pytest.mark.parametrize("items", ["text", b"bytes", {"score": 1}, 7, None])
def test_what_is_no_batch_is_refused(items: Any) -> None:
    """One item is no list of items."""
    with pytest.raises(InvalidFeedback) as refusal:
        record_many(items)
    assert (refusal.value.field, refusal.value.rule) == ("items", _rules.ITEMS_RULE)


def test_progress_is_told_as_it_goes(telemetry: InMemoryTelemetry) -> None:
    """Every 128 signals and at the end."""
    told: list[tuple[int, int]] = []
    record_many([{"target": fake_ref(), "score": 1}] * 300, progress=lambda done, total: told.append((done, total)))
    assert told == [(128, 300), (256, 300), (300, 300)]
    not_one: Any = 7
    with pytest.raises(InvalidFeedback) as refusal:
        record_many([], progress=not_one)
    assert (refusal.value.field, refusal.value.rule) == ("progress", _rules.PROGRESS_RULE)


def test_progress_that_fails_stops_nothing(telemetry: InMemoryTelemetry) -> None:
    """What the app's function raises does not lose a signal."""
    told: list[int] = []
    takes_one: Any = told.append
    record_many([{"target": fake_ref(), "score": 1}] * 200, progress=takes_one)
    assert len(telemetry.spans) == 200
    assert told == []


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("delay_s", "is_drawn"), [(0.0, True), (60.0, False)])
def test_a_bar_is_drawn_once_it_takes_long(
    telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch, delay_s: float, is_drawn: bool
) -> None:
    """Short batches draw nothing."""
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(_progress, "BAR_DELAY_S", delay_s)
    record_many([{"target": fake_ref(), "score": 1}] * 300, progress=True)
    assert ("Recording feedback" in terminal.getvalue()) is is_drawn


class _Broken(_Terminal):
    def write(self, _text: str) -> int:
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [None, _Broken()], ids=["none", "broken"])
def test_a_bar_that_cannot_be_drawn_stops_nothing(
    telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch, stream: Any
) -> None:
    """A process without a console has no standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(_progress, "BAR_DELAY_S", 0.0)
    assert len(record_many([{"target": fake_ref(), "score": 1}] * 300, progress=True)) == 300


def test_without_a_terminal_no_bar_is_drawn(telemetry: InMemoryTelemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """Logs of a job stay clean."""
    record_many([{"target": fake_ref(), "score": 1}], progress=True)
    assert capsys.readouterr().err == ""


@pytest.fixture
def batched(configure: Callable[..., Settings]) -> Iterator[tuple[InMemorySpanExporter, Any]]:
    """The SDK's batch processors with their usual queues, in front of exporters that keep what they get."""
    spans, logs = InMemorySpanExporter(), LogExporter()
    tracer_provider, logger_provider = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(BatchSpanProcessor(spans))
    logger_provider.add_log_record_processor(log_export.BatchLogRecordProcessor(logs))
    before = dict(vars(TELEMETRY))
    TELEMETRY.configure(tracer_provider=tracer_provider, logger_provider=logger_provider)
    yield spans, logs
    vars(TELEMETRY).update(before)
    tracer_provider.shutdown()
    logger_provider.shutdown()


def test_nothing_is_lost_between_queue_and_exporter(batched: tuple[InMemorySpanExporter, Any]) -> None:
    """20,000 signals at once are ten times what the SDK's queues hold; each arrives in both forms, once."""
    receipts = record_many([{"target": "chatcmpl-unknown", "score": 1}] * 20_000)
    wanted = [receipt.feedback_id for receipt in receipts]
    spans, logs = batched
    assert [(span.attributes or {})["feedback.id"] for span in spans.get_finished_spans()] == wanted
    assert [data.log_record.attributes["feedback.id"] for data in logs.get_finished_logs()] == wanted


def test_a_file_gets_all_of_a_long_batch(
    configure: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file exporter of instrument(file=...), read back line by line."""
    settings = configure(file=str(tmp_path / "telemetry"), traces=Way(exporters=("none",)))
    tracer_provider, logger_provider = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    export.add_file(tracer_provider, logger_provider, settings)
    before = dict(vars(TELEMETRY))
    TELEMETRY.configure(tracer_provider=tracer_provider, logger_provider=logger_provider)
    try:
        receipts = record_many({"target": "chatcmpl-unknown", "score": 1} for _ in range(5_000))
    finally:
        vars(TELEMETRY).update(before)
        tracer_provider.shutdown()
        logger_provider.shutdown()
    found = [
        attribute["value"]["stringValue"]
        for line in (tmp_path / "telemetry" / "traces.jsonl").read_text(encoding="utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        for attribute in span["attributes"]
        if attribute["key"] == "feedback.id"
    ]
    assert found == [receipt.feedback_id for receipt in receipts]


class _Flushed(TracerProvider):
    """A provider that counts how often it is flushed, and may fail to."""

    def __init__(self, answer: bool) -> None:
        super().__init__(shutdown_on_exit=False)
        self._answer = answer
        self.flushes = 0

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Counts."""
        self.flushes += 1
        return self._answer


@pytest.mark.parametrize(("answer", "limit_s", "flushes"), [(True, 60.0, 4), (False, 60.0, 1), (True, 0.0, 1)])
def test_a_backend_that_does_not_answer_is_waited_for_once(
    configure: Callable[..., Settings], answer: bool, limit_s: float, flushes: int
) -> None:
    """A batch is not held up again and again; without a backend all signals are still handed over."""
    configure(flush_timeout_s=limit_s, emit="span")
    provider = _Flushed(answer)
    before = dict(vars(TELEMETRY))
    TELEMETRY.configure(tracer_provider=provider)
    receipts = record_many([{"target": "chatcmpl-unknown", "score": 1}] * (3 * _many.PACE + 1))
    vars(TELEMETRY).update(before)
    provider.shutdown()
    assert provider.flushes == flushes
    assert {receipt.status for receipt in receipts} == {"unresolved"}


def test_a_short_batch_does_not_wait(configure: Callable[..., Settings]) -> None:
    """Up to 128 signals fit into any queue."""
    provider = _Flushed(True)
    before = dict(vars(TELEMETRY))
    TELEMETRY.configure(tracer_provider=provider)
    record_many([{"target": "chatcmpl-unknown", "score": 1}] * _many.PACE)
    vars(TELEMETRY).update(before)
    provider.shutdown()
    assert provider.flushes == 0
