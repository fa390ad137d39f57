"""OpenAI's Responses format: requests, responses, events and items."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part
from spanback.instrumentation._adapter import NO_DIMENSIONS, Attributes, Body, Clip, Dimensions, member, members, text
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers._chat import output_type, part_of, service_tier, tool_definitions

_FINISH_REASONS = {"failed": "error", "cancelled": "cancelled"}
_WHOLE = frozenset({"response.completed", "response.incomplete", "response.failed"})
_STATES = _WHOLE | {"response.created", "response.queued", "response.in_progress"}


def _effort(reasoning: Any) -> str | None:
    return text(member(reasoning, "effort"))


def _text_format(given: Any) -> str | None:
    return output_type(member(given, "format"))


read_request = body_reader(
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("max_output_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("previous_response_id", sc.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID, str),
    Field("service_tier", sc.OPENAI_REQUEST_SERVICE_TIER, service_tier),
    Field("reasoning", sc.GEN_AI_REQUEST_REASONING_LEVEL, _effort),
    Field("text", sc.GEN_AI_OUTPUT_TYPE, _text_format),
)
_COMMON = (
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("service_tier", sc.OPENAI_RESPONSE_SERVICE_TIER, str),
    Field("conversation.id", sc.GEN_AI_CONVERSATION_ID, str),
)
_read_fetched = response_reader(*_COMMON, Field("status", sc.GEN_AI_RESPONSE_STATUS, str))
_read_response = response_reader(
    *_COMMON,
    Field("usage.input_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage.output_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("usage.input_tokens_details.cached_tokens", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("usage.input_tokens_details.cache_write_tokens", sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, int),
    Field("usage.output_tokens_details.reasoning_tokens", sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, int),
)


def read_dimensions(body: Body) -> Dimensions:
    """The stored prompt and the conversation that a request names."""
    prompt, conversation = body.get("prompt"), body.get("conversation")
    if prompt is None and conversation is None:
        return NO_DIMENSIONS
    return Dimensions(
        text(member(prompt, "id")),
        text(member(prompt, "version")),
        text(conversation) or text(member(conversation, "id")),
    )


def read_fetch(body: Body) -> Attributes:
    """Attributes of a request for a stored response: its id, which stands in the address."""
    path = str(body.get("url", "")).partition("?")[0]
    return {sc.GEN_AI_RESPONSE_ID: path.rpartition("/")[2] or None}


def read_response(response: Any) -> Attributes:
    """Attributes of a response; one that failed names its error."""
    attributes = _read_response(response)
    reasons = _finish_reasons(response)
    if reasons is not None:
        attributes[sc.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
        if reasons == ("error",) and member(response, "status") == "failed":
            attributes[sc.ERROR_TYPE] = _error_type(response)
    return attributes


def read_fetched(response: Any) -> Attributes:
    """Attributes of a stored response. Its tokens were counted by the call that made it, and are not counted again."""
    attributes = {**_read_fetched(response), sc.GEN_AI_RESPONSE_FINISH_REASONS: _finish_reasons(response)}
    if member(response, "is_broken"):  # the call itself failed, and the API did not say how the response stands
        attributes.update({sc.GEN_AI_RESPONSE_STATUS: None, sc.ERROR_TYPE: _error_type(response)})
    return attributes


def _error_type(response: Any) -> str:
    return text(member(member(response, "error"), "code")) or "_OTHER"


def _finish_reasons(response: Any) -> tuple[str, ...] | None:
    """The API gives a status instead; it is told in the words of chat completions. None while it is not finished."""
    status = member(response, "status")
    if status == "incomplete":
        reason = text(member(member(response, "incomplete_details"), "reason")) or "error"
        return ("length" if reason == "max_output_tokens" else reason,)
    if status == "completed":
        kinds = [member(item, "type") for item in members(response, "output")]
        return ("tool_calls" if "function_call" in kinds else "stop",)
    reason = _FINISH_REASONS.get(status) if isinstance(status, str) else None
    return (reason,) if reason else None


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
            partial.status, partial.error, partial.is_broken = "failed", self._error, True
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
