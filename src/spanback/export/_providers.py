"""Sets the SDK's providers up from the standard variables, and adds files to providers that an app has set up."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from spanback.export._exporters import Exporters, component
from spanback.export._flush import LEAVING
from spanback.export._otlp_file import FileMetricExporter, Files, log_exporter, span_exporter

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import Sampler

    from spanback._settings import Settings

# Only the module that the API's public one is made of has the class.
_PROXY_METER_PROVIDER: Final[type] = import_module("opentelemetry.metrics._internal")._ProxyMeterProvider  # noqa: SLF001
# The names that TracerProvider understands itself, each also after `parentbased_`.
_SDK_SAMPLERS: Final = frozenset({"always_on", "always_off", "traceidratio"})
_logger: Final = logging.getLogger("spanback.export")
_with_file: Final[WeakKeyDictionary[Any, set[str]]] = WeakKeyDictionary()
"""The files that a provider already writes, so that no line is written twice."""


def set_up(settings: Settings) -> None:
    """Sets the SDK's global providers; described at `spanback.export.set_up`."""
    if settings.sdk_disabled:
        return
    resource = Resource.create()
    has_file = settings.file is not None
    exporters = Exporters(LEAVING.guards, has_file=has_file)
    atexit.register(LEAVING.close, settings.flush_timeout_s)

    tracer_provider = _tracer_provider(settings, resource, exporters.make("traces", settings.traces))
    trace.set_tracer_provider(tracer_provider)
    LEAVING.add_provider("traces", tracer_provider.shutdown)
    if isinstance(get_logger_provider(), ProxyLoggerProvider):
        made = exporters.make("logs", settings.logs)
        if made or has_file:
            logger_provider = _logger_provider(settings, resource, made)
            set_logger_provider(logger_provider)
            LEAVING.add_provider("logs", logger_provider.shutdown)
    if isinstance(metrics.get_meter_provider(), _PROXY_METER_PROVIDER):
        made = exporters.make("metrics", settings.metrics)
        if made or has_file:
            meter_provider = _meter_provider(settings, resource, made)
            metrics.set_meter_provider(meter_provider)
            LEAVING.add_provider("metrics", meter_provider.shutdown)


def add_file(tracer_provider: Any, logger_provider: Any, settings: Settings) -> None:
    """Writes what providers get to a file as well; described at `spanback.export.add_file`."""
    if settings.file is None or settings.sdk_disabled:
        return
    files = Files(settings.file)
    if hasattr(tracer_provider, "add_span_processor") and _is_new(tracer_provider, settings.file):
        exporter = span_exporter(files.traces)
        processor = _span_processor(exporter)
        tracer_provider.add_span_processor(processor)
        LEAVING.add_processor("traces", processor, exporter.is_shut)
    if hasattr(logger_provider, "add_log_record_processor") and _is_new(logger_provider, settings.file):
        exporter = log_exporter(files.logs)
        processor = _log_processor(exporter)
        logger_provider.add_log_record_processor(processor)
        LEAVING.add_processor("logs", processor, exporter.is_shut)


def _is_new(provider: Any, file: str) -> bool:
    known = _with_file.setdefault(provider, set())
    if file in known:
        return False
    known.add(file)
    return True


def _tracer_provider(settings: Settings, resource: Resource, exporters: Sequence[Any]) -> TracerProvider:
    provider = TracerProvider(
        resource=resource, sampler=_sampler(settings), id_generator=_id_generator(settings), shutdown_on_exit=False
    )
    # The file comes first: a provider closes its processors one after the other, and no file should wait for a network.
    add_file(provider, None, settings)
    for exporter in exporters:
        provider.add_span_processor(_span_processor(exporter))
    return provider


def _logger_provider(settings: Settings, resource: Resource, exporters: Sequence[Any]) -> LoggerProvider:
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    add_file(None, provider, settings)
    for exporter in exporters:
        provider.add_log_record_processor(_log_processor(exporter))
    return provider


def _meter_provider(settings: Settings, resource: Resource, exporters: Sequence[Any]) -> MeterProvider:
    written = [FileMetricExporter(Files(settings.file).metrics)] if settings.file else []
    return MeterProvider(
        [made if isinstance(made, MetricReader) else _metric_reader(made) for made in (*written, *exporters)],
        resource,
        shutdown_on_exit=False,
    )


def _span_processor(exporter: Any) -> BatchSpanProcessor:
    try:
        return BatchSpanProcessor(exporter)
    except ValueError as error:
        _logger.warning("The OTEL_BSP_* variables are passed over: %s", error)
        return BatchSpanProcessor(
            exporter, max_queue_size=2_048, schedule_delay_millis=5_000, max_export_batch_size=512
        )


def _log_processor(exporter: Any) -> BatchLogRecordProcessor:
    try:
        return BatchLogRecordProcessor(exporter)
    except ValueError as error:
        _logger.warning("The OTEL_BLRP_* variables are passed over: %s", error)
        return BatchLogRecordProcessor(
            exporter, max_queue_size=2_048, schedule_delay_millis=1_000, max_export_batch_size=512
        )


def _metric_reader(exporter: Any) -> PeriodicExportingMetricReader:
    try:
        return PeriodicExportingMetricReader(exporter)
    except ValueError as error:
        _logger.warning("OTEL_METRIC_EXPORT_INTERVAL is passed over: %s", error)
        return PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)


def _sampler(settings: Settings) -> Sampler | None:
    """The sampler of an installed package; None leaves the choice to the SDK, which knows its own names."""
    name = (settings.sampler or "always_on").strip()
    if name.lower().removeprefix("parentbased_") in _SDK_SAMPLERS:
        return None
    return component(
        "opentelemetry_traces_sampler", name, "OTEL_TRACES_SAMPLER", lambda factory: factory(settings.sampler_arg)
    )


def _id_generator(settings: Settings) -> IdGenerator | None:
    """The id generator of an installed package; None leaves the choice to the SDK."""
    name = settings.id_generator or "random"
    if name == "random":
        return None
    return component("opentelemetry_id_generator", name, "OTEL_PYTHON_ID_GENERATOR", lambda factory: factory())
