"""Ollama."""

from __future__ import annotations

import json
from typing import Any

import ollama

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_lines

MESSAGES = [{"role": "user", "content": "When should I visit Kyoto?"}]
ANSWER = "In April."
OPTIONS = {"temperature": 0.5, "num_predict": 50}
COUNTS = {
    "total_duration": 5000,
    "load_duration": 1000,
    "prompt_eval_count": 12,
    "prompt_eval_duration": 1000,
    "eval_count": 4,
    "eval_duration": 3000,
}


def connect(server: WireServer, is_async: bool) -> Any:
    """A client of the kind that is asked for."""
    client: Any = (ollama.AsyncClient if is_async else ollama.Client)(host=server.base_url)
    if not hasattr(client, "close"):  # before release 0.6 nothing closes it but the garbage collector
        client.close = client._client.aclose if is_async else client._client.close
    return client


def answers(request: WireRequest) -> WireAnswer:
    """What Ollama's server says."""
    body = request.body
    model = body["model"]
    if model == "error-429":
        return as_json({"error": "too many requests"}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"model": "model-1", ')
    head = {"model": f"{model}:latest", "created_at": "2026-11-21T09:00:00Z"}
    counts = dict.fromkeys(COUNTS) if model == "null-usage" else COUNTS
    if request.path == "/api/embed":
        timed = {name: counts[name] for name in ("total_duration", "load_duration", "prompt_eval_count")}
        return as_json({"model": f"{model}:latest", "embeddings": [[0.1, 0.2]], **timed})
    if request.path == "/api/embeddings":
        return as_json({"embedding": [0.1, 0.2]})

    def part(piece: str, *, is_last: bool) -> dict[str, Any]:
        said = None if model == "content-null" else piece
        given = (
            {"message": {"role": "assistant", "content": said}} if request.path == "/api/chat" else {"response": said}
        )
        more = {"done": True, "done_reason": "stop", **counts} if is_last else {"done": False}
        return {**head, **({} if model == "no-choices" else given), **more}

    if not body.get("stream"):
        return as_json(part(ANSWER, is_last=True))
    if model == "empty-stream":
        return as_lines([])
    pieces = [part(piece, is_last=False) for piece in ("In", " April", ".")]
    if model == "cut-stream":
        lines = (json.dumps(piece).encode() + b"\n" for piece in pieces[:2])
        return WireAnswer(lines, headers={"content-type": "application/x-ndjson"}, is_cut=True)
    return as_lines([*pieces, part("", is_last=True)])


REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 50,
}
CHAT = {
    **REQUEST,
    "gen_ai.response.model": "model-1:latest",
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
EMBED = {
    "gen_ai.operation.name": "embeddings",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "model-1",
}
UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
STREAMED = ("no-choices", "null-usage", "content-null", "empty-stream", "cut-stream", "html", "not-json")


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of client."""
    suffix = " async" if is_async else ""

    def style(name: str, call: Any, **more: Any) -> Style:
        given = {
            "span_name": "chat model-1",
            "attributes": CHAT,
            "content": CONTENT,
            "odd": STREAMED if more.get("is_stream") else UNARY,
            "error_type": "ResponseError",
            **more,
        }
        return Style(name + suffix, call, is_async=is_async, **given)

    def chat(client: Any, model: str, **more: Any) -> Any:
        return client.chat(model=model, messages=MESSAGES, options=OPTIONS, **more)

    def generate(client: Any, model: str, **more: Any) -> Any:
        return client.generate(model=model, prompt="When should I visit Kyoto?", options=OPTIONS, **more)

    completion = {
        "span_name": "text_completion model-1",
        "attributes": {**CHAT, "gen_ai.operation.name": "text_completion"},
    }
    embedding = {"span_name": "embeddings model-1", "content": {}, "odd": ("html", "not-json")}
    embedded = {**EMBED, "gen_ai.response.model": "model-1:latest", "gen_ai.usage.input_tokens": 12}
    return [
        style("chat", chat),
        style("chat streamed", lambda client, model: chat(client, model, stream=True), is_stream=True),
        style("generate", generate, **completion),
        style(
            "generate streamed",
            lambda client, model: generate(client, model, stream=True),
            is_stream=True,
            **completion,
        ),
        style(
            "embed",
            lambda client, model: client.embed(model=model, input=["Kyoto"], options={"temperature": 0}),
            **{**embedding, "attributes": embedded, "odd": ("html", "not-json", "null-usage")},
        ),
        style(
            "embeddings",
            lambda client, model: client.embeddings(model=model, prompt="Kyoto"),
            attributes=EMBED,
            **embedding,
        ),
    ]


CASE = ClientCase(
    client="ollama",
    distribution="ollama",
    module="ollama",
    connect=connect,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
)
