"""The set-up from the standard variables, in processes of its own, since the providers are global."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.export.backends import black_hole, free_port, grpc_traces_only, http_traces_only

APP = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, get_logger, get_logger_provider
from spanback import _settings, export

def emit(name="chat"):
    trace.get_tracer("app").start_span(name).end()
    get_logger("app").emit(LogRecord(timestamp=1, observed_timestamp=1, body="said"))
    metrics.get_meter("app").create_counter("calls").add(1)

"""
LAST = "import time; print('ends at', time.time(), flush=True)"
SET_UP = "export.set_up(_settings.from_environment())"


class Ended:
    """A process that has ended."""

    def __init__(self, code: str = "", *, first: str = SET_UP, **variables: str) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "SPANBACK_"))}
        done = subprocess.run(
            [sys.executable, "-c", "\n".join((APP, first, textwrap.dedent(code), LAST))],
            env={**environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        ended_at = time.time()
        assert done.returncode == 0, done.stderr
        before, _, after = done.stdout.partition("ends at ")
        last_at, _, at_exit = after.partition("\n")
        self.out = before.rstrip("\n") + at_exit
        self.exit_s = ended_at - float(last_at)
        self.log = [line for line in done.stderr.splitlines() if line.split()[0] in {"INFO", "WARNING", "ERROR"}]
        self.rest = [line for line in done.stderr.splitlines() if line not in self.log]


def lines(path: Path) -> list[Any]:
    """The objects in a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def span_names(objects: list[Any]) -> list[str]:
    """The names of the spans in lines."""
    return [
        s["name"]
        for line in objects
        for resource in line.get("resourceSpans", [])
        for scope in resource["scopeSpans"]
        for s in scope["spans"]
    ]


def test_the_import_loads_no_exporters() -> None:
    """They load, and the SDK's processors with them, when they are used."""
    loaded = """
import sys, spanback.export
late = ("grpc", "requests", "google", "opentelemetry.exporter", "opentelemetry.sdk.trace.export", "opentelemetry.sdk._logs")
print([name for name in sys.modules if name.startswith(late)])
"""

    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_a_file_alone_needs_no_collector_and_no_exporter(tmp_path: Path) -> None:
    """All signals are in the folder at exit, a forked child's too; nothing is said, and no network client is loaded."""
    ended = Ended(
        """
        import os
        emit("parent")
        child = os.fork()
        if child == 0:
            emit("child")
            sys.exit()
        os.waitpid(child, 0)
        print([name for name in ("grpc", "requests") if name in sys.modules])
        """,
        SPANBACK_FILE=str(tmp_path / "telemetry"),
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )

    assert (ended.out, ended.log) == ("[]", [])
    traces = lines(tmp_path / "telemetry" / "traces.jsonl")
    assert sorted(span_names(traces)) == ["child", "parent"]
    resource = {a["key"]: a["value"]["stringValue"] for a in traces[0]["resourceSpans"][0]["resource"]["attributes"]}
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("shop", "test")
    assert "resourceLogs" in lines(tmp_path / "telemetry" / "logs.jsonl")[0]
    assert "resourceMetrics" in lines(tmp_path / "telemetry" / "metrics.jsonl")[0]


def test_with_an_endpoint_telemetry_goes_to_both_as_the_variables_say(tmp_path: Path) -> None:
    """One file for all signals, HTTP with headers, a console for metrics, no logs by network, and an early flush."""
    with http_traces_only() as backend:
        ended = Ended(
            'emit(); print("flushed", export.flush(5.0))',
            SPANBACK_FILE=str(tmp_path / "all.jsonl"),
            OTEL_EXPORTER_OTLP_ENDPOINT=backend.url,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_HEADERS="x-key=secret",
            OTEL_LOGS_EXPORTER="none",
            OTEL_METRICS_EXPORTER="console",
            OTEL_BSP_SCHEDULE_DELAY="60000",
        )

    assert [(path, headers["x-key"], names) for path, headers, names in backend.asked] == [
        ("/v1/traces", "secret", ["chat"])
    ]
    assert {key for line in lines(tmp_path / "all.jsonl") for key in line} == {
        "resourceSpans",
        "resourceLogs",
        "resourceMetrics",
    }
    assert "flushed True" in ended.out
    assert '"calls"' in ended.out
    assert ended.log == []


def test_a_backend_for_traces_alone_takes_them_and_two_lines_are_said() -> None:
    """By gRPC, with several batches of each signal."""
    with grpc_traces_only() as backend:
        ended = Ended(
            'for name in "abc": emit(name); export.flush(5.0)',
            OTEL_EXPORTER_OTLP_ENDPOINT=backend.url,
        )

    assert sorted(name for _, _, names in backend.asked for name in names) == ["a", "b", "c"]
    assert sorted(ended.log) == [
        f"INFO spanback.export {backend.url} takes no logs; set OTEL_LOGS_EXPORTER=none to stop asking",
        f"INFO spanback.export {backend.url} takes no metrics; set OTEL_METRICS_EXPORTER=none to stop asking",
    ]
    assert ended.rest == []


def test_while_the_sdk_is_disabled_nothing_is_set(tmp_path: Path) -> None:
    """Nor is a file written."""
    ended = Ended(
        "print(type(trace.get_tracer_provider()).__name__)",
        OTEL_SDK_DISABLED="true",
        SPANBACK_FILE=str(tmp_path / "t"),
    )

    assert (ended.out, ended.log) == ("ProxyTracerProvider", [])
    assert not (tmp_path / "t").exists()


def test_logger_and_meter_providers_of_the_app_stay() -> None:
    """Only what the app has not set is set, and only where something takes it."""
    kinds = "print(*(type(p).__module__.split('.')[1] for p in (trace.get_tracer_provider(), get_logger_provider(), metrics.get_meter_provider())))\n"
    own = Ended(
        """
        from opentelemetry._logs import NoOpLoggerProvider, set_logger_provider
        logs, meters = NoOpLoggerProvider(), metrics.NoOpMeterProvider()
        set_logger_provider(logs)
        metrics.set_meter_provider(meters)
        export.set_up(_settings.from_environment())
        print(get_logger_provider() is logs, metrics.get_meter_provider() is meters)
        """,
        first="",
        OTEL_TRACES_EXPORTER="none",
    )
    none = Ended(kinds, OTEL_TRACES_EXPORTER="none", OTEL_LOGS_EXPORTER="none", OTEL_METRICS_EXPORTER="none")

    assert (own.out, own.log) == ("True True", [])
    assert (none.out, none.log) == ("sdk _logs metrics", [])


def test_samplers_and_propagators_are_those_of_the_variables(tmp_path: Path) -> None:
    """A wrong variable is named in a WARNING and costs nothing else."""
    ended = Ended(
        """
        from opentelemetry import propagate
        carrier = {}
        with trace.get_tracer("app").start_as_current_span("unsampled") as span:
            propagate.inject(carrier)
        print(span.get_span_context().trace_flags.sampled, carrier)
        """,
        SPANBACK_FILE=str(tmp_path / "t"),
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0",
        OTEL_PROPAGATORS="baggage",
        OTEL_PYTHON_ID_GENERATOR="elsewhere",
    )

    assert ended.out == "False {}"
    assert ended.log == [
        "WARNING spanback.export OTEL_PYTHON_ID_GENERATOR asks for elsewhere, which is not installed. It is left out."
    ]
    assert not (tmp_path / "t" / "traces.jsonl").exists()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_never_answers_delays_the_exit_no_longer_than_allowed(tmp_path: Path, protocol: str) -> None:
    """All signals wait together, one line says what was lost, and the file has everything."""
    with black_hole() as url:
        ended = Ended(
            "emit()",
            OTEL_EXPORTER_OTLP_ENDPOINT=url,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            SPANBACK_FILE=str(tmp_path / "t"),
            SPANBACK_FLUSH_TIMEOUT_S="1",
        )

    assert 1 <= ended.exit_s < 4  # the exporters of themselves would wait ten seconds each
    assert ended.log == [
        "WARNING spanback.export Not all logs and metrics and traces left within 1 s at exit. What did not is lost."
    ]
    assert ended.rest == []
    assert span_names(lines(tmp_path / "t" / "traces.jsonl")) == ["chat"]
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["logs.jsonl", "metrics.jsonl", "traces.jsonl"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_does_not_run_delays_no_exit(protocol: str) -> None:
    """One WARNING names the address and what to do, and the process ends without retries."""
    url = f"http://127.0.0.1:{free_port()}"
    ended = Ended(
        "emit()",
        OTEL_EXPORTER_OTLP_ENDPOINT=url,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        SPANBACK_FLUSH_TIMEOUT_S="30",
    )

    assert ended.exit_s < 4
    assert len(ended.log) == 1
    assert ended.log[0].startswith("WARNING spanback.export No ")
    assert f" reach {url}: " in ended.log[0]
    assert ended.rest == []
