"""Makes the call of a recorded exchange with the real client, to a server at hand, and reads its answer to the end."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from tests.clients.wire import WireServer
from tests.wire.recordings import Recording

Call = Callable[[Any], Any]
"""Given a client: makes the call, and gives the result or an awaitable of it."""


class UnknownCallError(Exception):
    """The installed client has no call for an exchange."""


def make_call(client: str, server: WireServer, recording: Recording) -> None:
    """Makes the call of an exchange and reads its answer to the end; raises what the client raises."""
    connect, find_call = _CLIENTS[client]
    call = find_call(recording)
    if recording.is_async and client != "bedrock":  # boto3 has no async client
        asyncio.run(_make_async(connect(server, recording, is_async=True), call, recording.is_stream))
    else:
        _make_sync(connect(server, recording, is_async=False), call, recording.is_stream)


def _make_sync(client: Any, call: Call, is_stream: bool) -> None:
    try:
        result = call(client)
        if isinstance(result, dict):  # boto3's, which may hold events or a body that is still to be read
            result = result.get("stream", result.get("body"))
        if is_stream:
            for _ in result:
                pass
        elif hasattr(result, "read"):
            result.read()
    finally:
        client.close()


async def _make_async(client: Any, call: Call, is_stream: bool) -> None:
    try:
        result = await call(client)
        if is_stream:
            async for _ in result:
                pass
    finally:
        await (client.aclose() if hasattr(client, "aclose") else client.close())


def _arguments(method: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The arguments for a body; what the method does not take goes into the body all the same."""
    taken = inspect.signature(method).parameters
    extra = {name: value for name, value in body.items() if name not in taken}
    return {
        **{name: value for name, value in body.items() if name in taken},
        **({"extra_body": extra} if extra else {}),
    }


def _openai(server: WireServer, _recording: Recording, *, is_async: bool) -> Any:
    import openai

    kind = openai.AsyncOpenAI if is_async else openai.OpenAI
    return kind(api_key="test", base_url=f"{server.base_url}/v1", max_retries=0)


def _openai_call(recording: Recording) -> Call:
    path, body = recording.url.path, recording.asked
    if recording.method == "GET":
        query = recording.query
        more = {"stream": True} if query.get("stream") == "true" else {}
        more |= {"starting_after": int(query["starting_after"])} if "starting_after" in query else {}
        return lambda client: client.responses.retrieve(recording.last_step, **more)
    resources = {
        "/v1/chat/completions": lambda client: client.chat.completions,
        "/v1/embeddings": lambda client: client.embeddings,
        "/v1/responses": lambda client: client.responses,
    }
    if path not in resources:
        raise UnknownCallError(path)

    def call(client: Any) -> Any:
        create = resources[path](client).create
        return create(**_arguments(create, body))

    return call


def _anthropic(server: WireServer, _recording: Recording, *, is_async: bool) -> Any:
    from tests.clients.anthropic import connect

    return connect(server, is_async)


def _anthropic_call(recording: Recording) -> Call:
    def call(client: Any) -> Any:
        messages = client.beta.messages if recording.query.get("beta") == "true" else client.messages
        return messages.create(**_arguments(messages.create, recording.asked))

    return call


def _bedrock(server: WireServer, _recording: Recording, *, is_async: bool) -> Any:
    import boto3
    from botocore.config import Config

    from tests.clients.bedrock import CREDENTIALS

    config = Config(retries={"total_max_attempts": 1}, read_timeout=5)
    session = boto3.Session(**CREDENTIALS)
    return session.client("bedrock-runtime", endpoint_url=server.base_url, config=config)


def _bedrock_call(recording: Recording) -> Call:
    _, _, model, method = recording.url.path.split("/")
    model = unquote(model)
    if method.startswith("converse"):
        name = method.replace("-", "_")
        return lambda client: getattr(client, name)(modelId=model, **recording.asked)
    name = "invoke_model_with_response_stream" if "stream" in method else "invoke_model"
    return lambda client: getattr(client, name)(modelId=model, body=json.dumps(recording.asked))


def _google(server: WireServer, recording: Recording, *, is_async: bool) -> Any:
    from google import genai
    from google.oauth2.credentials import Credentials

    from tests.clients.google_genai import http, options

    steps = recording.url.path.split("/")
    # Without a transport it would take aiohttp where that is installed, whose newest release warns of how it does so.
    more = {"async_client_args": {"transport": http().AsyncHTTPTransport()}} if is_async else {}
    given = {"http_options": options(server, api_version=steps[1], **more)}
    if "projects" in steps:
        place = {name: steps[steps.index(f"{name}s") + 1] for name in ("project", "location")}
        client = genai.Client(vertexai=True, credentials=Credentials("test"), **place, **given)
    else:
        client = genai.Client(api_key="test", **given)
    if not is_async:
        return client
    client.aio.__dict__["keeps"] = client  # the sync client closes itself when it goes
    return client.aio


def _google_call(recording: Recording) -> Call:
    body, query = recording.asked, recording.query
    if "/interactions" in recording.url.path:
        if recording.method == "POST":
            return lambda client: client.interactions.create(**body)
        more: dict[str, Any] = {"stream": True} if query.get("stream") == "true" else {}
        more |= {"last_event_id": query["last_event_id"]} if "last_event_id" in query else {}
        return lambda client: client.interactions.get(id=recording.last_step, **more)
    model, _, method = recording.last_step.partition(":")
    if method == "batchEmbedContents":
        from google.genai.types import EmbedContentResponse

        if "usage_metadata" not in EmbedContentResponse.model_fields:
            raise UnknownCallError("this release drops the tokens of embeddings")
        contents = [request["content"] for request in body["requests"]]
        return lambda client: client.models.embed_content(model=model, contents=contents)
    if method != "generateContent":
        raise UnknownCallError(method)
    config = {**body.get("generationConfig", {}), **{name: body[name] for name in body.keys() & _OF_CONFIG}}
    return lambda client: client.models.generate_content(model=model, contents=body["contents"], config=config or None)


_OF_CONFIG = {"tools", "toolConfig", "systemInstruction", "safetySettings", "labels", "cachedContent"}
_CLIENTS: dict[str, tuple[Callable[..., Any], Callable[[Recording], Call]]] = {
    "openai": (_openai, _openai_call),
    "anthropic": (_anthropic, _anthropic_call),
    "bedrock": (_bedrock, _bedrock_call),
    "google-genai": (_google, _google_call),
}
