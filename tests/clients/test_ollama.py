"""What only Ollama's client has: functions bound at import, no ids, images, thoughts and tools of its own shape."""

from __future__ import annotations

import json
from base64 import b64encode
from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

import spanback

pytest.importorskip("ollama")

import httpx
import ollama
from ollama import chat

from spanback.instrumentation import _streams
from tests.clients.ollama import CASE, CHAT, COUNTS, MESSAGES, OPTIONS
from tests.clients.wire import WireRequest, WireServer, as_json, as_lines

SYNC, ASYNC = (next(style for style in CASE.styles if style.is_async is kind) for kind in (False, True))
IMAGE = b"\x89PNG\r\n\x1a\n" * 30
LEFT_OUT = f"[{len(b64encode(IMAGE))} characters of base64 left out]"
CALLS = [{"function": {"name": "get_weather", "arguments": {"city": "Kyoto"}}}]
CALL_PART = {"type": "tool_call", "id": None, "name": "get_weather", "arguments": '{"city":"Kyoto"}'}
HEAD = {"model": "model-1:latest", "created_at": "2026-11-21T09:00:00Z"}


RELEASE = tuple(int(part) for part in version("ollama").split(".")[:2])
since_0_5 = pytest.mark.skipif(RELEASE < (0, 5), reason="older releases take no schemas and do not think")


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    return f"fine in {city}"


