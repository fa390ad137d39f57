"""Attempts of one call: what a client tries again, or with another model, goes on in the span of the first attempt.

A span whose attempt has failed stays open until the next attempt begins, or until it is clear that none will.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter, time_ns
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from spanback._never_raise import never_raise
from spanback.instrumentation._adapter import Retries
from spanback.instrumentation._call import ABANDONED, Call

_ROUTING: Final = otel_context.create_key("spanback-routing")
"""Context key of the `Routing` that the attempts inside belong to."""


@dataclass(slots=True, eq=False, repr=False)
class _Held:
    """A call whose last attempt has failed, how many may follow, and what ends it if none does."""

    call: Call
    left: int
    end: Callable[[], None]


_held: Final[dict[str, _Held]] = {}


class Routing:
    """What a function does for one call of the app: attempts one after the other, perhaps of different models."""

    def __init__(self) -> None:
        self._failed: tuple[Call, BaseException] | None = None

    def hold(self, call: Call, error: BaseException) -> bool:
        """Keeps a call open whose attempt has failed."""
        self.end()
        self._failed = call, error
        return True

    def resume(self) -> Call | None:
        """The call whose next attempt begins."""
        call = self._failed[0] if self._failed is not None else None
        self._failed = None
        return call

    def end(self, error: BaseException | None = None) -> None:
        """No attempt follows. The app gets an error, or something else than what an attempt gave."""
        failed, self._failed = self._failed, None
        if failed is not None:
            failed[0].end(error=error or failed[1])


class Retrying:
    """The attempts that a client makes by itself after an error, all with the same name among their arguments."""

    __slots__ = ("_held", "_kwargs", "_retries")

    def __init__(self, retries: Retries, kwargs: Mapping[str, Any]) -> None:
        self._retries = retries
        self._kwargs = kwargs
        self._held: _Held | None = None

    def hold(self, call: Call, error: BaseException) -> bool:
        """Keeps a call open if another attempt follows.

        The client handles the first error until the last attempt is over. Where none follows after all, the call ends
        once nobody has that error.
        """
        name, held = self._retries.name(self._kwargs), self._held
        left = self._retries.left(error, self._kwargs) if held is None else held.left
        if name is None or left < 1 or not isinstance(error, Exception):
            return False
        end = partial(call.end, error=_without_traceback(error), ended=(time_ns(), perf_counter()))
        if held is None:
            held = _Held(call, left, end)
            weakref.finalize(error, _give_up, name, held).atexit = False
        held.left, held.end = left - 1, end
        _held[name] = held
        return True

    def resume(self) -> Call | None:
        """The call whose next attempt begins."""
        self._held = _held.pop(self._retries.name(self._kwargs) or "", None)
        return None if self._held is None else self._held.call


def attempts_of(retries: Retries, kwargs: Mapping[str, Any], context: Context) -> Routing | Retrying:
    """What an attempt belongs to."""
    routing: Any = context.get(_ROUTING)
    return Retrying(retries, kwargs) if routing is None else routing


def routed(patch: Any, wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """What takes the place of a coroutine function that makes the attempts of one call."""

    async def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        if not patch.is_live or otel_context.get_value(_ROUTING) is not None:
            return await wrapped(instance, *args, **kwargs)
        routing = Routing()
        token = otel_context.attach(otel_context.set_value(_ROUTING, routing))
        try:
            result = await wrapped(instance, *args, **kwargs)
        except BaseException as error:
            never_raise(routing.end, error)
            raise
        finally:
            otel_context.detach(token)
        never_raise(routing.end)
        return result

    return around


def _without_traceback(error: BaseException) -> BaseException:
    """A copy of an error that keeps no frame alive, made without its `__init__`."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy


def _give_up(name: str, held: _Held) -> None:
    """Nobody has the error anymore, so no attempt follows it. The garbage collector may be at work."""
    if _held.get(name) is held:
        del _held[name]
        ABANDONED.append(held.end)
