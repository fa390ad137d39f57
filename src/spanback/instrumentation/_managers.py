"""Context managers whose entry makes the call: the call begins there, and what the `with` gives is watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spanback._never_raise import never_raise
from spanback.instrumentation._begin import Capture
from spanback.instrumentation._call import Call

Start = Callable[[], "Call | Capture | None"]
Receive = Callable[["Call | Capture", Any], Any]


def watch_entry(manager: Any, start: Start, receive: Receive) -> None:
    """Has a call begin when a manager made by `contextlib` is entered. The manager stays the object that it is.

    Args:
        manager: What a function decorated with `contextmanager` or `asynccontextmanager` returned.
        start: Begins the call.
        receive: Sorts what the `with` gives, which ends the call or will; returns what the app gets.
    """
    generator = manager.gen
    entry = _AsyncEntry if hasattr(generator, "__anext__") else _Entry
    manager.gen = entry(manager, generator, start, receive)


class _Entry:
    """Stands in a manager in the place of its generator, until its first step. The exit is the generator's own."""

    def __init__(self, manager: Any, generator: Any, start: Start, receive: Receive) -> None:
        self._manager = manager
        self._generator = generator
        self._start = start
        self._receive = receive

    def __next__(self) -> Any:
        self._manager.gen = self._generator
        call = never_raise(self._start)
        if call is None:
            return next(self._generator)
        try:
            given = next(self._generator)
        except BaseException as error:
            never_raise(call.fail, error)
            raise
        return self._receive(call, given)


class _AsyncEntry(_Entry):
    async def __anext__(self) -> Any:
        self._manager.gen = self._generator
        call = never_raise(self._start)
        if call is None:
            return await anext(self._generator)
        try:
            given = await anext(self._generator)
        except BaseException as error:
            never_raise(call.fail, error)
            raise
        return self._receive(call, given)
