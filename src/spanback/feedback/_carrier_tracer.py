"""Feedback is never sampled out, and may be held back: the one module that reaches behind the SDK's public names.

A user gives a signal once, so a carrier span must not pass through the sampler that the app chose for its traces. The
SDK asks `self.sampler` in `Tracer.start_span`, and has no other way to say "always" for single spans. In the same way
it hands spans to `self.span_processor`, and log records to `self._multi_log_record_processor`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from opentelemetry._logs import Logger
from opentelemetry.trace import Tracer

_SDK: Final = "opentelemetry.sdk.trace"
_LOGS_SDK: Final = "opentelemetry.sdk._logs"


class _Last:
    """The last tracer and its twin: an app has one tracer provider."""

    pair: tuple[Tracer | None, Tracer | None] = (None, None)


def always_on(tracer: Tracer) -> Tracer:
    """A twin of an SDK tracer that samples every span.

    The twin has the same state, not a copy of it: processors, resource and configuration that are changed later count
    for it too. Only its `sampler` is another.

    Args:
        tracer: Any tracer.

    Returns:
        The twin; or the tracer itself when it is none of the SDK, since how that samples is not known. Never raises.
    """
    known, twin = _Last.pair
    if known is not tracer or twin is None:
        twin = _twin(tracer)
        _Last.pair = (tracer, twin)
    return twin


def holding_tracer(tracer: Tracer, processor: Callable[[Any], object]) -> Tracer | None:
    """A twin of an SDK tracer that samples every span and hands it to a processor of our own.

    Args:
        tracer: Any tracer.
        processor: Makes the processor; gets the one that the tracer has.

    Returns:
        A new twin; None for a tracer that is none of the SDK. Never raises.
    """
    sdk: Any = sys.modules.get(_SDK)
    if sdk is None or not isinstance(tracer, sdk.Tracer):
        return None
    own: Any = tracer
    kind = _kind(own.__class__, ("sampler", "span_processor"))
    twin = kind.__new__(kind)
    twin.__dict__ = own.__dict__
    twin.sampler = _always(sdk)
    twin.span_processor = processor(own.span_processor)
    return twin


def holding_logger(logger: Logger, processor: Callable[[Any], object]) -> Logger | None:
    """A twin of an SDK logger that hands every record to a processor of our own; else as `holding_tracer`."""
    sdk: Any = sys.modules.get(_LOGS_SDK)
    if sdk is None or not isinstance(logger, sdk.Logger):
        return None
    own: Any = logger
    kind = _kind(own.__class__, ("_multi_log_record_processor",))
    twin = kind.__new__(kind)
    twin.__dict__ = own.__dict__
    twin._multi_log_record_processor = processor(own._multi_log_record_processor)  # noqa: SLF001 - as said above
    return twin


class _Always:
    """Samples every span, as the SDK's ALWAYS_ON does, and looks at nothing: the parent of a carrier has no state."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def should_sample(self, *_: object, **__: object) -> Any:
        """Yes."""
        return self._result


@lru_cache(maxsize=2)
def _always(sdk: Any) -> _Always:
    return _Always(sdk.sampling.SamplingResult(sdk.sampling.Decision.RECORD_AND_SAMPLE))


@lru_cache(maxsize=8)
def _kind(base: Any, slots: tuple[str, ...]) -> Any:
    # A slot of the class goes before the attribute of the same name in the shared state.
    return type("Carrier" + base.__name__, (base,), {"__slots__": slots})


def _twin(tracer: Tracer) -> Tracer:
    sdk: Any = sys.modules.get(_SDK)  # a tracer of an SDK that nobody has imported cannot exist
    if sdk is None or not isinstance(tracer, sdk.Tracer):
        return tracer
    kind = _kind(tracer.__class__, ("sampler",))
    twin = kind.__new__(kind)
    twin.__dict__ = tracer.__dict__
    twin.sampler = _always(sdk)
    return twin