def content_of(span: Any) -> dict[str, Any]:
    """The content attributes of a span."""
    names = ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions")
    return {
        name.removeprefix("gen_ai."): json.loads(span.attributes[name]) for name in names if name in span.attributes
    }


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_imported_before(stream: bool, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`from ollama import chat` before `instrument()` is seen like any other call."""
    bench.connect(CASE, SYNC)
    with httpx.Client(base_url=bench.wire.base_url) as inner:
        monkeypatch.setattr(chat.__self__, "_client", inner)
        bench.instrument()
        got = chat(model="model-1", messages=MESSAGES, options=OPTIONS, stream=stream)
        got = list(got)[1] if stream else got
    assert bench.memory.span.name == "chat model-1"
    assert spanback.reference(got).span_id == bench.memory.span.context.span_id


def test_methods_and_subclasses_from_before(bench: Any) -> None:
    """A client, its bound method and a subclass that were made before `instrument()` are seen."""

    class Own(ollama.Client):
        """An app's own."""

    bound = bench.connect(CASE, SYNC).chat
    own = Own(host=bench.wire.base_url)
    bench.instrument()
    bound(model="model-1", messages=MESSAGES)
    own.generate(model="model-1", prompt="hello")
    own._client.close()
    assert [span.name for span in bench.memory.spans] == ["chat model-1", "text_completion model-1"]


def test_every_object_has_a_handle(bench: Any) -> None:
    """There are no ids, so responses and each chunk carry a handle, which neither dumps nor comparisons show."""
    client = bench.connect(CASE, SYNC)
    clean = client.embed(model="model-1", input="Kyoto")
    bench.instrument()
    chunks = list(client.generate(model="model-1", prompt="hello", stream=True))
    embedded = client.embed(model="model-1", input="Kyoto")
    spans = bench.memory.spans
    assert {spanback.reference(chunk).span_id for chunk in chunks} == {spans[0].context.span_id}
    assert spanback.reference(embedded).span_id == spans[1].context.span_id
    assert (embedded, embedded.model_dump()) == (clean, clean.model_dump())
    assert "spanback" not in repr(embedded) + chunks[0].model_dump_json()


def test_a_stream_is_as_lazy_as_before(bench: Any) -> None:
    """The request is sent, and the span begun, with the first step of the generator."""
    client = bench.connect(CASE, SYNC)
    bench.instrument()
    stream = client.chat(model="model-1", messages=MESSAGES, stream=True)
    assert (bench.wire.requests, bench.memory.counted.started) == ([], 0)
    next(stream)
    assert (len(bench.wire.requests), bench.memory.counted.started) == (1, 1)
    stream.close()
    spanback.flush()
    assert bench.memory.span.status.status_code is StatusCode.UNSET


def test_messages_reach_the_server_intact(bench: Any) -> None:
    """Messages, tools and inputs given as one-shot iterables are sent whole, and told."""
    client = bench.connect(CASE, SYNC)
    bench.instrument(capture_content=True)
    client.chat(model="model-1", messages=iter(MESSAGES), tools=(tool for tool in [get_weather]))
    assert bench.wire.requests[0].body["messages"] == MESSAGES
    assert bench.wire.requests[0].body["tools"][0]["function"]["name"] == "get_weather"
    content = content_of(bench.memory.span)
    assert content["input.messages"][0]["parts"] == [{"type": "text", "content": MESSAGES[0]["content"]}]
    assert content["tool.definitions"] == [{"type": "function", "name": "get_weather"}]


def answer_with_thought_and_calls(request: WireRequest) -> Any:
    """An answer that thinks, says and asks for a tool, whole or in pieces."""
    last = {"done": True, "done_reason": "stop", **COUNTS}
    if not request.body["stream"]:
        message = {"role": "assistant", "content": "Let me see.", "thinking": "Weather?", "tool_calls": CALLS}
        return as_json({**HEAD, "message": message, **last})
    pieces = [
        {"thinking": "Wea", "content": ""},
        {"thinking": "ther?", "content": ""},
        {"content": "Let me "},
        {"content": "see."},
        {"content": "", "tool_calls": CALLS},
    ]
    parts = [{**HEAD, "message": {"role": "assistant", **piece}, "done": False} for piece in pieces]
    return as_lines([*parts, {**HEAD, "message": {"role": "assistant", "content": ""}, **last}])


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_tools_and_images(stream: bool, bench: Any) -> None:
    """Thoughts, tool calls and their results are parts of their own, and of an image only its size is kept."""
    client = bench.connect(CASE, ASYNC)
    bench.wire.speak(answer_with_thought_and_calls)
    bench.instrument(capture_content=True)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": [IMAGE]},
        ollama.Message(role="assistant", tool_calls=CALLS),
        {"role": "tool", "content": "fine", "tool_name": "get_weather"},
    ]
    got = await client.chat(model="model-1", messages=messages, stream=stream)
    if stream:
        assert len([part async for part in got]) == 6
    content = content_of(bench.memory.span)
    sent = bench.wire.requests[0].body["messages"]
    assert sent[1]["images"] == [b64encode(IMAGE).decode()]
    tool = {"role": "tool", "parts": [{"type": "tool_call_response", "id": None, "response": "fine"}]}
    assert content["input.messages"] == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "What is this?"},
                {"type": "blob", "modality": "image", "mime_type": None, "content": LEFT_OUT},
            ],
        },
        {"role": "assistant", "parts": [CALL_PART]},
        tool | ({"name": "get_weather"} if "tool_name" in sent[3] else {}),
    ]
    parts = content["output.messages"][0]["parts"]
    # Releases before 0.5 drop what a model thinks.
    assert parts[-2:] == [{"type": "text", "content": "Let me see."}, CALL_PART]
    assert parts[:-2] in ([{"type": "reasoning", "content": "Weather?"}], [])


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_with_all_that_belongs_to_it(stream: bool, bench: Any) -> None:
    """A completion has its system text as instructions, the prompt's images, what is to follow, and pictures made."""
    client = bench.connect(CASE, SYNC)
    more = {"done": True, "done_reason": "length", "image": "QUJD", **COUNTS}
    parts = [
        {**HEAD, "response": "In ", "done": False},
        {**HEAD, "response": "", "thinking": "Hm.", "done": False},
        {**HEAD, "response": "May.", **more},
    ]
    whole = {**HEAD, "response": "In May.", "thinking": "Hm.", **more}
    bench.wire.speak(lambda _: as_lines(parts) if stream else as_json(whole))
    bench.instrument(capture_content=True)
    got = client.generate(
        model="model-1", prompt="When?", suffix="Yes.", system="Be brief.", images=[IMAGE], stream=stream
    )
    said = list(got)[-1] if stream else got
    content = content_of(bench.memory.span)
    assert content["system_instructions"] == [{"type": "text", "content": "Be brief."}]
    assert content["input.messages"][0]["parts"] == [
        {"type": "text", "content": "When?"},
        {"type": "blob", "modality": "image", "mime_type": None, "content": LEFT_OUT},
        {"type": "suffix", "content": "Yes."},
    ]
    (message,) = content["output.messages"]
    picture = {"type": "blob", "modality": "image", "mime_type": None, "content": "[4 characters of base64 left out]"}
    # Older releases drop what a model thinks, and pictures.
    expected = [{"type": "reasoning", "content": "Hm."}] if hasattr(said, "thinking") else []
    expected.append({"type": "text", "content": "In May."})
    expected += [picture] if getattr(said, "image", None) else []
    assert (message["parts"], message["finish_reason"]) == (expected, "length")


def test_no_prompt(bench: Any) -> None:
    """A request that only loads the model has no messages."""
    client = bench.connect(CASE, SYNC)
    bench.instrument(capture_content=True)
    client.generate(model="model-1")
    assert list(content_of(bench.memory.span)) == ["output.messages"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"options": ollama.Options(top_k=40, top_p=0.9, seed=7, stop=["."])}, {"top_k": 40, "top_p": 0.9, "seed": 7, "stop_sequences": (".",)}),
        ({"options": {"frequency_penalty": 1, "presence_penalty": 0.5}}, {"frequency_penalty": 1.0, "presence_penalty": 0.5}),
        ({"options": {"num_predict": -1, "temperature": "hot"}}, {}),
        ({"options": {}, "format": ""}, {}),
        ({"format": "json"}, {"output.type": "json"}),
        pytest.param({"format": {"type": "object", "properties": {}}}, {"output.type": "json"}, marks=since_0_5),
        ({"keep_alive": "5m"}, {}),
    ],
)  # fmt: skip
def test_request_attributes(given: dict[str, Any], expected: dict[str, Any], bench: Any) -> None:
    """Sampling parameters come from the options, as an object or a dict, and a limit of -1 is none."""
    client = bench.connect(CASE, SYNC)
    bench.instrument()
    client.chat(model="model-1", messages=MESSAGES, **given)
    attributes = bench.memory.span.attributes
    names = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
    asked = {
        name.removeprefix("gen_ai.request.").removeprefix("gen_ai."): value
        for name, value in attributes.items()
        if name.startswith(("gen_ai.request", "gen_ai.output")) and name not in names
    }
    assert asked == expected


