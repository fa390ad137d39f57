"""A loopback server, and calls to it with the real client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest

from spanback.demo._loopback import LoopbackServer

HAS_RESPONSES = hasattr(openai.OpenAI, "responses")
needs_responses = pytest.mark.skipif(not HAS_RESPONSES, reason="this release of openai has no Responses API")

QUESTION = "When should I visit Kyoto?"
ANSWER = "Visit Kyoto in the first week of April, when the cherry trees are in bloom."
MESSAGES = [{"role": "user", "content": QUESTION}]

ENDPOINTS: dict[str, tuple[Callable[[Any], Callable[..., Any]], dict[str, Any]]] = {
    "chat": (lambda client: client.chat.completions.create, {"messages": MESSAGES}),
    "responses": (lambda client: client.responses.create, {"input": QUESTION}),
    "completions": (lambda client: client.completions.create, {"prompt": QUESTION}),
    "embeddings": (lambda client: client.embeddings.create, {"input": QUESTION}),
}


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    """One server for the tests of a module."""
    with LoopbackServer(pause_s=0.02, chunk_pause_s=0.001) as server:
        yield server


@pytest.fixture
def client(server: LoopbackServer) -> Iterator[openai.OpenAI]:
    """The real client, which does not try again."""
    with make_client(server) as client:
        yield client


def make_client(server: LoopbackServer, *, is_async: bool = False, max_retries: int = 0) -> Any:
    """A client of either kind, made in a millisecond since it loads no certificates."""
    make, http = (openai.OpenAI, openai.DefaultHttpxClient)
    if is_async:
        make, http = (openai.AsyncOpenAI, openai.DefaultAsyncHttpxClient)
    return make(base_url=server.base_url, api_key="test", max_retries=max_retries, http_client=http(verify=False))


def create(server: LoopbackServer, endpoint: str, *, is_async: bool, **body: Any) -> Any:
    """What a client of either kind gets from an endpoint: a response, or the list of a stream's chunks."""
    return asyncio.run(_create(server, endpoint, is_async, {"model": "gpt-4o-mini", **body}))


async def _create(server: LoopbackServer, endpoint: str, is_async: bool, body: dict[str, Any]) -> Any:
    client = make_client(server, is_async=is_async)
    find, fixed = ENDPOINTS[endpoint]
    try:
        response = find(client)(**fixed, **body)
        response = await response if inspect.isawaitable(response) else response
        if isinstance(response, AsyncIterator):
            return [chunk async for chunk in response]
        return list(response) if isinstance(response, Iterator) else response
    finally:
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
