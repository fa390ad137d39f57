"""Log records that are made in fewer steps are those that the SDK's logger makes, field by field."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, NoOpLogger
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk import version
from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags

from spanback import _log_records
from spanback._log_records import Said, make_record
from spanback.feedback import _emit

# What they are called in newer and in older releases.
InMemoryLogs: Any = vars(export).get("InMemoryLogRecordExporter") or vars(export)["InMemoryLogExporter"]
is_quick = tuple(map(int, version.__version__.split(".")[:2])) >= (1, 45)
quick = pytest.mark.skipif(not is_quick, reason="the records of this release of the SDK are made in the public way")
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers() | st.lists(st.integers()),
)
RATED = [
    INVALID_SPAN_CONTEXT,
    *(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(flags)) for flags in range(4)),
]


def said(**changes: Any) -> Said:
    """What a record says."""
    return Said("rated", "Feedback x: positive", RATED[2], {"a": 1, "b": ["c"], "d": True}, 5)._replace(**changes)


class Provider:
    """A provider with processors that export in batches."""

    def __init__(self, number: int = 1) -> None:
        self.exporters = [InMemoryLogs() for _ in range(number)]
        self.processors = [export.BatchLogRecordProcessor(exporter) for exporter in self.exporters]
        self.provider = LoggerProvider(shutdown_on_exit=False)
        for processor in self.processors:
            self.provider.add_log_record_processor(processor)
        self.logger: Any = self.provider.get_logger("test", "1")

    def exported(self) -> list[list[Any]]:
        """What each exporter has got; there will be no more."""
        self.provider.shutdown()
        return [list(exporter.get_finished_logs()) for exporter in self.exporters]


def fields(found: Any) -> dict[str, Any]:
    """All fields of an exported record, as far as they can be compared."""
    record = dict(vars(found.log_record))
    held = record.pop("attributes")
    settings = {name: value for name, value in vars(held).items() if name not in {"_dict", "_lock"}}
    return {
        **record,
        "attributes": [(name, value, type(value)) for name, value in sorted(held.items())],
        "held": (type(held), settings),
        "rest": {name: repr(value) for name, value in vars(found).items() if name not in {"log_record", "resource"}},
        "service": found.resource.attributes["service.name"],
        "types": (type(found), type(record["trace_flags"]), type(record["context"])),
        "dropped": found.dropped_attributes,
    }


def both(what: Said, number: int = 1) -> tuple[list[list[Any]], list[list[Any]]]:
    """What exporters get of the same, made by the SDK and by us."""
    theirs, ours = Provider(number), Provider(number)
    _emit._log_openly(theirs.logger, what)
    made = make_record(ours.logger, what)
    assert made is not None
    for (processor, queue), expected in zip(made.queues, ours.processors, strict=True):
        assert processor is expected
        queue(made.whole())
    return theirs.exported(), ours.exported()


@quick
@pytest.mark.parametrize("rated", RATED)
def test_a_record(rated: SpanContext) -> None:
    """Every field is that of the record which the logger makes; whoever changes our records cannot change the SDK's."""
    (expected,), (found,) = both(said(rated=rated))
    expected_fields, found_fields = fields(expected[0]), fields(found[0])
    expected_kind, found_kind = type(expected[0].log_record), type(found[0].log_record)
    assert found_fields == expected_fields
    assert (expected_kind.__mro__[1], found_kind) == (LogRecord, LogRecord)
    found_json, expected_json = json.loads(found[0].to_json()), json.loads(expected[0].to_json())
    assert found_json | {"resource": None} == expected_json | {"resource": None}


@quick
@given(ATTRIBUTES)
def test_any_attributes(attributes: dict[str, Any]) -> None:
    """Names, values and types are those that the SDK's own way gives."""
    (expected,), (found,) = both(said(attributes=attributes))
    assert fields(found[0]) == fields(expected[0])


@quick
@pytest.mark.parametrize("number", [0, 2])
def test_every_processor_gets_it(number: int) -> None:
    """There may be none, and there may be several."""
    expected, found = both(said(), number)
    assert [len(records) for records in found] == [len(records) for records in expected] == [1] * number


class Changing(sdk.LogRecordProcessor):
    """Changes records."""

    def on_emit(self, log_record: Any) -> None:
        """Changes one."""
        log_record.log_record.body = "changed"

    def shutdown(self) -> None:
        """Does nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Does nothing."""
        return True


def test_a_processor_that_is_added_later() -> None:
    """From then on records are made in the public way, since it may change them."""
    one = Provider()
    assert (make_record(one.logger, said()) is not None) == is_quick
    one.provider.add_log_record_processor(Changing())
    assert make_record(one.logger, said()) is None
    one.provider.shutdown()


def metrics_of_its_own(one: Provider, _: Any) -> None:
    """The SDK counts what it emits."""
    one.logger._logger_metrics = object()


def switched_off(one: Provider, _: Any) -> None:
    """Nothing is to be emitted."""
    one.logger._logger_config = type(one.logger._logger_config)(is_enabled=False)


def with_a_limit(one: Provider, _: Any, **limits: int) -> None:
    """What does not fit is cut off."""
    one.logger._log_record_limits = sdk.LogRecordLimits(**limits)


def patched(_: Provider, patch: Any) -> None:
    """Somebody has put a function around one of the SDK's."""
    patch.setattr(sdk.Logger, "emit", functools.partialmethod(sdk.Logger.emit))


def other_fields(_: Provider, patch: Any) -> None:
    """The SDK's records have other fields."""
    patch.setattr(_log_records, "_FIELDS", {"timestamp"})


SLOW: dict[str, Callable[[Provider, Any], None]] = {
    "another release": lambda _, patch: patch.setattr(version, "__version__", "1.99.0"),
    "another class": lambda one, _: setattr(one.logger, "__class__", type("Other", (sdk.Logger,), {})),
    "another kind of processor": lambda one, _: setattr(one.logger, "_multi_log_record_processor", Changing()),
    "a method of somebody else": lambda one, _: setattr(one.processors[0], "on_emit", lambda _: None),
    "a derived processor": lambda one, _: setattr(
        one.processors[0], "__class__", type("Other", (export.BatchLogRecordProcessor,), {})
    ),
    "metrics of its own": metrics_of_its_own,
    "switched off": switched_off,
    "too many": lambda one, patch: with_a_limit(one, patch, max_log_record_attributes=2),
    "too long": lambda one, patch: with_a_limit(one, patch, max_log_record_attribute_length=2),
    "a function of somebody else": patched,
    "other fields": other_fields,
}


@quick
@pytest.mark.parametrize("change", SLOW.values(), ids=SLOW)
def test_a_logger_that_is_not_just_as_the_sdk_makes_it(
    change: Callable[[Provider, Any], None], monkeypatch: Any
) -> None:
    """Its records are made in the public way."""
    one = Provider()
    change(one, monkeypatch)
    assert make_record(one.logger, said()) is None
    monkeypatch.undo()
    one.processors[0].shutdown()


def test_a_logger_of_another_make() -> None:
    """It gets records as the API says."""
    assert make_record(NoOpLogger("test"), said()) is None
