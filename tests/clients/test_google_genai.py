"""What only Google's client has: two APIs, contents of many shapes, functions it calls itself, requests made late."""

from __future__ import annotations

import gc
import json
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

import spanback
from spanback.instrumentation.providers import _google_contents as contents
from spanback.instrumentation.providers import _google_interactions as interactions
from spanback.instrumentation.providers import google_genai
from tests.clients.wire import as_json, as_sse

genai = pytest.importorskip("google.genai")
_api_client, types = genai._api_client, genai.types
case = pytest.importorskip("tests.clients.google_genai")


def plain(value: Any) -> str:
    """What `clip` gives of a text that is short, and of anything else."""
    return value if isinstance(value, str) else json.dumps(value)


def shaped(given: Any, **config: Any) -> dict[str, Any]:
    """The content attributes of a request."""
    read = contents.read_input({"contents": given, "config": config}, plain)
    return {name.rpartition(".")[2]: value for name, value in read.items() if value is not None}


def said(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """A message."""
    return {"role": role, "parts": list(parts)}


HELLO = {"type": "text", "content": "Hello"}


async def test_a_client_that_was_built_before(bench: Any) -> None:
    """A client and a chat made before instrument() are seen, and so is a subclass."""
    bench.wire.speak(case.answers)

    class Own(genai.Client):
        """An app's own client."""

    client = Own(api_key="test", http_options=case.options(bench.wire))
    chat = client.chats.create(model="model-1")
    bench.instrument()
    chat.send_message("Hello")
    assert bench.memory.span.name == "generate_content model-1"
    case.close(client)


@pytest.mark.parametrize("kind", ["httpx", "httpx2"])
async def test_both_kinds_of_http_client(kind: str, bench: Any) -> None:
    """It makes no difference whether the app gives a client of httpx or of httpx2."""
    http = pytest.importorskip(kind)
    if not hasattr(_api_client, kind) or "httpx_client" not in types.HttpOptions.model_fields:
        pytest.skip("this release takes no such client")
    bench.wire.speak(case.answers)
    bench.instrument()
    with http.Client() as inner:
        options = case.options(bench.wire, httpx_client=inner)
        client = genai.Client(api_key="test", http_options=options)
        assert client.models.generate_content(model="model-1", contents="Hello").text == case.ANSWER
    assert bench.memory.span.attributes.get("gen_ai.response.id") == case.GENERATED.get("gen_ai.response.id")


async def test_vertex(bench: Any) -> None:
    """With Vertex AI the provider is another, and each embedding tells its tokens."""
    bench.wire.speak(case.answers)
    bench.instrument()
    client = genai.Client(vertexai=True, api_key="test", http_options=case.options(bench.wire))
    client.models.generate_content(model="model-1", contents="Hello")
    client.models.embed_content(model="text-embedding-005", contents=["Hello", "Kyoto"])
    generated, embedded = bench.memory.spans
    assert generated.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert embedded.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert embedded.attributes["gen_ai.usage.input_tokens"] == 6
    case.close(client)


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        (None, "gcp.gemini"),
    ],
)
def test_the_provider_of_a_host(host: str | None, provider: str) -> None:
    """A host may say that it is Vertex AI's, whatever the client is told."""
    assert google_genai._provider(host, is_vertex=False) == provider


async def test_a_calls_own_server(bench: Any) -> None:
    """A call's own options name the server that it goes to."""
    bench.wire.speak(case.answers)
    bench.instrument()
    client = genai.Client(api_key="test", http_options={"base_url": "http://127.0.0.1:1"})
    config = {"http_options": {"base_url": bench.wire.base_url}}
    client.models.generate_content(model="model-1", contents="Hello", config=config)
    assert bench.memory.span.attributes["server.port"] == bench.wire.port
    case.close(client)


