"""The arguments of `instrument()`, and which providers are in force when."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk.trace import TracerProvider

import spanback
from spanback import _settings, _telemetry, export
from spanback._entry_point import SpanbackInstrumentor
from spanback._telemetry import Telemetry
from spanback.errors import InvalidSetting
from tests.conftest import Memory
from tests.instrumentation.driving import MESSAGES, MODEL

MODES = "event_only, no_content, span_and_event, span_only"
CALL = {"model": MODEL, "messages": MESSAGES}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clients": "openai"}, "clients='openai' must be a list of client names"),
        ({"clients": 3}, "clients=3 must be a list of client names"),
        ({"clients": ["openai", "acme"]}, "clients='acme' must be among openai"),
        ({"clients": [["openai"]]}, "clients=<list> must be among openai"),
        ({"file": " "}, "file=' ' must name a folder, or a file ending in .jsonl"),
        ({"file": 3}, "file=3 must name a folder, or a file ending in .jsonl"),
        ({"file": b"telemetry"}, "file=b'telemetry' must name a folder, or a file ending in .jsonl"),
        ({"tracer_provider": 3}, "tracer_provider=3 must be a provider of OpenTelemetry, with the method get_tracer"),
        ({"meter_provider": 3}, "meter_provider=3 must be a provider of OpenTelemetry, with the method get_meter"),
        ({"logger_provider": 3}, "logger_provider=3 must be a provider of OpenTelemetry, with the method get_logger"),
        ({"capture_content": b"no_content"}, f"capture_content=b'no_content' must be True, False or one of {MODES}"),
        ({"capture_content": "all"}, f"capture_content='all' must be True, False or one of {MODES}"),
    ],
)
def test_bad_arguments_change_nothing(
    arguments: dict[str, Any], message: str, instrument: Any, client: Any, memory: Memory
) -> None:
    """A bad argument is named with its value and its rule, and what was in force before stays so."""
    instrument()
    with pytest.raises(InvalidSetting) as raised:
        spanback.instrument(**{"tracer_provider": TracerProvider(shutdown_on_exit=False), **arguments})
    assert str(raised.value) == message
    client.chat.completions.create(**CALL)
    assert memory.span.name == f"chat {MODEL}"


def test_later_calls_add(instrument: Any, client: Any, memory: Memory) -> None:
    """What a later call leaves out stays as it was, and what it gives replaces."""
    instrument(capture_content="event_only")
    spanback.instrument(set_up=False)
    client.chat.completions.create(**CALL)
    assert [log.event_name for log in memory.logs] == ["gen_ai.client.inference.operation.details"]
    assert memory.span.name == f"chat {MODEL}"
    other = Memory()
    spanback.instrument(tracer_provider=other.tracer_provider, capture_content=False, set_up=False)
    client.chat.completions.create(**CALL)
    assert (len(memory.spans), len(memory.logs), len(other.spans)) == (1, 1, 1)
    spanback.uninstrument()
    assert _settings.current().content == "no_content"


@pytest.mark.parametrize(
    ("environment", "clients", "state"),
    [
        ({}, None, "patched"),
        ({}, ["openai"], "patched"),
        ({}, [], "not instrumented"),
        ({"SPANBACK_CLIENTS": "openai"}, None, "patched"),
        ({"SPANBACK_CLIENTS": "acme"}, None, "not instrumented"),
        ({"SPANBACK_CLIENTS": "acme"}, ["openai"], "patched"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis, openai"}, None, "not instrumented"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai"}, ["openai"], "patched"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, None, "not instrumented"),
    ],
)
def test_which_clients(
    environment: dict[str, str], clients: Any, state: str, instrument: Any, monkeypatch: Any
) -> None:
    """Code decides which clients are instrumented, then SPANBACK_CLIENTS, then what OpenTelemetry disables."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    instrument(clients=clients)
    assert {line.state for line in spanback.status()} == {state}


