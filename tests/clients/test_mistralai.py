"""What only Mistral's client has: its own telemetry, thoughts and tools, conversations, and zeros it fills in."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

import spanback
from spanback._telemetry import SCOPE_NAME
from spanback.instrumentation.providers.mistralai import ADAPTER
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse
from tests.conftest import Memory

case = pytest.importorskip("tests.clients.mistralai")
telemetry: Any = sys.modules.get("mistralai.extra.observability.telemetry")

ASKED = {"model": "model-1", "messages": case.MESSAGES}
THEIRS = "mistralai_sdk_tracer"
needs_telemetry = pytest.mark.skipif(telemetry is None, reason="this release of mistralai cannot be told to trace")
needs_conversations = pytest.mark.skipif(
    "beta" not in case.Mistral.__annotations__, reason="this release has no conversations"
)
needs_thoughts = pytest.mark.skipif(telemetry is None, reason="this release knows no thoughts")


@pytest.fixture
async def client(wire: WireServer) -> AsyncIterator[Any]:
    """A client of a server that speaks as Mistral does."""
    wire.speak(case.answers)
    made = case.connect(wire, False)
    yield made
    await made.aclose()


def completion(**more: Any) -> dict[str, Any]:
    """A completion of which some fields are given."""
    message = {"role": "assistant", "content": case.ANSWER}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    head = {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "model-1-2407"}
    return {**head, "choices": choices, "usage": case.USAGE, **more}


def says(wire: WireServer, *events: dict[str, Any], **more: Any) -> None:
    """Has the server answer with a completion, or with events where some are given."""

    def answers(request: WireRequest) -> WireAnswer:
        return (
            as_sse(events, named="type" in events[0], done="type" not in events[0])
            if events
            else as_json(completion(**more))
        )

    wire.speak(answers)


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    """A chunk of a streamed completion."""
    head = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "model-1-2407"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def content_of(memory: Memory, name: str) -> Any:
    """A content attribute of the only span."""
    return json.loads(memory.span.attributes[f"gen_ai.{name}"])


def test_one_shot_messages(client: Any, instrument: Callable[..., None], memory: Memory, wire: WireServer) -> None:
    """Messages that can be read only once reach the server, and are not in the content."""
    instrument(capture_content=True)
    client.chat.complete(model="model-1", messages=(message for message in case.MESSAGES))
    assert wire.requests[0].body["messages"] == case.MESSAGES
    assert "gen_ai.input.messages" not in memory.span.attributes


def test_zeros_that_the_client_fills_in(
    client: Any, instrument: Callable[..., None], memory: Memory, wire: WireServer
) -> None:
    """A count that the server does not give is absent, although the client shows a zero."""
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    says(wire, usage=usage if telemetry else {**usage, "completion_tokens": 0})
    instrument()
    client.chat.complete(**ASKED)
    assert memory.span.attributes["gen_ai.usage.input_tokens"] == 12
    assert ("gen_ai.usage.output_tokens" in memory.span.attributes) is (telemetry is None)


def test_parts_of_messages(client: Any, instrument: Callable[..., None], memory: Memory, wire: WireServer) -> None:
    """Tool calls keep their arguments; of media what it was; each in the conventions' shape."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Kyoto"}}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    says(wire, choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    instrument(capture_content=True)
    parts = [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
        *([{"type": "document_url", "document_url": "https://example.com/a.pdf"}] if telemetry else []),
        *(
            {"type": "input_audio", "input_audio": audio}
            for audio in ("AAAA", "https://example.com/a.mp3")
            if telemetry
        ),
    ]
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    answered = {"role": "tool", "name": "weather", "content": "sunny", "tool_call_id": "call_0"}
    asked = [{"role": "user", "content": parts}, {"role": "assistant", "tool_calls": [{**call, "id": "call_0"}]}]
    client.chat.complete(model="model-1", messages=[*asked, answered], tools=[tool])
    tool_call = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": '{"city":"Kyoto"}'}
    user, assistant, result = content_of(memory, "input.messages")
    left_out = "[4 characters of base64 left out]"
    assert user["parts"][:2] == [
        {"type": "text", "content": "Look."},
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": left_out},
    ]
    assert user["parts"][2:] in (
        [],
        [
            {"type": "uri", "modality": "document", "uri": "https://example.com/a.pdf"},
            {"type": "blob", "modality": "audio", "mime_type": None, "content": left_out},
            {"type": "uri", "modality": "audio", "uri": "https://example.com/a.mp3"},
        ],
    )
    assert assistant["parts"] == [{**tool_call, "id": "call_0"}]
    assert result["parts"] == [{"type": "tool_call_response", "id": "call_0", "response": "sunny"}]
    assert content_of(memory, "output.messages")[0]["parts"] == [tool_call]
    assert content_of(memory, "tool.definitions") == [{"type": "function", "name": "weather"}]


