"""Ways of calling that the clients of the Stainless generator share: raw responses, read at once or streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from inspect import isawaitable
from typing import Any

from tests.clients.cases import Style

UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
"""The nonsense that a whole chat completion may be."""
STREAMED = ("no-choices", "null-usage", "content-null", "empty-stream", "cut-stream", "html")
"""The nonsense that a streamed one may be."""


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


def streamed(call: Callable[..., Any]) -> Callable[[Any, str], Any]:
    """The same call, streamed."""
    return lambda client, model: call(client, model, stream=True)


def chat_styles(style: Callable[..., Style], given: Mapping[str, Any], is_async: bool) -> list[Style]:
    """Every way of asking for a chat completion.

    Args:
        style: Makes a style of a name and a call.
        given: The arguments besides the model.
        is_async: Whether the client is of the async kind.
    """

    def create(client: Any, model: str, **more: Any) -> Any:
        return client.chat.completions.create(model=model, **given, **more)

    def raw(client: Any, model: str, **more: Any) -> Any:
        return client.chat.completions.with_raw_response.create(model=model, **given, **more)

    def streaming(client: Any, model: str, **more: Any) -> Any:
        return client.chat.completions.with_streaming_response.create(model=model, **given, **more)

    name, many = "chat.completions.create", {"is_stream": True, "odd": STREAMED}
    return [
        style(name, create),
        style(f"{name} raw", raw, reads=parsed),
        style(f"{name} streaming response", streaming, reads=parsed_within),
        style(f"{name} streamed", streamed(create), **many),
        style(f"{name} raw streamed", stream_in(streamed(raw), is_async), **many),
        style(f"{name} streaming response streamed", stream_within(streamed(streaming), is_async), **many),
    ]
