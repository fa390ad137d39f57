"""Ways of calling that the clients of the Stainless generator share: raw responses, read at once or streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from inspect import isawaitable
from typing import Any


def parsed(raw: Any) -> Any:
    """What a raw response holds, or an awaitable of it."""
    return raw.parse()


def parsed_within(manager: Any) -> Any:
    """What the raw response of `with_streaming_response` holds, read inside its context."""
    return _async_parsed_within(manager) if hasattr(manager, "__aenter__") else _parsed_within(manager)


def _parsed_within(manager: Any) -> Any:
    with manager as raw:
        return raw.parse()


async def _async_parsed_within(manager: Any) -> Any:
    async with manager as raw:
        return await raw.parse()


def stream_within(call: Callable[[Any, str], Any], is_async: bool) -> Callable[[Any, str], Any]:
    """The stream in the raw response of a call through `with_streaming_response`, inside its context."""

    @contextmanager
    def stream(client: Any, model: str) -> Iterator[Any]:
        with call(client, model) as raw:
            yield raw.parse()

    @asynccontextmanager
    async def async_stream(client: Any, model: str) -> AsyncIterator[Any]:
        async with call(client, model) as raw:
            yield await raw.parse()

    return async_stream if is_async else stream


def stream_in(call: Callable[[Any, str], Any], is_async: bool) -> Callable[[Any, str], Any]:
    """The stream in the raw response of a call through `with_raw_response`."""

    def stream(client: Any, model: str) -> Any:
        return call(client, model).parse()

    async def async_stream(client: Any, model: str) -> Any:
        found = (await call(client, model)).parse()
        return await found if isawaitable(found) else found

    return async_stream if is_async else stream
