"""What only Together's client has: two kinds of paths, finish reasons beside the choices, reasoning, videos, reranking."""

from __future__ import annotations

import json
from typing import Any

import pytest

import spanback

pytest.importorskip("together")

import together

from tests.clients.together import CASE, MESSAGES, USAGE
from tests.clients.wire import WireRequest, as_json, as_sse

SYNC, ASYNC = (next(style for style in CASE.styles if style.is_async is kind) for kind in (False, True))
HEAD = {"id": "oX1b-9", "created": 1763700000, "model": "model-1-0711"}
CALLS = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"a":1}'}}]


def answer_with_thought_and_calls(request: WireRequest) -> Any:
    """An answer that thinks, says and asks for a tool, whole or in pieces."""
    if not request.body.get("stream"):
        message = {"role": "assistant", "content": "Let me see.", "reasoning": "Weather?", "tool_calls": CALLS}
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        return as_json({**HEAD, "object": "chat.completion", "prompt": [], "choices": choices, "usage": USAGE})
    deltas: list[dict[str, Any]] = [
        {"content": None, "reasoning": "Wea"},
        {"content": "", "reasoning_content": "ther?"},
        {"content": "Let me "},
        {"content": "see."},
        {"content": "", "tool_calls": CALLS},
    ]
    events = [
        {**HEAD, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", **delta}}]}
        for delta in deltas
    ]
    last = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "tool_calls"}
    return as_sse([*events, {**events[0], "choices": [last], "usage": USAGE}], done=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_tools_and_videos(stream: bool, bench: Any) -> None:
    """Reasoning, text and tool calls are parts of one message, and of a video only its size is kept."""
    client = bench.connect(CASE, ASYNC)
    bench.wire.speak(answer_with_thought_and_calls)
    bench.instrument(capture_content=True)
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
    ]
    messages = iter([{"role": "user", "content": content}])
    got = await client.chat.completions.create(model="model-1", messages=messages, stream=stream, tools=[tool])
    if stream:
        assert len([part async for part in got]) == 6
    assert bench.wire.requests[0].body["messages"] == [{"role": "user", "content": content}]
    attributes = bench.memory.span.attributes
    elided = "[4 characters of base64 left out]"
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [{"type": "function", "name": "get_weather"}]
    assert json.loads(attributes["gen_ai.input.messages"])[0]["parts"] == [
        {"type": "text", "content": "What is this?"},
        {"type": "blob", "modality": "video", "mime_type": "video/mp4", "content": elided},
        {"type": "uri", "modality": "image", "uri": "https://x.example/a.png"},
    ]
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


@pytest.mark.parametrize("capture_content", [False, True])
def test_a_finish_reason_beside_the_choices(capture_content: bool, bench: Any) -> None:
    """Where the last chunk says why it is the last, that counts for the choices that do not say so themselves."""
    client = bench.connect(CASE, SYNC)
    token = {"id": 1, "text": "In", "logprob": -0.1, "special": False}
    first = {**HEAD, "object": "completion.chunk", "token": token, "choices": [{"index": 0, "text": "In"}]}
    last = {**first, "choices": [{"index": 0, "text": "May."}], "finish_reason": "eos"}
    bench.wire.speak(lambda _: as_sse([first, last], done=True))
    bench.instrument(capture_content=capture_content)
    list(client.completions.create(model="model-1", prompt="When?", stream=True))
    attributes = bench.memory.span.attributes
    assert attributes["gen_ai.response.finish_reasons"] == ("eos",)
    if capture_content:
        (message,) = json.loads(attributes["gen_ai.output.messages"])
        assert message["parts"] == [{"type": "text", "content": "InMay."}]


@pytest.mark.parametrize("version", ["/v1", ""])
def test_paths_with_a_version_and_without(version: str, bench: Any) -> None:
    """The version of the API may be part of the path or of the base URL."""
    client = bench.connect(CASE, SYNC)
    bench.instrument()
    body = {"model": "model-1", "messages": MESSAGES}
    got = client.post(f"{version}/chat/completions", body=body, cast_to=together.types.chat.ChatCompletion)
    assert bench.memory.span.name == "chat model-1"
    assert spanback.reference(got).span_id == bench.memory.span.context.span_id


def test_embeddings_and_ranks_are_no_inference(bench: Any) -> None:
    """Neither counts into the metrics of inferences, and a rank's reference is found by its id."""
    client = bench.connect(CASE, SYNC)
    bench.instrument()
    client.embeddings.create(model="model-1", input=["Kyoto"])
    ranked = client.rerank.create(model="model-1", query="Kyoto", documents=["In April."])
    assert set(bench.memory.metrics()) == {"gen_ai.client.operation.duration"}
    assert spanback.reference(ranked.id).span_id == bench.memory.spans[1].context.span_id


def test_methods_and_subclasses_from_before(bench: Any) -> None:
    """A bound method, a raw resource and a subclass that were made before `instrument()` are seen."""

    class Own(together.Together):
        """An app's own."""

    client = bench.connect(CASE, SYNC)
    bound, raw = client.chat.completions.create, client.chat.completions.with_raw_response
    with Own(api_key="test", base_url=bench.wire.base_url, max_retries=0) as own:
        bench.instrument()
        bound(model="model-1", messages=MESSAGES)
        raw.create(model="model-1", messages=MESSAGES)
        own.chat.completions.create(model="model-1", messages=MESSAGES)
    ids = [span.attributes["gen_ai.response.id"] for span in bench.memory.spans]
    assert ids == ["oX1b-1", "oX1b-2", "oX1b-3"]


def test_a_release_of_another_make(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Release 1 was another client altogether: `status()` says that its calls are not seen."""
    import sys

    from spanback.instrumentation import _wrap

    monkeypatch.delitem(sys.modules, "together._base_client")
    monkeypatch.setattr(_wrap, "find_spec", lambda _module: None)
    bench.instrument(clients=["together"])
    states = {line.state for line in spanback.status() if line.client == "together"}
    assert states == {"missing attribute"}