@needs_thoughts
@pytest.mark.parametrize("is_stream", [False, True])
def test_thoughts(
    client: Any, instrument: Callable[..., None], memory: Memory, wire: WireServer, *, is_stream: bool
) -> None:
    """What the model thought comes before what it says, streamed or not."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Blossoms."}]}
    content = [thought, {"type": "text", "text": "April."}]
    message = {"role": "assistant", "content": content}
    call = {"id": "call_1", "index": 0, "function": {"name": "weather", "arguments": "{}"}}
    instrument(capture_content=True)
    if is_stream:
        says(wire, chunk({"content": content, "tool_calls": [call]}), chunk({"content": ""}, "tool_calls"))
        list(client.chat.stream(**ASKED))
    else:
        says(wire, choices=[{"index": 0, "message": {**message, "tool_calls": [call]}, "finish_reason": "tool_calls"}])
        client.chat.complete(**ASKED)
    tool_call = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": "{}"}
    texts = [{"type": "reasoning", "content": "Blossoms."}, {"type": "text", "content": "April."}]
    assert content_of(memory, "output.messages")[0] == {
        "role": "assistant",
        "parts": [*texts, tool_call],
        "finish_reason": "tool_calls",
    }


@needs_conversations
@pytest.mark.parametrize("is_stream", [False, True])
def test_entries_of_a_conversation(
    client: Any, instrument: Callable[..., None], memory: Memory, wire: WireServer, *, is_stream: bool
) -> None:
    """Entries become parts: texts, calls, results, and what the provider ran itself by its kind."""
    said = {"type": "message.output", "id": "msg_1", "role": "assistant", "model": "model-1-2407"}
    words = [{"type": "text", "text": "Let me "}, {"type": "tool_file", "tool": "image_generation", "file_id": "f"}]
    call = {"type": "function.call", "id": "fc_1", "tool_call_id": "call_1", "name": "weather", "arguments": "{}"}
    ran = {"type": "tool.execution", "id": "te_1", "name": "web_search", "arguments": "{}"}
    delta = {**said, "type": "message.output.delta", "output_index": 1}
    events = [
        {"type": "conversation.response.started", "conversation_id": "conv_1"},
        {**ran, "type": "tool.execution.started", "output_index": 0},
        {**ran, "type": "tool.execution.done", "output_index": 0, "info": {}},
        {**delta, "content": "Let "},
        {**delta, "content": {"type": "text", "text": "me "}},
        {**delta, "content": words[1]},
        {**delta, "content": "see."},
        {**call, "type": "function.call.delta", "output_index": 2, "arguments": "{"},
        {**call, "type": "function.call.delta", "output_index": 2, "arguments": "}"},
        {"type": "conversation.response.done", "usage": case.USAGE},
    ]
    whole = {
        "conversation_id": "conv_1",
        "outputs": [ran, {**said, "content": [*words, {"type": "text", "text": "see."}]}, call],
        "usage": case.USAGE,
    }
    inputs = [
        {"role": "user", "content": [{"type": "text", "text": "Kyoto?"}]},
        {"type": "function.call", "tool_call_id": "call_0", "name": "weather", "arguments": "{}"},
        {"type": "function.result", "tool_call_id": "call_0", "result": "sunny"},
    ]
    asked = {"instructions": "Be brief.", "model": "model-1", "inputs": inputs}
    instrument(capture_content=True)
    if is_stream:
        says(wire, *events)
        list(client.beta.conversations.start_stream(**asked))
    else:
        wire.speak(lambda _request: as_json(whole))
        client.beta.conversations.start(**asked)
    called = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": "{}"}
    assert content_of(memory, "system_instructions") == [{"type": "text", "content": "Be brief."}]
    assert content_of(memory, "input.messages") == [
        {"role": "user", "parts": [{"type": "text", "content": "Kyoto?"}]},
        {"role": "assistant", "parts": [{**called, "id": "call_0"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_0", "response": "sunny"}]},
    ]
    assert content_of(memory, "output.messages") == [
        {
            "role": "assistant",
            "parts": [
                {"type": "tool.execution"},
                {"type": "text", "content": "Let me "},
                {"type": "tool_file"},
                {"type": "text", "content": "see."},
                called,
            ],
            "finish_reason": "tool_calls",
        }
    ]
    assert memory.span.attributes["gen_ai.response.model"] == "model-1-2407"


@needs_conversations
def test_a_text_and_an_error_in_a_conversation(
    client: Any, instrument: Callable[..., None], memory: Memory, wire: WireServer
) -> None:
    """The inputs may be one text; a conversation that breaks off names its error."""
    instrument(capture_content=True)
    says(wire, {"type": "conversation.response.error", "message": "overloaded", "code": 503})
    list(client.beta.conversations.append_stream(conversation_id="conv_1", inputs="Kyoto?"))
    assert memory.span.attributes["error.type"] == "503"
    assert memory.span.attributes["gen_ai.conversation.id"] == "conv_1"
    assert memory.span.status.status_code is StatusCode.ERROR
    assert content_of(memory, "input.messages")[0]["parts"] == [{"type": "text", "content": "Kyoto?"}]


@needs_conversations
def test_feedback_belongs_to_the_conversation(client: Any, instrument: Callable[..., None]) -> None:
    """Feedback on what was appended to a conversation copies the conversation's id."""
    instrument()
    reference = spanback.reference(client.beta.conversations.append(conversation_id="conv_1", inputs="Kyoto?"))
    assert reference.conversation_id == "conv_1"


