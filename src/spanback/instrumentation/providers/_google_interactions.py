"""Google's interactions: requests, responses, events and steps, of the generated client and of the one before it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part
from spanback.instrumentation._adapter import Attributes, Body, Clip, Received, member, members, text
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers._chat import texts, tool_definitions
from spanback.instrumentation.providers._google_contents import (
    TOOL_PROMPTS,
    add_modalities,
    add_parts,
    fields_of,
    media,
)

_REASONS: Final = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "incomplete": "length",
    "failed": "error",
    "cancelled": "cancelled",
    "budget_exceeded": "budget_exceeded",
}
_OF_THE_MODEL: Final = frozenset({"model_output", "thought", "function_call"})
_NONE: Final[Body] = {}
_MEDIA: Final = frozenset({"image", "audio", "video", "document"})
_MODALITIES: Final = {
    "input_tokens_by_modality": "input_tokens",
    "output_tokens_by_modality": "output_tokens",
    "cached_tokens_by_modality": "cache_read.input_tokens",
}
_read_config: Final = body_reader(
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("max_output_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("seed", sc.GEN_AI_REQUEST_SEED, int),
    Field("stop_sequences", sc.GEN_AI_REQUEST_STOP_SEQUENCES, texts),
    Field("thinking_level", sc.GEN_AI_REQUEST_REASONING_LEVEL, str),
)
_read_body: Final = body_reader(
    Field("previous_interaction_id", sc.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID, str),
)
_IDENTITY: Final = (Field("id", sc.GEN_AI_RESPONSE_ID, str), Field("model", sc.GEN_AI_RESPONSE_MODEL, str))
_read_fetched: Final = response_reader(*_IDENTITY, Field("status", sc.GEN_AI_RESPONSE_STATUS, str))
_read_response: Final = response_reader(
    *_IDENTITY,
    Field("usage.total_input_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage.total_output_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("usage.total_cached_tokens", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("usage.total_thought_tokens", sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, int),
    Field("usage.total_tool_use_tokens", TOOL_PROMPTS, int),
)


def body_of(kwargs: Mapping[str, Any]) -> Body:
    """The body of a request, which may be given as one object."""
    inside = member(kwargs.get("request"), "body")
    return kwargs if inside is None else fields_of(inside)


def server_of(resource: Any) -> tuple[str | None, bool]:
    """The base URL of a resource of interactions, and whether it belongs to Vertex AI."""
    configuration = resource.sdk_configuration
    version = text(member(member(configuration, "globals"), "api_version")) or ""
    return text(configuration.server_url), "projects/" in version


def sort(result: Any, is_stream: bool) -> Received | None:
    """Tells whole interactions, streams and raw responses apart; of these it reads what has arrived."""
    own = getattr(result, "__dict__", {})
    if "generator" in own:
        return Received(stream=result, slot="generator", holder=result)
    if "_parsed_by_type" not in own:
        return None
    if is_stream or not result.http_response.is_stream_consumed:
        return Received(pending=own["_parsed_by_type"], body=result.http_response, holder=result)
    if result.http_response.status_code >= 400:  # in some releases the app's own parse() is what raises
        errors = [{"code": str(result.http_response.status_code)}]
        return Received(response={"status": "failed", "is_broken": True, "errors": errors})
    try:
        return Received(response=json.loads(result.http_response.content))
    except ValueError:
        return Received(response={})


def identify(thing: Any) -> tuple[str | None, str | None]:
    """Id and model of an interaction or of an event that holds one."""
    found = member(thing, "interaction") or thing
    return text(member(found, "id")), text(member(found, "model"))


def read_request(body: Body) -> Attributes:
    """Attributes of a request."""
    attributes = {**_read_config(fields_of(body.get("generation_config"))), **_read_body(body)}
    formats = body.get("response_format")
    first = formats[0] if isinstance(formats, list) and formats else formats
    mime_type = text(member(first, "mime_type")) or text(body.get("response_mime_type"))
    if mime_type == "application/json":
        attributes[sc.GEN_AI_OUTPUT_TYPE] = "json"
    return attributes


def read_fetch(body: Body) -> Attributes:
    """Attributes of a request for a stored interaction, of which the client before told the path alone."""
    return {sc.GEN_AI_RESPONSE_ID: text(body.get("id") or body.get("url", "").rpartition("/")[2])}


def read_response(interaction: Any) -> Attributes:
    """Attributes of an interaction. The API counts thoughts and the prompts of tools apart; the totals include them."""
    attributes = _read_response(interaction)
    add_parts(attributes)
    usage = member(interaction, "usage")
    if usage is not None:
        add_modalities(attributes, usage, _MODALITIES)
    attributes[sc.GEN_AI_RESPONSE_FINISH_REASONS] = _finish_reasons(interaction)
    if member(interaction, "status") == "failed":
        attributes[sc.ERROR_TYPE] = _error_type(interaction)
    return attributes


def read_fetched(interaction: Any) -> Attributes:
    """Attributes of a stored interaction. Its tokens were counted by the call that made it."""
    attributes = {**_read_fetched(interaction), sc.GEN_AI_RESPONSE_FINISH_REASONS: _finish_reasons(interaction)}
    if member(interaction, "is_broken"):  # the call itself failed, and the API did not say how the interaction stands
        attributes.update({sc.GEN_AI_RESPONSE_STATUS: None, sc.ERROR_TYPE: _error_type(interaction)})
    return attributes


def _error_type(interaction: Any) -> str:
    errors = members(interaction, "errors")
    return text(member(errors[0], "code") if errors else None) or "_OTHER"


def _finish_reasons(interaction: Any) -> tuple[str, ...] | None:
    """The API gives a status instead; it is told in the words of chat completions. None while it is not finished."""
    reason = _REASONS.get(text(member(interaction, "status")) or "")
    return (reason,) if reason else None


class InteractionEvents:
    """Folds the events of a streamed interaction: its last state, and with content the steps that came."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._whole = SimpleNamespace(id=None, model=None, status=None, usage=None, errors=[], steps=[])
        self._open: dict[Any, dict[str, Any]] = {}

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events."""
        for event in chunks:
            own = getattr(event, "__dict__", _NONE)  # pydantic takes long to say that there is no such attribute
            interaction = own.get("interaction")
            if interaction is not None:
                self._take_state(interaction)
            elif own.get("event_type") == "error":
                self._whole.status, self._whole.errors = "failed", [member(event, "error")]
                self._whole.is_broken = True
            elif self._with_content:
                self._take_content(event)

    def response(self) -> Any:
        """The interaction so far."""
        return self._whole

    def _take_state(self, interaction: Any) -> None:
        if member(interaction, "status") != "in_progress":
            self._open.clear()
        for name in ("id", "model", "status", "usage"):
            value = member(interaction, name)
            if value is not None and value != "":
                setattr(self._whole, name, value)

    def _take_content(self, event: Any) -> None:
        """Takes the start of a step, or a piece of one; before there were steps, of a content."""
        index = getattr(event, "index", None)
        start = getattr(event, "step", None) or getattr(event, "content", None)
        if start is not None:
            self._open[index] = step = _begun(start)
            self._whole.steps.append(step)
        delta = getattr(event, "delta", None)
        if delta is None:
            return
        step = self._open.get(index)
        if step is None:
            step = self._open[index] = {"type": "model_output", "content": []}
            self._whole.steps.append(step)
        _grow(step, delta)


def _begun(start: Any) -> dict[str, Any]:
    kind = text(member(start, "type"))
    kept = {name: member(start, name) for name in ("id", "name", "arguments", "call_id", "result")}
    inside = [] if kind in {"model_output", "thought"} else [start] if kind in {"text", *_MEDIA} else []
    content = [*inside, *members(start, "content"), *members(start, "summary")]
    return {"type": kind if kind not in {"text", *_MEDIA} else "model_output", **kept, "content": content}


def _grow(step: dict[str, Any], delta: Any) -> None:
    kind, content = text(member(delta, "type")), step["content"]
    if kind == "arguments_delta":
        before = step.get("arguments")
        step["arguments"] = (before if isinstance(before, str) else "") + (text(member(delta, "arguments")) or "")
    elif kind == "function_call":
        step.update(type=kind, **{name: member(delta, name) for name in ("id", "name", "arguments")})
    elif kind == "thought_summary":
        step["type"] = "thought"
        _say(content, member(delta, "content"))
    elif kind == "text":
        _say(content, delta)
    elif kind in _MEDIA:
        content.append(delta)


def _say(content: list[Any], piece: Any) -> None:
    """Adds a piece of a text to the last one."""
    said = text(member(piece, "text")) or ""
    last = content[-1] if content else None
    if member(last, "type") == "text":
        content[-1] = {"type": "text", "text": (member(last, "text") or "") + said}
    else:
        content.append({"type": "text", "text": said})


def read_input(body: Body, clip: Clip) -> Attributes:
    """Instructions, input and tools, as the conventions shape them."""
    instructions = text(body.get("system_instruction"))
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: [{"type": "text", "content": clip(instructions)}] if instructions else None,
        sc.GEN_AI_INPUT_MESSAGES: list(_messages(body.get("input"), clip)) or None,
        sc.GEN_AI_TOOL_DEFINITIONS: tool_definitions(body),
    }


def read_output(interaction: Any, clip: Clip) -> Attributes:
    """What the model gave, as one message: an interaction of several steps is one turn."""
    steps = members(interaction, "steps") or members(interaction, "outputs")
    parts = [part for step in steps if member(step, "type") != "user_input" for part in _parts(step, clip)]
    if not parts:
        return {}
    reason = (_finish_reasons(interaction) or ("error",))[0]
    return {sc.GEN_AI_OUTPUT_MESSAGES: [OutputMessage(role="assistant", parts=parts, finish_reason=reason)]}


def _messages(given: Any, clip: Clip) -> Iterator[Message]:
    """The input as messages. Contents beside each other are one, as the client makes of them."""
    loose: list[Part] = []
    # An iterator belongs to the client: nobody could read it a second time.
    given = given if isinstance(given, (list, tuple)) else [] if hasattr(given, "__next__") else [given]
    for one in given:
        role = _role(one)
        if role is None:
            loose += _parts(one, clip)
            continue
        if loose:
            yield Message(role="user", parts=loose)
            loose = []
        yield Message(role=role, parts=list(_parts(one, clip)))
    if loose:
        yield Message(role="user", parts=loose)


def _role(step: Any) -> str | None:
    """The role of a step or a turn; None for a content, which is a part of the user's message."""
    kind = text(member(step, "type"))
    if kind in _OF_THE_MODEL or member(step, "role") == "model":
        return "assistant"
    if kind == "function_result":
        return "tool"
    return "user" if kind == "user_input" or member(step, "role") is not None else None


def _parts(step: Any, clip: Clip) -> Iterator[Part]:
    if isinstance(step, str):
        yield {"type": "text", "content": clip(step)}
        return
    kind = text(member(step, "type")) or ("text" if text(member(step, "text")) else "model_output")
    inside = member(step, "content")
    if kind == "text":
        yield {"type": "text", "content": clip(member(step, "text") or "")}
    elif kind in {"user_input", "model_output"}:
        for one in [inside] if isinstance(inside, str) else inside or ():
            yield from _parts(one, clip)
    elif kind == "thought":
        for one in [*members(step, "summary"), *(inside or ())]:
            yield {"type": "reasoning", "content": clip(member(one, "text") or "")}
    elif kind == "function_call":
        name, arguments = text(member(step, "name")) or "", clip(member(step, "arguments") or {})
        yield {"type": "tool_call", "id": text(member(step, "id")), "name": name, "arguments": arguments}
    elif kind == "function_result":
        response = clip(member(step, "result"))
        yield {"type": "tool_call_response", "id": text(member(step, "call_id")), "response": response}
    elif kind in _MEDIA:
        yield media(kind, member(step, "mime_type"), member(step, "data"), member(step, "uri"), clip)
    else:
        yield {"type": kind}
