"""Which exporters the settings give, and what is said of those that cannot be made."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from spanback._settings import Way
from spanback.export import _exporters
from spanback.export._exporters import Exporters
from spanback.export._guard import Guard
from tests.export.backends import http_traces_only
from tests.export.telemetry import span

GRPC = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
HTTP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def made(way: Way, *, has_file: bool = False, signal: str = "traces") -> list[Any]:
    """The exporters of one signal, closed again."""
    guards: list[Guard] = []
    exporters = Exporters(guards, has_file=has_file).make(signal, way)
    for guard in guards:
        guard.shutdown()
    return exporters


def kinds(exporters: list[Any]) -> list[str]:
    """The modules of the exporters, inside their guards."""
    return [type(e._exporter if isinstance(e, Guard) else e).__module__ for e in exporters]


@pytest.mark.parametrize(
    ("way", "has_file", "modules"),
    [
        (Way(), False, [GRPC]),
        (Way(protocol="http/protobuf"), False, [HTTP]),
        (Way(("otlp",), protocol="http/protobuf"), False, [HTTP]),
        (Way(("otlp_proto_http",)), False, [HTTP]),
        (Way(("none",)), False, []),
        (Way(("None",)), True, []),
        (Way(("console", "otlp")), False, ["opentelemetry.sdk.trace.export", GRPC]),
        # With a file, OTLP only where it is asked for.
        (Way(), True, []),
        (Way(endpoint="http://c:4317"), True, [GRPC]),
        (Way(("otlp",)), True, [GRPC]),
    ],
)
def test_exporters_are_those_that_the_variables_name(way: Way, has_file: bool, modules: list[str]) -> None:
    """OTLP is the default, but for a file alone; each name is looked up as the SDK does."""
    assert kinds(made(way, has_file=has_file)) == modules


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_every_compression_works_with_every_protocol(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, signal: str, compression: str, protocol: str
) -> None:
    """Also those at which the gRPC exporters raise when they read the variable themselves."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)

    assert len(made(Way(protocol=protocol, compression=compression), signal=signal)) == 1
    assert caplog.records == []


def test_headers_and_compression_reach_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads the headers, the settings give the compression."""
    with http_traces_only() as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", backend.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret")
        guards: list[Guard] = []
        exporters = Exporters(guards, has_file=False)
        (guard,) = exporters.make("traces", Way(protocol="http/protobuf", compression="gzip"))

        assert guard.export([span()]).name == "SUCCESS"
        guard.shutdown()

    ((path, headers, _),) = backend.asked
    assert (path, headers["x-key"], headers["content-encoding"]) == ("/v1/traces", "s3cret", "gzip")


def test_an_exporter_that_is_not_installed_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The other exporters of the signal still work."""
    exporters = made(Way(("zipkin", "console", "otlp_proto_grpc")))

    assert kinds(exporters) == ["opentelemetry.sdk.trace.export", GRPC]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "OTEL_TRACES_EXPORTER asks for zipkin, which is not installed. It is left out.")
    ]


@pytest.mark.parametrize("name", ["otlp", "otlp_proto_http"])
def test_an_exporter_that_a_variable_breaks_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """A broken exporter stops nothing else."""

    def broken(*_args: Any) -> Any:
        raise ValueError("could not convert string to float: 'soon'")

    monkeypatch.setattr(_exporters, "_otlp", broken)

    assert made(Way((name,))) == []
    assert [record.getMessage().split(", which")[1] for record in caplog.records] == [
        " cannot be set up: could not convert string to float: 'soon'. It is left out."
    ]


def test_any_installed_exporter_can_be_named() -> None:
    """Exporters other than OTLP's are the very objects that their entry points make."""
    (console,) = made(Way(("console",)))

    assert type(console) is ConsoleSpanExporter


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Way(), "http://localhost:4317"),
        (Way(protocol="http/protobuf"), "http://localhost:4318"),
        (Way(endpoint="https://me:s3cret@c.example:4317/base"), "https://c.example:4317"),
        (Way(endpoint="c.example:4317"), "c.example:4317"),
        (Way(endpoint="me:s3cret@c.example:4317"), "c.example:4317"),
        (Way(endpoint="http://me:s3/cret@c.example:4318/v1", protocol="http/protobuf"), "http://c.example:4318"),
        (Way(endpoint="http://[::1:4318/v1", protocol="http/protobuf"), "http://[::1:4318"),
    ],
)
def test_addresses_are_said_without_paths_and_passwords(caplog: pytest.LogCaptureFixture, way: Way, said: str) -> None:
    """What is logged names the host, and nothing that is secret."""
    (guard,) = made(way)

    guard._address.complain("traces", "gone")

    assert caplog.text.count(f"No traces reach {said}: gone. ") == 1
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("way", "hint"),
    [
        (Way(endpoint="http://c:4318"), "Port 4318 speaks http/protobuf, so set OTEL_EXPORTER_OTLP_PROTOCOL to it,"),
        (Way(endpoint="http://c:4317", protocol="http/protobuf"), "Port 4317 speaks grpc, so set OTEL_EXPORTER_OTLP_"),
        (Way(endpoint="http://c:4317"), "Start a collector that speaks grpc there, or set OTEL_EXPORTER_OTLP_ENDPOINT"),
        (Way(endpoint="http://c:80", protocol="http/protobuf"), "Start a collector that speaks http/protobuf there,"),
    ],
)
def test_the_advice_tells_a_wrong_protocol_by_the_port(caplog: pytest.LogCaptureFixture, way: Way, hint: str) -> None:
    """The commonest mistake is one protocol at the other's port."""
    (guard,) = made(way)

    guard._address.complain("traces", "gone")

    assert f"gone. {hint}" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_signals_to_one_address_share_what_is_known_of_it() -> None:
    """So one line speaks for all of them; each address has its own."""
    guards: list[Guard] = []
    exporters = Exporters(guards, has_file=False)
    exporters.make("traces", Way(endpoint="http://c:4317"))
    exporters.make("logs", Way(endpoint="http://c:4317/"))
    exporters.make("metrics", Way(endpoint="http://d:4317"))
    for guard in guards:
        guard.shutdown()

    assert guards[0]._address is guards[1]._address
    assert guards[0]._address is not guards[2]._address
