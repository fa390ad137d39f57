"""The spans of this process that have begun and not ended: how a trace began here, and what runs inside of what.

The SDK's spans know the ids of their parents alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from opentelemetry.trace import SpanContext

LIMIT: Final = 10_000


class OpenSpans:
    """A span processor that keeps open spans by their ids, bounded: spans that an app never ends go at last.

    Args:
        limit: The most spans kept; the oldest goes first.
    """

    skips_carriers: Final = True
    """Whether spans that carry feedback are no matter to it."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._spans: dict[int, Any] = {}
        self._watched: list[Any] = []  # a provider lives as long as the process, and may be unhashable
        self._is_live = False

    def install(self) -> None:
        """Keeps spans from now on."""
        self._is_live = True

    def remove(self) -> None:
        """Keeps no more. A processor cannot be taken off its provider; it does nothing then."""
        self._is_live = False
        self._spans.clear()

    def watch(self, provider: Any) -> None:
        """Keeps the spans of a provider. Twice is harmless."""
        if hasattr(provider, "add_span_processor") and not any(one is provider for one in self._watched):
            self._watched.append(provider)
            provider.add_span_processor(self)

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 - the SDK gives it
        """Keeps a span."""
        if self._is_live:
            spans = self._spans
            spans[span.get_span_context()[1]] = span
            if len(spans) > self._limit:
                with suppress(RuntimeError, StopIteration):  # another thread changes it: the next span makes room
                    spans.pop(next(iter(spans)), None)

    def on_end(self, span: Any) -> None:
        """Forgets a span."""
        self._spans.pop(span.get_span_context()[1], None)

    def shutdown(self) -> None:
        """Does nothing: nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK gives it
        """Does nothing: nothing is held."""
        return True

    def _on_ending(self, span: Any) -> None:
        """The SDK calls it on each processor."""

    def lineage(self, span: Any) -> Iterator[Any]:
        """A span of the SDK, and the open spans of this process that it is inside of, from inside out. Never raises."""
        seen = 0
        while span is not None and seen < self._limit:
            yield span
            seen += 1
            parent: Any = getattr(span, "parent", None)
            is_here = isinstance(parent, SpanContext) and not parent.is_remote
            span = self._spans.get(parent.span_id) if is_here else None

    def find(self, span_id: int) -> Any:
        """The open span of an id, or None. Never raises."""
        return self._spans.get(span_id)

    def root_of(self, span: Any) -> int | None:
        """The id of the span that this process began a span's trace with, or None where it is not known. Never raises.

        Args:
            span: A span of any kind; those of the SDK know their parents.
        """
        if not hasattr(span, "parent"):
            return None
        for _ in range(self._limit):  # a generator of ids that repeats itself makes spans that are inside of themselves
            parent = span.parent
            if not isinstance(parent, SpanContext) or parent.is_remote:
                return span.get_span_context().span_id
            span = self._spans.get(parent.span_id)
            if span is None:
                return None
        return None


OPEN_SPANS: Final = OpenSpans()
"""Those of this process."""
