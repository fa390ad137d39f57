"""Keeps an OTLP exporter's troubles short: one line a minute for an address, none for a signal it does not take.

The exporters tell their troubles only to their own loggers: a line or a stack trace for each attempt. So a filter on
those loggers listens while an export of ours runs, takes the line for itself, and the guard says what matters.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

_SAY_AGAIN_S: Final = 60.0
_ASK_AGAIN_S: Final = 600.0
_REASON_CHARACTERS: Final = 300
_REFUSALS: Final = frozenset({"UNIMPLEMENTED", 404, 405})
_EXPORTERS: Final = "opentelemetry.exporter."
_logger: Final = logging.getLogger("spanback.export")


class Address:
    """What is known of one address that telemetry goes to, shared by the guards of all signals that go there.

    Attributes:
        url: The address, as said in messages.
        answered: Whether it has ever taken anything.
        advice: What the user can do when it does not answer.
    """

    def __init__(self, url: str, advice: str) -> None:
        self.url = url
        self.advice = advice
        self.answered = False
        self._silent_until = 0.0

    def complain(self, signal: str, reason: str) -> None:
        """One WARNING, at most one a minute for all signals together."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SAY_AGAIN_S
            _logger.warning("No %s reach %s: %s. %s", signal, self.url, reason, self.advice)


class Guard:
    """An OTLP exporter, asked as before, that is quiet about refusals and brief about failures.

    Everything but `export` and `shutdown` is the exporter's own.

    Attributes:
        failing: Whether the last export did not arrive; a refused signal does not count.
    """

    def __init__(self, exporter: Any, signal: str, address: Address) -> None:
        self._exporter = exporter
        self._signal = signal
        self._address = address
        self._refused_until = 0.0
        self._refusal_said = False
        self._closing = False
        self._closed = False
        self._trouble: str | None = None
        self.failing = False
        for module in {cls.__module__ for cls in type(exporter).__mro__ if cls.__module__.startswith(_EXPORTERS)}:
            _listen(logging.getLogger(module))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)

    @property
    def trouble(self) -> str | None:
        """What went wrong at the last export; None when nothing did."""
        return self._trouble

    @property
    def is_refused(self) -> bool:
        """Whether the address does not take this signal."""
        return self._refusal_said

    @property
    def advice(self) -> str:
        """What the user can do when the address does not answer."""
        return self._address.advice

    @property
    def url(self) -> str:
        """The address that it exports to, without the path."""
        return self._address.url

    def export(self, batch: Any, **kwargs: Any) -> Any:
        """Exports a batch, unless its signal was refused in the last ten minutes.

        Returns:
            The exporter's result; None when nothing was asked of it or it raised. The SDK's processors read neither.
        """
        if time.monotonic() < self._refused_until:
            return None
        self._trouble = None
        _heard.guard = self
        try:
            result = self._exporter.export(batch, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            # What the exporters let through: requests' errors are OSErrors; a channel closed meanwhile gives others.
            result = None
            self._tell(f"{type(error).__name__}: {error}")
        finally:
            _heard.guard = None
        arrived = getattr(result, "name", "") == "SUCCESS"
        self.failing = not arrived and time.monotonic() >= self._refused_until
        if not self.failing:
            self._trouble = None
            self._address.answered = True
        return result

    def hear(self, record: logging.LogRecord) -> None:
        """Takes a line that the exporter logs while it exports."""
        status = _status(record.args)
        if self._signal != "traces" and status in _REFUSALS:
            self._refuse()
        elif record.args or record.levelno >= logging.ERROR:  # the others say that a shutdown is under way
            self._tell(_reason(record, status))

    def close(self) -> None:
        """Called once the process ends: what has never answered is not waited for with retries."""
        self._closing = True
        if self._trouble is not None and not self._address.answered:
            self.shutdown()

    def shutdown(self, *_args: Any, **_kwargs: Any) -> None:
        """Shuts the exporter down, once."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def _refuse(self) -> None:
        self._refused_until = time.monotonic() + _ASK_AGAIN_S
        if not self._refusal_said:
            self._refusal_said = True
            name = self._signal.upper()
            advice = f"set OTEL_{name}_EXPORTER=none to stop asking"
            _logger.info("%s takes no %s; %s", self._address.url, self._signal, advice)

    def _tell(self, reason: str) -> None:
        self._trouble = " ".join(reason.split())[:_REASON_CHARACTERS].rstrip(".")
        if not self._closed:
            self._address.complain(self._signal, self._trouble)
        if self._closing and not self._address.answered:
            self.shutdown()


class _Heard(threading.local):
    guard: Guard | None = None


class _Listener(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        guard = _heard.guard
        if guard is None or record.levelno < logging.WARNING:
            return True
        guard.hear(record)
        return False


_heard: Final = _Heard()
_listener: Final = _Listener()


def _listen(logger: logging.Logger) -> None:
    # First of all filters: the SDK's own hides a line that is the same as the one before.
    if _listener not in logger.filters:
        logger.filters.insert(0, _listener)


def _status(args: Any) -> str | int | None:
    """The gRPC status name or HTTP status code among a log line's arguments."""
    for arg in args:
        if type(arg).__name__ == "StatusCode":
            return str(arg.name)
        if type(arg) is int:
            return arg
    return None


def _reason(record: logging.LogRecord, status: str | int | None) -> str:
    """What went wrong, without the exporter's own words around it where the arguments tell."""
    args: Any = record.args
    if isinstance(status, str):
        return f"{status}, {args[-1]}" if isinstance(args[-1], str) else status
    error = next((arg for arg in args if isinstance(arg, Exception)), None)
    return record.getMessage() if error is None else f"{type(error).__name__}: {error}"
