"""What only Cohere's client has."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation

import spanback

pytest.importorskip("cohere")

import cohere

from spanback.instrumentation.providers.cohere import ADAPTER, whole
from tests.clients import cohere as case
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_lines, as_sse
from tests.conftest import Memory

ONCE: Any = {"max_retries": 0}
RAW = pytest.mark.skipif(not hasattr(cohere.ClientV2, "with_raw_response"), reason="this release has no raw clients")
PLAN = "I will look up the weather."
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Kyoto"}'}}


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that speaks as Cohere does."""
    with WireServer().running() as server:
        server.speak(case.answers)
        yield server


@pytest.fixture
def client(wire: WireServer) -> Iterator[case.Client]:
    """A client that was made before anything is wrapped."""
    client = case.Client(wire.base_url)
    yield client
    client.close()


def content(memory: Memory) -> dict[str, Any]:
    """The content attributes of the one span."""
    attributes = memory.span.attributes or {}
    return {name: json.loads(str(value)) for name, value in attributes.items() if name.endswith(("messages", "ions"))}


def said(messages: Any) -> Callable[[WireRequest], WireAnswer]:
    """A server that always says the same."""
    return lambda _request: messages


def test_batches_are_one_call(wire: WireServer, client: case.Client, instrument: Any, memory: Memory) -> None:
    """The batches that are sent from threads are one span, of the response that they become."""
    instrument()
    got = client.v1.embed(texts=["Kyoto"] * 200, model="model-1", input_type="search_document", request_options=ONCE)
    assert len(wire.requests) == 3
    span = memory.span
    assert span.name == "embeddings model-1"
    assert span.attributes["gen_ai.usage.input_tokens"] == 15
    assert span.attributes["gen_ai.response.id"] == got.id
    assert spanback.reference(got).span_id == span.context.span_id


@pytest.mark.parametrize("adopt", [True, False])
async def test_async_batches_are_one_call(wire: WireServer, instrument: Any, memory: Memory, adopt: bool) -> None:
    """So are those that are sent from tasks."""
    instrument(adopt=adopt)
    client = case.AsyncClient(wire.base_url)
    await client.v1.embed(texts=["Kyoto"] * 200, model="model-1", input_type="search_document", request_options=ONCE)
    await client.aclose()
    assert len(wire.requests) == 3
    assert memory.span.attributes["gen_ai.usage.input_tokens"] == 15


def test_batches_of_a_suppressed_call(client: case.Client, instrument: Any, memory: Memory) -> None:
    """Where the app wants no spans, the threads make none either."""
    instrument()
    with suppress_instrumentation():
        client.v1.embed(texts=["Kyoto"] * 200, model="model-1", input_type="search_document", request_options=ONCE)
    assert memory.spans == []


def test_embeddings_without_batches(client: case.Client, instrument: Any, memory: Memory) -> None:
    """A call that is not cut in batches is one span, too."""
    instrument()
    client.v1.embed(
        texts=["Kyoto"], model="model-1", input_type="search_document", batching=False, request_options=ONCE
    )
    assert memory.span.name == "embeddings model-1"


@RAW
def test_a_thread_of_the_apps_own(client: case.Client, instrument: Any, memory: Memory) -> None:
    """A call that the app makes from a thread has its span."""
    instrument()
    embed = client.v1.with_raw_response.embed
    given: Any = {"texts": ["Kyoto"], "model": "model-1", "request_options": ONCE}
    thread = threading.Thread(target=embed, kwargs=given)
    thread.start()
    thread.join()
    assert memory.span.name == "embeddings model-1"


@RAW
def test_methods_bound_before(client: case.Client, instrument: Any, memory: Memory) -> None:
    """Methods that the app, or the client itself, has bound before are seen."""
    chat, v1_chat, stream = client.chat, client.v1.chat, client.chat_stream
    instrument()
    chat(model="model-1", messages=case.MESSAGES, request_options=ONCE)
    v1_chat(model="model-1", message="Hello", request_options=ONCE)
    list(stream(model="model-1", messages=case.MESSAGES, request_options=ONCE))
    assert [span.name for span in memory.spans] == ["chat model-1"] * 3


@RAW
def test_what_kind_of_function(instrument: Any) -> None:
    """Generator functions, async generator functions and coroutine functions stay what they are."""
    instrument()
    assert inspect.isasyncgenfunction(cohere.AsyncClientV2.chat_stream)
    assert inspect.isgeneratorfunction(cohere.ClientV2.chat_stream)
    assert inspect.iscoroutinefunction(cohere.AsyncClientV2.chat)
    assert inspect.iscoroutinefunction(cohere.AsyncClient.embed)