def test_a_file_beside_the_apps_providers(
    instrument: Any, client: Any, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is added to the providers of the app at the first model call, and not at `instrument()`."""
    added: list[Any] = []

    def add_file(tracer_provider: Any, logger_provider: Any, settings: Any) -> None:
        added.append((tracer_provider, logger_provider, settings.file))

    monkeypatch.setattr(export, "add_file", add_file)
    instrument(file=tmp_path / "telemetry")
    assert added == []
    for _ in range(2):
        client.chat.completions.create(**CALL)
    assert added == [(memory.tracer_provider, memory.logger_provider, str(tmp_path / "telemetry"))]


def test_set_up_happens_at_the_first_call_and_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a provider of the app, the SDK is set up at the first model call and not at `instrument()`."""
    memory, calls = Memory(), []
    provider: list[Any] = [trace.ProxyTracerProvider()]
    monkeypatch.setattr(_telemetry, "_TRACE", {})
    monkeypatch.setattr(_telemetry, "_METRICS", {})
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider[0])

    def set_up(settings: Any) -> None:
        calls.append(settings.file)
        provider[0] = memory.tracer_provider

    monkeypatch.setattr(export, "set_up", set_up)
    try:
        spanback.instrument(meter_provider=memory.meter_provider, logger_provider=memory.logger_provider)
        assert calls == []
        for _ in range(2):
            client.chat.completions.create(**CALL)
    finally:
        spanback.uninstrument()
    assert calls == [None]
    assert len(memory.spans) == 2


@pytest.fixture
def no_globals(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The global providers as they are before an app sets any; what is put in stands for what the app sets."""
    found = {"tracer": trace.ProxyTracerProvider(), "meter": _telemetry._PROXY_METER_PROVIDER()}
    found["logger"] = _telemetry.ProxyLoggerProvider()
    monkeypatch.setattr(_telemetry, "_TRACE", {})
    monkeypatch.setattr(_telemetry, "_METRICS", {})
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: found["tracer"])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: found["meter"])
    monkeypatch.setattr(_telemetry, "get_logger_provider", lambda: found["logger"])
    return found


def test_providers_that_the_app_sets_later(no_globals: dict[str, Any], memory: Memory) -> None:
    """Until the app sets its providers there is nothing to record to; from then on there is."""
    telemetry = Telemetry()
    found: list[Any] = []
    telemetry.configure(on_found=lambda *providers: found.append(providers))
    assert (telemetry.tracer(), telemetry.logger(), telemetry.meter()) == (None, None, None)
    no_globals.update(tracer=memory.tracer_provider, logger=memory.logger_provider, meter=memory.meter_provider)
    tracer, logger, meter = telemetry.tracer(), telemetry.logger(), telemetry.meter()
    assert None not in {tracer, logger, meter}
    assert (telemetry.tracer(), telemetry.logger(), telemetry.meter()) == (tracer, logger, meter)
    assert found == [(memory.tracer_provider, memory.logger_provider)]
    in_force = {"traces": memory.tracer_provider, "logs": memory.logger_provider, "metrics": memory.meter_provider}
    assert telemetry.providers() == in_force


def test_a_provider_that_the_app_sets_later_is_noticed(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    """While the API holds the same nothing it is not asked again; what the app sets then is found."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", None)
    telemetry = Telemetry()
    telemetry.configure()
    assert (telemetry.tracer(), telemetry.meter()) == (None, None)
    with monkeypatch.context() as patch:
        patch.setattr(telemetry, "_resolve_tracer", None)
        patch.setattr(telemetry, "_resolve_meter", None)
        assert (telemetry.tracer(), telemetry.meter()) == (None, None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", memory.tracer_provider)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", memory.meter_provider)
    assert None not in {telemetry.tracer(), telemetry.meter()}


