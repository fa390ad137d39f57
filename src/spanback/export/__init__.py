"""The way out: the OpenTelemetry SDK set up from the standard variables, OTLP-JSON files, and the flush at exit.

Importing this loads neither the SDK nor an exporter; they load when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanback._never_raise import never_raise

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import TracerProvider

    from spanback._settings import Settings
    from spanback._telemetry import Spool

__all__ = ["add_file", "flush", "open_spool", "set_up"]


def set_up(settings: Settings) -> None:
    """Sets the global providers of the OpenTelemetry SDK as the standard `OTEL_*` variables ask for.

    The SDK's classes read the variables of resources, limits, batches, samplers, endpoints, headers, timeouts and
    certificates themselves; the choice of exporters, protocols and compression comes with the settings. A logger or
    meter provider that the app has set stays. Nothing is set while OTEL_SDK_DISABLED is `true`, and no logger or meter
    provider where nothing takes what it would make. With `settings.file` all signals are written there too, and only
    there unless an exporter or an endpoint is named.

    What is held leaves at the exit of the process, for which it waits no longer than `settings.flush_timeout_s`
    seconds. Never raises; what cannot be set up is said in a WARNING of the logger `spanback.export` and left out.

    Args:
        settings: What the app and its environment ask for.
    """
    from spanback.export import _providers  # noqa: PLC0415 - loads the SDK

    never_raise(_providers.set_up, settings)


def add_file(
    tracer_provider: TracerProvider | None, logger_provider: LoggerProvider | None, settings: Settings
) -> None:
    """Writes OTLP-JSON lines of what an app's own providers get to `settings.file`, beside what they already do.

    Only providers of the SDK take further processors; others are passed over. Metrics are not written, because a meter
    provider takes its readers when it is made and none later. Doing it again for the same provider and file changes
    nothing. The lines are written when a batch is full or due, and when the provider is flushed or shut down.

    Args:
        tracer_provider: The provider whose spans are written, or None.
        logger_provider: The provider whose log records are written, or None.
        settings: Names the file; without one nothing is done. Never raises.
    """
    from spanback.export import _providers  # noqa: PLC0415 - loads the SDK

    never_raise(_providers.add_file, tracer_provider, logger_provider, settings)


def open_spool(settings: Settings) -> Spool | None:
    """The spool that `settings.spool` names; it sends at once what an earlier process has left there.

    What it holds is sent at the exit of the process too, for which that waits no longer than
    `settings.flush_timeout_s` seconds; what has not arrived by then stays in the file.

    Args:
        settings: What the app and its environment ask for.

    Returns:
        The spool; None where none is asked for, the SDK is switched off, or OTEL_TRACES_EXPORTER and OTEL_LOGS_EXPORTER
        leave it nowhere to send to, which is said in a WARNING. Never raises.
    """
    from spanback.export._spool._spool import SPOOLS  # noqa: PLC0415 - loads the SDK and protobuf

    return never_raise(SPOOLS.open, settings)


def flush(timeout_s: float = 5.0) -> bool:
    """Sends what the spool, the providers in force, and those given to `add_file`, hold at this moment.

    Args:
        timeout_s: The longest to wait, in seconds. What has not left by then is still being sent.

    Returns:
        Whether all of it was taken in time. A signal that its backend does not take counts as taken. Never raises.
    """
    from spanback.export._flush import LEAVING  # noqa: PLC0415 - needed at the end only

    return never_raise(LEAVING.flush, timeout_s) is True
