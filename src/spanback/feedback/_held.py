"""One signal between the SDK, which makes its span and its log record, and the spool, which commits them.

What an app has added to its providers stays in force: processors that enrich or redact see the signal before it is
committed. Those that export it elsewhere, to files or a console, get it once it is. Those that send to where the spool
sends do not get it at all, since it would arrive twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from opentelemetry._logs import Logger
from opentelemetry.trace import Tracer

from spanback import _log_records, _spans
from spanback._never_raise import never_raise
from spanback._telemetry import Spool, Unsent
from spanback.feedback._carrier_tracer import always_on, holding_logger, holding_tracer

Kind = Literal["traces", "logs"]

# What the SDK's processors that stand for several call them.
_MEMBERS: Final = ("_span_processors", "_log_record_processors")
# Where the SDK's processors that export keep what they export with.
_EXPORTERS: Final = ("span_exporter", "_exporter", "_batch_processor")


class Held(Unsent):
    """Keeps what the SDK makes of one signal from its exporters. A form is None when it took the ordinary way.

    Args:
        spool: What the signal is meant for.
        feedback_id: The signal's id.
    """

    def __init__(self, spool: Spool, feedback_id: str) -> None:
        self.feedback_id = feedback_id
        self._spool = spool
        self._later: list[tuple[bool, Callable[[Any], None], Any]] = []

    @property
    def takes_spans(self) -> bool:
        """Whether the spool sends spans."""
        return self._spool.sends("traces")

    def keep_carrier(self, made: _spans.Made) -> None:
        """As `keep_span`; the span is made only for somebody else than the spool."""
        processors = made.processors
        if not self._replaces(processors, "traces"):
            self.keep_span(made.whole(), processors)
            return
        if processors:
            self._later.append((True, _end, made))
        self.span = made

    def keep_span(self, span: Any, processors: Sequence[Any]) -> None:
        """Keeps a span that has ended, which the processors get later, if at all."""
        for processor in processors:
            self.keep_later(processor, processor.on_end, span, "traces")
        self.span = span

    @property
    def takes_logs(self) -> bool:
        """Whether the spool sends log records."""
        return self._spool.sends("logs")

    def keep_log(self, made: _log_records.Made) -> None:
        """Keeps a log record that processors get later, if at all, each into its queue; else as `keep_carrier`."""
        queues = made.queues
        if queues and not self._replaces([processor for processor, _ in queues], "logs"):
            self.log = made.whole()
            for processor, queue in queues:
                self.keep_later(processor, queue, self.log, "logs")
            return
        if queues:
            self._later.append((True, _queue, made))
        self.log = made

    def tracer(self, tracer: Tracer) -> Tracer:
        """A tracer whose spans are all sampled and, where the spool sends spans, end here."""
        held = holding_tracer(tracer, partial(_Spans, self)) if self.takes_spans else None
        return always_on(tracer) if held is None else held

    def logger(self, logger: Logger) -> Logger:
        """A logger whose records, where the spool sends logs, end here."""
        held = holding_logger(logger, partial(_Logs, self)) if self.takes_logs else None
        return logger if held is None else held

    def release(self, *, is_spooled: bool) -> None:
        """Hands the signal to the exporters that wait for it; to all of them where the spool has not taken it."""
        for is_replaced, hand, thing in self._later:
            if not (is_spooled and is_replaced):
                never_raise(hand, thing)

    def keep_later(self, processor: Any, hand: Callable[[Any], None], thing: Any, kind: Kind) -> None:
        """Keeps a signal for an exporter, or hands it to a processor that is none."""
        if _exports(processor):
            self._later.append((self._spool.replaces(processor, kind), hand, thing))
        else:
            hand(thing)

    def _replaces(self, processors: Sequence[Any], kind: Kind) -> bool:
        return all(_exports(one) and self._spool.replaces(one, kind) for one in processors) if processors else True


class _Spans:
    """Stands for the processors of a tracer provider while one carrier span is made."""

    def __init__(self, held: Held, real: Any) -> None:
        self._held = held
        self._real = real

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._real.on_start(span, parent_context=parent_context)

    def _on_ending(self, span: Any) -> None:
        self._real._on_ending(span)  # noqa: SLF001 - what the SDK calls it

    def on_end(self, span: Any) -> None:
        self._held.keep_span(span, _members(self._real))


class _Logs:
    """Stands for the processors of a logger provider while one log record is made."""

    def __init__(self, held: Held, real: Any) -> None:
        self._held = held
        self._real = real

    def on_emit(self, log_record: Any) -> None:
        for processor in _members(self._real):
            self._held.keep_later(processor, processor.on_emit, log_record, "logs")
        self._held.log = log_record


def _end(made: _spans.Made) -> None:
    """Hands a span to processors that have waited for it."""
    span = made.whole()
    for processor in made.processors:
        never_raise(processor.on_end, span)


def _queue(made: _log_records.Made) -> None:
    """Hands a log record to processors that have waited for it."""
    record = made.whole()
    for _, queue in made.queues:
        never_raise(queue, record)


def _members(processor: Any) -> tuple[Any, ...]:
    """The processors that one stands for."""
    for name in _MEMBERS:
        members = getattr(processor, name, None)
        if isinstance(members, tuple):
            return members
    return (processor,)


def _exports(processor: Any) -> bool:
    return any(hasattr(processor, name) for name in _EXPORTERS)
