"""The collector, Jaeger, Tempo and Prometheus as processes of a test, on free loopback ports.

``python -m tests.backends.servers build`` builds those that are built from Go; a server that is started without it builds its own
binary first. Prometheus is in prometheus.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tests.backends import builds, otlp
from tests.backends.loopback import answers, free_ports, get_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

CONFIGS = Path(__file__).parent / "configs"
COLLECTOR_CONFIG = Path(__file__).parents[2] / "collector-config.yaml"
START_TIMEOUT_S = 60.0
PORT_ATTEMPTS = 3

T = TypeVar("T")


class ServerError(RuntimeError):
    """A server did not get ready; the message ends with the tail of its log."""


def eventually(probe: Callable[[], T | None], timeout_s: float = 30.0, *, pause_s: float = 0.05) -> T:
    """Calls ``probe`` until it returns something true, and returns that.

    Raises:
        AssertionError: It did not within ``timeout_s``; the message shows the last value.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing within {timeout_s} s, last: {value!r}")
        time.sleep(pause_s)
    return value


class Server:
    """A server process with its ports, its folder and its log; a context manager, which may be entered once more after.

    It has the same ports then, as after a restart, but an empty folder.

    Attributes:
        folder: A temporary folder of its own, there while it runs.
        otlp_grpc_endpoint: ``host:port`` that takes OTLP by gRPC, without TLS.
        otlp_http_endpoint: Base URL that takes OTLP by HTTP; add ``/v1/traces``.
        query_url: Base URL of the query API (the collector's: its health check).
        exit_code: What the process ended with, once stopped; negative for a signal that killed it.
    """

    name: ClassVar[str]
    ready_path: ClassVar[str] = "/"
    grace_s: ClassVar[float] = 10.0

    folder: Path
    otlp_grpc_endpoint: str
    otlp_http_endpoint: str
    query_url: str
    exit_code: int | None = None

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._extra_env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: list[int] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Builds the binary where needed, starts it and waits until it is ready."""
        binary = self.binary()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._launch(binary)
            if self._wait_until_ready():
                return self
            tail = self.log_tail()
            self.stop()
            self._ports = None
            # Between choosing a free port and binding it, another process can take it.
            if attempt == PORT_ATTEMPTS or "address already in use" not in tail:
                raise ServerError(f"{self.name} did not get ready\n{tail}")
        raise AssertionError("unreachable")

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def binary(self) -> Path:
        """What to run; built first where it is not there yet."""
        return builds.build(self.name)

    def arguments(self) -> list[str]:
        """The command line after the binary."""
        raise NotImplementedError

    def environment(self, ports: Sequence[int]) -> dict[str, str]:
        """The variables that carry addresses and paths into the configuration.

        Args:
            ports: Six free ports: OTLP by gRPC, OTLP by HTTP, query API, its gRPC form, two to spare.
        """
        names = ("OTLP_GRPC_PORT", "OTLP_HTTP_PORT", "HTTP_PORT", "GRPC_PORT")
        return {**dict(zip(names, map(str, ports), strict=False)), "FOLDER": str(self.folder)}

    def stop(self) -> None:
        """Stops the process: SIGTERM, ``grace_s`` to end, SIGKILL. Harmless when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=self.grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
            self.exit_code = process.wait()
        self._stack.close()

    def kill(self) -> None:
        """Ends the process as a crash would: at once, with whatever it still holds."""
        assert self._process is not None
        self._process.kill()
        self.stop()

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of what the server wrote, empty when it is not running."""
        if self._process is None:
            return ""
        return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-lines:])

    def _launch(self, binary: Path) -> None:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix=f"spanback-{self.name}-")))
        ports = self._ports = self._ports or free_ports(6)
        self.otlp_grpc_endpoint = f"127.0.0.1:{ports[0]}"
        self.otlp_http_endpoint = f"http://127.0.0.1:{ports[1]}"
        self.query_url = f"http://127.0.0.1:{ports[2]}"
        log = self._stack.enter_context((self.folder / "server.log").open("wb"))
        self._process = subprocess.Popen(
            [str(binary), *self.arguments()],
            env={**os.environ, **self.environment(ports), **self._extra_env},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if answers(self.query_url + self.ready_path):
                return True
            time.sleep(0.05)
        return False


class Collector(Server):
    """The OpenTelemetry Collector with a configuration and extra environment variables.

    The configuration takes its addresses from the variables of ``collector-config.yaml``, ``health_check`` among them.

    Attributes:
        metrics_endpoint: ``host:port`` of the metrics that the collector makes of feedback.
        sdk_metrics_endpoint: ``host:port`` of the metrics that apps send.
        own_metrics_endpoint: ``host:port`` of the collector's metrics of itself.
    """

    name = "collector"
    metrics_endpoint: str
    sdk_metrics_endpoint: str
    own_metrics_endpoint: str

    def __init__(self, config: Path = COLLECTOR_CONFIG, env: Mapping[str, str] | None = None) -> None:
        super().__init__(env)
        self.config = config

    @property
    def telemetry(self) -> Path:
        """The folder that the file exporters write to: lines of OTLP-JSON, a file for each kind of data."""
        return self.folder / "telemetry"

    def arguments(self) -> list[str]:
        """The command line after the binary."""
        return ["--config", str(self.config)]

    def environment(self, ports: Sequence[int]) -> dict[str, str]:
        """The variables of ``collector-config.yaml``; a trace is judged as soon as the sampler looks."""
        otlp_grpc, otlp_http, health, metrics, prometheus, of_apps = ports
        self.metrics_endpoint, self.own_metrics_endpoint = f"127.0.0.1:{prometheus}", f"127.0.0.1:{metrics}"
        self.sdk_metrics_endpoint = f"127.0.0.1:{of_apps}"
        return {
            "SPANBACK_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{otlp_grpc}",
            "SPANBACK_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{otlp_http}",
            "SPANBACK_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
            "SPANBACK_METRICS_PORT": str(metrics),
            "SPANBACK_PROMETHEUS_ENDPOINT": self.metrics_endpoint,
            "SPANBACK_SDK_METRICS_ENDPOINT": self.sdk_metrics_endpoint,
            "SPANBACK_COLLECTOR_FOLDER": str(self.telemetry),
            "SPANBACK_SAMPLE_WAIT": "200ms",
        }

    def file_lines(self, kind: str = "*") -> list[dict[str, Any]]:
        """The messages in the files, in their order; a line still being written is left out.

        Args:
            kind: ``feedback``, ``traces``, ``logs`` or ``metrics``; all of them unless given.
        """
        files = sorted(self.telemetry.glob(f"{kind}.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().split("\n")[:-1]]

    def file_spans(self, trace_id: str) -> list[otlp.Span]:
        """The spans of one trace in the file."""
        found = [span for line in self.file_lines() for span in otlp.spans(line)]
        return [span for span in found if span.trace_id == trace_id]

    def file_logs(self, trace_id: str) -> list[otlp.LogRecord]:
        """The log records of one trace in the file."""
        found = [record for line in self.file_lines() for record in otlp.log_records(line)]
        return [record for record in found if record.trace_id == trace_id]


def validate_collector_config(config: Path) -> subprocess.CompletedProcess[str]:
    """What ``otelcol validate`` says of a configuration; exit code 0 means valid."""
    command = [str(builds.build("collector")), "validate", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


class Jaeger(Server):
    """Jaeger v2 with memory storage. It has the query API, but no pages."""

    name = "jaeger"

    def arguments(self) -> list[str]:
        """The command line after the binary."""
        return ["--config", str(CONFIGS / "jaeger.yaml")]

    def search(
        self, service: str, *, operation: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 100
    ) -> list[otlp.Span]:
        """All spans of the traces in which one span of ``service`` has the operation and all tags.

        Args:
            service: The ``service.name``.
            operation: The span name.
            tags: Attributes of the span or its events, as Jaeger prints them (``-1`` for -1.0).
            limit: The most traces to return.
        """
        params: dict[str, object] = {"service": service, "limit": limit}
        if operation is not None:
            params["operation"] = operation
        if tags:
            params["tags"] = json.dumps(dict(tags))
        # The v3 search would give OTLP at once, but in this version it takes no notice of attributes.
        answer = get_json(f"{self.query_url}/api/traces", params)
        return [span for trace in answer["data"] for span in self.trace(trace["traceID"])]

    def trace(self, trace_id: str) -> list[otlp.Span]:
        """The spans of one trace, by start time; empty when Jaeger has none."""
        answer = get_json(f"{self.query_url}/api/v3/traces/{trace_id}")
        return otlp.spans(answer["result"]) if answer else []

    def warnings(self, trace_id: str) -> dict[str, list[str]]:
        """The warnings Jaeger shows, by span id, of the spans that have some."""
        return {span["spanID"]: span["warnings"] for span in self._shown(trace_id) if span.get("warnings")}

    def references(self, trace_id: str) -> dict[str, list[tuple[str, str, str]]]:
        """The references Jaeger shows, by span id: type, trace id and span id."""
        return {
            span["spanID"]: [(one["refType"], one["traceID"], one["spanID"]) for one in span["references"]]
            for span in self._shown(trace_id)
        }

    def _shown(self, trace_id: str) -> list[dict[str, Any]]:
        answer = get_json(f"{self.query_url}/api/traces/{trace_id}")
        return [span for trace in (answer or {}).get("data", ()) for span in trace["spans"]]


@dataclass(frozen=True)
class Match:
    """A span that a TraceQL search found, with the attributes it selected or compared."""

    trace_id: str
    span_id: str
    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Series:
    """A series of a TraceQL metrics query: labels, and (milliseconds, value) pairs."""

    labels: dict[str, Any]
    samples: list[tuple[int, float]]


class Tempo(Server):
    """Grafana Tempo in one process. A span is searchable about half a second after it came."""

    name = "tempo"
    ready_path = "/ready"
    # After its first query this version's frontend waits for ever for its queue to be deleted, so
    # SIGTERM alone never ends it. Nothing of what it would still write is wanted.
    grace_s = 0.2

    def arguments(self) -> list[str]:
        """The command line after the binary."""
        return [f"-config.file={CONFIGS / 'tempo.yaml'}", "-config.expand-env=true"]

    def search(self, q: str, *, limit: int = 100) -> list[Match]:
        """The spans that a TraceQL query matches, of at most ``limit`` traces."""
        answer = get_json(f"{self.query_url}/api/search", {"q": q, "limit": limit, "spss": 100})
        return [
            Match(
                # Tempo leaves out leading zeros.
                trace_id=trace["traceID"].zfill(32),
                span_id=span["spanID"].zfill(16),
                name=span.get("name", ""),
                attributes=otlp.attributes(span.get("attributes", ())),
            )
            for trace in answer["traces"]
            for span_set in trace["spanSets"]
            for span in span_set["spans"]
        ]

    def trace(self, trace_id: str) -> list[otlp.Span]:
        """The spans of one trace, by start time; empty when Tempo has none."""
        answer = get_json(f"{self.query_url}/api/v2/traces/{trace_id}")
        return otlp.spans(answer["trace"]) if answer else []

    def query_range(self, q: str, *, last_s: int = 300, step: str = "5s") -> list[Series]:
        """The series of a TraceQL metrics query over the last ``last_s`` seconds."""
        now = int(time.time())
        params = {"q": q, "start": now - last_s, "end": now + 5, "step": step}
        answer = get_json(f"{self.query_url}/api/metrics/query_range", params)
        return [
            Series(
                labels=otlp.attributes(series.get("labels", ())),
                samples=[(int(at["timestampMs"]), float(at.get("value", 0))) for at in series.get("samples", ())],
            )
            for series in answer.get("series", ())
        ]


def main(arguments: Sequence[str]) -> int:
    """``build [name ...]`` builds the named servers, or all of them; returns the exit code."""
    if not arguments or arguments[0] != "build" or not set(arguments[1:]) <= set(builds.RECIPES):
        builds.progress(f"usage: python -m tests.backends.servers build [{'|'.join(builds.RECIPES)} ...]")
        return 2
    try:
        for name in arguments[1:] or builds.RECIPES:
            builds.progress(f"{name}: {builds.build(name)}")
    except (builds.BackendUnavailableError, builds.BuildError) as error:
        builds.progress(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
