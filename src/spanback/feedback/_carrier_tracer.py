"""Feedback is never sampled out: the one module that reaches behind the SDK's public names.

A user gives a signal once, so a carrier span must not pass through the sampler that the app chose for its traces. The
SDK asks `self.sampler` in `Tracer.start_span`, and has no other way to say "always" for single spans.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from opentelemetry.trace import Tracer

_SDK: Final = "opentelemetry.sdk.trace"


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


def _twin(tracer: Tracer) -> Tracer:
    sdk: Any = sys.modules.get(_SDK)  # a tracer of an SDK that nobody has imported cannot exist
    if sdk is None or not isinstance(tracer, sdk.Tracer):
        return tracer
    # A slot of the class goes before the attribute of the same name in the shared state.
    kind: Any = type("CarrierTracer", (tracer.__class__,), {"__slots__": ("sampler",)})
    twin = kind.__new__(kind)
    twin.__dict__ = tracer.__dict__
    twin.sampler = sdk.sampling.ALWAYS_ON
    return twin