@pytest.mark.parametrize("shape", ["snake", "camel", "object"])
async def test_a_config_of_any_shape(shape: str, bench: Any) -> None:
    """A config says the same as a dict of either case and as an object."""
    config: dict[str, Any] = {
        "top_p": 0.5,
        "top_k": 40.0,
        "candidate_count": 2,
        "max_output_tokens": 7,
        "stop_sequences": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "seed": 3,
        "response_mime_type": "application/json",
        "system_instruction": ["Be brief.", types.Part(text="Be kind.")],
    }
    given: Any = config
    if shape == "camel":
        given = {contents.camel(name): value for name, value in config.items()}
    elif shape == "object":
        given = types.GenerateContentConfig(**config)
    bench.instrument(capture_content=True)
    client = bench.connect(case.CASE, case.CASE.styles[0])
    client.models.generate_content(model="model-1", contents="Hello", config=given)
    attributes = bench.memory.span.attributes
    assert json.loads(attributes["gen_ai.system_instructions"]) == [
        {"type": "text", "content": "Be brief."},
        {"type": "text", "content": "Be kind."},
    ]
    asked = {name: value for name, value in attributes.items() if name.startswith("gen_ai.request.")}
    assert asked == {
        "gen_ai.request.model": "model-1",
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.top_k": 40,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.presence_penalty": 0.1,
        "gen_ai.request.frequency_penalty": 0.2,
        "gen_ai.request.seed": 3,
    }
    assert attributes["gen_ai.output.type"] == "json"


def test_other_outputs() -> None:
    """Modalities and thinking are told in the words of the request."""
    read = google_genai.read_request
    assert read({"config": {"response_modalities": ["TEXT", "AUDIO"]}}) == {"gen_ai.output.type": "speech"}
    assert read({"config": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}) == {"gen_ai.request.reasoning.level": "HIGH"}
    assert read({"config": {"top_k": 1.5, "response_mime_type": "text/x.enum"}}) == {}
    assert read({}) == {}


async def test_an_iterator_is_left_to_the_client(bench: Any) -> None:
    """What can be read once is read by the client alone."""
    bench.instrument(capture_content=True)
    client = bench.connect(case.CASE, case.CASE.styles[0])
    read: list[str] = []

    def once() -> Any:
        read.append("read")
        yield "Hello"

    try:
        client.models.generate_content(model="model-1", contents=once())
    except Exception:  # noqa: BLE001 - most releases take no iterators, and say so in their own way
        assert bench.wire.requests == []
    else:
        assert "Hello" in bench.wire.requests[0].content.decode()
    assert "gen_ai.input.messages" not in bench.memory.span.attributes
    assert len(read) <= 1


def test_contents_of_any_shape() -> None:
    """Texts, parts and contents are messages as the client makes them of them."""
    part, content = types.Part(text="Hello"), types.Content(role="model", parts=[types.Part(text="Hello")])
    assert shaped("Hello") == {"messages": [said("user", HELLO)]}
    assert shaped(["Hello", part]) == {"messages": [said("user", HELLO, HELLO)]}
    assert shaped(["Hello", content, "Hello"]) == {
        "messages": [said("user", HELLO), said("assistant", HELLO), said("user", HELLO)]
    }
    assert shaped([{"role": "user", "parts": [{"text": "Hello"}]}, ["Hello"]]) == {
        "messages": [said("user", HELLO), said("user", HELLO)]
    }
    assert shaped({"parts": "Hello"}) == {"messages": [said("user")]}
    assert shaped(None) == {}


def test_parts_of_every_kind() -> None:
    """Media keeps its kind and size and never its bytes; thoughts, functions and code keep what they say."""
    blob = {"type": "blob", "modality": "image", "mime_type": "image/png"}
    parts = {
        "inline": types.Part.from_bytes(data=b"12345", mime_type="image/png"),
        "camel": {"inlineData": {"data": "AAAA", "mimeType": "image/png"}},
        "file": types.Part.from_uri(file_uri="gs://a/b.pdf", mime_type="application/pdf"),
        "sent": types.File(uri="https://files/1", mime_type="video/mp4"),
        "thought": types.Part(text="Hmm", thought=True),
        "code": types.Part.from_executable_code(code="1 + 1", language=types.Language.PYTHON),
        "result": types.Part.from_code_execution_result(outcome=types.Outcome.OUTCOME_OK, output="2"),
        "other": {},
    }
    expected = {
        "inline": {**blob, "content": "[8 characters of base64 left out]"},
        "camel": {**blob, "content": "[4 characters of base64 left out]"},
        "file": {"type": "uri", "modality": "document", "uri": "gs://a/b.pdf"},
        "sent": {"type": "uri", "modality": "video", "uri": "https://files/1"},
        "thought": {"type": "reasoning", "content": "Hmm"},
        "code": {"type": "executable_code", "content": "1 + 1"},
        "result": {"type": "code_execution_result", "content": "2"},
        "other": {"type": "generic"},
    }
    assert {name: contents.part_of(part, plain) for name, part in parts.items()} == expected


