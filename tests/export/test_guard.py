"""Against real servers: what a guard says, and what it keeps to itself."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from typing_extensions import Self

from spanback import _settings
from spanback.export._exporters import Exporters
from spanback.export._guard import Address, Guard
from tests.export.backends import free_port, grpc_traces_only, http_traces_only
from tests.export.telemetry import log, metrics, span

BATCHES = {"traces": lambda: [span("chat")], "logs": lambda: [log()], "metrics": metrics}
PROTOCOLS = ["grpc", "http/protobuf"]
SERVERS = {"grpc": grpc_traces_only, "http/protobuf": http_traces_only}


@pytest.fixture(autouse=True)
def logs_of_exporters(caplog: pytest.LogCaptureFixture) -> None:
    """Every line is caught from INFO on, the exporters' own too."""
    caplog.set_level(logging.INFO)


class Ways:
    """Guards for all signals to one address, made as `set_up` makes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str, protocol: str, timeout_s: float = 10) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(timeout_s))
        settings = _settings.from_environment()
        self.guards: list[Guard] = []
        exporters = Exporters(self.guards, has_file=False)
        for signal in BATCHES:
            exporters.make(signal, getattr(settings, signal))
        self.by_signal = dict(zip(BATCHES, self.guards, strict=True))

    def export(self, signal: str) -> Any:
        """Exports one batch of a signal and gives the name of the result."""
        result = self.by_signal[signal].export(BATCHES[signal]())
        return getattr(result, "name", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for guard in self.guards:
            guard.shutdown()


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    """What was logged by anyone but the servers."""
    return [r.getMessage() for r in caplog.records if r.levelno >= level and not r.name.startswith("urllib3")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_backend_for_traces_alone_is_asked_once_for_logs_and_metrics(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    """One INFO line for each refused signal, which is then dropped quietly while traces arrive."""
    with SERVERS[protocol]() as backend, Ways(monkeypatch, backend.url, protocol) as ways:
        results = [(signal, ways.export(signal)) for _ in range(3) for signal in ("traces", "logs", "metrics")]

        assert (
            results
            == [("traces", "SUCCESS"), ("logs", "FAILURE"), ("metrics", "FAILURE")]
            + [
                ("traces", "SUCCESS"),
                ("logs", None),
                ("metrics", None),
            ]
            * 2
        )
        assert [
            (record.levelname, record.getMessage()) for record in caplog.records if record.name == "spanback.export"
        ] == [
            ("INFO", f"{backend.url} takes no logs; set OTEL_LOGS_EXPORTER=none to stop asking"),
            ("INFO", f"{backend.url} takes no metrics; set OTEL_METRICS_EXPORTER=none to stop asking"),
        ]
        assert len(lines(caplog)) == 2
        assert [names for _, _, names in backend.asked if names] == [["chat"]] * 3
        assert not any(guard.failing for guard in ways.guards)


def test_method_not_allowed_is_a_refusal_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """HTTP 405 means the same as 404."""
    with http_traces_only(405) as backend, Ways(monkeypatch, backend.url, "http/protobuf") as ways:
        ways.export("logs")
        ways.export("logs")

        assert lines(caplog) == [f"{backend.url} takes no logs; set OTEL_LOGS_EXPORTER=none to stop asking"]
        assert backend.paths() == ["/v1/logs"]


def test_a_refused_signal_is_asked_for_again_after_ten_minutes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A collector may learn to take logs; it is asked again, and nothing more is said if it has not."""
    with http_traces_only() as backend, Ways(monkeypatch, backend.url, "http/protobuf") as ways:
        ways.export("logs")
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 601)
        ways.export("logs")

        assert backend.paths() == ["/v1/logs", "/v1/logs"]
        assert len(lines(caplog)) == 1


def test_traces_that_are_refused_are_a_mistake_worth_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody wants a backend that takes no traces: that address is wrong, and traces are tried on."""
    with http_traces_only(traces_status=404) as backend, Ways(monkeypatch, backend.url, "http/protobuf") as ways:
        ways.export("traces")
        ways.export("traces")

        assert [line.split(": ")[0] for line in lines(caplog, logging.WARNING)] == [f"No traces reach {backend.url}"]
        assert "404" in caplog.text
        assert backend.paths() == ["/v1/traces", "/v1/traces"]
        assert ways.by_signal["traces"].failing


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unreachable_collector_is_said_once_a_minute_and_found_when_it_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    """One WARNING with address, reason and advice for all signals; no stack trace; it recovers by itself."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Ways(monkeypatch, url, protocol, timeout_s=0.5) as ways:
        for signal in ("traces", "logs", "metrics", "traces"):
            assert ways.export(signal) != "SUCCESS"
        assert all(guard.failing for guard in ways.guards)

        assert len(lines(caplog)) == 1
        assert lines(caplog, logging.WARNING)[0].startswith(f"No traces reach {url}: ")
        assert f"Start a collector that speaks {protocol} there" in caplog.text
        assert not any(record.exc_info for record in caplog.records)

        # A minute later it is said again.
        with monkeypatch.context() as later:
            now = time.monotonic()
            later.setattr(time, "monotonic", lambda: now + 61)
            ways.export("logs")
        assert [line.split(": ")[0] for line in lines(caplog)] == [f"No traces reach {url}", f"No logs reach {url}"]

        with contextlib.ExitStack() as stack:
            backend = stack.enter_context(SERVERS[protocol](port=port))
            deadline = time.monotonic() + 20
            while ways.export("traces") != "SUCCESS":
                assert time.monotonic() < deadline
            assert [names for _, _, names in backend.asked] == [["chat"]]
            assert not ways.by_signal["traces"].failing
        assert len(lines(caplog)) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_exit_an_address_that_never_answered_is_not_tried_twice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    """A script whose collector is not running ends at once, with one line and no trouble from the shutdown itself."""
    with Ways(monkeypatch, f"http://127.0.0.1:{free_port()}", protocol) as ways:
        for guard in ways.guards:
            guard.close()
        started = time.monotonic()
        for signal in BATCHES:
            assert ways.export(signal) != "SUCCESS"

        assert time.monotonic() - started < 4  # the exporters of themselves would go on for seven seconds each
        assert len(lines(caplog)) == 1