def test_another_server_for_one_call(client: Any, instrument: Callable[..., None], memory: Memory) -> None:
    """A call that names a server of its own has that one's address."""
    instrument()
    url = client.sdk_configuration.get_server_details()[0].replace("127.0.0.1", "localhost")
    client.chat.complete(server_url=url, **ASKED)
    assert memory.span.attributes["server.address"] == "localhost"


def test_what_is_patched(client: Any, instrument: Callable[..., None]) -> None:
    """Each function is patched, or will be once the client imports it, or does not exist in this release."""
    instrument()
    _ = client.chat, client.embeddings
    lines = [line for line in spanback.status() if line.client == "mistralai"]
    assert {line.state for line in lines} <= {"patched", "not imported", "missing attribute"}
    states = {line.target.removeprefix("mistralai.").removeprefix("client."): line.state for line in lines}
    assert states["chat.Chat.complete"] == states["embeddings.Embeddings.create_async"] == "patched"


@needs_telemetry
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_traces_itself(
    client: Any, instrument: Callable[..., None], memory: Memory, *, is_stream: bool
) -> None:
    """Its span is the only one, and what the app holds refers to it."""
    instrument()
    telemetry.configure_telemetry(client, memory.tracer_provider, redaction=False)
    chunks = list(client.chat.stream(**ASKED)) if is_stream else [client.chat.complete(**ASKED)]
    assert memory.span.instrumentation_scope.name == THEIRS
    assert {spanback.reference(one).span_id for one in chunks} == {memory.span.context.span_id}
    assert {line.state for line in spanback.status() if line.target.endswith("Chat.complete")} == {"adopted"}


@needs_telemetry
async def test_an_async_client_that_traces_itself(client: Any, instrument: Callable[..., None], memory: Memory) -> None:
    """As above, for async calls."""
    instrument()
    telemetry.configure_telemetry(client, memory.tracer_provider, redaction=False)
    got = await client.chat.complete_async(**ASKED)
    assert memory.span.instrumentation_scope.name == THEIRS
    assert spanback.reference(got).span_id == memory.span.context.span_id