def test_functions() -> None:
    """Calls are the model's, answers a tool's; what is offered is told by type and name."""
    call = types.Part.from_function_call(name="weather", args={"city": "Kyoto"})
    answer = types.Part.from_function_response(name="weather", response={"result": "mild"})
    declared = types.FunctionDeclaration(name="weather")
    tools = [
        case.weather,
        types.Tool(function_declarations=[declared]),
        {"google_search": {}},
        {"functionDeclarations": None},
    ]
    assert shaped(
        [types.Content(role="model", parts=[call]), types.Content(role="user", parts=[answer])], tools=tools
    ) == {
        "messages": [
            said("assistant", {"type": "tool_call", "id": None, "name": "weather", "arguments": '{"city": "Kyoto"}'}),
            said("tool", {"type": "tool_call_response", "id": None, "response": '{"result": "mild"}'}),
        ],
        "definitions": [
            {"type": "function", "name": "weather"},
            {"type": "function", "name": "weather"},
            {"type": "google_search", "name": "google_search"},
        ],
    }


def test_a_streams_pieces_are_joined() -> None:
    """Texts beside each other become one, thoughts apart from what is said."""
    chunks = google_genai.ContentChunks(with_content=True)
    call = types.Part.from_function_call(name="weather", args={})
    for text, is_thought in (("H", True), ("mm", True), ("Hel", None), ("lo", None)):
        part = types.Part(text=text, thought=is_thought)
        chunks.add([types.GenerateContentResponse(candidates=[types.Candidate(content=types.Content(parts=[part]))])])
    last = types.Candidate(content=types.Content(parts=[call]), finish_reason="MAX_TOKENS")
    chunks.add([types.GenerateContentResponse(candidates=[last])])
    (message,) = contents.read_output(chunks.response(), plain)["gen_ai.output.messages"]
    assert message == {
        "role": "assistant",
        "finish_reason": "max_tokens",
        "parts": [
            {"type": "reasoning", "content": "Hmm"},
            HELLO,
            {"type": "tool_call", "id": None, "name": "weather", "arguments": "{}"},
        ],
    }


def test_the_totals_include_what_is_counted_apart() -> None:
    """Thoughts are output, the prompts of tools are input, and modalities are told where the conventions know them."""
    usage = {
        "prompt_token_count": 10,
        "tool_use_prompt_token_count": 5,
        "thoughts_token_count": 3,
        "prompt_tokens_details": [{"modality": "IMAGE", "token_count": 4}, {"modality": "VIDEO", "token_count": 6}],
    }
    candidates = [{"finish_reason": "FINISH_REASON_UNSPECIFIED"}, {}]
    assert google_genai.read_response({"usage_metadata": usage, "candidates": candidates}) == {
        "gen_ai.usage.input_tokens": 15,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "gen_ai.usage.image.input_tokens": 4,
        "gen_ai.response.finish_reasons": ("error",),
    }


async def test_an_async_stream_that_is_never_read(bench: Any) -> None:
    """An async stream that nobody reads ends its span when it is dropped."""
    bench.instrument()
    client = bench.connect(case.CASE, next(style for style in case.CASE.styles if style.is_async))
    stream = await client.models.generate_content_stream(model="model-1", contents="Hello")
    del stream
    gc.collect()
    spanback.flush()
    assert bench.memory.span.name == "generate_content model-1"


needs_interactions = pytest.mark.skipif(
    find_spec("google.genai._gaos") is None, reason="this release has none, or those of another generator"
)


@needs_interactions
async def test_a_request_given_as_one_object(bench: Any) -> None:
    """An interaction's request may be one object."""
    bench.instrument(capture_content=True)
    client = bench.connect(case.CASE, case.CASE.styles[0])
    client.interactions.create(
        request={"body": {"model": "model-1", "input": "Hello", "previous_interaction_id": "v1_0"}}
    )
    attributes = bench.memory.span.attributes
    assert attributes["gen_ai.request.model"] == "model-1"
    assert attributes["gen_ai.request.previous_response.id"] == "v1_0"
    assert json.loads(attributes["gen_ai.input.messages"]) == [said("user", HELLO)]


