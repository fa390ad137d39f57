"""Content: nothing unless it is asked for, and then exactly what was said, within limits and without media."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

import spanback
from spanback.demo._answers import REFUSAL
from spanback.instrumentation._content import Clipper
from spanback.instrumentation.providers import _chat
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import ANSWER, BODIES, MODEL, QUESTION

NAMES = ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions")
SECRET = "my secret is a xylophone"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED = {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
SAID = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
WEATHER = {"type": "function", "name": "get_weather"}


def clip(value: Any) -> str:
    """Enough room for everything."""
    return Clipper(10_000)(value)


@pytest.fixture
def content_of(instrument: Callable[..., None], client: Any, memory: Memory) -> Callable[..., dict[str, Any]]:
    """Makes a call to an endpoint with content on, and gives the content of the span."""

    def call(endpoint: str, **body: Any) -> dict[str, Any]:
        instrument(capture_content=True)
        resource = driving.resource_of(client, endpoint)
        if resource is None:
            pytest.skip(f"this release of openai has no {endpoint}")
        response = resource.create(**{"model": MODEL, **BODIES[endpoint], **body})
        if body.get("stream"):
            list(response)
        return {name: json.loads(memory.span.attributes[name]) for name in NAMES if name in memory.span.attributes}

    return call


both = pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])


@both
@pytest.mark.parametrize("endpoint", ["chat", "responses", "beta.responses", "completions"])
def test_question_and_answer(endpoint: str, stream: bool, content_of: Any) -> None:
    """Every endpoint that generates tells what was asked and what was said, in one shape, streamed or not."""
    content = content_of(endpoint, stream=stream)
    assert content == {"gen_ai.input.messages": [ASKED], "gen_ai.output.messages": [SAID]}


def test_embeddings_have_no_messages(content_of: Any) -> None:
    """An input of embeddings is no message."""
    assert content_of("embeddings") == {}


@both
def test_a_chat_with_a_tool(stream: bool, content_of: Any) -> None:
    """System, tool calls, tool answers and names of a conversation, and the tool call that the model makes."""
    asked = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}}
    content = content_of(
        "chat",
        stream=stream,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "Ada", "content": [{"type": "text", "text": "And in Rome?"}]},
            {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "mild"}]},
            {"role": "user", "content": "And the weather here?"},
        ],
        tools=[{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}],
    )
    call = {"type": "tool_call", "name": "get_weather"}
    answer = {"type": "tool_call_response", "id": "call_1", "response": "sunny"}
    mild = {"type": "tool_call_response", "id": "call_2", "response": [{"type": "text", "content": "mild"}]}
    assert content == {
        "gen_ai.input.messages": [
            {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
            {"role": "user", "parts": [{"type": "text", "content": "And in Rome?"}], "name": "Ada"},
            {"role": "assistant", "parts": [{**call, "id": "call_1", "arguments": '{"city":"Rome"}'}]},
            {"role": "tool", "parts": [answer]},
            {"role": "tool", "parts": [mild]},
            {"role": "user", "parts": [{"type": "text", "content": "And the weather here?"}]},
        ],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [{**call, "id": "call_000001_0", "arguments": '{"city":"Lisbon"}'}],
                "finish_reason": "tool_calls",
            }
        ],
        "gen_ai.tool.definitions": [WEATHER],
    }


@both
def test_responses_with_a_tool(stream: bool, content_of: Any) -> None:
    """Instructions, items of every kind and the tool call that the model makes."""
    content = content_of(
        "responses",
        stream=stream,
        instructions="Be brief.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "And in Rome?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Rome, then."}]},
            {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
            {"type": "item_reference", "id": "msg_1"},
            {"role": "user", "content": "And the weather here?"},
        ],
        tools=[{**WEATHER, "parameters": SCHEMA, "strict": False}, {"type": "web_search"}],
    )
    call = {"type": "tool_call", "name": "get_weather"}
    assert content == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": "And in Rome?"}]},
            {"role": "assistant", "parts": [{"type": "reasoning", "content": "Rome, then."}]},
            {"role": "assistant", "parts": [{**call, "id": "call_1", "arguments": "{}"}]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "sunny"}]},
            {"role": "user", "parts": [{"type": "item_reference"}]},
            {"role": "user", "parts": [{"type": "text", "content": "And the weather here?"}]},
        ],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [{**call, "id": "call_000001_0", "arguments": '{"city":"Lisbon"}'}],
                "finish_reason": "tool_calls",
            }
        ],
        "gen_ai.tool.definitions": [WEATHER, {"type": "web_search", "name": "web_search"}],
    }


@both
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_refusals(endpoint: str, stream: bool, content_of: Any) -> None:
    """A refusal is a part of its own."""
    (message,) = content_of(endpoint, model="refusal", stream=stream)["gen_ai.output.messages"]
    assert message["parts"] == [{"type": "refusal", "content": REFUSAL}]


@both
def test_several_choices(stream: bool, content_of: Any) -> None:
    """Each choice is a message."""
    messages = content_of("chat", n=2, stream=stream)["gen_ai.output.messages"]
    second = {**SAID, "parts": [{"type": "text", "content": f"{ANSWER} (Answer 2.)"}]}
    assert messages == [SAID, second]


@pytest.mark.parametrize(
    ("prompt", "texts"), [("a", ["a"]), (["a", "b"], ["a", "b"]), ([[1, 2]], []), (None, [])], ids=str
)
def test_prompts(prompt: Any, texts: list[str]) -> None:
    """Each text of a prompt is a message; tokens are none."""
    messages = _chat.read_prompt({"prompt": prompt}, clip)["gen_ai.input.messages"] or []
    assert [message["parts"][0]["content"] for message in messages] == texts


def test_content_is_cut_on_the_wire(instrument: Any, client: Any, memory: Memory, monkeypatch: Any) -> None:
    """The limit holds for what is sent and, on its own, for what is got."""
    monkeypatch.setenv("SPANBACK_CONTENT_LIMIT_BYTES", "8")
    instrument(capture_content=True)
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    kept = [json.loads(memory.span.attributes[name])[0]["parts"][0]["content"] for name in NAMES[1:3]]
    assert kept == ["When sho[cut: 26 bytes]", "Visit Ky[cut: 75 bytes]"]


def everything(memory: Memory) -> str:
    """All that was recorded anywhere, as text."""
    spans = [span.to_json() for span in memory.spans]
    metrics = [metric.to_json() for metric in memory.metrics().values()]
    return "\n".join(
        [*spans, *metrics, *(str(log.to_json() if hasattr(log, "to_json") else log) for log in memory.logs)]
    )


@driving.either_way
@pytest.mark.parametrize("fails", ["answered", "server", "app"])
def test_nothing_gets_out_unless_asked_for(endpoint: str, fails: str, stream: bool, bench: Any) -> None:
    """By default no text of the app, the server or an exception is in any span, event, metric or status."""
    bench.instrument()
    http = None
    if fails != "answered":
        transport = driving.httpx.MockTransport(lambda _request: answer(fails))
        http = openai.DefaultHttpxClient(transport=transport)
    client = bench.connect(**({"http_client": http} if http else {}))
    resource = driving.resource_of(client, endpoint)
    if resource is None:
        pytest.skip(f"this release of openai has no {endpoint}")
    ((field, _),) = BODIES[endpoint].items()
    body = {"model": MODEL, field: [{"role": "user", "content": SECRET}] if field == "messages" else SECRET}
    try:
        list(resource.create(**body, **({"stream": True} if stream else {})))
    except (openai.APIError, ValueError):
        assert fails != "answered"
    assert len(bench.memory.logs) == (fails != "answered")
    recorded = everything(bench.memory)
    assert SECRET not in recorded
    assert "xylophone" not in recorded
    assert "trip" not in recorded


def answer(fails: str) -> Any:
    """A server's refusal that quotes the prompt, or an exception of the app's that does."""
    if fails == "app":
        raise ValueError(SECRET)
    error = {"message": f"You said: {SECRET}", "code": "content_policy", "type": "x", "param": None}
    return driving.httpx.Response(400, json={"error": error})


MODES = {
    "no_content": (False, False),
    "span_only": (True, False),
    "event_only": (False, True),
    "span_and_event": (True, True),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode: str, instrument: Any, client: Any, memory: Memory) -> None:
    """Content goes on spans as JSON, on events as it is, on both or nowhere."""
    instrument(capture_content=mode)
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    on_span, on_event = MODES[mode]
    attributes = dict(memory.span.attributes or {})
    assert ("gen_ai.input.messages" in attributes, "gen_ai.output.messages" in attributes) == (on_span, on_span)
    assert len(memory.logs) == on_event
    for log in memory.logs:
        plain = {name: value for name, value in attributes.items() if name not in NAMES}
        told = {name: value for name, value in log.attributes.items() if name not in NAMES}
        assert told == plain
        assert json.loads(json.dumps(log.attributes["gen_ai.input.messages"])) == [ASKED]
        assert json.loads(json.dumps(log.attributes["gen_ai.output.messages"])) == [SAID]


@pytest.mark.parametrize("mode", MODES)
def test_messages_of_exceptions_follow_the_mode(mode: str, instrument: Any, client: Any, memory: Memory) -> None:
    """A server's message, which may quote the prompt, is only where content may be; elsewhere its codes are."""
    instrument(capture_content=mode)
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="error-429", **BODIES["chat"])
    texts = ("429 rate_limit_exceeded", str(raised.value))
    on_span, on_event = MODES[mode]
    assert memory.span.status.description == texts[on_span]
    (log,) = [log for log in memory.logs if log.event_name == "gen_ai.client.operation.exception"]
    assert log.attributes["exception.message"] == texts[on_event]


@pytest.mark.parametrize("value", ["span_only", "TRUE", " Span_And_Event "])
def test_the_environment_may_ask(value: str, instrument: Any, client: Any, memory: Memory, monkeypatch: Any) -> None:
    """The conventions' variable turns content on, in any case, and code that says no wins."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    instrument()
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    assert "gen_ai.input.messages" in (memory.span.attributes or {})
    memory.clear()
    spanback.uninstrument()
    instrument(capture_content=False)
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    assert "gen_ai.input.messages" not in (memory.spans[0].attributes or {})