@RAW
def test_a_raw_stream_that_is_not_read(client: case.Client, instrument: Any, memory: Memory) -> None:
    """A raw stream is a context manager: not entered it is no call, left early it ends its span."""
    instrument()
    case.chat_stream(client.with_raw_response, "model-1")
    assert memory.spans == []
    with case.chat_stream(client.with_raw_response, "model-1") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert inspect.isgenerator(response.data)
        reference = spanback.reference(response)
    assert reference.span_id == memory.span.context.span_id


@RAW
def test_an_error_inside_a_raw_stream(client: case.Client, instrument: Any, memory: Memory) -> None:
    """What the app raises while a raw stream is open comes out as it is, and is no error of the call."""
    instrument()
    error = StopIteration("the app's own")
    with pytest.raises(StopIteration) as raised, case.chat_stream(client.with_raw_response, "model-1"):
        raise error
    assert raised.value is error
    assert "error.type" not in memory.span.attributes


@RAW
async def test_suppressed_raw_streams(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """Suppressed, or after `uninstrument()`, a raw stream is the client's own alone."""
    instrument()
    asynchronous, synchronous = case.AsyncClient(wire.base_url), case.Client(wire.base_url)
    bound = synchronous.with_raw_response.chat_stream
    with suppress_instrumentation():
        with case.chat_stream(synchronous.with_raw_response, "model-1") as response:
            assert len(list(response.data)) == 7
        async with case.chat_stream(asynchronous.with_raw_response, "model-1") as response:
            assert len([event async for event in response.data]) == 7
    spanback.uninstrument()
    with bound(model="model-1", messages=case.MESSAGES, request_options=ONCE) as response:
        assert len(list(response.data)) == 7
    await asynchronous.aclose()
    synchronous.close()
    assert memory.spans == []


V2_CONVERSATION: Any = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
        ],
    },
    {"role": "assistant", "tool_plan": PLAN, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": ["Wind.", {"type": "document", "document": {"data": {"sky": "grey"}}}],
    },
]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALLED = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": '{"city": "Kyoto"}'}
V2_SHAPED = [
    {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
    {
        "role": "user",
        "parts": [
            {"type": "text", "content": "What is this?"},
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "content": "[8 characters of base64 left out]",
            },
        ],
    },
    {"role": "assistant", "parts": [{"type": "reasoning", "content": PLAN}, CALLED]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "Rain."}]},
    {
        "role": "tool",
        "parts": [
            {
                "type": "tool_call_response",
                "id": "call_1",
                "response": [
                    {"type": "text", "content": "Wind."},
                    {"type": "document", "content": '{"sky":"grey"}'},
                ],
            }
        ],
    },
]
V2_ANSWER = [
    {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": PLAN},
            {"type": "reasoning", "content": "Hm."},
            {"type": "text", "content": "Let me see."},
            CALLED,
        ],
        "finish_reason": "TOOL_CALL",
    }
]


def test_tools_of_v2(wire: WireServer, client: case.Client, instrument: Any, memory: Memory) -> None:
    """Plans and thoughts are reasoning, tool calls and their results are parts, an image is left out."""
    message = {
        "role": "assistant",
        "tool_plan": PLAN,
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Let me see."}],
        "tool_calls": [CALL],
    }
    wire.speak(said(as_json({"id": "chat-1", "finish_reason": "TOOL_CALL", "message": message})))
    instrument(capture_content=True)
    client.chat(model="model-1", messages=V2_CONVERSATION, tools=TOOLS, request_options=ONCE)
    assert content(memory) == {
        "gen_ai.input.messages": V2_SHAPED,
        "gen_ai.output.messages": V2_ANSWER,
        "gen_ai.tool.definitions": [{"type": "function", "name": "weather"}],
    }


