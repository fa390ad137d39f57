"""Log records of feedback, made in fewer steps than the SDK's logger makes them.

The SDK looks the rated span up in a context that was made for that, makes a record that can be changed, copies it, and
makes one of it that cannot. Where a logger is just as the SDK makes it, and all of its processors are the SDK's own
that export in batches, only the last of them is made here, field by field the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from spanback._bounded import bounded
from spanback._never_raise import never_raise
from spanback._sdk_spans import is_known_release, is_original, of_last

_SDK: Final = "opentelemetry.sdk._logs"
_FIELDS: Final = {
    "timestamp", "observed_timestamp", "context", "trace_id", "span_id", "trace_flags", "severity_text",
    "severity_number", "body", "attributes", "event_name", "exception",
}  # fmt: skip
_READABLE: Final = {"log_record", "resource", "instrumentation_scope", "limits"}
_new: Final[Any] = object.__new__


class Said(NamedTuple):
    """What a log record says.

    Attributes:
        name: Of the event.
        body: As a text for people.
        rated: The span that it is about.
        attributes: As for `_bounded.set_attributes`.
        time_ns: When it was, in ns since the epoch.
    """

    name: str
    body: str
    rated: SpanContext
    attributes: Mapping[str, Any]
    time_ns: int


class Made(NamedTuple):
    """A log record that nobody has seen: what it takes to make it, since the spool does without it.

    Attributes:
        said: What it says.
        resource: As the SDK's records have it.
        instrumentation_scope: Likewise.
        queues: The processors that are to have it, each with what puts it into its queue.
        make: Makes it.
    """

    said: Said
    resource: Any
    instrumentation_scope: Any
    queues: Sequence[tuple[Any, Callable[[Any], None]]]
    make: Callable[[Made], Any]

    def whole(self) -> Any:
        """The record as exporters get it."""
        return self.make(self)


def make_record(logger: Logger, said: Said) -> Made | None:
    """Makes a log record of severity INFO.

    Args:
        logger: Any logger.
        said: What it says.

    Returns:
        The record; None where it must be emitted in the public way, as where a processor may change it.
    """
    quick = _quick(logger)
    return None if quick is None else never_raise(quick.make, said)


class _Quick:
    """What is the same for all records of a logger of the SDK."""

    def __init__(self, logger: Any, readable: Any, batch: Any) -> None:
        self._logger = logger
        self._readable = readable
        self._batch = batch
        self._sorted: tuple[Any, Sequence[tuple[Any, Callable[[Any], None]]] | None] = (None, None)

    def make(self, said: Said) -> Made | None:
        """Makes a record; None where only the public way will do."""
        logger = self._logger
        limits = logger._log_record_limits
        queues, most = self._queues(), limits.max_log_record_attributes
        if (
            queues is None
            or limits.max_log_record_attribute_length is not None
            or (most is not None and len(said.attributes) > most)
            or not logger._logger_config.is_enabled
        ):
            return None
        return Made(said, logger._resource, logger._instrumentation_scope, queues, self._whole)

    def _whole(self, made: Made) -> Any:
        name, body, rated, attributes, time_ns = made.said
        limits = self._logger._log_record_limits
        record = _new(LogRecord)
        record.__dict__ = {
            "timestamp": time_ns,
            "observed_timestamp": time_ns,
            "context": Context(),
            "trace_id": rated[0],
            "span_id": rated[1],
            "trace_flags": rated[3],
            "severity_text": "INFO",
            "severity_number": SeverityNumber.INFO,
            "body": body,
            "attributes": bounded(attributes, limits.max_log_record_attributes, None, is_open=True),
            "event_name": name,
            "exception": None,
        }
        readable = _new(self._readable)
        readable.__dict__.update(
            log_record=record,
            resource=made.resource,
            instrumentation_scope=made.instrumentation_scope,
            limits=limits,
        )
        return readable

    def _queues(self) -> Sequence[tuple[Any, Callable[[Any], None]]] | None:
        """The provider's processors of now, each with its queue; None where one of them has none."""
        processors = self._logger._multi_log_record_processor._log_record_processors
        known, queues = self._sorted
        if known is not processors:
            queues = None
            if all(type(one) is self._batch and "on_emit" not in vars(one) for one in processors):
                queues = [(one, one._batch_processor.emit) for one in processors]
            self._sorted = processors, queues
        return queues


def _made(logger: Any) -> _Quick | None:
    sdk: Any = sys.modules.get(_SDK)  # a logger of an SDK that nobody has imported cannot exist
    if sdk is None or type(logger) is not sdk.Logger or not is_known_release():
        return None
    from opentelemetry.sdk._logs import _internal, export  # noqa: PLC0415 - as above

    internal: Any = _internal
    readable, batch = sdk.ReadableLogRecord, export.BatchLogRecordProcessor
    replaced = (
        vars(sdk.Logger)["emit"],
        vars(LogRecord)["__init__"],
        vars(batch)["on_emit"],
        vars(sdk.ReadWriteLogRecord)["__post_init__"],
        vars(internal.SynchronousMultiLogRecordProcessor)["on_emit"],
    )
    is_plain = (
        all(map(is_original, replaced))
        and type(logger._multi_log_record_processor) is internal.SynchronousMultiLogRecordProcessor
        and type(logger._logger_metrics).__name__ == "NoOpLoggerMetrics"
        and vars(LogRecord(context=Context({"": ""}))).keys() == _FIELDS
        and readable.__dataclass_fields__.keys() == _READABLE
    )
    return _Quick(logger, readable, batch) if is_plain else None


_quick: Final = of_last(_made)
