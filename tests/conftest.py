"""What the tests of every folder may use: a loopback server, providers in memory, and an instrumented process."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

import spanback
from spanback._spanref import RESPONSES
from spanback.demo._loopback import LoopbackServer
from spanback.instrumentation._noticing import NOTICING
from spanback.testing import InMemoryTelemetry
from tests.conventions import violations

# The newest SDK has renamed it.
LogExporter: Any = getattr(log_export, "InMemoryLogRecordExporter", None) or log_export.InMemoryLogExporter


hypothesis_settings.register_profile("untimed", deadline=None)  # a machine may have other things to do
hypothesis_settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Release 1.37 of the SDK warns of what it does itself with every log record that has a context."""
    config.addinivalue_line(
        "markers", "odd_telemetry(*texts): makes telemetry that breaks the conventions, in these words"
    )
    config.addinivalue_line("filterwarnings", "ignore:LogRecord init with")


class Counted(SpanProcessor):
    """Counts the spans that begin and those that end."""

    started = ended = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Counts."""
        self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Counts."""
        self.ended += 1

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Holds nothing; the base class of the oldest SDK would not say so."""
        return True


class Memory:
    """The three providers of an app, which keep what they get."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.counted = Counted()
        self._span_exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self.counted)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._span_exporter))
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self._log_exporter = LogExporter()
        self.logger_provider = sdk_logs.LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(self._log_exporter))

    @property
    def providers(self) -> dict[str, Any]:
        """The providers as arguments of `instrument()`."""
        names = ("tracer_provider", "meter_provider", "logger_provider")
        return {name: getattr(self, name) for name in names}

    @property
    def spans(self) -> list[ReadableSpan]:
        """Every span, in the order of their ends; none is still open."""
        assert self.counted.started == self.counted.ended
        return list(self._span_exporter.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        """The one span that there is."""
        (span,) = self.spans
        return span

    @property
    def logs(self) -> list[Any]:
        """Every log record."""
        return [data.log_record for data in self._log_exporter.get_finished_logs()]

    def metrics(self) -> dict[str, Any]:
        """Every metric by its name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def clear(self) -> None:
        """Forgets the spans and log records so far."""
        self._span_exporter.clear()
        self._log_exporter.clear()


class Watch:
    """Keeps whatever somebody's providers get, also what a test forgets, and checks it against the conventions."""

    def __init__(self, watched: Memory | InMemoryTelemetry) -> None:
        self._span_exporter, self._log_exporter, self._reader = InMemorySpanExporter(), LogExporter(), watched._reader
        watched.tracer_provider.add_span_processor(SimpleSpanProcessor(self._span_exporter))
        watched.logger_provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(self._log_exporter))

    def violations(self) -> list[str]:
        """What breaks the conventions."""
        spans, logs = self._span_exporter.get_finished_spans(), self._log_exporter.get_finished_logs()
        return violations(spans, logs, self._reader.get_metrics_data())


@contextmanager
def checked(odd: Sequence[str] = ()) -> Iterator[None]:
    """Fails where telemetry of spanback, in memory made inside the block, breaks the conventions.

    Args:
        odd: Texts of which each excuses the violations that hold it.
    """
    watches: list[Watch] = []

    def watching(init: Callable[..., None]) -> Callable[..., None]:
        def made(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            watches.append(Watch(self))

        return made

    with pytest.MonkeyPatch.context() as patch:
        for kind in (Memory, InMemoryTelemetry):
            patch.setattr(kind, "__init__", watching(kind.__init__))
        yield
    found = dict.fromkeys(one for watch in watches for one in watch.violations())
    wrong = [one for one in found if not any(text in one for text in odd)]
    if wrong:
        pytest.fail("\n".join(["telemetry breaks the conventions (tests/conventions.toml):", *wrong]), pytrace=False)


@pytest.fixture(autouse=True)
def conventions(request: pytest.FixtureRequest) -> Iterator[None]:
    """All telemetry of all tests is checked against the conventions' names, types and required levels."""
    with checked([text for mark in request.node.iter_markers("odd_telemetry") for text in mark.args]):
        yield


@pytest.fixture(autouse=True)
def imports_stay_noticed() -> Iterator[None]:
    """A test that puts a flag back does not undo what was imported meanwhile: nobody says it a second time."""
    yield
    NOTICING.is_needed = NOTICING.is_needed or any(module in sys.modules for module in NOTICING._hooked)


@pytest.fixture
def memory() -> Memory:
    """Providers that no test has written to."""
    return Memory()


@pytest.fixture
def instrument(memory: Memory) -> Iterator[Callable[..., None]]:
    """`spanback.instrument()` with providers in memory; taken back after the test."""

    def start(**choices: Any) -> None:
        spanback.instrument(**{**memory.providers, "set_up": False, **choices})

    RESPONSES.clear()
    yield start
    spanback.uninstrument()
    RESPONSES.clear()


@pytest.fixture(scope="session")
def loopback() -> Iterator[LoopbackServer]:
    """The one server of the whole run."""
    with LoopbackServer(pause_s=0.05, chunk_pause_s=0.002) as server:
        yield server


@pytest.fixture
def server(loopback: LoopbackServer) -> LoopbackServer:
    """A server that counts its calls from 1, so that ids are the same in every run."""
    loopback._server.script._numbers = itertools.count(1)
    loopback.requests.clear()
    return loopback
