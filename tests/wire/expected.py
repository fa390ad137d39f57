"""What the span of a recorded exchange has to say, read from the recorded bytes and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from tests.wire.recordings import Recording

COMPARED = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.stream",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.response.status",
    "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "error.type",
)
"""The attributes of a span that are compared; one that is not expected must not be there."""

Expected = dict[str, Any]


def dig(value: Any, *path: Any) -> Any:
    """The value at a path through dicts; None where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def told(**values: Any) -> Expected:
    """Attributes by short names; what is None is not told."""
    short = {
        "operation": "gen_ai.operation.name",
        "provider": "gen_ai.provider.name",
        "asked_model": "gen_ai.request.model",
        "stream": "gen_ai.request.stream",
        "id": "gen_ai.response.id",
        "model": "gen_ai.response.model",
        "status": "gen_ai.response.status",
        "reasons": "gen_ai.response.finish_reasons",
        "input": "gen_ai.usage.input_tokens",
        "output": "gen_ai.usage.output_tokens",
        "cache_read": "gen_ai.usage.cache_read.input_tokens",
        "cache_write": "gen_ai.usage.cache_write.input_tokens",
        "reasoning": "gen_ai.usage.reasoning.output_tokens",
        "error": "error.type",
    }
    return {short[name]: value for name, value in values.items() if value not in (None, ())}


def total(first: Any, *more: Any) -> int | None:
    """A sum, where its first part is known."""
    return None if first is None else first + sum(one or 0 for one in more)


def reader_of(recording: Recording) -> Callable[[Recording], Expected] | None:
    """What reads the attributes of `COMPARED` from a recording; None where the exchange is none with a model.

    It leaves `error.type` of most answers with an error status to the caller: the name of what the client raises.
    """
    host, path = recording.url.netloc, recording.url.path
    for place, reader in _READERS.items():
        part_of_host, _, part_of_path = place.partition(" ")
        if part_of_host in host and part_of_path in path:
            return reader
    return None


def _openai(recording: Recording, operation: str, read: Callable[[Recording], Expected]) -> Expected:
    asked = recording.asked
    head = told(
        operation=operation, provider="openai", asked_model=dig(asked, "model"), stream=dig(asked, "stream") or None
    )
    return head if recording.status >= 400 else {**head, **read(recording)}