@needs_interactions
async def test_a_failed_interaction_is_an_error(bench: Any) -> None:
    """An interaction that failed is an error with the API's code."""
    failed = {"id": "v1_1", "status": "failed", "model": "model-1", "errors": [{"code": "quota", "message": "no"}]}
    bench.instrument()
    client = bench.connect(case.CASE, case.CASE.styles[0])
    bench.wire.speak(lambda _request: as_json(failed))
    client.interactions.create(model="model-1", input="Hello")
    assert bench.memory.span.attributes["error.type"] == "quota"


@needs_interactions
async def test_an_error_in_the_stream_of_a_stored_interaction(bench: Any) -> None:
    """It is the call's error, and what the stream said of the status before is no longer told."""
    begun = {"interaction": {"id": "v1_1", "status": "in_progress", "model": "model-1"}}
    events = [
        {**begun, "event_type": "interaction.created"},
        {"error": {"code": "service_unavailable", "message": "no"}, "event_type": "error"},
    ]
    bench.instrument()
    client = bench.connect(case.CASE, case.CASE.styles[0])
    bench.wire.speak(lambda _request: as_sse(events))
    assert len(list(client.interactions.get(id="v1_1", stream=True))) == len(events)
    attributes = bench.memory.span.attributes
    assert attributes["error.type"] == "service_unavailable"
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert "gen_ai.response.status" not in attributes


@needs_interactions
async def test_a_response_that_is_streamed_raw(bench: Any) -> None:
    """A raw response that the app parses itself ends its span when it is closed."""
    bench.instrument()
    client = bench.connect(case.CASE, case.CASE.styles[0])
    with client.interactions.with_streaming_response.create(model="model-1", input="Hello") as raw:
        interaction = raw.parse()
    assert interaction.id == "v1_1"
    assert bench.memory.span.attributes["gen_ai.response.id"] == "v1_1"
    assert spanback.reference(interaction).span_id == bench.memory.span.context.span_id


@needs_interactions
async def test_a_raw_page(bench: Any) -> None:
    """A raw response that is no JSON is the app's business."""
    bench.instrument()
    client = bench.connect(case.CASE, case.CASE.styles[0])
    raw = client.interactions.with_raw_response.create(model="html", input="Hello")
    assert raw.http_response.text == "<html>hello</html>"
    assert bench.memory.span.name == "generate_content html"


def test_steps() -> None:
    """Steps are messages by their kind; contents beside each other are one message of the user."""
    given = [
        {"type": "text", "text": "Hello"},
        {"type": "image", "data": "AAAA", "mime_type": "image/png"},
        {"type": "user_input", "content": "Hello"},
        {"type": "thought", "summary": [{"type": "text", "text": "Hmm"}]},
        {"type": "function_call", "id": "1", "name": "weather", "arguments": {}},
        {"type": "function_result", "call_id": "1", "result": "mild"},
        {"role": "model", "content": [{"text": "Hello"}]},
        {"type": "url"},
    ]
    read = interactions.read_input({"input": given, "tools": [{"type": "function", "name": "weather"}]}, plain)
    blob = {"type": "blob", "modality": "image", "mime_type": "image/png"}
    assert read["gen_ai.input.messages"] == [
        said("user", HELLO, {**blob, "content": "[4 characters of base64 left out]"}),
        said("user", HELLO),
        said("assistant", {"type": "reasoning", "content": "Hmm"}),
        said("assistant", {"type": "tool_call", "id": "1", "name": "weather", "arguments": "{}"}),
        said("tool", {"type": "tool_call_response", "id": "1", "response": "mild"}),
        said("assistant", HELLO),
        said("user", {"type": "url"}),
    ]
    assert read["gen_ai.tool.definitions"] == [{"type": "function", "name": "weather"}]
    only = interactions.read_input({"input": "Hello"}, plain)
    assert only["gen_ai.input.messages"] == [said("user", HELLO)]
    assert interactions.read_output({"steps": []}, plain) == {}
    assert interactions.read_input({"input": iter(["Hello"])}, plain)["gen_ai.input.messages"] is None
    assert interactions.read_request({"response_format": [{"mime_type": "application/json"}]}) == {
        "gen_ai.output.type": "json"
    }


