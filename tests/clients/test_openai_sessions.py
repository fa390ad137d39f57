"""OpenAI's WebSocket connections: one span a response, and feedback finds it."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import openai
import pytest
from opentelemetry.trace import SpanKind, StatusCode

import spanback
from tests.clients.test_matrix import settled
from tests.conftest import Memory

websockets = pytest.importorskip("websockets")
websockets_server = pytest.importorskip("websockets.sync.server")
pytest.importorskip("openai.resources.realtime.realtime")

# The client opens its connection as releases of websockets before 17.1 wanted it.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager")

USAGE = {
    "total_tokens": 30,
    "input_tokens": 20,
    "output_tokens": 10,
    "input_token_details": {"cached_tokens": 8, "text_tokens": 12, "audio_tokens": 0},
    "output_token_details": {"text_tokens": 10, "audio_tokens": 0},
}


def realtime(number: int, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the Realtime API says to a request for a response."""
    head = {"id": f"resp_{number}", "object": "realtime.response", "output": []}
    yield {"type": "response.created", "event_id": "e", "response": {**head, "status": "in_progress"}}
    if asked.get("instructions") == "never end":
        return
    for word in ("In", " April."):
        place = {"output_index": 0, "content_index": 0, "item_id": "item_1", "event_id": "e"}
        yield {"type": "response.output_text.delta", "response_id": head["id"], "delta": word, **place}
    item = {
        "id": "item_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "In April."}],
    }
    failed = asked.get("instructions") == "fail"
    details = {"type": "failed", "error": {"type": "server_error", "code": "overloaded"}} if failed else None
    whole = {**head, "status": "failed" if failed else "completed", "output": [item], "usage": USAGE}
    yield {"type": "response.done", "event_id": "e", "response": {**whole, "status_details": details}}


def responses(number: int, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the Responses API says over a WebSocket."""
    head = {"id": f"resp_{number}", "object": "response", "model": f"{asked['model']}-0711", "output": []}
    yield {"type": "response.created", "sequence_number": 0, "response": {**head, "status": "in_progress"}}
    place = {"output_index": 0, "content_index": 0, "item_id": "m", "sequence_number": 1, "logprobs": []}
    yield {"type": "response.output_text.delta", "delta": "In April.", **place}
    part = {"type": "output_text", "text": "In April.", "annotations": []}
    output = [{"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}]
    usage = {
        "input_tokens": 20,
        "output_tokens": 10,
        "total_tokens": 30,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    whole = {**head, "status": "completed", "output": output, "usage": usage}
    yield {"type": "response.completed", "sequence_number": 2, "response": whole}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a WebSocket server speaks as OpenAI's does."""

    def messages(connection: Any) -> Iterator[str]:
        with suppress(websockets.exceptions.ConnectionClosed):  # the client has gone
            yield from connection

    def serve(connection: Any) -> None:
        is_realtime = "/realtime" in connection.request.path
        if is_realtime:
            session = {"type": "realtime", "id": "sess_1", "model": "gpt-realtime-1"}
            connection.send(json.dumps({"type": "session.created", "event_id": "e", "session": session}))
        number = 0
        for message in messages(connection):
            asked = json.loads(message)
            if asked["type"] == "response.create" or asked["type"] == "input_audio_buffer.commit":
                number += 1
                inner = asked.get("response") or {} if is_realtime else asked
                for event in (realtime if is_realtime else responses)(number, inner):
                    with suppress(websockets.exceptions.ConnectionClosed):
                        connection.send(json.dumps(event))

    with websockets_server.serve(serve, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


is_async = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def client_for(port: int, is_async: bool) -> Any:
    """A client of either kind."""
    make = openai.AsyncOpenAI if is_async else openai.OpenAI
    return make(api_key="test", websocket_base_url=f"ws://127.0.0.1:{port}/v1", max_retries=0)


async def until(connection: Any, *kinds: str) -> list[Any]:
    """The events up to one of some types."""
    events: list[Any] = []
    while not events or events[-1].type not in kinds:
        events.append(await settled(connection.recv()))
    return events


async def opened(client: Any, name: str) -> Any:
    """A connection."""
    connect = client.realtime.connect(model="gpt-realtime-1") if name == "realtime" else client.responses.connect()
    return await settled(connect.enter())


def place(port: int) -> dict[str, Any]:
    """Where every call goes."""
    return {"server.address": "127.0.0.1", "server.port": port, "gen_ai.request.stream": True}


@is_async
async def test_a_response_of_the_realtime_api(is_async: bool, port: int, instrument: Any, memory: Memory) -> None:
    """A response that the app asks for is one span, its events refer to it, and its model is the session's."""
    instrument(capture_content=True)
    client = client_for(port, is_async)
    connection = await opened(client, "realtime")
    await until(connection, "session.created")
    await settled(connection.response.create(response={"max_output_tokens": 50}))
    events = await until(connection, "response.done")
    attributes = dict(memory.span.attributes)
    assert attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    assert json.loads(attributes.pop("gen_ai.output.messages")) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "In April."}], "finish_reason": "stop"}
    ]
    assert attributes == place(port) | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-realtime-1",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 8,
    }
    assert (memory.span.name, memory.span.kind) == ("chat gpt-realtime-1", SpanKind.CLIENT)
    for held in (events[0], events[1], events[-1], events[-1].response, "resp_1"):
        assert spanback.reference(held).span_id == memory.span.context.span_id
    await settled(connection.close())
    await settled(client.close())


@is_async
async def test_what_the_server_makes_by_itself(is_async: bool, port: int, instrument: Any, memory: Memory) -> None:
    """A response that the server begins, as it does after speech, has a span of its own; one that fails is an error."""
    instrument()
    client = client_for(port, is_async)
    connection = await opened(client, "realtime")
    await settled(connection.input_audio_buffer.commit())
    await until(connection, "response.done")
    await settled(connection.response.create(response={"instructions": "fail"}))
    await until(connection, "response.done")
    good, bad = memory.spans
    assert [span.status.status_code for span in (good, bad)] == [StatusCode.UNSET, StatusCode.ERROR]
    assert bad.attributes["error.type"] == "overloaded"
    assert "gen_ai.output.messages" not in good.attributes
    await settled(connection.close())
    await settled(client.close())


@is_async
async def test_a_response_of_the_responses_api(is_async: bool, port: int, instrument: Any, memory: Memory) -> None:
    """Over a WebSocket a response has the same attributes as over HTTP."""
    instrument()
    client = client_for(port, is_async)
    connection = await opened(client, "responses")
    await settled(connection.response.create(model="model-1", input="When?", temperature=0.5))
    events = await until(connection, "response.completed")
    attributes = dict(memory.span.attributes)
    assert attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    assert attributes == place(port) | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "model-1",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.model": "model-1-0711",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "openai.api.type": "responses",
    }
    assert spanback.reference(events[1]).span_id == memory.span.context.span_id
    await settled(connection.close())
    await settled(client.close())


@is_async
async def test_a_connection_that_goes_away(is_async: bool, port: int, instrument: Any, memory: Memory) -> None:
    """What is open when a connection is dropped ends then, and is no error."""
    instrument()
    client = client_for(port, is_async)
    connection = await opened(client, "realtime")
    await settled(connection.response.create(response={"instructions": "never end"}))
    await until(connection, "response.created")
    await settled(connection.response.create())
    assert memory.counted.ended == 0
    await settled(connection.close())
    del connection
    gc.collect()
    spanback.flush()
    assert [span.status.status_code for span in memory.spans] == [StatusCode.UNSET] * 2
    await settled(client.close())
