"""Together."""

from __future__ import annotations

from typing import Any

import together

from tests.clients import stainless
from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse

MESSAGES = [{"role": "user", "content": "When should I visit Kyoto?"}]
ANSWER = "In April."
USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}


def connect(server: WireServer, is_async: bool) -> Any:
    """A client of the kind that is asked for."""
    kind: Any = together.AsyncTogether if is_async else together.Together
    return kind(api_key="test", base_url=server.base_url, max_retries=0)


def answers(request: WireRequest) -> WireAnswer:
    """What api.together.ai says."""
    body = request.body
    model = body["model"]
    if model == "error-429":
        return as_json({"error": {"message": "Rate limit", "type": "rate_limit", "code": "rate_limit"}}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"id": "oX1b')
    usage = None if model == "null-usage" else USAGE
    if request.path.endswith("/embeddings"):
        vectors = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        return as_json({"object": "list", "model": f"{model}-0711", "data": vectors})
    if request.path.endswith("/rerank"):
        results = [{"index": 0, "relevance_score": 0.9, "document": {}}]
        head = {"object": "rerank", "id": f"oX1b-{request.number}", "model": f"{model}-0711"}
        return as_json({**head, "results": None if model == "no-choices" else results, "usage": usage})
    is_chat = request.path.endswith("/chat/completions")
    head = {"id": f"oX1b-{request.number}", "created": 1763700000, "model": f"{model}-0711"}
    if body.get("stream"):
        return as_sse(chunks(head, model, is_chat=is_chat), done=True, is_cut=model == "cut-stream")
    said = None if model == "content-null" else ANSWER
    answer = {"message": {"role": "assistant", "content": said, "tool_calls": []}} if is_chat else {"text": said}
    choices = [{"index": 0, **answer, "finish_reason": "stop", "logprobs": None, "seed": 7}]
    kind = "chat.completion" if is_chat else "text.completion"
    choices = [] if model == "no-choices" else choices
    return as_json({**head, "object": kind, "prompt": [], "choices": choices, "usage": usage})


def chunks(head: dict[str, Any], model: str, *, is_chat: bool) -> list[dict[str, Any]]:
    """The chunks of a streamed answer, of which the last has the usage."""
    if model == "empty-stream":
        return []

    def chunk(word: str | None, reason: str | None = None, usage: Any = None) -> dict[str, Any]:
        delta = {"delta": {"role": "assistant", "content": word}} if is_chat else {"text": word}
        choices = [{"index": 0, **delta, "finish_reason": reason if is_chat else None, "logprobs": None}]
        whole = {**head, "choices": [] if model == "no-choices" else choices, "usage": usage}
        if is_chat:
            return {**whole, "object": "chat.completion.chunk"}
        token = {"id": 1, "text": word, "logprob": -0.1, "special": False}
        return {**whole, "object": "completion.chunk", "token": token, "finish_reason": reason}

    words = [None if model == "content-null" else word for word in ("In", " April", ".")]
    all_of_it = [
        *(chunk(word) for word in words),
        chunk(None if model == "content-null" else "", "stop", None if model == "null-usage" else USAGE),
    ]
    return all_of_it[:2] if model == "cut-stream" else all_of_it


REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "together_ai",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 50,
    "gen_ai.request.top_k": 40,
}
CHAT = {
    **REQUEST,
    "gen_ai.response.id": "oX1b-1",
    "gen_ai.response.model": "model-1-0711",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 4,
}
CONTENT = {
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "When should I visit Kyoto?"}]}],
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    ],
}
SAMPLING: dict[str, Any] = {"temperature": 0.5, "max_tokens": 50, "top_k": 40}


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of client."""
    suffix = " async" if is_async else ""

    def style(name: str, call: Any, **more: Any) -> Style:
        given = {"span_name": "chat model-1", "attributes": CHAT, "content": CONTENT, "odd": stainless.UNARY, **more}
        return Style(name + suffix, call, is_async=is_async, **given)

    def complete(client: Any, model: str, **more: Any) -> Any:
        return client.completions.create(model=model, prompt="When should I visit Kyoto?", **SAMPLING, **more)

    completion = {
        "span_name": "text_completion model-1",
        "attributes": {**CHAT, "gen_ai.operation.name": "text_completion"},
    }
    return [
        *stainless.chat_styles(style, {"messages": MESSAGES, **SAMPLING}, is_async),
        style("completions.create", complete, **completion),
        style(
            "completions.create streamed",
            stainless.streamed(complete),
            **completion,
            is_stream=True,
            odd=stainless.STREAMED,
        ),
        style(
            "embeddings.create",
            lambda client, model: client.embeddings.create(model=model, input="Kyoto"),
            span_name="embeddings model-1",
            attributes={
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "together_ai",
                "gen_ai.request.model": "model-1",
                "gen_ai.response.model": "model-1-0711",
            },
            content={},
            odd=("html", "not-json"),
        ),
        style(
            "rerank.create",
            lambda client, model: client.rerank.create(model=model, query="Kyoto", documents=["In April."]),
            span_name="rerank model-1",
            attributes={
                "gen_ai.operation.name": "rerank",
                "gen_ai.provider.name": "together_ai",
                "gen_ai.request.model": "model-1",
                "gen_ai.response.id": "oX1b-1",
                "gen_ai.response.model": "model-1-0711",
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 4,
            },
            content={},
            odd=("no-choices", "null-usage", "html", "not-json"),
        ),
    ]


CASE = ClientCase(
    client="together",
    distribution="together",
    module="together",
    connect=connect,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
)
