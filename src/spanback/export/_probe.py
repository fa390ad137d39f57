"""A trial of the way out: telemetry made on purpose, sent by the exporters that an app would use."""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from spanback import semconv
from spanback._spanref import SpanRef
from spanback.export._exporters import Exporters
from spanback.export._guard import Guard

if TYPE_CHECKING:
    from spanback._settings import Settings

Signal = Literal["traces", "logs", "metrics"]
State = Literal["accepted", "refused", "failed", "unset"]

SERVICE_NAME: Final = "spanback-doctor"
_VARIABLE_MODULES: Final = (
    "opentelemetry.environment_variables",
    "opentelemetry.sdk.environment_variables",
    "opentelemetry.instrumentation.environment_variables",
)
_GROUPS: Final = {
    "traces": "opentelemetry_traces_exporter",
    "logs": "opentelemetry_logs_exporter",
    "metrics": "opentelemetry_metrics_exporter",
    "sampler": "opentelemetry_traces_sampler",
}


class Sent(NamedTuple):
    """What became of one signal.

    Attributes:
        state: `accepted`; `refused` by an address that does not take that signal; `failed`; `unset` where no OTLP
            exporter is in force for it.
        reason: What went wrong; empty otherwise.
        advice: What can be done about it; empty otherwise.
    """

    state: State
    reason: str = ""
    advice: str = ""


class _Kept:
    """Keeps what a processor hands on."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def export(self, batch: Any, **_kwargs: Any) -> None:
        """Keeps a batch."""
        self.kept.extend(batch)

    def shutdown(self, *_args: Any, **_kwargs: Any) -> None:
        """Holds nothing open."""


class Probe:
    """Providers whose telemetry leaves when `send` says so, by the OTLP exporters that the settings ask for.

    Args:
        settings: What the environment asks for; the exporters read endpoints, headers and certificates themselves.
    """

    def __init__(self, settings: Settings) -> None:
        # What goes wrong is told by the results, not by warnings between the lines.
        logging.getLogger("spanback.export").addHandler(logging.NullHandler())
        self._guards: dict[str, list[Guard]] = {}
        for signal in ("traces", "logs", "metrics"):
            guards: list[Guard] = []
            Exporters(guards, has_file=settings.file is not None).make(signal, getattr(settings, signal))
            self._guards[signal] = guards
        resource = Resource.create({"service.name": SERVICE_NAME})
        self._spans, self._logs = _Kept(), _Kept()
        spans: Any = self._spans
        logs: Any = self._logs
        self._tracer_provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
        self._logger_provider = LoggerProvider(resource, shutdown_on_exit=False)
        self._logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
        self._reader = InMemoryMetricReader()
        self._meter_provider = MeterProvider([self._reader], resource, shutdown_on_exit=False)

    @property
    def providers(self) -> dict[str, Any]:
        """The providers, as arguments of `instrument()`."""
        return {
            "tracer_provider": self._tracer_provider,
            "logger_provider": self._logger_provider,
            "meter_provider": self._meter_provider,
        }

    def call(self) -> SpanRef:
        """Makes a span as a model call has one, and gives the reference to it."""
        attributes = {semconv.GEN_AI_OPERATION_NAME: "chat", semconv.GEN_AI_PROVIDER_NAME: "spanback"}
        tracer = self._tracer_provider.get_tracer("spanback")
        span: Any = tracer.start_span("chat", kind=SpanKind.CLIENT, attributes=attributes)
        span.end()
        context = span.get_span_context()
        return SpanRef(context.trace_id, context.span_id, start_time_ns=span.start_time)

    def send(self, signal: Signal) -> Sent:
        """Sends what has been made of one signal since the last time. Never raises."""
        guards = self._guards[signal]
        if not guards:
            return Sent("unset")
        batch = self._batch(signal)
        for guard in guards:
            result = guard.export(batch)
            if guard.is_refused:
                return Sent("refused", f"{guard.url} takes no {signal}")
            if getattr(result, "name", "") != "SUCCESS":
                return Sent("failed", guard.trouble or "it was not taken", guard.advice)
        return Sent("accepted")

    def close(self) -> None:
        """Closes the exporters' connections."""
        for guards in self._guards.values():
            for guard in guards:
                guard.shutdown()

    def _batch(self, signal: Signal) -> Any:
        if signal == "metrics":
            return self._reader.get_metrics_data()
        kept = self._spans if signal == "traces" else self._logs
        batch, kept.kept = kept.kept, []
        return batch


def known_variables() -> frozenset[str]:
    """The names of the environment variables that the installed OpenTelemetry packages define."""
    modules = [import_module(name) for name in _VARIABLE_MODULES]
    return frozenset(name for module in modules for name in dir(module) if name.startswith("OTEL_"))


def installed(kind: Literal["traces", "logs", "metrics", "sampler"]) -> frozenset[str]:
    """The names of the exporters of a signal, or of the samplers, that installed packages offer."""
    return frozenset(found.name for found in entry_points(group=_GROUPS[kind]))