@pytest.mark.parametrize("is_vertex", [True, False])
def test_interactions_of_the_client_before(is_vertex: bool) -> None:
    """The interactions of older releases are found by their paths, and their client says whose models it asks."""
    url = SimpleNamespace(host="localhost", port=1, scheme="http")
    client = SimpleNamespace(_base_url=url, client_adapter=SimpleNamespace(is_vertex_ai=lambda: is_vertex))
    before = "v1/projects/p/locations/l" if is_vertex else "/v1"

    def asked(method: str, path: str, **body: Any) -> Any:
        kwargs = {
            "options": SimpleNamespace(method=method, url=f"{before}{path}", json_data=body or None, extra_json=None)
        }
        endpoint = google_genai.ADAPTER.find_endpoint((), kwargs)
        return endpoint and google_genai.ADAPTER.read(endpoint, client, (), kwargs)

    created, fetched = asked("POST", "/interactions", model="model-1"), asked("GET", "/interactions/v1_1")
    assert (created.endpoint.operation, created.model) == ("generate_content", "model-1")
    assert (created.server_address, created.server_port) == ("localhost", 1)
    assert created.provider == ("gcp.vertex_ai" if is_vertex else "gcp.gemini")
    assert fetched.endpoint.read_request(fetched.body) == {"gen_ai.response.id": "v1_1"}
    assert asked("POST", "/interactions/v1_1/cancel") is asked("DELETE", "/interactions/v1_1") is None
    stream = SimpleNamespace(_iterator=iter(()), response="body")
    received = google_genai.ADAPTER.sort(created, stream)
    assert (received.stream, received.slot, received.body) == (stream, "_iterator", "body")


def test_a_raw_response_that_tells_of_an_error() -> None:
    """In some releases a raw response says that the call failed, and only its parse() raises: the span is an error."""
    body = SimpleNamespace(is_stream_consumed=True, status_code=429, content=b'{"error": {}}')
    received = interactions.sort(SimpleNamespace(_parsed_by_type={}, http_response=body), is_stream=False)
    assert interactions.read_response(received.response)["error.type"] == "429"
    fetched = interactions.read_fetched(received.response)
    assert (fetched["error.type"], fetched["gen_ai.response.status"]) == ("429", None)


class Event:
    """An event of a stream."""

    def __init__(self, event_type: str, **fields: Any) -> None:
        self.event_type = event_type
        vars(self).update(fields)


def test_events_of_every_kind() -> None:
    """Steps are put together from their pieces, also where a stream tells no start; an error is the end."""
    events = interactions.InteractionEvents(with_content=True)
    deltas = [
        Event("step.start", index=0, step={"type": "thought"}),
        Event("step.delta", index=0, delta={"type": "thought_summary", "content": {"type": "text", "text": "Hmm"}}),
        Event("step.start", index=1, step={"type": "function_call", "id": "1", "name": "weather", "arguments": {}}),
        Event("step.delta", index=1, delta={"type": "arguments_delta", "arguments": '{"city":'}),
        Event("step.delta", index=1, delta={"type": "arguments_delta", "arguments": '"Kyoto"}'}),
        Event("content.start", index=2, content={"type": "text", "text": "Hel"}),
        Event("content.delta", index=2, delta={"type": "text", "text": "lo"}),
        Event("content.delta", index=3, delta={"type": "image", "data": "AAAA", "mime_type": "image/png"}),
        Event("content.delta", index=4, delta={"type": "function_call", "id": "2", "name": "map", "arguments": {}}),
        Event("content.delta", index=4, delta={"type": "unknown"}),
        Event("error", error={"code": "quota"}),
    ]
    events.add(deltas)
    read = interactions.read_output(events.response(), plain)
    (message,) = read["gen_ai.output.messages"]
    assert message["finish_reason"] == "error"
    assert message["parts"] == [
        {"type": "reasoning", "content": "Hmm"},
        {"type": "tool_call", "id": "1", "name": "weather", "arguments": '{"city":"Kyoto"}'},
        HELLO,
        {
            "type": "blob",
            "modality": "image",
            "mime_type": "image/png",
            "content": "[4 characters of base64 left out]",
        },
        {"type": "tool_call", "id": "2", "name": "map", "arguments": "{}"},
    ]
    assert interactions.read_response(events.response())["error.type"] == "quota"
