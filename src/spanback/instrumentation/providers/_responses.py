"""OpenAI's Responses format: requests, responses, events and items."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part
from spanback.instrumentation._adapter import (
    Attributes,
    Body,
    Clip,
    Dimensions,
    Field,
    count,
    member,
    members,
    pick,
    text,
)
from spanback.instrumentation.providers._chat import output_type, part_of, tool_definitions

REQUEST = (
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("max_output_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("previous_response_id", sc.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID, str),
    Field("service_tier", sc.OPENAI_REQUEST_SERVICE_TIER, str),
)
_FINISH_REASONS = {"completed": "stop", "failed": "error", "cancelled": "cancelled"}
_WHOLE = frozenset({"response.completed", "response.incomplete", "response.failed"})
_STATES = _WHOLE | {"response.created", "response.queued", "response.in_progress"}


def read_request(body: Body) -> Attributes:
    """Attributes of a request for a response."""
    attributes = pick(body, REQUEST)
    attributes[sc.OPENAI_API_TYPE] = "responses"
    if attributes.get(sc.OPENAI_REQUEST_SERVICE_TIER) == "auto":
        del attributes[sc.OPENAI_REQUEST_SERVICE_TIER]
    reasoning = body.get("reasoning")
    if reasoning is not None:
        attributes[sc.GEN_AI_REQUEST_REASONING_LEVEL] = text(member(reasoning, "effort"))
    output_format = body.get("text")
    if output_format is not None:
        attributes[sc.GEN_AI_OUTPUT_TYPE] = output_type(member(output_format, "format"))
    return attributes


def read_dimensions(body: Body) -> Dimensions:
    """The stored prompt and the conversation that a request names."""
    prompt, conversation = body.get("prompt"), body.get("conversation")
    return Dimensions(
        text(member(prompt, "id")),
        text(member(prompt, "version")),
        text(conversation) or text(member(conversation, "id")),
    )


def read_fetch(body: Body) -> Attributes:
    """Attributes of a request for a stored response: its id, which stands in the address."""
    path = str(body.get("url", "")).partition("?")[0]
    return {sc.GEN_AI_RESPONSE_ID: path.rpartition("/")[2] or None, sc.OPENAI_API_TYPE: "responses"}


def read_response(response: Any) -> Attributes:
    """Attributes of a response; one that failed names its error."""
    attributes = _read_common(response)
    usage = member(response, "usage")
    if usage is not None:
        attributes.update(_read_usage(usage))
    if member(response, "status") == "failed":
        attributes[sc.ERROR_TYPE] = text(member(member(response, "error"), "code")) or "_OTHER"
    return attributes


def read_fetched(response: Any) -> Attributes:
    """Attributes of a stored response. Its tokens were counted by the call that made it, and are not counted again."""
    return {**_read_common(response), sc.GEN_AI_RESPONSE_STATUS: text(member(response, "status"))}


def _read_common(response: Any) -> Attributes:
    return {
        sc.GEN_AI_RESPONSE_ID: text(member(response, "id")),
        sc.GEN_AI_RESPONSE_MODEL: text(member(response, "model")),
        sc.GEN_AI_RESPONSE_FINISH_REASONS: _finish_reasons(response),
        sc.GEN_AI_CONVERSATION_ID: text(member(member(response, "conversation"), "id")),
        sc.OPENAI_RESPONSE_SERVICE_TIER: text(member(response, "service_tier")),
    }


def _read_usage(usage: Any) -> Attributes:
    attributes: Attributes = {
        sc.GEN_AI_USAGE_INPUT_TOKENS: count(member(usage, "input_tokens")),
        sc.GEN_AI_USAGE_OUTPUT_TOKENS: count(member(usage, "output_tokens")),
    }
    details = member(usage, "input_tokens_details")
    if details is not None:
        attributes[sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS] = count(member(details, "cached_tokens"))
        attributes[sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS] = count(member(details, "cache_write_tokens"))
    details = member(usage, "output_tokens_details")
    if details is not None:
        attributes[sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS] = count(member(details, "reasoning_tokens"))
    return attributes


def _finish_reasons(response: Any) -> list[str] | None:
    """The API gives a status instead; it is told in the words of chat completions. None while it is not finished."""
    status = member(response, "status")
    if status == "incomplete":
        reason = text(member(member(response, "incomplete_details"), "reason")) or "error"
        return ["length" if reason == "max_output_tokens" else reason]
    if status == "completed" and any(member(item, "type") == "function_call" for item in members(response, "output")):
        return ["tool_calls"]
    reason = _FINISH_REASONS.get(status) if isinstance(status, str) else None
    return [reason] if reason else None


class ResponseEvents:
    """Folds the events of a streamed response: the last state of it counts, and before it is whole what came of it."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._latest: Any = None
        self._is_whole = False
        self._items: list[Any] = []
        self._deltas: list[str] = []
        self._error: Any = None

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events."""
        for event in chunks:
            kind = getattr(event, "type", None)
            if kind == "response.output_text.delta":
                if self._with_content:
                    self._deltas.append(event.delta)
            elif kind == "response.output_item.done":
                if self._with_content:
                    self._items.append(event.item)
                    self._deltas.clear()
            elif kind in _STATES:
                self._latest = event.response
                self._is_whole = kind in _WHOLE
            elif kind == "error":
                self._error = event

    def response(self) -> Any:
        """The response so far. One that broke off has the items and the text that came, and no usage."""
        if self._is_whole:
            return self._latest
        partial = SimpleNamespace(
            id=member(self._latest, "id"),
            model=member(self._latest, "model"),
            service_tier=member(self._latest, "service_tier"),
            conversation=member(self._latest, "conversation"),
            status=None,
            output=self._items[:],
        )
        if self._deltas:
            content = [{"type": "output_text", "text": "".join(self._deltas)}]
            partial.output.append({"type": "message", "role": "assistant", "content": content})
        if self._error is not None:
            partial.status, partial.error = "failed", self._error
        return partial


def read_input(body: Body, clip: Clip) -> Attributes:
    """Instructions, input and tools, as the conventions shape them."""
    instructions = text(body.get("instructions"))
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else members(body, "input")
    messages = [Message(role=_role(item), parts=list(_parts(item, clip))) for item in items]
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: [{"type": "text", "content": clip(instructions)}] if instructions else None,
        sc.GEN_AI_INPUT_MESSAGES: messages or None,
        sc.GEN_AI_TOOL_DEFINITIONS: tool_definitions(body),
    }


def read_output(response: Any, clip: Clip) -> Attributes:
    """What the model gave, as one message: an output of several items is one turn."""
    parts = [part for item in members(response, "output") for part in _parts(item, clip)]
    if not parts:
        return {}
    reason = (_finish_reasons(response) or ["error"])[0]
    return {sc.GEN_AI_OUTPUT_MESSAGES: [OutputMessage(role="assistant", parts=parts, finish_reason=reason)]}


def _role(item: Any) -> str:
    if text(member(item, "type")) == "function_call_output":
        return "tool"
    is_models = text(member(item, "type")) in {"function_call", "reasoning"}
    return text(member(item, "role")) or ("assistant" if is_models else "user")


def _parts(item: Any, clip: Clip) -> Iterator[Part]:
    kind = text(member(item, "type")) or "message"
    if kind == "message":
        content = member(item, "content")
        if isinstance(content, str):
            yield {"type": "text", "content": clip(content)}
        else:
            yield from (part_of(part, clip) for part in content or ())
    elif kind == "function_call":
        yield {
            "type": "tool_call",
            "id": text(member(item, "call_id")),
            "name": text(member(item, "name")) or "",
            "arguments": clip(member(item, "arguments") or ""),
        }
    elif kind == "function_call_output":
        output = member(item, "output")
        response = clip(output) if isinstance(output, str) else [part_of(part, clip) for part in output or ()]
        yield {"type": "tool_call_response", "id": text(member(item, "call_id")), "response": response}
    elif kind == "reasoning":
        for summary in members(item, "summary"):
            yield {"type": "reasoning", "content": clip(member(summary, "text") or "")}
    else:
        yield {"type": kind}