def test_tools_of_a_stream_of_v2(wire: WireServer, client: case.Client, instrument: Any, memory: Memory) -> None:
    """A stream's events amount to the same message."""

    def event(kind: str, index: int, message: Any) -> dict[str, Any]:
        return {"type": kind, "index": index, "delta": {"message": message}}

    first = {**CALL, "function": {"name": "weather", "arguments": ""}}
    events = [
        {"id": "chat-1", "type": "message-start", "delta": {"message": {"role": "assistant"}}},
        event("tool-plan-delta", 0, {"tool_plan": PLAN}),
        event("content-delta", 0, {"content": {"thinking": "Hm."}}),
        event("content-delta", 1, {"content": {"text": "Let me "}}),
        event("content-delta", 1, {"content": {"text": "see."}}),
        event("tool-call-start", 0, {"tool_calls": first}),
        event("tool-call-delta", 0, {"tool_calls": {"function": {"arguments": '{"city":'}}}),
        event("tool-call-delta", 0, {"tool_calls": {"function": {"arguments": ' "Kyoto"}'}}}),
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}},
    ]
    wire.speak(said(as_sse(events)))
    instrument(capture_content=True)
    list(client.chat_stream(model="model-1", messages=case.MESSAGES, request_options=ONCE))
    assert content(memory)["gen_ai.output.messages"] == V2_ANSWER


def test_tools_of_v1(wire: WireServer, client: case.Client, instrument: Any, memory: Memory) -> None:
    """A chat of v1 has its history, tools and results beside its message, and continues a conversation."""
    call = {"name": "weather", "parameters": {"city": "Kyoto"}}
    answer = {"response_id": "chat-1", "text": "", "finish_reason": "COMPLETE", "tool_calls": [call]}
    wire.speak(said(as_json(answer)))
    instrument(capture_content=True)
    client.v1.chat(
        model="model-1",
        message="And tomorrow?",
        conversation_id="talk-1",
        chat_history=[
            {"role": "USER", "message": "Hello"},
            {"role": "CHATBOT", "message": "Hi", "tool_calls": [call]},
            {"role": "USER", "message": ""},
            {"role": "TOOL", "tool_results": [{"call": call, "outputs": [{"sky": "grey"}]}]},
        ],
        tools=[{"name": "weather", "description": "The weather", "parameter_definitions": {}}],
        tool_results=[{"call": call, "outputs": [{"sky": "blue"}]}],
        request_options=ONCE,
    )
    called = {"type": "tool_call", "id": None, "name": "weather", "arguments": '{"city":"Kyoto"}'}
    assert memory.span.attributes["gen_ai.conversation.id"] == "talk-1"
    assert content(memory) == {
        "gen_ai.input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": "Hello"}]},
            {"role": "assistant", "parts": [{"type": "text", "content": "Hi"}, called]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": None, "response": '[{"sky":"grey"}]'}]},
            {
                "role": "user",
                "parts": [
                    {"type": "text", "content": "And tomorrow?"},
                    {"type": "tool_call_response", "id": None, "response": '[{"sky":"blue"}]'},
                ],
            },
        ],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [called], "finish_reason": "COMPLETE"}],
        "gen_ai.tool.definitions": [{"type": "function", "name": "weather"}],
    }


def test_both_ids_of_v1(client: case.Client, instrument: Any, memory: Memory) -> None:
    """A stream of v1 begins with the id of its text and ends with that of its response: both name the call."""
    instrument()
    list(client.v1.chat_stream(model="model-1", message="Hello", request_options=ONCE))
    span_id = memory.span.context.span_id
    assert [spanback.reference(name).span_id for name in ("chat-1", "chat-1-0")] == [span_id, span_id]


def test_a_completion_that_was_cut(wire: WireServer, client: case.Client, instrument: Any, memory: Memory) -> None:
    """Without a last event, what came is kept."""
    events = [{"event_type": "text-generation", "text": "In", "is_finished": False}]
    wire.speak(said(as_lines(events)))
    instrument(capture_content=True)
    list(client.v1.generate_stream(prompt="When?", model="model-1", request_options=ONCE))
    assert content(memory)["gen_ai.output.messages"] == [
        {"role": "assistant", "parts": [{"type": "text", "content": "In"}], "finish_reason": "error"}
    ]


@pytest.mark.parametrize(("number", "count"), [(3, 3), (3.0, 3), (0.5, None), (True, None), ("3", None)])
def test_counts_are_whole(number: Any, count: int | None) -> None:
    """A float counts where it is a whole number; nothing else is taken for one."""
    assert whole(number) == count


def test_streams_of_releases_without_raw_clients() -> None:
    """Where there are no raw clients, streams are generators whose first step makes the call."""
    late = {target.path: target.is_late for target in ADAPTER.targets if target.unless is not None and target.is_late}
    assert set(late) == {
        f"{prefix}{name}"
        for prefix in ("", "Async")
        for name in ("V2Client.chat_stream", "BaseCohere.chat_stream", "BaseCohere.generate_stream")
    }
    assert all(is_late({}) for is_late in late.values())
