"""The run of LangChain that a call is made for.

Streamed messages bear its id, and not that of the response; and other instrumentations make their spans for runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from inspect import currentframe
from types import FrameType
from typing import Any, Final

from opentelemetry.trace import Span

from spanback._spanref import RESPONSES, Handle, run_key

LANGCHAIN: Final = "langchain_core.callbacks.manager"
"""The module whose import says that there may be runs."""

_MANAGER: Final = "run_manager"
_SPANS_BY_RUN: Final = ("_spans_by_run", "spans")
_DEEPEST_STACK: Final = 40


def note_run(handle: Handle) -> None:
    """Makes the call known by the run of LangChain in which a client is being called right now, if it is one.

    Args:
        handle: Of the call.
    """
    manager = _manager()
    key = None if manager is None else run_key(f"lc_run--{manager.run_id}")
    if key is not None:
        RESPONSES.add(key, handle)


def span_of_run() -> Span | None:
    """The span that somebody else has made for the run of LangChain in which a client is being called right now.

    Such spans are made by callbacks, and are not the current ones. Each of those who make them keeps them by the ids of
    runs in an attribute of the callbacks' handler, OpenLLMetry inside an object of its own.

    Returns:
        The span, or None: no run, or nobody who makes spans for it.
    """
    manager = _manager()
    if manager is None:
        return None
    for handler in manager.handlers:
        for name in _SPANS_BY_RUN:
            kept = getattr(handler, name, None)
            held = kept.get(manager.run_id) if isinstance(kept, Mapping) else None
            span = getattr(held, "span", held)
            if isinstance(span, Span):
                return span
    return None


def _manager() -> Any:
    """The run manager. Nothing that LangChain passes on to the client names the run.

    What does is an argument that each of its models gets, and that stands in a frame of the stack.
    """
    frame: FrameType | None = currentframe() if LANGCHAIN in sys.modules else None  # `inspect.stack` reads source files
    for _ in range(_DEEPEST_STACK):
        if frame is None:
            break
        if _MANAGER in frame.f_code.co_varnames:
            manager: Any = frame.f_locals.get(_MANAGER)
            if type(manager).__module__ == LANGCHAIN:
                return manager
        frame = frame.f_back
    return None
