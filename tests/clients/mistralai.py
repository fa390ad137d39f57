"""Mistral."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel

try:
    from mistralai.client import Mistral
except ImportError:
    from mistralai import Mistral

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse

MESSAGES = [{"role": "user", "content": "When should I visit Kyoto?"}]
ANSWER = "In April."
USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
AGENT = "agent-1"


class Month(BaseModel):
    """What a parsed answer holds."""

    month: str


class Client(Mistral):
    """A client whose connections a test can close; Mistral's own leaves that to the garbage collector."""

    async def aclose(self) -> None:
        """Closes the connections of both kinds."""
        self.sdk_configuration.client.close()
        await self.sdk_configuration.async_client.aclose()


def connect(server: WireServer, _is_async: bool) -> Any:
    """A client, which is of both kinds."""
    http: Any = sys.modules[Mistral.__module__].httpx  # of the kind that this release takes
    plain = {"client": http.Client(verify=False), "async_client": http.AsyncClient(verify=False)}  # to load no roots
    return Client(api_key="test", server_url=server.base_url, **plain)


def answers(request: WireRequest) -> WireAnswer:
    """What api.mistral.ai says."""
    body = request.body
    parts = request.path.split("/")
    in_conversation = parts[2].partition("#")[0] == "conversations"
    stored = parts[3].partition("#")[0] if in_conversation and len(parts) > 3 else None
    model = body.get("model") or body.get("agent_id") or stored
    if model == "error-429":
        return as_json(
            {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}, 429
        )
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"id": "cmpl-')
    is_stream = body.get("stream")
    if parts[2] == "embeddings":
        return embedded(model)
    if in_conversation:
        return conversation_events(model) if is_stream else conversation(model)
    if parts[2] == "responses":
        return response_events(request, model) if is_stream else as_json(response(request, model))
    head = {"id": f"cmpl-{request.number}", "created": 1763700000, "model": f"{model}-2407"}
    if is_stream:
        return as_sse(
            chunks({**head, "object": "chat.completion.chunk"}, model), done=True, is_cut=model == "cut-stream"
        )
    words = None if model == "content-null" else ANSWER
    if words and (body.get("response_format") or {}).get("type") == "json_schema":
        words = json.dumps({"month": "April"})
    message = {"role": "assistant", "content": words, "tool_calls": None, "prefix": False}
    choices = [] if model == "no-choices" else [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = None if model == "null-usage" else USAGE
    return as_json({**head, "object": "chat.completion", "choices": choices, "usage": usage})


def chunks(head: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """The chunks of a streamed completion."""
    if model == "empty-stream":
        return []

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
        choices = [] if model == "no-choices" else [{"index": 0, "delta": delta, "finish_reason": reason}]
        return {**head, "choices": choices, **more}

    words = [None if model == "content-null" else word for word in ("In", " April", ".")]
    all_of_it = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in words),
        chunk({"content": ""}, "stop", usage=None if model == "null-usage" else USAGE),
    ]
    return all_of_it[:2] if model == "cut-stream" else all_of_it


