"""What only LiteLLM has: functions imported before, providers without a client, recursion, and estimates."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("litellm")

import spanback
from spanback._telemetry import SCOPE_NAME
from spanback.instrumentation.providers._sent_messages import SentEvents, identify
from spanback.instrumentation.providers.litellm import ADAPTER, LiteLLMChunks, read_response, routed
from tests.clients.conftest import settled
from tests.clients.litellm import ANSWER, MESSAGES, RELEASE, Client, SomeText, Sync, answers, litellm
from tests.clients.wire import WireServer
from tests.conftest import Memory

pytestmark = pytest.mark.filterwarnings(
    "ignore:Accessing the 'model_:DeprecationWarning", "ignore:Pydantic serializer:UserWarning"
)
either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
completion = litellm.completion  # as an app holds it that has imported it before instrument()


@pytest.fixture
def given() -> Iterator[dict[str, Any]]:
    """Arguments of a call to the server."""
    with WireServer().running() as server:
        server.speak(answers)
        yield {"api_base": f"{server.base_url}/v1", "api_key": "test", "max_retries": 0}


CLAUDE_MODEL = next(
    name
    for name, known in litellm.model_cost.items()
    if known.get("litellm_provider") == "anthropic" and "/" not in name
)
CLAUDE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.max_tokens": 50,
    "gen_ai.response.id": SomeText(),
    "gen_ai.response.model": "model-1",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 4,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.usage.cache_write.input_tokens": 3,
}
CLAUDE_STREAM_AT_FIRST = {
    **{name: value for name, value in CLAUDE.items() if name != "gen_ai.usage.cache_write.input_tokens"},
    "gen_ai.usage.input_tokens": 5,
}
"""Releases before 1.83 count a stream's cached tokens apart, and those that were put into the cache not at all."""


@pytest.fixture
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """LiteLLM's functions of one kind."""
    with WireServer().running() as server:
        server.speak(answers)
        made = Client(server, request.getfixturevalue("is_async"))
        yield made
        await made.aclose()


async def read(got: Any) -> Any:
    """What an app holds in the end: a response, or the last chunk of a stream."""
    got = await settled(got)
    if hasattr(got, "__aiter__"):
        assert type(got) is not litellm.ModelResponse
        *_, got = [chunk async for chunk in got]
    elif isinstance(got, Sync):
        *_, got = got
    return got


def told(memory: Memory) -> dict[str, Any]:
    """The attributes of the one span, without those that differ from run to run or between whole and streamed."""
    left_out = ("server.address", "server.port", "gen_ai.request.stream", "gen_ai.response.time_to_first_chunk")
    return {name: value for name, value in memory.span.attributes.items() if name not in left_out}


@either
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
async def test_a_provider_without_a_client(
    instrument: Any, memory: Memory, client: Client, is_async: bool, is_stream: bool
) -> None:
    """A provider that LiteLLM reaches by itself has a span, with the id that the app holds and all tokens."""
    instrument()
    more = {"stream": True} if is_stream else {}
    got = await read(client.call("completion", model="anthropic/model-1", messages=MESSAGES, max_tokens=50, **more))
    assert told(memory) == (CLAUDE_STREAM_AT_FIRST if is_stream and RELEASE < (1, 83) else CLAUDE)
    assert told(memory)["gen_ai.response.id"] == got.id
    assert spanback.reference(got).span_id == memory.span.context.span_id


@either
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.skipif(RELEASE < (1, 83), reason="this release has responses of OpenAI alone")
async def test_responses_of_a_provider_without_them(
    instrument: Any, memory: Memory, client: Client, is_async: bool, is_stream: bool
) -> None:
    """A response that LiteLLM makes of a chat has the one span of a response, without the zeros that it fills in."""
    instrument()
    more = {"stream": True} if is_stream else {}
    asked = {"input": "When should I visit Kyoto?", "max_output_tokens": 50, **more}
    got = await read(client.call("responses", model="anthropic/model-1", **asked))
    expected = dict(CLAUDE)
    if RELEASE < (1, 100):  # it tells this only of chats
        del expected["gen_ai.usage.cache_write.input_tokens"]
    attributes = told(memory)
    assert attributes == expected
    assert attributes["gen_ai.response.id"] == (got.response if is_stream else got).id
    assert spanback.reference(got).span_id == memory.span.context.span_id