def _chat(recording: Recording) -> Expected:
    chunks = recording.sse if recording.is_stream else [recording.answered]
    reasons = {choice["index"]: choice["finish_reason"] for choice in _choices(chunks) if choice.get("finish_reason")}
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    return told(
        # One provider begins a stream with a chunk about its content filter, whose id and model are empty.
        id=next((chunk["id"] for chunk in chunks if chunk.get("id")), None),
        model=next((chunk["model"] for chunk in chunks if chunk.get("model")), None),
        reasons=tuple(reason for _, reason in sorted(reasons.items())),
        input=dig(usage, "prompt_tokens"),
        output=dig(usage, "completion_tokens"),
        cache_read=dig(usage, "prompt_tokens_details", "cached_tokens"),
        cache_write=dig(usage, "prompt_tokens_details", "cache_write_tokens"),
        reasoning=dig(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _choices(chunks: Iterable[Any]) -> Iterable[Any]:
    return (choice for chunk in chunks for choice in chunk.get("choices") or ())


def _embeddings(recording: Recording) -> Expected:
    answered = recording.answered
    return told(model=answered["model"], input=dig(answered, "usage", "prompt_tokens"))


def _response(recording: Recording) -> Any:
    if not recording.is_stream:
        return recording.answered
    return next(event["response"] for event in reversed(recording.sse) if "response" in event)


def _reasons_of_response(response: Any) -> tuple[str, ...]:
    status = response.get("status")
    if status == "completed":
        kinds = {item["type"] for item in response["output"]}
        return ("tool_calls",) if "function_call" in kinds else ("stop",)
    if status == "incomplete":
        reason = dig(response, "incomplete_details", "reason")
        return ("length" if reason == "max_output_tokens" else reason,)
    return {"failed": ("error",), "cancelled": ("cancelled",)}.get(status, ())


def _created(recording: Recording) -> Expected:
    response = _response(recording)
    usage = response.get("usage")
    return told(
        id=response["id"],
        model=response.get("model"),
        reasons=_reasons_of_response(response),
        input=dig(usage, "input_tokens"),
        output=dig(usage, "output_tokens"),
        cache_read=dig(usage, "input_tokens_details", "cached_tokens"),
        cache_write=dig(usage, "input_tokens_details", "cache_write_tokens"),
        reasoning=dig(usage, "output_tokens_details", "reasoning_tokens"),
        error=dig(response, "error", "code"),
    )


def _fetched(recording: Recording) -> Expected:
    head = told(
        operation="fetch_response",
        provider="openai",
        id=recording.last_step,
        stream=recording.query.get("stream") == "true" or None,
    )
    if recording.status >= 400:
        return head
    response = _response(recording)
    reasons, status = _reasons_of_response(response), response.get("status")
    return {**head, **told(id=response["id"], model=response.get("model"), status=status, reasons=reasons)}


def _responses(recording: Recording) -> Expected:
    return _fetched(recording) if recording.method == "GET" else _openai(recording, "chat", _created)


def _anthropic(recording: Recording) -> Expected:
    asked = recording.asked
    head = told(operation="chat", provider="anthropic", asked_model=asked["model"], stream=asked.get("stream") or None)
    if recording.status >= 400:
        return head
    if recording.is_stream:
        message = next(event["message"] for event in recording.sse if event["type"] == "message_start")
        ends = [event for event in recording.sse if event["type"] == "message_delta"]
        usage = {**message["usage"], "output_tokens": None}
        for end in ends:
            usage.update({name: value for name, value in end["usage"].items() if value is not None})
        message = {**message, "stop_reason": ends[-1]["delta"]["stop_reason"] if ends else None, "usage": usage}
    else:
        message = recording.answered
    usage = message["usage"]
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    return {
        **head,
        **told(
            id=message["id"],
            model=message["model"],
            reasons=(message["stop_reason"],) if message["stop_reason"] else (),
            input=total(usage.get("input_tokens"), read, written),
            output=usage["output_tokens"],
            cache_read=read,
            cache_write=written,
            reasoning=dig(usage, "output_tokens_details", "thinking_tokens"),
        ),
    }


def _bedrock(recording: Recording) -> Expected:
    _, _, model, method = recording.url.path.split("/")
    stream = "stream" in method or None
    head = told(provider="aws.bedrock", asked_model=unquote(model), stream=stream)
    if method.startswith("converse"):
        return {**head, **_converse(recording)}
    operation = "text_completion" if "textGenerationConfig" in recording.asked else "embeddings"
    return {**head, **told(operation=operation), **_invoked(recording)}


def _converse(recording: Recording) -> Expected:
    head = told(operation="chat")
    if recording.status >= 400:
        return {**head, **told(error=recording.headers["x-amzn-errortype"].partition(":")[0])}
    answer: Any = {}
    if recording.is_stream:
        for headers, payload in recording.aws_events:
            if headers[":event-type"] in {"messageStop", "metadata"}:
                answer.update(payload)
    else:
        answer = recording.answered
    usage = answer.get("usage")
    read, written = dig(usage, "cacheReadInputTokens"), dig(usage, "cacheWriteInputTokens")
    return {
        **head,
        **told(
            reasons=(answer["stopReason"],),
            input=total(dig(usage, "inputTokens"), read, written),
            output=dig(usage, "outputTokens"),
            cache_read=read,
            cache_write=written,
        ),
    }


def _invoked(recording: Recording) -> Expected:
    """What Amazon's own Titan models answer; no other model's are among the recordings."""
    if recording.is_stream:
        chunks = [json.loads(base64.b64decode(payload["bytes"])) for _, payload in recording.aws_events]
        counts = chunks[-1]["amazon-bedrock-invocationMetrics"]
        reasons = (chunks[-1]["completionReason"],)
        return told(reasons=reasons, input=counts["inputTokenCount"], output=counts["outputTokenCount"])
    answered = recording.answered
    results = answered.get("results", ())
    return told(
        reasons=tuple(result["completionReason"] for result in results),
        input=answered["inputTextTokenCount"],
        output=sum(result["tokenCount"] for result in results) if results else None,
    )


def _gemini(recording: Recording) -> Expected:
    model, _, method = recording.last_step.partition(":")
    provider = "gcp.vertex_ai" if "aiplatform" in recording.url.netloc else "gcp.gemini"
    operation = "embeddings" if "mbed" in method else "generate_content"
    answered = recording.answered
    usage = answered.get("usageMetadata")
    head = told(operation=operation, provider=provider, asked_model=model)
    if operation == "embeddings":
        return {**head, **told(input=dig(usage, "promptTokenCount"))}
    thoughts = dig(usage, "thoughtsTokenCount")
    return {
        **head,
        **told(
            id=answered.get("responseId"),
            model=answered["modelVersion"],
            reasons=tuple(candidate["finishReason"].lower() for candidate in answered["candidates"]),
            input=total(dig(usage, "promptTokenCount"), dig(usage, "toolUsePromptTokenCount")),
            output=total(dig(usage, "candidatesTokenCount"), thoughts),
            cache_read=dig(usage, "cachedContentTokenCount"),
            reasoning=thoughts,
        ),
    }


_REASONS = {"completed": "stop", "requires_action": "tool_calls", "incomplete": "length", "failed": "error"}


def _interaction(recording: Recording) -> Expected:
    is_fetch, asked = recording.method == "GET", recording.asked
    is_stream = (recording.query.get("stream") == "true") if is_fetch else dig(asked, "stream")
    head = told(
        operation="fetch_response" if is_fetch else "generate_content",
        provider="gcp.gemini",
        asked_model=dig(asked, "model"),
        stream=is_stream or None,
        id=recording.last_step if is_fetch else None,
    )
    if recording.status >= 400:
        return head
    whole: Any = {}
    for event in recording.sse if recording.is_stream else [{"interaction": recording.answered}]:
        whole.update({name: value for name, value in event.get("interaction", {}).items() if value})
        if "error" in event:  # the provider breaks the stream off, and what it said of the status before is stale
            whole.update(status=None, error=event["error"])
    status, error = whole.get("status"), dig(whole, "error", "code")
    reason = "error" if error else _REASONS.get(status)
    found = {**head, **told(id=whole["id"], model=whole["model"], reasons=(reason,) if reason else ())}
    if is_fetch:
        return {**found, **told(status=status, error=error)}
    usage = whole.get("usage")
    thoughts = dig(usage, "total_thought_tokens")
    return {
        **found,
        **told(
            input=total(dig(usage, "total_input_tokens"), dig(usage, "total_tool_use_tokens")),
            output=total(dig(usage, "total_output_tokens"), thoughts),
            cache_read=dig(usage, "total_cached_tokens"),
            reasoning=thoughts,
            error=error,
        ),
    }


# What is at the same host and path in a recording; the first that fits counts.
_READERS: dict[str, Callable[[Recording], Expected]] = {
    "api.openai.com /chat/completions": lambda recording: _openai(recording, "chat", _chat),
    "api.openai.com /embeddings": lambda recording: _openai(recording, "embeddings", _embeddings),
    "api.openai.com /responses": _responses,
    "api.anthropic.com /messages": _anthropic,
    "bedrock-runtime. /model/": _bedrock,
    "googleapis.com /interactions": _interaction,
    "googleapis.com :": _gemini,
}
