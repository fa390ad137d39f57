"""Zero-code start: what `opentelemetry-instrument` loads by the entry point `spanback`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from spanback._instrument import instrument, uninstrument
from spanback._never_raise import never_raise


class SpanbackInstrumentor(BaseInstrumentor):
    """`spanback.instrument()` as an instrumentor of OpenTelemetry.

    An instrumentor that raises stops all that come after it, so this one never does.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: clients are instrumented if and when they are imported, in any version."""
        return []

    def _instrument(self, **kwargs: Any) -> None:
        names = ("tracer_provider", "meter_provider", "logger_provider")
        never_raise(instrument, **{name: kwargs[name] for name in names if kwargs.get(name) is not None})

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 - the base class names the parameter
        never_raise(uninstrument)