def embedded(model: str) -> WireAnswer:
    """An answer to a request for embeddings."""
    data = [] if model == "no-choices" else [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
    usage = {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}
    return as_json(
        {
            "id": "embd-1",
            "object": "list",
            "model": model,
            "data": data,
            "usage": None if model == "null-usage" else usage,
        }
    )


def conversation(model: str) -> WireAnswer:
    """What is appended to a conversation."""
    entry = {
        "object": "entry",
        "type": "message.output",
        "id": "msg_1",
        "role": "assistant",
        "model": "model-1-2407",
        "content": None if model == "content-null" else ANSWER,
    }
    return as_json(
        {
            "object": "conversation.response",
            "conversation_id": "conv_1",
            "outputs": [] if model == "no-choices" else [entry],
            "usage": None if model == "null-usage" else USAGE,
        }
    )


def conversation_events(model: str) -> WireAnswer:
    """The events of a conversation."""
    delta = {"type": "message.output.delta", "id": "msg_1", "role": "assistant", "model": "model-1-2407"}
    pieces = () if model == "no-choices" else ("In", " April", ".")
    events = [
        {"type": "conversation.response.started", "conversation_id": "conv_1"},
        *({**delta, "content": None if model == "content-null" else piece, "output_index": 0} for piece in pieces),
        {"type": "conversation.response.done", "usage": None if model == "null-usage" else USAGE},
    ]
    if model in {"empty-stream", "cut-stream"}:
        events = events[:2] if model == "cut-stream" else []
    return as_sse_with_names(events, is_cut=model == "cut-stream")


def as_sse_with_names(events: list[dict[str, Any]], *, is_cut: bool) -> WireAnswer:
    """Named events; only their data counts as JSON."""
    return as_sse(events, named=True, is_cut=is_cut)


def response(request: WireRequest, model: str, **more: Any) -> dict[str, Any]:
    """A response of the Responses API."""
    content = [{"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}]
    item = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": None if model == "content-null" else content,
    }
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 16,
    }
    return {
        "id": f"resp_{request.number}",
        "object": "response",
        "created_at": 1763700000.0,
        "model": f"{model}-2407",
        "status": "completed",
        "output": [] if model == "no-choices" else [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": None if model == "null-usage" else usage,
        **more,
    }


def response_events(request: WireRequest, model: str) -> WireAnswer:
    """The events of a streamed response."""
    started = response(request, model, status="in_progress", output=[], usage=None)
    whole = response(request, model)
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": started},
        *({**delta, "delta": piece, "logprobs": []} for piece in ("In", " April", ".")),
        *({"type": "response.output_item.done", "output_index": 0, "item": item} for item in whole["output"]),
        {"type": "response.completed", "response": whole},
    ]
    if model in {"empty-stream", "cut-stream"}:
        events = events[:2] if model == "cut-stream" else []
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return as_sse_with_names(numbered, is_cut=model == "cut-stream")


REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "mistral_ai",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.max_tokens": 50,
}
RESPONSE = {
    "gen_ai.response.id": "cmpl-1",
    "gen_ai.response.model": "model-1-2407",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 4,
}
CHAT = {**REQUEST, **RESPONSE, "gen_ai.request.temperature": 0.5, "gen_ai.request.seed": 7}
PARSED = {**CHAT, "gen_ai.output.type": "json"}
AGENTS = {name: value for name, value in {**REQUEST, **RESPONSE}.items() if name != "gen_ai.request.model"}
CODE = {**REQUEST, **RESPONSE, "gen_ai.operation.name": "text_completion"}
EMBEDDINGS = {
    "gen_ai.operation.name": "embeddings",
    "gen_ai.provider.name": "mistral_ai",
    "gen_ai.request.model": "model-1",
    "gen_ai.response.id": "embd-1",
    "gen_ai.response.model": "model-1",
    "gen_ai.usage.input_tokens": 5,
}
CONVERSATION = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "mistral_ai",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.conversation.id": "conv_1",
    "gen_ai.response.model": "model-1-2407",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 4,
}
STARTED = {**CONVERSATION, "gen_ai.request.model": "model-1"}
RESPONSES = {
    **REQUEST,
    **RESPONSE,
    "gen_ai.response.id": "resp_1",
    "gen_ai.usage.cache_read.input_tokens": 3,
    "gen_ai.usage.cache_write.input_tokens": 0,
    "gen_ai.usage.reasoning.output_tokens": 1,
}


def said(*inputs: str, output: str = ANSWER) -> dict[str, Any]:
    """Content attributes of one turn."""
    text = {"type": "text", "content": output}
    return {
        "gen_ai.input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": content} for content in inputs]}
        ],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [text], "finish_reason": "stop"}],
    }


