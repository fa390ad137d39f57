"""The conventions' log events of a call, and what is told of its error."""

from __future__ import annotations

import traceback
from collections.abc import Collection
from time import time_ns
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context

from spanback import semconv as sc
from spanback._never_raise import never_raise
from spanback._settings import EVENT_MODES, ContentMode, Settings
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import Attributes

_MOST_FRAMES: Final = 64
"""The last frames of an error tell where it comes from; those of a runaway recursion are a thousand."""


def emit_events(
    details: Attributes | None, content: Attributes, error: BaseException | None, settings: Settings, context: Context
) -> None:
    """Emits what a call has to tell beside its span.

    Args:
        details: All attributes of the call, for the event with its details; None for no such event.
        content: Captured messages, kept in that event where the settings say so.
        error: What the call raised, for the exception event; None for no such event.
        settings: Of the call.
        context: The context that holds the call's span.
    """
    logger = TELEMETRY.logger()
    if logger is None:
        return
    if details is not None:
        attributes = {**details, **content} if settings.content in EVENT_MODES else _without_content(details)
        _emit(logger, sc.EVENT_INFERENCE_DETAILS, SeverityNumber.DEBUG, attributes, context)
    if error is not None:
        _emit(logger, sc.EVENT_OPERATION_EXCEPTION, SeverityNumber.WARN, _exception(error, settings), context)


def describe(error: BaseException | None, settings: Settings, with_message: Collection[ContentMode]) -> str:
    """What went wrong. A server's message may quote the prompt, so where content is not captured codes must do.

    Args:
        error: What was raised; None where the response itself says that it failed.
        settings: Of the call.
        with_message: The content modes in which the error's own words are kept.
    """
    if error is None:
        return "the response says that it failed"
    if settings.content in with_message:
        description = never_raise(str, error) or ""
    else:
        codes = [never_raise(getattr, error, name, None) for name in ("status_code", "code")]
        description = " ".join(str(code) for code in codes if isinstance(code, (int, str)))
    limit_bytes = settings.content_limit_bytes
    return sendable(description[:limit_bytes]).encode()[:limit_bytes].decode("utf-8", "ignore")


def sendable(value: str) -> str:
    """A text that can be sent: half of a surrogate pair would make the exporter drop its whole batch."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _exception(error: BaseException, settings: Settings) -> Attributes:
    qualified = f"{type(error).__module__}.{type(error).__qualname__}"
    attributes = {
        sc.EXCEPTION_TYPE: qualified.removeprefix("builtins."),
        sc.EXCEPTION_STACKTRACE: "".join(traceback.format_tb(error.__traceback__, -_MOST_FRAMES)),
    }
    description = describe(error, settings, EVENT_MODES)
    return {**attributes, sc.EXCEPTION_MESSAGE: description} if description else attributes


def _without_content(details: Attributes) -> Attributes:
    return {name: value for name, value in details.items() if name not in _CONTENT}


_CONTENT = frozenset(
    {
        sc.GEN_AI_INPUT_MESSAGES,
        sc.GEN_AI_OUTPUT_MESSAGES,
        sc.GEN_AI_SYSTEM_INSTRUCTIONS,
        sc.GEN_AI_TOOL_DEFINITIONS,
        sc.GEN_AI_RETRIEVAL_DOCUMENTS,
    }
)


def _emit(logger: Any, name: str, severity: SeverityNumber, attributes: Attributes, context: Context) -> None:
    record = LogRecord(
        timestamp=time_ns(),
        context=context,
        severity_number=severity,
        severity_text=severity.name,
        event_name=name,
        attributes=attributes,
    )
    logger.emit(record)
