"""What only Anthropic's client has: its own spans, its platforms, its tool runner, its blocks and its events."""

from __future__ import annotations

import base64
import binascii
import json
import struct
import threading
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

import spanback
from spanback.instrumentation._adapter import Request
from spanback.instrumentation.providers._handing_over import hand_over
from spanback.instrumentation.providers.anthropic import ADAPTER
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse
from tests.conftest import Memory

anthropic = pytest.importorskip("anthropic")
case = pytest.importorskip("tests.clients.anthropic")

native = pytest.mark.skipif(not case.TRACES_ITSELF, reason="this release of anthropic makes no spans of its own")
needs_tool_runner = pytest.mark.skipif(case.RELEASE < (0, 68), reason="this release of anthropic has no tool runner")
either_way = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
ASKED = {"model": "model-1", "max_tokens": 50, "messages": case.MESSAGES}
NAMES = ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions")


@pytest.fixture(autouse=True)
def _speaks(wire: WireServer) -> None:
    """The server speaks as Anthropic does, and counts from 1."""
    wire.speak(case.answers)


async def settled(value: Any) -> Any:
    """The value, awaited where that is to be done."""
    return await value if hasattr(value, "__await__") else value


async def read(stream: Any) -> list[Any]:
    """The chunks of a stream of either kind."""
    return [chunk async for chunk in stream] if hasattr(stream, "__aiter__") else list(stream)


def content_of(span: ReadableSpan) -> dict[str, Any]:
    """The content attributes of a span."""
    return {name: json.loads(value) for name, value in span.attributes.items() if name in NAMES}


def answer_with(**more: Any) -> Any:
    """Answers with a message of which some fields are given."""

    def answers(request: WireRequest) -> WireAnswer:
        message = {
            "id": f"msg_{request.number}",
            "type": "message",
            "role": "assistant",
            "model": "model-1",
            "content": [],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 3, "output_tokens": 4},
            **more,
        }
        is_stream = request.body.get("stream") or request.path.endswith(("-stream", ":streamRawPredict"))
        if is_stream and request.path.startswith("/model/"):
            frames = (frame(event) for event in case.events(message, "model-1"))
            return WireAnswer(frames, headers={"content-type": "application/vnd.amazon.eventstream"})
        return as_sse(case.events(message, "model-1"), named=True) if is_stream else as_json(message)

    return answers


def frame(event: dict[str, Any]) -> bytes:
    """An event in the binary frames of Amazon's event streams."""
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    headers = b""
    for name, value in ((":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")):
        headers += struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack("!I", binascii.crc32(prelude))
    return prelude + headers + payload + struct.pack("!I", binascii.crc32(prelude + headers + payload))


PLATFORMS = {
    "Bedrock": ("aws.bedrock", {"aws_region": "us-east-1", "aws_access_key": "a", "aws_secret_key": "b"}),
    "Vertex": ("gcp.vertex_ai", {"region": "us-east5", "project_id": "p", "access_token": "t"}),
    "Foundry": ("azure.ai.inference", {"api_key": "k"}),
}


@either_way
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("platform", PLATFORMS)
async def test_platforms(platform: str, is_stream: bool, is_async: bool, wire: WireServer, bench: Any) -> None:
    """A client of a platform sends the model in the address, and its calls are the platform's."""
    kind = getattr(anthropic, f"{'Async' if is_async else ''}Anthropic{platform}", None)
    if kind is None:
        pytest.skip("this release of anthropic has no such client")
    provider, options = PLATFORMS[platform]
    wire.speak(answer_with())
    client = kind(base_url=wire.base_url, max_retries=0, **options, **case.untraced())
    bench.instrument()
    got = await settled(client.messages.create(**ASKED, stream=is_stream))
    rated = (await read(got))[0] if is_stream else got
    await settled(client.close())
    span = bench.memory.span
    assert (span.name, span.kind) == ("chat model-1", SpanKind.CLIENT)
    attributes = dict(span.attributes)
    assert (attributes.pop("gen_ai.response.time_to_first_chunk", None) is not None) is is_stream
    assert attributes.pop("gen_ai.request.stream", False) is is_stream
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": "model-1",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "model-1",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "server.address": "127.0.0.1",
        "server.port": wire.port,
    }
    assert spanback.reference(rated).span_id == span.context.span_id


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.anthropic.com", "anthropic"),
        ("localhost", "anthropic"),
        ("api.deepseek.com", "deepseek"),
        ("api.moonshot.ai", "moonshot_ai"),
        ("openrouter.ai", "openrouter"),
    ],
)
def test_others_that_speak_the_format(host: str, provider: str) -> None:
    """The plain client may be pointed at others, and then the host tells whose calls they are."""
    assert ADAPTER.provider_of(host) == provider


