"""Files added to an app's own providers, and the parts that a set-up is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from spanback import export
from spanback._settings import Settings
from spanback.export import _exporters, _providers


@pytest.fixture
def providers() -> Iterator[tuple[TracerProvider, LoggerProvider]]:
    """The SDK's own, as an app makes them."""
    tracers, loggers = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    yield tracers, loggers
    tracers.shutdown()
    loggers.shutdown()


def emit(tracers: TracerProvider, loggers: LoggerProvider) -> None:
    """One span and one log record."""
    tracers.get_tracer("app").start_span("chat").end()
    loggers.get_logger("app").emit(LogRecord(timestamp=1, observed_timestamp=1, body="said"))


def names(path: Path) -> list[str]:
    """The names of the spans in a file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [s["name"] for line in lines for r in line["resourceSpans"] for g in r["scopeSpans"] for s in g["spans"]]


def test_a_file_gets_what_the_app_s_own_providers_get(
    tmp_path: Path, providers: tuple[TracerProvider, LoggerProvider]
) -> None:
    """Spans and log records are written once, however often the same file is added, and flushed with the rest."""
    settings = Settings(file=str(tmp_path / "t"))
    for _ in range(2):
        export.add_file(*providers, settings)
    emit(*providers)

    assert export.flush(30.0) is True
    assert names(tmp_path / "t" / "traces.jsonl") == ["chat"]
    (line,) = (tmp_path / "t" / "logs.jsonl").read_text().splitlines()
    assert json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"] == {"stringValue": "said"}


def test_providers_that_are_shut_down_have_nothing_to_flush(
    tmp_path: Path, providers: tuple[TracerProvider, LoggerProvider]
) -> None:
    """An app that replaces its providers, and keeps the old ones, is not told for ever that not all was taken."""
    export.add_file(*providers, Settings(file=str(tmp_path / "t")))
    emit(*providers)
    for provider in providers:
        provider.shutdown()

    assert names(tmp_path / "t" / "traces.jsonl") == ["chat"]
    assert export.flush(30.0) is True


def test_two_files_may_be_added_to_one_provider(
    tmp_path: Path, providers: tuple[TracerProvider, LoggerProvider]
) -> None:
    """Each gets everything."""
    for name in ("a.jsonl", "b.jsonl"):
        export.add_file(providers[0], None, Settings(file=str(tmp_path / name)))
    emit(*providers)
    providers[0].force_flush()

    assert (names(tmp_path / "a.jsonl"), names(tmp_path / "b.jsonl")) == (["chat"], ["chat"])


@pytest.mark.parametrize("settings", [Settings(), Settings(file="unused", sdk_disabled=True)])
def test_without_a_file_nothing_is_added(settings: Settings, providers: tuple[TracerProvider, LoggerProvider]) -> None:
    """Nor while the SDK is disabled."""
    export.add_file(*providers, settings)

    assert providers[0]._active_span_processor._span_processors == ()


def test_providers_that_take_no_processors_are_passed_over(tmp_path: Path) -> None:
    """Those of the API, and those of other libraries."""
    settings = Settings(file=str(tmp_path / "t"))

    export.add_file(trace.NoOpTracerProvider(), ProxyLoggerProvider(), settings)
    export.add_file(None, None, settings)

    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("variable", "value", "make"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10", _providers._span_processor),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "10", _providers._log_processor),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", _providers._metric_reader),
    ],
)
def test_batch_variables_that_contradict_each_other_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, value: str, make: Any
) -> None:
    """The SDK raises on them; the app gets its telemetry at the defaults and one WARNING."""
    monkeypatch.setenv(variable, value)

    made = make(ConsoleMetricExporter())

    assert [record.name for record in caplog.records] == ["spanback.export"]
    assert variable[:9] in caplog.text
    made.shutdown()


def test_a_metrics_exporter_may_be_a_reader(tmp_path: Path) -> None:
    """Pull exporters, such as Prometheus', are readers and are used as they are."""
    reader = InMemoryMetricReader()

    provider = _providers._meter_provider(Settings(), Resource.get_empty(), [reader])
    provider.get_meter("app").create_counter("calls").add(1)

    assert reader.get_metrics_data() is not None
    provider.shutdown()


def always_off(arg: str | None) -> Any:
    """A sampler's factory, as packages offer it."""
    assert arg == "7"
    return ALWAYS_OFF


class Ids(RandomIdGenerator):
    """An id generator, as packages offer it."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a sampler and an id generator."""
    offered = {
        ("opentelemetry_traces_sampler", "off7"): f"{__name__}:always_off",
        ("opentelemetry_id_generator", "mine"): f"{__name__}:Ids",
        ("opentelemetry_id_generator", "gone"): f"{__name__}:Nowhere",
    }

    def entry_points(group: str, name: str) -> list[EntryPoint]:
        value = offered.get((group, name))
        return [EntryPoint(name, value, group)] if value else []

    monkeypatch.setattr(_exporters, "entry_points", entry_points)


@pytest.mark.usefixtures("installed")
def test_samplers_and_id_generators_of_packages_are_used(caplog: pytest.LogCaptureFixture) -> None:
    """They are found by entry point, as the SDK's own configurator finds them."""
    settings = Settings(sampler="off7", sampler_arg="7", id_generator="mine")

    assert _providers._sampler(settings) is ALWAYS_OFF
    assert type(_providers._id_generator(settings)).__name__ == "Ids"
    assert caplog.records == []


@pytest.mark.usefixtures("installed")
def test_samplers_and_id_generators_that_do_not_work_are_left_to_the_sdk(caplog: pytest.LogCaptureFixture) -> None:
    """Each is named in one WARNING."""
    assert _providers._sampler(Settings(sampler="elsewhere")) is None
    assert _providers._id_generator(Settings(id_generator="gone")) is None

    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "OTEL_TRACES_SAMPLER asks for elsewhere",
        "OTEL_PYTHON_ID_GENERATOR asks for gone",
    ]


@pytest.mark.parametrize("name", [None, "always_off", "ParentBased_TraceIdRatio", " traceidratio "])
def test_the_sdk_reads_its_own_samplers_itself(name: str | None) -> None:
    """So they behave as everywhere."""
    assert _providers._sampler(Settings(sampler=name)) is None
    assert _providers._id_generator(Settings(id_generator="random")) is None
