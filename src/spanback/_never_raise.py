"""The one place where every exception of foreign code is caught.

Telemetry must not make a host app fail, and the code it passes through is not ours: response objects with properties
that compute, span processors, exporters, log handlers. What they raise ends here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LOGGER: Final = logging.getLogger("spanback")


def never_raise(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Calls a function and lets no exception of it pass.

    KeyboardInterrupt, SystemExit and asyncio.CancelledError are no `Exception` and do pass: they belong to the app.

    Args:
        function: What is called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        What the function returned, or None when it raised. The exception is then logged at DEBUG to the logger
        `spanback`, since an app can do nothing about it; a log handler that raises too is passed over.
    """
    try:
        return function(*args, **kwargs)
    except Exception:  # the only broad one of the project, for the reason above
        with suppress(Exception):
            name = getattr(function, "__qualname__", "a callable")  # its repr may show content of the app
            _LOGGER.debug("%s raised; the app goes on", name, exc_info=True)
        return None