@pytest.mark.parametrize("kind", [iter, tuple], ids=["one-shot", "tuple"])
def test_messages_that_are_no_list(kind: Any, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """What can be read only once is read by the client alone, and the server gets it whole."""
    client = case.connect(wire, is_async=False)
    given = {"model": "model-1", "max_tokens": 50}
    client.messages.create(**given, messages=kind(case.MESSAGES))
    instrument(capture_content=True)
    client.messages.create(**given, messages=kind(case.MESSAGES))
    client.close()
    assert [request.body["messages"] for request in wire.requests] == [case.MESSAGES] * 2
    assert memory.span.attributes["gen_ai.response.id"] == "msg_2"
    assert content_of(memory.span)["gen_ai.output.messages"] == case.CONTENT["gen_ai.output.messages"]


@either_way
async def test_counting_tokens_is_no_model_call(
    is_async: bool, wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """To count the tokens of a request generates nothing, and has no span."""
    client = case.connect(wire, is_async=is_async)
    instrument()
    counter = getattr(client.messages, "count_tokens", None) or client.beta.messages.count_tokens
    counted = await settled(counter(model="model-1", messages=case.MESSAGES))
    await settled(client.close())
    assert counted.input_tokens == 12
    assert memory.spans == []


def weather(is_async: bool) -> Any:
    """A tool as the tool runner takes it."""

    def get_weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Where.
        """
        return f"Sunny in {city}."

    async def async_get_weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Where.
        """
        return get_weather(city)

    return anthropic.beta_async_tool(async_get_weather) if is_async else anthropic.beta_tool(get_weather)


@needs_tool_runner
@either_way
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
async def test_the_tool_runner_makes_several_calls(
    is_stream: bool, is_async: bool, wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """Each turn of the tool runner is a call with a span of its own, and so is each message that it gives."""
    client = case.connect(wire, is_async=is_async)
    instrument(capture_content=True)
    runner = client.beta.messages.tool_runner(**ASKED, tools=[weather(is_async)], stream=is_stream)
    turns = []
    async for turn in each(runner):
        if is_stream:
            await read(turn)
            turns.append(await settled(turn.get_final_message()))
        else:
            turns.append(turn)
    await settled(client.close())
    first, second = memory.spans
    assert [span.parent for span in (first, second)] == [None, None]
    assert [spanback.reference(turn).span_id for turn in turns] == [first.context.span_id, second.context.span_id]
    assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_use",)
    call = {"type": "tool_call", "id": "toolu_1", "name": content_of(first)["gen_ai.tool.definitions"][0]["name"]}
    (found,) = content_of(first)["gen_ai.output.messages"]
    assert json.loads(found["parts"][0].pop("arguments")) == {"city": "Kyoto"}
    assert found == {"role": "assistant", "parts": [call], "finish_reason": "tool_use"}
    said = content_of(second)["gen_ai.input.messages"]
    (result,) = said[-1]["parts"]
    assert (result["type"], result["id"]) == ("tool_call_response", "toolu_1")
    assert "Sunny in Kyoto." in json.dumps(result["response"])


async def each(things: Any) -> Any:
    """The items of an iterable of either kind."""
    if hasattr(things, "__aiter__"):
        async for one in things:
            yield one
    else:
        for one in things:
            yield one


@either_way
async def test_what_was_made_before_is_seen(is_async: bool, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """Bound methods, raw resources and subclasses from before `instrument()` are seen, and left alone afterwards."""

    class Client(anthropic.AsyncAnthropic if is_async else anthropic.Anthropic):
        pass

    client = Client(api_key="test", base_url=wire.base_url, max_retries=0, **case.untraced())
    create, raw = client.messages.create, client.messages.with_raw_response
    instrument()
    message = await settled(create(**ASKED))
    response = await settled(raw.create(**ASKED))
    posted = await settled(client.post("/v1/messages", body=dict(ASKED), cast_to=anthropic.types.Message))
    spanback.uninstrument()
    await settled(create(**ASKED))
    await settled(client.close())
    spans = [span.context.span_id for span in memory.spans]
    assert [spanback.reference(one).span_id for one in (message, response, posted)] == spans


@either_way
async def test_a_raw_response_keeps_its_request_id(
    is_async: bool, wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """What the app's own parse() gives has everything that the client puts on it."""
    client = case.connect(wire, is_async=is_async)
    instrument()
    raw = await settled(client.messages.with_raw_response.create(**ASKED))
    message = await settled(raw.parse())
    assert message is await settled(raw.parse())
    await settled(client.close())
    assert getattr(message, "_request_id", "req_1") == "req_1"
    assert spanback.reference(message).span_id == spanback.reference(raw).span_id == memory.span.context.span_id


PIXELS = "iVBORw0KGgo="
GIVEN: list[tuple[Any, list[dict[str, Any]]]] = [
    ("Hello", [{"type": "text", "content": "Hello"}]),
    ("", []),
    ([{"type": "text", "text": "Hello"}], [{"type": "text", "content": "Hello"}]),
    (
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXELS}}],
        [
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "content": "[12 characters of base64 left out]",
            }
        ],
    ),
    (
        [{"type": "document", "source": {"type": "base64", "data": None}}],
        [
            {
                "type": "blob",
                "modality": "document",
                "mime_type": None,
                "content": "[0 characters of base64 left out]",
            }
        ],
    ),
    (
        [{"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}],
        [{"type": "uri", "modality": "image", "uri": "https://a.example/b.png"}],
    ),
    (
        [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}],
        [{"type": "file", "modality": "document", "file_id": "file_1"}],
    ),
    (
        [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A report."}}],
        [{"type": "text", "content": "A report."}],
    ),
    (
        [{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "A report."}]}}],
        [{"type": "text", "content": "A report."}],
    ),
    (
        [{"type": "container_upload", "file_id": "file_1"}],
        [{"type": "file", "modality": "document", "file_id": "file_1"}],
    ),
    (
        [{"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "Found."}]}],
        [{"type": "search_result", "content": [{"type": "text", "content": "Found."}]}],
    ),
    ([{"type": "compaction", "content": "So far."}], [{"type": "compaction", "content": "So far."}]),
    (
        [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}],
        [{"type": "reasoning", "content": "Hm."}, {"type": "redacted_thinking"}],
    ),
    (
        [{"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Kyoto"}}],
        [{"type": "tool_call", "id": "toolu_1", "name": "look_up", "arguments": '{"city":"Kyoto"}'}],
    ),
    (
        [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}],
        [{"type": "tool_call_response", "id": "toolu_1", "response": "Sunny."}],
    ),
    (
        [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Sunny."}]}],
        [{"type": "tool_call_response", "id": "toolu_1", "response": [{"type": "text", "content": "Sunny."}]}],
    ),
    (
        [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Kyoto"}}],
        [
            {
                "type": "server_tool_call",
                "id": "srvtoolu_1",
                "name": "web_search",
                "server_tool_call": {"type": "server_tool_use", "arguments": '{"query":"Kyoto"}'},
            }
        ],
    ),
    (
        [{"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"title": "Kyoto"}]}],
        [
            {
                "type": "server_tool_call_response",
                "id": "srvtoolu_1",
                "server_tool_call_response": {"type": "web_search_tool_result", "content": '[{"title":"Kyoto"}]'},
            }
        ],
    ),
    (
        [{"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content": {"data": PIXELS}}],
        [
            {
                "type": "server_tool_call_response",
                "id": "srvtoolu_1",
                "server_tool_call_response": {"type": "web_fetch_tool_result"},
            }
        ],
    ),
    (["nonsense"], [{"type": "generic"}]),
]


@pytest.mark.parametrize(("content", "parts"), GIVEN, ids=[str(number) for number in range(len(GIVEN))])
def test_blocks_that_are_sent(
    content: Any, parts: list[Any], wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """Each kind of block is a part of the conventions' kinds, or names itself; media keeps its kind and size alone."""
    wire.speak(answer_with())
    client = case.connect(wire, is_async=False)
    instrument(capture_content=True)
    tools = [{"name": "look_up", "input_schema": case.SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    asked = {**ASKED, "messages": [{"role": "user", "content": content}]}
    client.messages.create(**asked, tools=tools, system=system)
    client.close()
    assert content_of(memory.span) == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": [{"role": "user", "parts": parts}],
        "gen_ai.tool.definitions": [
            {"type": "function", "name": "look_up"},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
    }


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
def test_blocks_that_come(is_stream: bool, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """What the model thought, said and asked for is the same whether it comes whole or in pieces."""
    blocks = [
        {"type": "thinking", "thinking": "April, then.", "signature": "s"},
        {"type": "text", "text": "Let me see.", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Kyoto"}},
    ]
    usage = {"input_tokens": 3, "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 30}}
    wire.speak(answer_with(content=blocks, stop_reason="tool_use", usage=usage))
    client = case.connect(wire, is_async=False)
    instrument(capture_content=True)
    got = client.messages.create(**ASKED, stream=is_stream)
    if is_stream:
        list(got)
    client.close()
    (message,) = content_of(memory.span)["gen_ai.output.messages"]
    arguments = message["parts"][2].pop("arguments")
    assert json.loads(arguments) == {"city": "Kyoto"}
    assert message == {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "April, then."},
            {"type": "text", "content": "Let me see."},
            {"type": "tool_call", "id": "toolu_1", "name": "look_up"},
        ],
        "finish_reason": "tool_use",
    }
    assert memory.span.attributes["gen_ai.usage.output_tokens"] == 40
    if not is_stream:
        assert memory.span.attributes["gen_ai.usage.reasoning.output_tokens"] == 30


def test_odd_events(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """Pieces of unknown kinds, of no text and of no known block are passed over."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "model-1", "content": [], "usage": {}}
    deltas = [
        (0, {"type": "text_delta", "text": "In April."}),
        (0, {"type": "text_delta", "text": None}),
        (0, {"type": "citations_delta", "citation": {}}),
        (7, {"type": "text_delta", "text": "x"}),
        (0, None),
    ]
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "x"}},
        *({"type": "content_block_delta", "index": index, "delta": delta} for index, delta in deltas),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    wire.speak(lambda _request: as_sse(events, named=True))
    client = case.connect(wire, is_async=False)
    instrument(capture_content=True)
    assert len(list(client.messages.create(**ASKED, stream=True))) == len(events)
    client.close()
    (said,) = content_of(memory.span)["gen_ai.output.messages"]
    assert said["parts"] == [{"type": "text", "content": "In April."}, {"type": "redacted_thinking"}]
    assert "gen_ai.usage.input_tokens" not in memory.span.attributes
    assert memory.span.attributes["gen_ai.usage.output_tokens"] == 9


def test_a_stream_that_is_left_has_no_output_tokens(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """The first event has a stand-in for the output tokens, which is not taken for their number."""
    client = case.connect(wire, is_async=False)
    instrument(capture_content=True)
    with client.messages.create(**ASKED, stream=True) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                break
    client.close()
    attributes = memory.span.attributes
    assert "gen_ai.usage.output_tokens" not in attributes
    assert "gen_ai.response.finish_reasons" not in attributes
    assert attributes["gen_ai.usage.input_tokens"] == 132
    (said,) = content_of(memory.span)["gen_ai.output.messages"]
    half = case.ANSWER[: len(case.ANSWER) // 2]
    assert said == {"role": "assistant", "parts": [{"type": "text", "content": half}], "finish_reason": "error"}


@either_way
async def test_an_error_in_a_stream(is_async: bool, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """An error that comes as an event is raised by the client, and the span names it."""
    events = [
        *case.events(json.loads(answer_with()(WireRequest("POST", "", {}, b"{}", 1)).body), "model-1")[:1],
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ]
    wire.speak(lambda _request: as_sse(events, named=True))
    client = case.connect(wire, is_async=is_async)
    instrument()
    stream = await settled(client.messages.create(**ASKED, stream=True))
    with pytest.raises(anthropic.APIStatusError) as raised:
        await read(stream)
    await settled(client.close())
    assert memory.span.status.status_code is StatusCode.ERROR
    assert memory.span.attributes["error.type"] == type(raised.value).__qualname__


def test_an_error_in_a_helpers_stream(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """A helper raises what the stream raises, once, whatever the release makes of the stream."""
    wire.speak(lambda _request: as_sse([{"type": "error", "error": {"type": "overloaded_error"}}], named=True))
    client = case.connect(wire, is_async=False)
    instrument()
    with pytest.raises(anthropic.APIStatusError) as raised, client.messages.stream(**ASKED) as stream:
        list(stream)
    client.close()
    assert memory.span.attributes["error.type"] == type(raised.value).__qualname__


@either_way
@pytest.mark.parametrize("is_begun", [False, True], ids=["unread", "begun"])
async def test_a_second_stream_of_one_response(is_begun: bool, is_async: bool, wire: WireServer) -> None:
    """A helper that makes a second stream of a response gets the events of the first one, parsed once."""
    client = case.connect(wire, is_async=is_async)
    headers = {"X-Stainless-Stream-Helper": "messages"}
    first = await settled(client.messages.create(**ASKED, stream=True, extra_headers=headers))
    if is_begun:
        assert first._iterator is not None
        request = Request(ADAPTER.endpoints["post /v1/messages"], "anthropic", "model-1", {}, True, None, None)
        assert ADAPTER.sort(request, first).stream is first
    else:
        hand_over(first)
    second = type(first)(cast_to=first._cast_to, response=first.response, client=first._client)
    events = await read(second)
    assert second._client.base_url == client.base_url
    await settled(client.close())
    assert [event.type for event in events][::3] == ["message_start", "content_block_delta", "message_stop"]
    assert isinstance(events[0], anthropic.types.RawMessageStartEvent)


def test_a_stream_without_a_helper_keeps_its_client(wire: WireServer) -> None:
    """A stream that an app reads itself is left as it is."""
    client = case.connect(wire, is_async=False)
    with client.messages.create(**ASKED, stream=True) as stream:
        hand_over(stream)
        assert stream._client is client
    client.close()


@pytest.mark.parametrize("adopt", [False, True])
def test_a_request_without_a_name(adopt: bool, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """A request that an app makes by its path is a call as well, and there is nothing to silence."""
    client = case.connect(wire, is_async=False)
    instrument(adopt=adopt)
    client.post("/v1/messages", body=dict(ASKED), cast_to=anthropic.types.Message)
    client.close()
    assert memory.span.name == "chat model-1"


EFFORTS = [
    ({"output_config": {"effort": "low"}}, {"gen_ai.request.reasoning.level": "low"}),
    ({"output_config": {"format": {"type": "json_schema"}}}, {"gen_ai.output.type": "json"}),
    ({"output_format": {"type": "json_schema"}, "output_config": {"effort": "max"}}, None),
    ({"output_config": None, "top_k": True, "temperature": "hot", "stop_sequences": []}, {}),
]


@pytest.mark.parametrize(("extra", "attributes"), EFFORTS)
def test_request_attributes(
    extra: dict[str, Any], attributes: dict[str, Any] | None, wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """What a request asks for is named; what is of another type is not."""
    client = case.connect(wire, is_async=False)
    instrument()
    client.messages.create(**ASKED, extra_body=extra)
    client.close()
    found = dict(memory.span.attributes)
    if attributes is None:
        attributes = {"gen_ai.output.type": "json", "gen_ai.request.reasoning.level": "max"}
    known = {**case.MESSAGE, "server.address": "127.0.0.1", "server.port": wire.port}
    del known["gen_ai.request.stop_sequences"]
    assert found == {**known, **attributes}


def traced(wire: WireServer, memory: Memory, is_async: bool, **options: Any) -> Any:
    """A client that makes its own spans, where the app's are."""
    open_telemetry = {"tracer_provider": memory.tracer_provider, **options}
    return case.connect(wire, is_async=is_async, open_telemetry=open_telemetry)


def native_attributes(wire: WireServer, beta: str | None = None) -> dict[str, Any]:
    """All attributes of the client's own span of a whole message."""
    url = f"{wire.base_url}/v1/messages"
    return {
        "server.address": "127.0.0.1",
        "server.port": wire.port,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/messages",
        "url.full": f"{url}?beta=true" if beta else url,
        "url.path": "/v1/messages",
        "url.scheme": "http",
        **({"url.query": "beta=true"} if beta else {}),
        "anthropic.message.stop_reason": "end_turn",
        "anthropic.response.service_tier": "standard",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "model-1",
        "gen_ai.request.max_tokens": 50,
        **{name: value for name, value in case.RESPONSE.items() if "finish_reasons" not in name},
    }


async def helper_of(client: Any, is_async: bool) -> Any:
    """The message of a stream helper that is read to its end."""
    if is_async:
        async with client.messages.stream(**ASKED) as stream:
            return await stream.get_final_message()
    with client.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


async def open_of(client: Any, is_async: bool) -> Any:
    """The message of a response that the app reads itself."""
    manager = client.messages.with_streaming_response.create(**ASKED)
    return await (case.async_parse_open(manager) if is_async else settled(case.parse_open(manager)))


NATIVE = {
    "create": lambda client, _: client.messages.create(**ASKED),
    "streamed": lambda client, _: client.messages.create(**ASKED, stream=True),
    "raw": lambda client, _: client.messages.with_raw_response.create(**ASKED),
    "helper": helper_of,
    "open": open_of,
}


@native
@either_way
@pytest.mark.parametrize("style", NATIVE)
async def test_the_clients_own_span_is_kept(
    style: str, is_async: bool, wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """The client's span is the one span of the call, as the client makes it, and feedback is on it."""
    client = traced(wire, memory, is_async)
    instrument(capture_content="span_and_event")
    got = await settled(NATIVE[style](client, is_async))
    rated = [*await read(got), got] if style == "streamed" else [got]
    if style == "raw":
        rated.append(await settled(got.parse()))
    await settled(client.close())
    span = memory.span
    expected = native_attributes(wire)
    if style not in {"streamed", "helper"}:
        expected["anthropic.request.id"] = "req_1"
    else:
        expected["gen_ai.request.stream"] = True
        expected["gen_ai.response.time_to_first_chunk"] = span.attributes["gen_ai.response.time_to_first_chunk"]
    if style == "open":  # the client does not look into what the app reads itself
        expected = {key: value for key, value in expected.items() if key not in {*case.RESPONSE, *OF_THE_MESSAGE}}
    assert (span.name, span.kind, span.instrumentation_scope.name) == (
        "anthropic.messages.create",
        SpanKind.CLIENT,
        "com.anthropic.sdk.python",
    )
    assert dict(span.attributes) == expected
    assert {spanback.reference(one).span_id for one in rated} == {span.context.span_id}
    assert spanback.reference("msg_1").span_id == span.context.span_id
    assert (memory.metrics(), memory.logs) == ({}, [])
    states = {(line.state, line.detail) for line in spanback.status() if line.client == "anthropic"}
    assert states == {("adopted", "spans are made by com.anthropic.sdk.python")}


OF_THE_MESSAGE = ("anthropic.message.stop_reason", "anthropic.response.service_tier")


@native
@either_way
@pytest.mark.parametrize("how", ["close", "drop"])
async def test_the_clients_own_span_of_a_stream_that_is_left(
    how: str, is_async: bool, wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """A stream that an app leaves ends the client's own span, and its first event refers to it."""
    client = traced(wire, memory, is_async)
    instrument()
    stream = await settled(client.messages.create(**ASKED, stream=True))
    first = await anext(each(stream)) if how == "close" else None
    if how == "close":
        await settled(stream.close())
    else:
        first = await settled(stream.__anext__() if is_async else next(stream))
        await settled(stream.response.aclose() if is_async else stream.response.close())
    del stream
    spanback.flush()
    await settled(client.close())
    assert memory.span.name == "anthropic.messages.create"
    assert spanback.reference(first).span_id == memory.span.context.span_id


@native
async def test_an_error_under_the_clients_own_span(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """A call that fails has the client's own span alone."""
    client = traced(wire, memory, is_async=False)
    instrument()
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**{**ASKED, "model": "error-429"})
    client.close()
    assert (memory.span.name, memory.span.attributes["error.type"]) == ("anthropic.messages.create", "rate_limit_error")


@native
@either_way
async def test_the_tool_runners_own_spans(is_async: bool, wire: WireServer, instrument: Any, memory: Memory) -> None:
    """The client's span of a tool runner is around the calls, and no call; each message refers to its own call."""
    client = traced(wire, memory, is_async)
    instrument()
    runner = client.beta.messages.tool_runner(**ASKED, tools=[weather(is_async)])
    turns = [turn async for turn in each(runner)]
    await settled(client.close())
    assert {span.instrumentation_scope.name for span in memory.spans} == {"com.anthropic.sdk.python"}
    calls = [span.context.span_id for span in memory.spans if span.name == "anthropic.messages.create"]
    assert [spanback.reference(turn).span_id for turn in turns] == calls
    assert [span.name for span in memory.spans].count("anthropic.messages.tool_runner") == 1


@native
@pytest.mark.parametrize("way", ["environment", "option", "traces", "with_options"])
def test_a_client_whose_own_spans_are_off(
    way: str, wire: WireServer, instrument: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the client's own spans are off the span is ours, however they were switched off."""
    if way == "environment":
        monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY", "false")
        client = case.connect(wire, is_async=False, open_telemetry=None)
    elif way == "with_options":
        client = traced(wire, memory, is_async=False).with_options(open_telemetry=False)
    else:
        client = case.connect(wire, is_async=False, open_telemetry=False if way == "option" else {"traces": False})
    instrument()
    message = client.messages.create(**ASKED)
    client.close()
    assert (memory.span.name, memory.span.instrumentation_scope.name) == ("chat model-1", "spanback")
    assert spanback.reference(message).span_id == memory.span.context.span_id


@native
def test_a_client_that_could_but_makes_none(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """A request that the client does not name has no span of its own, and neither has one with nowhere to send it."""
    client = traced(wire, memory, is_async=False)
    nowhere = case.connect(wire, is_async=False, open_telemetry=None)
    instrument()
    posted = client.post("/v1/messages", body=dict(ASKED), cast_to=anthropic.types.Message)
    asked = nowhere.messages.create(**ASKED)
    client.close()
    nowhere.close()
    assert [span.name for span in memory.spans] == ["chat model-1"] * 2
    spans = [span.context.span_id for span in memory.spans]
    assert [spanback.reference(one).span_id for one in (posted, asked)] == spans


@native
@either_way
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
async def test_ours_instead_of_theirs(
    is_stream: bool, is_async: bool, wire: WireServer, instrument: Any, memory: Memory
) -> None:
    """With `adopt=False` the span is ours and the client makes none; afterwards the client makes its own again."""
    client = traced(wire, memory, is_async)
    instrument(adopt=False)
    got = await settled(client.messages.create(**ASKED, stream=is_stream))
    rated = (await read(got))[-1] if is_stream else got
    assert (memory.span.name, memory.span.instrumentation_scope.name) == ("chat model-1", "spanback")
    assert spanback.reference(rated).span_id == memory.span.context.span_id
    spanback.uninstrument()
    memory.clear()
    await settled(client.messages.create(**ASKED))
    await settled(client.close())
    assert memory.spans[-1].name == "anthropic.messages.create"


@native
def test_theirs_is_silenced_call_by_call(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """Many threads with one client have one span of ours for each call, and none of the client's."""
    client = traced(wire, memory, is_async=False)
    instrument(adopt=False)
    threads = [threading.Thread(target=client.messages.create, kwargs=ASKED) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert [span.name for span in memory.spans] == ["chat model-1"] * 8


@native
def test_counting_tokens_keeps_the_clients_own_span(wire: WireServer, instrument: Any, memory: Memory) -> None:
    """What is no model call is left to the client, also with `adopt=False`."""
    client = traced(wire, memory, is_async=False)
    instrument(adopt=False)
    client.messages.count_tokens(model="model-1", messages=case.MESSAGES)
    client.close()
    assert memory.span.name == "anthropic.messages.count_tokens"