def test_providers_that_record_nothing(no_globals: dict[str, Any]) -> None:
    """Providers of no-op kind count as none, whether they say so themselves or in what they give."""
    telemetry = Telemetry()
    no_globals.update(
        tracer=trace.NoOpTracerProvider(), logger=_logs.NoOpLoggerProvider(), meter=metrics.NoOpMeterProvider()
    )
    assert (telemetry.tracer(), telemetry.logger(), telemetry.meter()) == (None, None, None)

    class Quiet:
        def get_tracer(self, *_args: Any) -> Any:
            return trace.NoOpTracer()

        def get_logger(self, *_args: Any) -> Any:
            return _logs.NoOpLogger("quiet")

        def get_meter(self, *_args: Any) -> Any:
            return metrics.NoOpMeter("quiet")

    no_globals.update(tracer=Quiet(), logger=Quiet(), meter=Quiet())
    assert (telemetry.tracer(), telemetry.logger(), telemetry.meter()) == (None, None, None)


class Broken:
    """A provider, of each signal, that fails when it is asked."""

    def get_tracer(self, *_args: Any, **_kwargs: Any) -> Any:
        """Fails."""
        raise RuntimeError("broken")

    get_meter = get_logger = get_tracer


@pytest.mark.parametrize("signal", ["tracer_provider", "meter_provider", "logger_provider"])
def test_a_provider_that_fails_is_the_signals_own_trouble(
    signal: str, instrument: Any, client: Any, memory: Memory, complaints: Any
) -> None:
    """Neither a call nor feedback on it fails, and the other signals go where they should."""
    instrument(**{signal: Broken()})
    response = client.chat.completions.create(**CALL)
    receipt = spanback.record_feedback(response, score=1)
    assert receipt.status == ("unresolved" if signal == "tracer_provider" else "recorded")
    assert len(memory.spans) == (0 if signal == "tracer_provider" else 2)
    assert len(memory.logs) == (0 if signal == "logger_provider" else 1)
    assert all("_resolve_" in message for message in complaints.take())


def test_set_up_that_makes_nothing(no_globals: dict[str, Any]) -> None:
    """A set-up that leaves no provider is not tried again, and its providers are not the app's."""
    telemetry, calls = Telemetry(), []
    telemetry.configure(set_up=lambda: calls.append("set up"), on_found=lambda *_: calls.append("found"))
    assert (telemetry.tracer(), telemetry.tracer()) == (None, None)
    assert calls == ["set up"]


def test_set_up_by_many_threads(no_globals: dict[str, Any], memory: Memory) -> None:
    """Threads that make their first calls at once set the SDK up once, and all get its tracer."""
    telemetry, calls, tracers = Telemetry(), [], []
    barrier = threading.Barrier(8)

    def set_up() -> None:
        calls.append("set up")
        no_globals["tracer"] = memory.tracer_provider

    def ask() -> None:
        barrier.wait()
        tracers.append(telemetry.tracer())

    telemetry.configure(set_up=set_up)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["set up"]
    assert len(set(map(id, tracers))) == 1
    assert tracers[0] is not None


def test_without_a_provider_the_response_carries_nothing(client: Any, no_globals: dict[str, Any]) -> None:
    """With nobody who records there is no span, and a call is the client's own."""
    spanback.instrument(set_up=False)
    try:
        assert not hasattr(client.chat.completions.create(**CALL), "_spanback")
    finally:
        spanback.uninstrument()


def test_the_instrumentor(memory: Memory, client: Any, monkeypatch: Any, complaints: Any) -> None:
    """The zero-code entry does what `instrument()` does, passes providers on, and never raises."""
    instrumentor = SpanbackInstrumentor()
    assert instrumentor.instrumentation_dependencies() == []
    instrumentor.instrument(**memory.providers, skip_dep_check=True)
    try:
        client.chat.completions.create(**CALL)
    finally:
        instrumentor.uninstrument()
    client.chat.completions.create(**CALL)
    assert memory.span.name == f"chat {MODEL}"
    monkeypatch.setattr("spanback._entry_point.instrument", lambda **_kwargs: 1 / 0)
    instrumentor.instrument(tracer_provider=None)
    instrumentor.uninstrument()
    assert len(complaints.take()) == 1