@either
async def test_embeddings_of_a_provider_without_a_client(
    instrument: Any, memory: Memory, client: Client, is_async: bool
) -> None:
    """So have embeddings."""
    instrument()
    got = await read(client.call("embedding", model="jina_ai/model-1", input=["Kyoto"]))
    assert told(memory) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "jina_ai",
        "gen_ai.request.model": "model-1",
        "gen_ai.response.model": "model-1",
        "gen_ai.usage.input_tokens": 5,
    }
    assert spanback.reference(got).span_id == memory.span.context.span_id


@either
@pytest.mark.parametrize("model", ["openai/model-1", "anthropic/model-1"])
@pytest.mark.parametrize("name", ["completion", "embedding", "responses"])
@pytest.mark.skipif(not hasattr(litellm, "rust"), reason="this release has no other route")
async def test_the_rust_route(
    instrument: Any,
    memory: Memory,
    client: Client,
    is_async: bool,
    model: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What LiteLLM can do in Rust, where the app lets it, takes none of these calls out of sight."""
    monkeypatch.setenv("LITELLM_RUST", "true")
    instrument()
    asked = {"completion": {"messages": MESSAGES}, "embedding": {"input": ["Kyoto"]}, "responses": {"input": "When?"}}
    model = model.replace("anthropic", "jina_ai") if name == "embedding" else model
    got = await read(client.call(name, model=model, **asked[name]))
    assert memory.span.name == f"{'embeddings' if name == 'embedding' else 'chat'} model-1"
    assert spanback.reference(got).span_id == memory.span.context.span_id


async def test_a_function_imported_before(instrument: Any, memory: Memory, given: dict[str, Any]) -> None:
    """A function that the app holds is seen, stays the function it is, and is given back."""
    inner = litellm.main.completion  # the newest release has a function of its own around it
    before = [cell.cell_contents for cell in inner.__closure__]
    instrument()
    assert litellm.completion is completion
    got = completion("openai/model-1", MESSAGES, **given)
    assert spanback.reference(got).span_id == memory.span.context.span_id
    spanback.uninstrument()
    assert litellm.main.completion is inner
    assert [cell.cell_contents for cell in inner.__closure__] == before
    completion("openai/model-1", MESSAGES, **given)
    assert memory.span.name == "chat model-1"


async def test_streams_are_given_back(instrument: Any, memory: Memory, given: dict[str, Any]) -> None:
    """The class of a stream has its own method again, and streams of nobody's call pass through ours."""
    before = vars(litellm.CustomStreamWrapper)["__next__"]
    mock = {"mock_response": ANSWER, "stream": True}
    unseen = litellm.completion("openai/model-1", MESSAGES, **mock)
    instrument()
    open_stream = litellm.completion("openai/model-1", MESSAGES, **mock)
    assert vars(litellm.CustomStreamWrapper)["__next__"] is not before
    assert "".join(chunk.choices[0].delta.content or "" for chunk in unseen) == ANSWER
    spanback.uninstrument()
    assert vars(litellm.CustomStreamWrapper)["__next__"] is before
    assert "".join(chunk.choices[0].delta.content or "" for chunk in open_stream) == ANSWER
    del given, memory


def test_status_names_every_function() -> None:
    """All ten functions are there, and the callbacks that the release has."""
    lines = [line for line in spanback.status() if line.client == "litellm"]
    callbacks = [target for target in ADAPTER.targets if target.stands_in is not None]
    assert (len(ADAPTER.targets) - len(callbacks), len(callbacks)) == (10, 7)
    assert len([line for line in lines if "OpenTelemetry" not in line.target]) == 10
    assert ADAPTER.find_endpoint((), {}) is None


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        ("openai/gpt-4o", None, ("openai", "gpt-4o")),
        ("gpt-4o", None, ("openai", "gpt-4o")),
        ("gpt-4o", "azure", ("azure.ai.openai", "gpt-4o")),
        ("azure/gpt-4o", "azure", ("azure.ai.openai", "gpt-4o")),
        ("bedrock/anthropic.claude-v2", None, ("aws.bedrock", "anthropic.claude-v2")),
        ("vertex_ai_beta/gemini-pro", None, ("gcp.vertex_ai", "gemini-pro")),
        ("openrouter/meta/llama", None, ("openrouter", "meta/llama")),
        ("meta/llama", "together_ai", ("together_ai", "meta/llama")),
        ("of-nobody/llama", None, ("openai", "of-nobody/llama")),
        (CLAUDE_MODEL, None, ("anthropic", CLAUDE_MODEL)),
        (None, None, ("openai", None)),
    ],
)
def test_where_a_call_goes(model: str | None, given: str | None, expected: tuple[str, str | None]) -> None:
    """Provider and model are told as LiteLLM tells them, in the conventions' names."""
    assert routed(model, given) == expected


