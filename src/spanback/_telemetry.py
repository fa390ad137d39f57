"""Which OpenTelemetry providers are in force, decided as late as the first span or signal.

An app may call `instrument()` before it sets its own providers, or never set any. So nothing is asked at
`instrument()`; the first span or signal asks, and if the app has set no provider by then, the set-up function that
`instrument()` left here makes one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, Literal, Protocol

from opentelemetry import metrics, trace
from opentelemetry._logs import Logger, LoggerProvider, NoOpLogger, NoOpLoggerProvider, get_logger_provider
from opentelemetry._logs._internal import ProxyLoggerProvider

from spanback._never_raise import never_raise
from spanback._spanref import Handle
from spanback._version import __version__

SCOPE_NAME: Final = "spanback"
SCOPE_VERSION: Final = __version__

OnFound = Callable[[trace.TracerProvider, LoggerProvider], None]


class Unsent:
    """One signal as the SDK would hand it to exporters.

    Attributes:
        feedback_id: Its id.
        span: The ended carrier span, or a `_spans.Made` for it, or None.
        log: The log record with its resource and scope, or a `_log_records.Made` for it, or None.
    """

    span: Any = None
    log: Any = None

    def __init__(self, feedback_id: str, span: Any, log: Any) -> None:
        self.feedback_id = feedback_id
        self.span = span
        self.log = log


class Spool(Protocol):
    """Where feedback is committed to before a receipt is given, from where it is sent in the background."""

    @property
    def falls_back(self) -> bool:
        """Whether a signal that it does not take leaves as without a spool, instead of being refused."""
        ...

    def sends(self, kind: Literal["traces", "logs"]) -> bool:
        """Whether it sends that form of a signal. Never raises."""
        ...

    def replaces(self, processor: object, kind: Literal["traces", "logs"]) -> bool:
        """Whether a processor sends to where the spool sends, and so must not get the same again. Never raises."""
        ...

    def put(self, signals: Sequence[Unsent]) -> None:
        """Commits signals, all or none.

        Raises:
            SpoolUnavailable: It cannot; SpoolFull where it is for want of room.
        """
        ...


class Telemetry:
    """The providers of one `instrument()`, resolved lazily and then kept.

    Every method never raises and gives None where there is nothing to record to, so that callers can stop early.
    """

    def __init__(self) -> None:
        self.before_flush: set[Callable[[float], object]] = set()
        """What puts an end to loose ends before everything is flushed; it is told how many seconds it may take."""
        self.on_tracer_provider: Callable[[trace.TracerProvider], None] | None = None
        """Is told of the tracer provider in force, whoever set it, before its first span of ours."""
        self.on_abandoned: Callable[[Handle, str | None, str | None], None] | None = None
        """Is told of each stream that the app has left before its end: handle, response id, response model."""
        self._lock = threading.RLock()
        self._given_tracer_provider: trace.TracerProvider | None = None
        self._given_meter_provider: metrics.MeterProvider | None = None
        self._given_logger_provider: LoggerProvider | None = None
        self._set_up: Callable[[], None] | None = None
        self._setting_up: Callable[[], None] | None = None
        self._on_found: OnFound | None = None
        self._open_spool: Callable[[], Spool | None] | None = None
        self._spool: Spool | None = None
        self._tracer: trace.Tracer | None = None
        self._logger: Logger | None = None
        self._meter: metrics.Meter | None = None
        # The global provider, or None for none, that is known to give no tracer and no meter.
        self._no_tracer_from: object = _NEVER
        self._no_meter_from: object = _NEVER

    def configure(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        set_up: Callable[[], None] | None = None,
        on_found: OnFound | None = None,
        open_spool: Callable[[], Spool | None] | None = None,
    ) -> None:
        """Replaces what is in force. Called without arguments it goes back to the app's global providers.

        Args:
            tracer_provider: Used for spans; the global one when None.
            meter_provider: Used for metrics; the global one when None.
            logger_provider: Used for events; the global one when None.
            set_up: Called once, before the first span or signal, if neither the app nor the argument names a tracer
                provider by then. It sets the global providers.
            on_found: Called once, before the first span or signal, with the tracer and logger provider that the app
                has set or given, but not with those that `set_up` made.
            open_spool: Called once, with the first span or signal; gives where feedback is kept until it is delivered.
        """
        with self._lock:
            self._given_tracer_provider = tracer_provider
            self._given_meter_provider = meter_provider
            self._given_logger_provider = logger_provider
            self._set_up = set_up
            self._on_found = on_found
            self._open_spool, self._spool = open_spool, None
            self._tracer = self._logger = self._meter = None
            self._no_tracer_from = self._no_meter_from = _NEVER

    def forget_threads(self) -> None:
        """In a process that was forked off: a thread that was setting up, or had the lock, is the parent's alone."""
        self._lock = threading.RLock()
        self._set_up, self._setting_up = self._set_up or self._setting_up, None

    def providers(self) -> dict[str, object]:
        """The provider in force of `traces`, `logs` and `metrics`; the API's stand-in where nobody has set one."""
        return {
            "traces": self._given_tracer_provider or trace.get_tracer_provider(),
            "logs": self._given_logger_provider or get_logger_provider(),
            "metrics": self._given_meter_provider or metrics.get_meter_provider(),
        }

    @property
    def spool(self) -> Spool | None:
        """Where feedback is kept until it is delivered, if the app wants that."""
        if self._open_spool is not None:
            with self._lock:
                if self._open_spool is not None:  # asked again: another thread may have opened it meanwhile
                    self._spool = self._open_spool()
                    self._open_spool = None
        return self._spool

    def tracer(self) -> trace.Tracer | None:
        """The tracer for spans, or None while nobody has set a provider that records."""
        if self._tracer is None and self._no_tracer_from is not _TRACE.get("_TRACER_PROVIDER", _UNKNOWN):
            never_raise(self._resolve_tracer)
        return self._tracer

    def logger(self) -> Logger | None:
        """The logger for events, or None while nobody has set a provider that records."""
        if self._logger is None:
            never_raise(self._resolve_logger)
        return self._logger

    def meter(self) -> metrics.Meter | None:
        """The meter for metrics, or None while nobody has set a provider that records."""
        if self._meter is None and self._no_meter_from is not _METRICS.get("_METER_PROVIDER", _UNKNOWN):
            never_raise(self._resolve_meter)
        return self._meter

    def _resolve_tracer(self) -> None:
        with self._lock:
            provider = self._given_tracer_provider or trace.get_tracer_provider()
            if isinstance(provider, trace.ProxyTracerProvider) and self._set_up is not None:
                self._on_found = None
                set_up, self._set_up = self._set_up, None
                self._setting_up = set_up
                set_up()
                self._setting_up = None
                provider = trace.get_tracer_provider()
            if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
                self._no_tracer_from = _TRACE.get("_TRACER_PROVIDER", _NEVER)
                return
            if self._on_found is not None:
                on_found, self._on_found = self._on_found, None
                on_found(provider, self._given_logger_provider or get_logger_provider())
            if self.on_tracer_provider is not None:
                self.on_tracer_provider(provider)
            tracer = provider.get_tracer(SCOPE_NAME, SCOPE_VERSION)
            if isinstance(tracer, trace.NoOpTracer):
                self._no_tracer_from = _TRACE.get("_TRACER_PROVIDER", _NEVER)
            else:
                self._tracer = tracer
                _ = self.spool  # opened now, it sends what an earlier process has left

    def _resolve_logger(self) -> None:
        provider = self._given_logger_provider or get_logger_provider()
        if not isinstance(provider, (ProxyLoggerProvider, NoOpLoggerProvider)):
            logger = provider.get_logger(SCOPE_NAME, SCOPE_VERSION)
            self._logger = None if isinstance(logger, NoOpLogger) else logger

    def _resolve_meter(self) -> None:
        provider = self._given_meter_provider or metrics.get_meter_provider()
        if not isinstance(provider, (_PROXY_METER_PROVIDER, metrics.NoOpMeterProvider)):
            meter = provider.get_meter(SCOPE_NAME, SCOPE_VERSION)
            self._meter = None if isinstance(meter, metrics.NoOpMeter) else meter
        if self._meter is None:
            self._no_meter_from = _METRICS.get("_METER_PROVIDER", _NEVER)


# Where the API keeps the global providers. Looking there tells that still nobody has set one without asking for it,
# which costs several times as much as all else of a call that is not recorded. Where the API keeps them elsewhere it
# is asked each time.
_TRACE: Final = vars(trace)
_METRICS_INTERNAL: Final = import_module("opentelemetry.metrics._internal")
_METRICS: Final = vars(_METRICS_INTERNAL)
_UNKNOWN: Final = object()
_NEVER: Final = object()
# A meter provider that is still a proxy records nothing; its class has no public name.
_PROXY_METER_PROVIDER: Final[type] = _METRICS_INTERNAL._ProxyMeterProvider  # noqa: SLF001


TELEMETRY: Final = Telemetry()
"""What is in force in this process."""

if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=TELEMETRY.forget_threads)