CONTENT = said("When should I visit Kyoto?")
UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
STREAMED = ("no-choices", "null-usage", "content-null", "empty-stream", "cut-stream", "html")
SAMPLING = {"messages": MESSAGES, "temperature": 0.5, "max_tokens": 50, "random_seed": 7}


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of method."""
    suffix, end = (" async", "_async") if is_async else ("", "")

    def style(name: str, attributes: Any, call: Any, **more: Any) -> Style:
        is_stream = "stream" in name
        given = {"span_name": "chat model-1", "content": CONTENT, "odd": STREAMED if is_stream else UNARY, **more}
        return Style(
            name + suffix,
            call,
            attributes=attributes,
            is_async=is_async,
            is_stream=is_stream,
            error_type="SDKError",
            **given,
        )

    def of(resource: Any, name: str) -> Any:
        return getattr(resource, name + end)

    def converse(client: Any, name: str, **more: Any) -> Any:
        method = of(client.beta.conversations, name)
        return method(inputs=MESSAGES, completion_args={"temperature": 0.5}, **more)

    def appended(name: str) -> Any:
        more = {"from_entry_id": "msg_0"} if name.startswith("restart") else {}
        return lambda client, model: converse(client, name, conversation_id=model, **more)

    def started(name: str) -> Any:
        return lambda client, model: converse(client, name, model=model)

    def respond(client: Any, model: str, **more: Any) -> Any:
        method = of(client.responses, "create")
        return method(model=model, input="When should I visit Kyoto?", max_output_tokens=50, **more)

    code = {"prompt": "def kyoto(", "suffix": "return 4", "max_tokens": 50}
    coded = {"span_name": "text_completion model-1", "content": said("def kyoto(", "return 4")}
    with_beta, with_responses = {"from_version": (1, 8)}, {"from_version": (3, 0)}
    parsed = {"content": said("When should I visit Kyoto?", output='{"month": "April"}'), "from_version": (1, 5)}
    agent = {"agent_id": None, "messages": MESSAGES, "max_tokens": 50}
    return [
        style("chat.complete", CHAT, lambda client, model: of(client.chat, "complete")(model=model, **SAMPLING)),
        style("chat.stream", CHAT, lambda client, model: of(client.chat, "stream")(model=model, **SAMPLING)),
        style(
            "chat.parse",
            PARSED,
            lambda client, model: of(client.chat, "parse")(Month, model=model, **SAMPLING),
            **parsed,
        ),
        style(
            "chat.parse_stream",
            PARSED,
            lambda client, model: of(client.chat, "parse_stream")(Month, model=model, **SAMPLING),
            from_version=(1, 5),
        ),
        style(
            "agents.complete",
            AGENTS,
            lambda client, model: of(client.agents, "complete")(**{**agent, "agent_id": model}),
            span_name="chat",
        ),
        style(
            "agents.stream",
            AGENTS,
            lambda client, model: of(client.agents, "stream")(**{**agent, "agent_id": model}),
            span_name="chat",
            from_version=(1, 1),
        ),
        style("fim.complete", CODE, lambda client, model: of(client.fim, "complete")(model=model, **code), **coded),
        style("fim.stream", CODE, lambda client, model: of(client.fim, "stream")(model=model, **code), **coded),
        style(
            "embeddings.create",
            EMBEDDINGS,
            lambda client, model: of(client.embeddings, "create")(model=model, inputs="Kyoto"),
            span_name="embeddings model-1",
            content={},
            odd=("no-choices", "null-usage", "html", "not-json"),
        ),
        style("conversations.start", STARTED, started("start"), **with_beta),
        style("conversations.start_stream", STARTED, started("start_stream"), **with_beta),
        *(
            style(f"conversations.{name}", CONVERSATION, appended(name), span_name="chat", **with_beta)
            for name in ("append", "append_stream", "restart", "restart_stream")
        ),
        style("responses.create", RESPONSES, respond, **with_responses),
        style(
            "responses.create streamed",
            RESPONSES,
            lambda client, model: respond(client, model, stream=True),
            **with_responses,
        ),
    ]


CASE = ClientCase(
    client="mistralai",
    distribution="mistralai",
    module="mistralai",
    connect=connect,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
)