def test_estimates_are_left_out() -> None:
    """Zeros that LiteLLM fills in, and its own count of a model's thoughts, are no token counts."""
    nothing = SimpleNamespace(prompt_tokens=0, completion_tokens=0, completion_tokens_details=None)
    assert read_response({"usage": nothing}) == {}
    details = SimpleNamespace(reasoning_tokens=7, audio_tokens=None)
    usage = SimpleNamespace(prompt_tokens=3, completion_tokens=9, completion_tokens_details=details)
    thinking = SimpleNamespace(finish_reason=None, message=SimpleNamespace(thinking_blocks=[{"thinking": "..."}]))
    attributes = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 9}
    assert read_response({"usage": usage, "choices": [thinking]}) == attributes
    delta = SimpleNamespace(delta=SimpleNamespace(thinking_blocks=[{}]))
    kept = [SimpleNamespace(usage=usage, choices=[delta]), SimpleNamespace(usage=None, choices=[])]
    assert read_response(LiteLLMChunks(kept, with_content=False).response()) == attributes
    assert read_response(LiteLLMChunks([], with_content=False).response()) == {}


EVENTS = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 5}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Où?"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
]
SENT = "".join(f"event: {event['type']}\r\ndata: {json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in EVENTS)


@pytest.mark.parametrize(
    "chunks",
    [
        [SENT.encode()],
        [bytes([byte]) for byte in SENT.encode()],
        list(SENT),
        EVENTS,
        [SimpleNamespace(**EVENTS[0]), *EVENTS[1:]],
        [b'data: {"message_start"\ndata: 7\n\n: "message_start"\ndata: ["message_delta"]\n', *EVENTS],
        ["x" * 2_000_000, "\n", SENT],
    ],
    ids=["at once", "by bytes", "by characters", "dicts", "objects", "broken", "a line without end"],
)
@pytest.mark.parametrize("with_content", [True, False])
def test_messages_are_read_however_they_are_cut(chunks: list[Any], with_content: bool) -> None:
    """A stream of LiteLLM's messages is bytes as they come, or the events themselves."""
    events = SentEvents(with_content)
    for chunk in chunks:
        events.add([chunk])
    message = events.response()
    assert (message.id, message.model, message.stop_reason) == ("msg_1", "m", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 4)
    assert [block["text"] for block in message.content] == ["Où?"] * with_content
    assert len(events._rest) < 1 << 20


def test_a_message_is_known_by_its_first_event() -> None:
    """As a dict, as text, and as bytes; another chunk bears no id."""
    assert identify(EVENTS[0]) == identify(SENT) == identify(SENT.encode()) == ("msg_1", "m")
    assert identify(b"event: ping\n\n") == identify(EVENTS[3]) == (None, None)


async def test_a_peer_around_the_call(instrument: Any, memory: Memory, given: dict[str, Any]) -> None:
    """Within a span that somebody else made for the call, LiteLLM has none of ours."""
    instrument()
    tracer = memory.tracer_provider.get_tracer("openinference.instrumentation.litellm")
    with tracer.start_as_current_span("completion", attributes={"openinference.span.kind": "LLM"}) as theirs:
        got = litellm.completion("openai/model-1", MESSAGES, **given)
    assert [span.instrumentation_scope.name for span in memory.spans] != [SCOPE_NAME]
    assert spanback.reference(got).span_id == theirs.get_span_context().span_id
    assert len(memory.spans) == 1