@pytest.mark.parametrize("answered", [True, False])
def test_at_exit_only_an_address_that_has_answered_gets_its_retries(answered: bool) -> None:
    """An exporter in the middle of retries is shut down at exit, unless its address has worked before."""
    address = Address("http://c", "Start it.")
    exporter = Flaky([Transient()])
    guard = Guard(exporter, "traces", address)
    guard.export([])
    address.answered = answered

    guard.close()

    assert exporter.shutdowns == (0 if answered else 1)
    guard.shutdown()
    guard.shutdown(timeout_millis=3)
    assert exporter.shutdowns == 1


def test_after_its_shutdown_a_guard_says_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    """What fails because the process ends is no trouble of the address."""
    guard = Guard(Flaky([Transient()]), "traces", Address("http://c", "Start it."))

    guard.shutdown()
    guard.export([])

    assert guard.failing
    assert lines(caplog) == []


def test_a_retry_that_succeeds_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A transient error is said, but what arrived in the end has arrived."""
    address = Address("http://c", "Start it.")
    guard = Guard(Flaky([Transient(), SpanExportResult.SUCCESS]), "traces", address)

    assert guard.export([]) is SpanExportResult.SUCCESS
    assert not guard.failing
    assert address.answered
    assert lines(caplog) == ["No traces reach http://c: OSError: reset by peer. Start it."]


@pytest.mark.parametrize("error", [ConnectionError("refused"), ValueError("closed channel"), TypeError("no metadata")])
def test_what_an_exporter_raises_is_a_line_and_no_stack_trace(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Older exporters let errors of their HTTP client through, and a channel closed meanwhile raises too."""
    guard = Guard(Flaky([error]), "metrics", Address("http://c", "Start it."))

    assert guard.export([]) is None
    assert guard.failing
    assert lines(caplog) == [f"No metrics reach http://c: {type(error).__name__}: {error}. Start it."]


def test_lines_about_a_shutdown_are_not_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    """What the exporters say about their own shutdown concerns nobody, and a dropped batch does."""
    guard = Guard(
        Flaky([("Shutdown in progress, aborting retry.",), ("Dropping %s batch:\n too  big.", "logs")]),
        "logs",
        Address("http://c", "Mend it."),
    )

    guard.export([])

    assert lines(caplog) == ["No logs reach http://c: Dropping logs batch: too big. Mend it."]


def test_lines_of_exporters_that_are_not_guarded_pass(caplog: pytest.LogCaptureFixture) -> None:
    """Only warnings and errors while a guard waits are taken; the app's own exporters go on as they did."""
    exporter = Flaky([Working()])
    Guard(exporter, "logs", Address("http://c", "Mend it.")).export([])

    exporter.logger.error("The app's own exporter failed")

    assert lines(caplog) == ["Working on it", "The app's own exporter failed"]


def test_a_guard_is_its_exporter_otherwise() -> None:
    """The SDK reads preferences of a metric exporter, and flushes it."""
    exporter = Flaky([])

    assert Guard(exporter, "metrics", Address("http://c", "Mend it.")).temporality == "delta"


class Transient:
    """Stands for a line about an error that is retried."""


class Working:
    """Stands for a line about progress."""


class Flaky:
    """An exporter that does one thing after the other in a single export, and logs as the real ones do."""

    __module__ = "opentelemetry.exporter.flaky"
    logger = logging.getLogger("opentelemetry.exporter.flaky")
    temporality = "delta"

    def __init__(self, steps: list[Any]) -> None:
        self.steps = steps
        self.shutdowns = 0

    def export(self, batch: Any) -> Any:
        """Does its steps; the last result among them is its own."""
        result: Any = SpanExportResult.FAILURE
        for step in self.steps:
            if isinstance(step, Transient):
                self.logger.warning("Transient error %s encountered, retrying in %.2fs.", OSError("reset by peer"), 1.0)
            elif isinstance(step, Working):
                self.logger.info("Working on %s", "it")
            elif isinstance(step, Exception):
                raise step
            elif isinstance(step, tuple):
                self.logger.warning(*step)
            else:
                result = step
        return result

    def shutdown(self) -> None:
        """Counts."""
        self.shutdowns += 1