@since_0_5
@pytest.mark.parametrize(("think", "level"), [("low", "low"), (True, None)])
def test_reasoning_level(think: Any, level: str | None, bench: Any) -> None:
    """A level of thinking is told as it was sent; to think or not is none."""
    client = bench.connect(CASE, SYNC)
    bench.instrument()
    client.chat(model="model-1", messages=MESSAGES, think=think)
    assert bench.memory.span.attributes.get("gen_ai.request.reasoning.level") == level


def test_an_error_in_a_stream(bench: Any) -> None:
    """An error that the server sends between chunks is the app's, and ends the span with what came."""
    client = bench.connect(CASE, SYNC)
    part = {**HEAD, "message": {"role": "assistant", "content": "In"}, "done": False}
    bench.wire.speak(lambda _: as_lines([part, {"error": "out of memory"}]))
    bench.instrument(capture_content=True)
    stream = client.chat(model="model-1", messages=MESSAGES, stream=True)
    next(stream)
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        next(stream)
    span = bench.memory.span
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "ResponseError")
    assert content_of(span)["output.messages"][0] == {
        "role": "assistant",
        "parts": [{"type": "text", "content": "In"}],
        "finish_reason": "error",
    }


async def test_what_is_no_model_call(bench: Any) -> None:
    """Lists of models and pulls, streamed or not, have no span, and are what they were."""
    client, other = bench.connect(CASE, SYNC), bench.connect(CASE, ASYNC)
    states = [{"status": "pulling manifest"}, {"status": "success"}]
    bench.wire.speak(
        lambda request: (
            as_lines(states)
            if request.content and request.body.get("stream")
            else as_json({"models": [], "status": "success"})
        )
    )
    bench.instrument()
    assert list(client.list().models) == []
    assert client.pull("model-1").status == "success"
    assert [state.status for state in client.pull("model-1", stream=True)] == ["pulling manifest", "success"]
    assert [state.status async for state in await other.pull("model-1", stream=True)] == ["pulling manifest", "success"]
    assert bench.memory.spans == []


def test_a_server_that_is_not_there(bench: Any) -> None:
    """The client's own error says that nothing listens, and the span has its name."""
    with WireServer().running() as gone:
        port = gone.port
    client = ollama.Client(host=f"http://127.0.0.1:{port}")
    bench.instrument()
    with pytest.raises((ConnectionError, httpx.ConnectError)) as raised:
        client.embed(model="model-1", input="Kyoto")
    client._client.close()
    span = bench.memory.span
    assert span.attributes["error.type"] == type(raised.value).__qualname__
    assert span.attributes["server.port"] == port


def test_a_client_of_another_make(bench: Any) -> None:
    """A client whose inner one tells no address has a span without, and many clients are not all remembered."""
    from spanback.instrumentation.providers.ollama import ADAPTER, MOST_ADDRESSES

    client = bench.connect(CASE, SYNC)
    inner = client._client

    class Inner:
        """Sends as the real one does."""

        request = staticmethod(inner.request)

    client._client = Inner()
    bench.instrument()
    client.chat(model="model-1", messages=MESSAGES, options=OPTIONS)
    client._client = inner
    assert dict(bench.memory.span.attributes) == CHAT
    endpoint = ADAPTER.find_endpoint((None, "POST", "/api/chat"), {})
    for port in range(MOST_ADDRESSES + 1):
        other = type(
            "Other", (), {"_client": type("Inner", (), {"base_url": httpx.URL(f"http://x.example:{port + 1}")})}
        )
        assert ADAPTER.read(endpoint, other, (), {}).server_port == port + 1
    https = type("Other", (), {"_client": type("Inner", (), {"base_url": httpx.URL("https://ollama.com")})})
    asked = ADAPTER.read(endpoint, https, (), {})
    assert (asked.server_address, asked.server_port) == ("ollama.com", 443)
    assert len(ADAPTER._addresses) <= MOST_ADDRESSES


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_stream_that_cannot_be_watched(
    is_async: bool, bench: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The app gets every chunk of it, the first one too."""

    def fail(*_: Any) -> None:
        raise ValueError("no watch")

    client = bench.connect(CASE, ASYNC if is_async else SYNC)
    bench.instrument()
    monkeypatch.setattr(_streams, "_begin_watch", fail)
    asked = {"model": "model-1", "messages": MESSAGES, "stream": True}
    chunks = [chunk async for chunk in await client.chat(**asked)] if is_async else list(client.chat(**asked))
    assert "".join(chunk.message.content for chunk in chunks) == "In April."
    assert [record.message for record in caplog.records] == ["_watch_late raised; the app goes on"]
    caplog.clear()
