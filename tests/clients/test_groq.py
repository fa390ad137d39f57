"""What only Groq's client has: usage and errors in `x_groq`, and reasoning beside the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

import spanback

pytest.importorskip("groq")

import groq

from tests.clients.groq import ANSWER, CASE, GIVEN, MESSAGES, USAGE
from tests.clients.wire import WireRequest, as_json, as_sse

SYNC, ASYNC = (next(style for style in CASE.styles if style.is_async is kind) for kind in (False, True))
HEAD = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1763700000, "model": "model-1-0711"}
CALLS = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"a":1}'}}]


def chunk(delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk; without a choice where there is no delta."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]
    return {**HEAD, "choices": choices, **more}


def answer_with_thought_and_calls(request: WireRequest) -> Any:
    """An answer that thinks, says and asks for a tool, whole or in pieces."""
    if not request.body.get("stream"):
        message = {"role": "assistant", "content": "Let me see.", "reasoning": "Weather?", "tool_calls": CALLS}
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}]
        return as_json({**HEAD, "object": "chat.completion", "choices": choices, "usage": USAGE})
    deltas = [
        {"role": "assistant", "reasoning": "Wea"},
        {"reasoning": "ther?"},
        {"content": "Let me "},
        {"content": "see."},
        {"tool_calls": CALLS},
    ]
    last = chunk({}, "tool_calls", x_groq={"id": "req_1", "usage": USAGE})
    return as_sse([*map(chunk, deltas), last], done=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_and_tools(stream: bool, bench: Any) -> None:
    """Reasoning, text and tool calls are parts of one message; tools on offer are named."""
    client = bench.connect(CASE, ASYNC)
    bench.wire.speak(answer_with_thought_and_calls)
    bench.instrument(capture_content=True)
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    got = await client.chat.completions.create(model="model-1", stream=stream, tools=[tool], **GIVEN)
    if stream:
        assert len([part async for part in got]) == 6
    attributes = bench.memory.span.attributes
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [{"type": "function", "name": "get_weather"}]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Weather?"},
                {"type": "text", "content": "Let me see."},
                {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": '{"a":1}'},
            ],
            "finish_reason": "tool_calls",
        }
    ]


@pytest.mark.parametrize("place", ["x_groq", "usage behind", "both"])
def test_usage_of_a_stream(place: str, bench: Any) -> None:
    """The usage of a stream counts wherever Groq puts it, and once."""
    client = bench.connect(CASE, SYNC)
    detailed = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    own = {"x_groq": {"id": "req_1", "usage": detailed}} if place != "usage behind" else {"x_groq": {"id": "req_1"}}
    events = [chunk({"content": ANSWER}), chunk({}, "stop", **own)]
    events += [chunk(None, usage=detailed)] if place != "x_groq" else []
    bench.wire.speak(lambda _: as_sse(events, done=True))
    bench.instrument()
    chunks = list(client.chat.completions.create(model="model-1", stream=True, **GIVEN))
    span = bench.memory.span
    assert {name: value for name, value in span.attributes.items() if "usage" in name} == {
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 2,
    }
    assert {spanback.reference(one).span_id for one in chunks} == {span.context.span_id}


def test_a_stream_that_groq_breaks_off(bench: Any) -> None:
    """An error in `x_groq`, which the client does not raise, is the span's; the app gets its chunks."""
    client = bench.connect(CASE, SYNC)
    last = chunk({}, None, x_groq={"id": "req_1", "error": "over capacity"})
    bench.wire.speak(lambda _: as_sse([chunk({"content": "In"}), last], done=True))
    bench.instrument()
    assert len(list(client.chat.completions.create(model="model-1", stream=True, **GIVEN))) == 2
    span = bench.memory.span
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "_OTHER")


def test_request_attributes(bench: Any) -> None:
    """Messages given as a generator are sent whole, and what is asked for is told."""
    client = bench.connect(CASE, SYNC)
    bench.instrument()
    client.chat.completions.create(
        model="model-1",
        messages=(message for message in MESSAGES),
        max_tokens=9,
        n=2,
        response_format={"type": "json_object"},
        stop="END",
    )
    attributes = bench.memory.span.attributes
    assert bench.wire.requests[0].body["messages"] == MESSAGES
    assert attributes["gen_ai.request.max_tokens"] == 9
    assert attributes["gen_ai.request.choice.count"] == 2
    assert attributes["gen_ai.request.stop_sequences"] == ("END",)
    assert attributes["gen_ai.output.type"] == "json"


def test_methods_and_subclasses_from_before(bench: Any) -> None:
    """A bound method, a raw resource and a subclass that were made before `instrument()` are seen."""

    class Own(groq.Groq):
        """An app's own."""

    client = bench.connect(CASE, SYNC)
    bound, raw = client.chat.completions.create, client.chat.completions.with_raw_response
    with Own(api_key="test", base_url=bench.wire.base_url, max_retries=0) as own:
        bench.instrument()
        bound(model="model-1", **GIVEN)
        raw.create(model="model-1", **GIVEN)
        own.chat.completions.create(model="model-1", **GIVEN)
    assert [span.attributes["gen_ai.response.id"] for span in bench.memory.spans] == [
        "chatcmpl-1",
        "chatcmpl-2",
        "chatcmpl-3",
    ]


def test_retries_are_one_call(bench: Any) -> None:
    """A call that the client makes twice is one span, and no error."""
    client = bench.connect(CASE, SYNC)

    def busy_once(request: WireRequest) -> Any:
        if request.number == 1:
            return as_json({"error": {"message": "busy"}}, 503, **{"retry-after-ms": "1"})
        return CASE.answers(request)

    bench.wire.speak(busy_once)
    bench.instrument()
    client.with_options(max_retries=1).chat.completions.create(model="model-1", **GIVEN)
    assert len(bench.wire.requests) == 2
    assert bench.memory.span.status.status_code is StatusCode.UNSET


def test_where_groq_is(bench: Any) -> None:
    """By default the server is Groq's own, and every host is Groq."""
    from spanback.instrumentation.providers.groq import ADAPTER

    bench.connect(CASE, SYNC)
    options = groq._models.FinalRequestOptions.construct(method="post", url="/openai/v1/embeddings", json_data={})
    with groq.Groq(api_key="test", base_url="https://api.groq.com") as client:
        request = ADAPTER.read(ADAPTER.find_endpoint((None, options), {}), client, (None, options), {})
    assert (request.provider, request.server_address, request.server_port) == ("groq", "api.groq.com", 443)


def test_what_is_no_model_call(bench: Any) -> None:
    """A list of models has no span."""
    client = bench.connect(CASE, SYNC)
    bench.wire.speak(lambda _: as_json({"object": "list", "data": []}))
    bench.instrument()
    assert client.models.list().data == []
    assert bench.memory.spans == []
