"""Callbacks in which a client makes a span of a call that has one of ours: ours stands in for it.

The client's callback is called as ever, for all else that it does, such as metrics, but on a copy of its object. The
copy's tracer gives our span where the client would begin its own, and what the client makes besides stands below ours.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from spanback._never_raise import never_raise
from spanback.instrumentation._adapter import StandIn


def standing_in(patch: Any, wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """What takes the place of a callback, sync or async."""
    find = patch.target.stands_in

    async def async_around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        with _stood_in(find if patch.is_live else _nothing, instance, args, kwargs) as one:
            return await wrapped(one, *args, **kwargs)

    def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        with _stood_in(find if patch.is_live else _nothing, instance, args, kwargs) as one:
            return wrapped(one, *args, **kwargs)

    return async_around if patch.target.is_async else around


def _nothing(_instance: Any, _args: Sequence[Any], _kwargs: Mapping[str, Any]) -> None:
    """No span of ours is there."""


@contextmanager
def _stood_in(
    find: Callable[[Any, Sequence[Any], Mapping[str, Any]], StandIn | None],
    instance: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Generator[Any]:
    """The object that the callback is to be called on, while our span is the current one."""
    found = never_raise(find, instance, args, kwargs)
    copied = None if found is None else never_raise(_copy, instance, found)
    if found is None or copied is None:
        yield instance
        return
    token = otel_context.attach(trace.set_span_in_context(found.span))
    try:
        yield copied
    finally:
        otel_context.detach(token)


def _copy(instance: Any, found: StandIn) -> Any:
    copied = copy.copy(instance)
    copied.tracer = _Tracer(instance.tracer, found)
    return copied


class _Tracer:
    """A client's tracer that gives our span where the client would begin its own."""

    def __init__(self, tracer: Any, found: StandIn) -> None:
        self._tracer = tracer
        self._found = found

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Our span, or another that the client makes."""
        if self._found.name in {None, name}:
            return self._found.span
        return self._tracer.start_span(name, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracer, name)
