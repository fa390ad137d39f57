"""Silencing the spans that others would make inside a call, by the keys that they honour themselves.

And making ours where somebody who traces the call around it silences all others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Token
from functools import cache
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

_OPENLLMETRY: Final = "suppress_language_model_instrumentation"
_ALL: Final = "suppress_instrumentation"
_OPENINFERENCE: Final = "openinference.instrumentation"
_SILENT: Final = otel_context.create_key("spanback-silent")


def silenced(context: Context) -> Context:
    """A context in which others make no spans for the call.

    OpenLLMetry honours a key of its own. OpenInference honours only the one that silences every instrumentation, also
    that of the HTTP client, so that one is set only where OpenInference is imported.

    Args:
        context: The context of the call.

    Returns:
        The context.
    """
    context = otel_context.set_value(_SILENT, value=True, context=context)
    context = otel_context.set_value(_OPENLLMETRY, value=True, context=context)
    if _OPENINFERENCE in sys.modules:
        context = otel_context.set_value(_ALL, value=True, context=context)
    return context


def is_suppressed_now() -> bool:
    """Whether somebody has silenced all instrumentations in the current context. Never raises."""
    return not _asked()()


@cache
def _asked() -> Callable[[], bool]:
    # It loads propagators and their entry points, for milliseconds that starting up need not take.
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled  # noqa: PLC0415

    return is_instrumentation_enabled


def is_silent() -> bool:
    """Whether the current context is one in which others are to make no spans. Never raises."""
    return otel_context.get_value(_SILENT) is True


def lift() -> Token[Context]:
    """Attaches the current context without what suppresses instrumentation, until it is detached by the token.

    Some providers look at the current context as a span starts and ends, and not at the one that it is given.
    """
    current = otel_context.get_current()
    return otel_context.attach(Context({key: value for key, value in current.items() if not key.startswith(_ALL)}))