@needs_telemetry
@pytest.mark.parametrize("is_stream", [False, True])
def test_ours_in_any_case(client: Any, instrument: Callable[..., None], memory: Memory, *, is_stream: bool) -> None:
    """With adoption off the only span is ours; once spanback is gone the client makes its own again."""
    telemetry.configure_telemetry(client, memory.tracer_provider, redaction=False)
    hook = next(
        one for one in client.sdk_configuration._hooks.before_request_hooks if type(one).__name__ == "TracingHook"
    )
    instrument(adopt=False)
    for _ in range(2):
        got = list(client.chat.stream(**ASKED)) if is_stream else [client.chat.complete(**ASKED)]
        assert {spanback.reference(one).span_id for one in got} == {memory.spans[-1].context.span_id}
        assert memory.spans[-1].attributes["gen_ai.usage.input_tokens"] == 12
    assert {span.name for span in memory.spans} == {"chat model-1"}
    assert {span.instrumentation_scope.name for span in memory.spans} == {SCOPE_NAME}
    assert len(memory.spans) == 2
    memory.clear()
    spanback.uninstrument()
    client.chat.complete(**ASKED)
    assert memory.span.instrumentation_scope.name == THEIRS
    assert "before_request" not in vars(hook)


@needs_telemetry
async def test_ours_in_any_case_async(client: Any, instrument: Callable[..., None], memory: Memory) -> None:
    """As above, for async calls and for embeddings, errors among them; a client may begin to trace itself later."""
    instrument(adopt=False)
    await client.fim.complete_async(model="model-1", prompt="def")
    telemetry.configure_telemetry(client, memory.tracer_provider, redaction=False)
    await client.chat.complete_async(**ASKED)
    await client.embeddings.create_async(model="model-1", inputs=["Kyoto"])
    with pytest.raises(Exception, match="429"):
        await client.chat.complete_async(**{**ASKED, "model": "error-429"})
    names = ["text_completion model-1", "chat model-1", "embeddings model-1", "chat error-429"]
    assert [span.name for span in memory.spans] == names
    assert {span.instrumentation_scope.name for span in memory.spans} == {SCOPE_NAME}


@needs_telemetry
def test_telemetry_that_makes_nothing(
    client: Any, instrument: Callable[..., None], memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is to use the global provider makes nothing while there is none: then the spans are ours."""
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    instrument()
    got = [client.chat.complete(**ASKED) for _ in range(2)]
    assert [spanback.reference(one).span_id for one in got] == [span.context.span_id for span in memory.spans]
    assert {span.name for span in memory.spans} == {"chat model-1"}


@needs_telemetry
@pytest.mark.parametrize(("asked", "expected"), [("dedicated", False), ("nonsense", False), ("global", True)])
def test_where_a_client_will_send_its_spans(
    client: Any, monkeypatch: pytest.MonkeyPatch, asked: str, *, expected: bool
) -> None:
    """Spans that go to Mistral alone are not where the app's are; a setting that it refuses makes none."""
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", asked)
    assert ADAPTER.traces_itself(client.chat) is expected
    monkeypatch.delenv("MISTRAL_SDK_TELEMETRY")
    assert ADAPTER.traces_itself(client.chat) is False
    client.sdk_configuration.__dict__["telemetry"] = asked
    assert ADAPTER.traces_itself(client.chat) is expected


def get_or_create_otel_tracer() -> tuple[bool, None]:
    """As the module of the hook in releases that trace wherever there is a global provider."""
    return True, None


class TracingHook:
    """The hook of those releases, as far as the adapter looks at it."""


def test_releases_that_cannot_be_told() -> None:
    """Their hook tells whether there is a global provider; a release without one makes no spans."""

    def with_hooks(*hooks: Any) -> Any:
        return SimpleNamespace(sdk_configuration=SimpleNamespace(_hooks=SimpleNamespace(before_request_hooks=hooks)))

    assert ADAPTER.traces_itself(with_hooks(object(), TracingHook())) is True
    assert ADAPTER.traces_itself(with_hooks(object())) is False
    assert ADAPTER.traces_itself(SimpleNamespace(sdk_configuration=None)) is False


def test_streams_of_the_first_releases() -> None:
    """There a stream is nothing but a generator, and is replaced by one."""

    def stream() -> Iterator[int]:
        yield 1

    made = stream()
    received = ADAPTER.sort(None, made)
    assert (received.stream, received.slot) == (made, "")
    assert ADAPTER.find_endpoint((), {}) is None
