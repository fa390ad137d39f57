"""Groq."""

from __future__ import annotations

from typing import Any

import groq

from tests.clients import stainless
from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse

MESSAGES = [{"role": "user", "content": "When should I visit Kyoto?"}]
ANSWER = "In April."
USAGE = {
    "queue_time": 0.01,
    "prompt_tokens": 12,
    "prompt_time": 0.001,
    "completion_tokens": 4,
    "completion_time": 0.02,
    "total_tokens": 16,
    "total_time": 0.021,
}


def connect(server: WireServer, is_async: bool) -> Any:
    """A client of the kind that is asked for."""
    return (groq.AsyncGroq if is_async else groq.Groq)(api_key="test", base_url=server.base_url, max_retries=0)


def answers(request: WireRequest) -> WireAnswer:
    """What api.groq.com says."""
    body = request.body
    model = body["model"]
    if model == "error-429":
        return as_json({"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit"}}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"id": "chatcmpl-')
    if request.path.endswith("/embeddings"):
        vectors = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        return as_json(
            {"object": "list", "model": model, "data": vectors, "usage": {"prompt_tokens": 5, "total_tokens": 5}}
        )
    head = {
        "id": f"chatcmpl-{request.number}",
        "created": 1763700000,
        "model": f"{model}-0711",
        "system_fingerprint": "fp_1",
    }
    if body.get("stream"):
        return as_sse(
            chunks({**head, "object": "chat.completion.chunk"}, model), done=True, is_cut=model == "cut-stream"
        )
    message = {"role": "assistant", "content": None if model == "content-null" else ANSWER}
    choices = (
        [] if model == "no-choices" else [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    )
    usage = None if model == "null-usage" else USAGE
    return as_json({**head, "object": "chat.completion", "choices": choices, "usage": usage, "x_groq": {"id": "req_1"}})


def chunks(head: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """The chunks of a streamed answer."""
    if model == "empty-stream":
        return []

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
        choices = (
            [] if model == "no-choices" else [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]
        )
        return {**head, "choices": choices, **more}

    words = [None if model == "content-null" else word for word in ("In", " April", ".")]
    last = {} if model == "null-usage" else {"x_groq": {"id": "req_1", "usage": USAGE}}
    all_of_it = [
        chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
        *(chunk({"content": word}) for word in words),
        chunk({}, "stop", **last),
    ]
    return all_of_it[:2] if model == "cut-stream" else all_of_it


GIVEN: dict[str, Any] = {"messages": MESSAGES, "temperature": 0.5, "max_tokens": 50}


REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "groq",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 50,
}
CHAT = {
    **REQUEST,
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.model": "model-1-0711",
    "gen_ai.response.finish_reasons": ("stop",),
    "openai.response.system_fingerprint": "fp_1",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 4,
}
CONTENT = {
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "When should I visit Kyoto?"}]}],
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    ],
}


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of client."""
    suffix = " async" if is_async else ""

    def style(name: str, call: Any, **more: Any) -> Style:
        given = {"span_name": "chat model-1", "attributes": CHAT, "content": CONTENT, "odd": stainless.UNARY, **more}
        return Style(name + suffix, call, is_async=is_async, **given)

    return [
        *stainless.chat_styles(style, GIVEN, is_async),
        style(
            "embeddings.create",
            lambda client, model: client.embeddings.create(model=model, input="Kyoto"),
            span_name="embeddings model-1",
            attributes={
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "groq",
                "gen_ai.request.model": "model-1",
                "gen_ai.response.model": "model-1",
                "gen_ai.usage.input_tokens": 5,
            },
            content={},
            odd=("html", "not-json"),
        ),
    ]


CASE = ClientCase(
    client="groq",
    distribution="groq",
    module="groq",
    connect=connect,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
)
