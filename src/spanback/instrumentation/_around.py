"""What takes the place of a client's function: the only code that is written once for sync and once for async."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from opentelemetry import context as otel_context

from spanback._never_raise import never_raise
from spanback._said import entry_of
from spanback._spanref import attach
from spanback.instrumentation._adapter import Adapter, Target
from spanback.instrumentation._begin import Capture, Site, begin
from spanback.instrumentation._call import Call
from spanback.instrumentation._streams import read_late, watch


class Patch:
    """One function that is wrapped, where it stood."""

    def __init__(self, client: str, target: Target, owner: Any, name: str, *, original: Any, peer: str | None) -> None:
        self.client = client
        self.target = target
        self.owner = owner
        self.name = name
        self.original = original
        self.peer = peer
        self.wrapper: Any = None
        self.is_live = True

    def site(self, adapter: Adapter) -> Site:
        """What the begin of a call is told of it."""
        return Site(adapter, self.peer, self.target.endpoint)


def wrapper_of(adapter: Adapter, patch: Patch) -> Callable[..., Any]:
    """What takes the place of a function: plain functions, since a call through wrapt's proxy costs 3 us more."""
    session = patch.target.says or patch.target.hears
    if session is not None:
        from spanback.instrumentation._sessions import hearing, saying  # noqa: PLC0415 - for clients with WebSockets

        listen = saying if patch.target.says is not None else hearing
        return listen(session, adapter, patch.original, lambda: patch.is_live)
    is_method = inspect.isclass(patch.owner)
    wrapped = patch.original
    if not is_method:
        wrapped = _as_method(wrapped)
    elif type(wrapped) is not FunctionType:  # a proxy says that it is one
        wrapped = _bound(wrapped)
    make = _async_around if patch.target.is_async else _around
    around = make(adapter, patch, wrapped)
    if patch.target.is_late is not None:
        late = _async_around_late if patch.target.is_async else _around_late
        around = late(adapter, patch, wrapped, around, patch.target.is_late)
    if patch.target.is_router:
        from spanback.instrumentation._attempts import routed  # noqa: PLC0415 - for who tries other models

        around = routed(patch, wrapped)
    if patch.target.stands_in is not None:
        from spanback.instrumentation._standing_in import standing_in  # noqa: PLC0415 - for who has such callbacks

        around = standing_in(patch, wrapped)
    if patch.target.is_manager:
        around = _around_manager(adapter, patch, wrapped)
    if not is_method:
        around = (_async_as_function if patch.target.is_async else _as_function)(around)
    return functools.wraps(patch.original)(around)


def _around(adapter: Adapter, patch: Patch, wrapped: Callable[..., Any]) -> Callable[..., Any]:
    site = patch.site(adapter)

    def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        call = never_raise(begin, site, instance, args, kwargs) if patch.is_live else None
        if call is None:
            return wrapped(instance, *args, **kwargs)
        try:
            result = wrapped(instance, *args, **kwargs)
        except BaseException as error:
            never_raise(call.fail, error)
            raise
        received = never_raise(end_or_watch, adapter, call, result)
        if received is None:
            never_raise(call.end)
            return result
        return received

    return around


def _async_around(adapter: Adapter, patch: Patch, wrapped: Callable[..., Any]) -> Callable[..., Any]:
    site = patch.site(adapter)

    async def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        call = never_raise(begin, site, instance, args, kwargs) if patch.is_live else None
        if call is None:
            return await wrapped(instance, *args, **kwargs)
        try:
            result = await wrapped(instance, *args, **kwargs)
        except BaseException as error:
            never_raise(call.fail, error)
            raise
        received = never_raise(end_or_watch, adapter, call, result)
        if received is None:
            never_raise(call.end)
            return result
        return received

    return around


def _around_late(
    adapter: Adapter,
    patch: Patch,
    wrapped: Callable[..., Any],
    around: Callable[..., Any],
    is_late: Callable[[Mapping[str, Any]], bool],
) -> Callable[..., Any]:
    def choose(instance: Any, *args: Any, **kwargs: Any) -> Any:
        if not (patch.is_live and is_late(kwargs)):
            return around(instance, *args, **kwargs)
        start = _later(patch.site(adapter), instance, args, kwargs)
        return read_late(start, wrapped(instance, *args, **kwargs))

    return choose


def _async_around_late(
    adapter: Adapter,
    patch: Patch,
    wrapped: Callable[..., Any],
    around: Callable[..., Any],
    is_late: Callable[[Mapping[str, Any]], bool],
) -> Callable[..., Any]:
    async def choose(instance: Any, *args: Any, **kwargs: Any) -> Any:
        if not (patch.is_live and is_late(kwargs)):
            return await around(instance, *args, **kwargs)
        start = _later(patch.site(adapter), instance, args, kwargs)
        return read_late(start, await wrapped(instance, *args, **kwargs))

    return choose


def _later(site: Site, instance: Any, args: Any, kwargs: Any) -> Callable[[], Call | Capture | None]:
    """The begin of a call, for later; what the app says of its calls holds as of now."""
    entry = entry_of(otel_context.get_current())
    return functools.partial(begin, site, instance, args, kwargs, entry)


def _bound(wrapper: Any) -> Callable[..., Any]:
    """A wrapper of somebody else that is no function: wrapt's know their object only when they are bound to it."""

    def method(instance: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper.__get__(instance, type(instance))(*args, **kwargs)

    return method


def _around_manager(adapter: Adapter, patch: Patch, wrapped: Callable[..., Any]) -> Callable[..., Any]:
    from spanback.instrumentation._managers import watch_entry  # noqa: PLC0415 - for the clients that have such functions

    def receive(call: Call | Capture, given: Any) -> Any:
        received = never_raise(end_or_watch, adapter, call, given)
        if received is None:
            never_raise(call.end)
            return given
        return received

    def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
        manager = wrapped(instance, *args, **kwargs)
        if patch.is_live:
            start = _later(patch.site(adapter), instance, args, kwargs)
            never_raise(watch_entry, manager, start, receive)
        return manager

    return around


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a module, called as if it had an object."""

    def method(_none: None, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return method


def _as_function(method: Callable[..., Any]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        return method(None, *args, **kwargs)

    return function


def _async_as_function(method: Callable[..., Any]) -> Callable[..., Any]:
    async def function(*args: Any, **kwargs: Any) -> Any:
        return await method(None, *args, **kwargs)

    return function


def only_if(
    is_so: Callable[[Any], bool], around: Callable[..., Any], wrapped: Callable[..., Any]
) -> Callable[..., Any]:
    """A method that goes through its wrapper only where something is so."""

    @functools.wraps(wrapped)
    def either(instance: Any, *args: Any, **kwargs: Any) -> Any:
        return (around if never_raise(is_so, instance) else wrapped)(instance, *args, **kwargs)

    return either


def end_or_watch(adapter: Adapter, call: Call | Capture, result: Any) -> Any:
    """Ends the call, or lets what came back end it.

    Returns:
        What the app gets: the result, or a generator in the place of one.
    """
    call.leave()
    if isinstance(call, Capture):
        call = call.settle()
    received = adapter.sort(call.request, result)
    if received is None:
        try:
            call.end(result)
        finally:  # also where a processor of the app's fails on the span
            attach(result, call.handle)
        return result
    call.index(received.known_as, None)
    if received.stream is not None or received.pending is not None:
        call.mark(result, received.stream, received.holder)
        return watch(call, received, result)
    try:
        call.end(received.response)
    finally:
        call.mark(result, received.response)
    return result
