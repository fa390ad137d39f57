"""Driving the real client: what is sync in one and async in the other is awaited where it can be."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, NamedTuple

import openai
import pytest

from spanback.demo._loopback import LoopbackServer

MODEL = "gpt-4o-mini"
QUESTION = "When should I visit Kyoto?"
ANSWER = "Visit Kyoto in the first week of April, when the cherry trees are in bloom."
MESSAGES = [{"role": "user", "content": QUESTION}]
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": MESSAGES},
    "responses": {"input": QUESTION},
    "beta.responses": {"input": QUESTION},
    "completions": {"prompt": QUESTION},
    "embeddings": {"input": QUESTION},
}
SHAPES = {"chat": "response_format", "responses": "text_format", "beta.responses": "text_format"}

# The HTTP library of this release's own client: httpx2 since release 3.
httpx = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
HAS_RESPONSES = hasattr(openai.OpenAI, "responses")
needs_responses = pytest.mark.skipif(not HAS_RESPONSES, reason="this release of openai has no Responses API")
is_async = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


either_way = pytest.mark.parametrize(
    ("endpoint", "stream"),
    [
        pytest.param(endpoint, stream, id=f"{endpoint}-{'streamed' if stream else 'unary'}")
        for endpoint in ("chat", "responses", "completions", "embeddings")
        for stream in (False, True)
        if (endpoint, stream) != ("embeddings", True)
    ],
)


class Trip(openai.BaseModel):
    """A shape that answers are parsed into."""

    city: str
    days: int


class Row(NamedTuple):
    """One way of calling the client.

    Attributes:
        endpoint: A key of `BODIES`.
        form: `unary`, `streamed`, `helper` (the `.stream()` context manager) or `parse`.
        mode: `plain`, `raw` (`with_raw_response`) or `open` (`with_streaming_response`).
    """

    endpoint: str
    form: str
    mode: str

    def __str__(self) -> str:
        return "-".join(self)


def make_client(server: LoopbackServer, *, is_async: bool = False, **choices: Any) -> Any:
    """A client of either kind that does not try again, made in a millisecond since it loads no certificates."""
    http = openai.DefaultAsyncHttpxClient if is_async else openai.DefaultHttpxClient
    make = choices.pop("make", openai.AsyncOpenAI if is_async else openai.OpenAI)
    given = {"base_url": server.base_url, "api_key": "test", "max_retries": 0, "http_client": http(verify=False)}
    return make(**{name: value for name, value in {**given, **choices}.items() if value is not None})


def resource_of(client: Any, endpoint: str) -> Any:
    """The client's resource for an endpoint, or None where this release has none."""
    names = {"chat": "chat.completions", "beta.chat": "beta.chat.completions"}.get(endpoint, endpoint)
    for name in names.split("."):
        client = getattr(client, name, None)
    return client


def method_of(client: Any, row: Row) -> Callable[..., Any] | None:
    """The client's method for a row, or None where this release has none."""
    name = {"unary": "create", "streamed": "create", "helper": "stream", "parse": "parse"}[row.form]
    mode = {"plain": "", "raw": "with_raw_response", "open": "with_streaming_response"}[row.mode]
    for endpoint in (row.endpoint, f"beta.{row.endpoint}"):
        resource = resource_of(client, endpoint)
        found = getattr(getattr(resource, mode, None) if mode else resource, name, None)
        if found is not None:
            return found
    return None


def request_of(row: Row, **more: Any) -> dict[str, Any]:
    """The arguments of a row's method."""
    body = {"model": MODEL, **BODIES[row.endpoint], **more}
    if row.form == "streamed":
        body["stream"] = True
    if row.form == "parse":
        body[SHAPES[row.endpoint]] = Trip
    return body


async def settled(value: Any) -> Any:
    """The value, awaited where that is to be done."""
    return await value if inspect.isawaitable(value) else value


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """A context manager of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


_END = object()


async def read(stream: Any, limit: int | None = None) -> list[Any]:
    """The chunks of a stream of either kind, or the first `limit` of them."""
    chunks: list[Any] = []
    while limit is None or len(chunks) < limit:
        chunk = await anext(stream, _END) if hasattr(stream, "__anext__") else next(stream, _END)
        if chunk is _END:
            break
        chunks.append(chunk)
    return chunks


async def drive(client: Any, row: Row, *, chunks: int | None = None, **more: Any) -> Any:
    """Makes the call of a row and reads what comes.

    Args:
        client: The client.
        row: The call.
        chunks: After how many chunks the app has seen enough, 0 for none at all; of a whole response, too, 0 means that
            the app does not look at it. None for everything.
        more: More arguments of the client's method.

    Returns:
        What the app holds in the end: a response, or a stream.
    """
    method = method_of(client, row)
    assert method is not None
    made = method(**request_of(row, **more))
    if row.form == "helper" or row.mode == "open":
        async with entered(made) as found:
            return await _read(found, row, chunks)
    return await _read(await settled(made), row, chunks)


async def _read(found: Any, row: Row, chunks: int | None) -> Any:
    if row.mode != "plain":
        if chunks == 0:
            return found
        found = await settled(found.parse())
    if row.form in {"streamed", "helper"}:
        await read(found, chunks)
        if chunks is not None and row.mode != "open":
            await settled(found.close())
    return found
