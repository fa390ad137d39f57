"""The run of LangChain that a call is made for. Streamed messages bear its id, and not that of the response."""

from __future__ import annotations

from inspect import currentframe
from types import FrameType
from typing import Any, Final

from spanback._spanref import RESPONSES, Handle, run_key

LANGCHAIN: Final = "langchain_core.callbacks.manager"
"""The module whose import says that there may be runs."""

_MANAGER: Final = "run_manager"
_DEEPEST_STACK: Final = 40


def note_run(handle: Handle) -> None:
    """Makes the call known by the run of LangChain in which a client is being called right now, if it is one.

    Nothing that LangChain passes on to the client names the run. What does is an argument that each of its models
    gets, and that stands in a frame of the stack.

    Args:
        handle: Of the call.
    """
    frame: FrameType | None = currentframe()  # `inspect.stack` would read source files
    for _ in range(_DEEPEST_STACK):
        if frame is None:
            return
        if _MANAGER in frame.f_code.co_varnames:
            manager: Any = frame.f_locals.get(_MANAGER)
            if type(manager).__module__ == LANGCHAIN:
                key = run_key(f"lc_run--{manager.run_id}")
                if key is not None:
                    RESPONSES.add(key, handle)
                return
        frame = frame.f_back
