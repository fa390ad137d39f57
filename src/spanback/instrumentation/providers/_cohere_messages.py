"""What Cohere's chats say, v1 and v2, sent, answered and streamed, as the conventions' messages."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part
from spanback.instrumentation._adapter import NO_DIMENSIONS, Attributes, Body, Clip, Dimensions, member, members, text
from spanback.instrumentation.providers import _chat

_ROLES = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}


class V2Events:
    """Folds the events of a chat of v2 into the shape of a response."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._contents: dict[Any, dict[str, Any]] = {}
        self._calls: dict[Any, dict[str, Any]] = {}
        self._plan: list[str] = []
        self._whole = SimpleNamespace(id=None, finish_reason=None, usage=None, message=None)

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events."""
        whole = self._whole
        for event in chunks:
            kind = getattr(event, "type", None)
            if kind == "message-start":
                whole.id = member(event, "id")
            elif kind == "message-end":
                delta = member(event, "delta")
                whole.finish_reason, whole.usage = member(delta, "finish_reason"), member(delta, "usage")
            elif self._with_content:
                self._add_content(member(event, "index"), member(member(event, "delta"), "message"))

    def response(self) -> Any:
        """The response so far."""
        if self._with_content:
            content = [
                {"type": kind, kind: "".join(pieces)}
                for parts in self._contents.values()
                for kind, pieces in parts.items()
            ]
            calls = [
                {"id": call["id"], "function": {"name": call["name"], "arguments": "".join(call["arguments"])}}
                for call in self._calls.values()
            ]
            self._whole.message = {"tool_plan": "".join(self._plan), "content": content, "tool_calls": calls}
        return self._whole

    def _add_content(self, index: Any, message: Any) -> None:
        content = member(message, "content")
        for kind in ("thinking", "text"):
            piece = text(member(content, kind))
            if piece:
                self._contents.setdefault(index, {}).setdefault(kind, []).append(piece)
        plan = text(member(message, "tool_plan"))
        if plan:
            self._plan.append(plan)
        call = member(message, "tool_calls")
        if call is not None:
            function = member(call, "function")
            known = self._calls.setdefault(index, {"id": None, "name": "", "arguments": []})
            known["id"] = text(member(call, "id")) or known["id"]
            known["name"] = text(member(function, "name")) or known["name"]
            known["arguments"].append(text(member(function, "arguments")) or "")


class V1Events:
    """Takes the response out of the last event of a chat or completion of v1; without one, what came until then."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._texts: list[str] = []
        self._id: str | None = None
        self._end: Any = None

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events."""
        for event in chunks:
            kind = getattr(event, "event_type", None)
            if kind == "stream-start":
                self._id = text(member(event, "generation_id"))
            elif kind == "stream-end":
                self._end = event
            elif self._with_content and kind == "text-generation":
                self._texts.append(text(member(event, "text")) or "")

    def response(self) -> Any:
        """The response."""
        whole = member(self._end, "response")
        if whole is not None:
            return whole
        return SimpleNamespace(generation_id=self._id, text="".join(self._texts), finish_reason=None, meta=None)


def read_v2_input(body: Body, clip: Clip) -> Attributes:
    """The messages and tools of a chat of v2."""
    messages = [
        Message(role=text(member(message, "role")) or "user", parts=list(_v2_parts(message, clip)))
        for message in members(body, "messages")
    ]
    return {sc.GEN_AI_INPUT_MESSAGES: messages or None, sc.GEN_AI_TOOL_DEFINITIONS: _chat.tool_definitions(body)}


def read_v2_output(response: Any, clip: Clip) -> Attributes:
    """The model's message in a chat of v2."""
    message = member(response, "message")
    if message is None:
        return {}
    return _output(list(_v2_parts(message, clip)), response)


def read_v1_input(body: Body, clip: Clip) -> Attributes:
    """The preamble, history, message and tools of a chat of v1."""
    preamble = text(body.get("preamble"))
    messages: list[Message] = []
    last = {"role": "USER", "message": body.get("message"), "tool_results": body.get("tool_results")}
    for message in (*members(body, "chat_history"), last):
        parts = list(_v1_parts(message, clip))
        if parts:
            messages.append(Message(role=_ROLES.get(text(member(message, "role")) or "", "user"), parts=parts))
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: [{"type": "text", "content": clip(preamble)}] if preamble else None,
        sc.GEN_AI_INPUT_MESSAGES: messages or None,
        sc.GEN_AI_TOOL_DEFINITIONS: _chat.tool_definitions(body),
    }


def read_v1_output(response: Any, clip: Clip) -> Attributes:
    """The model's text and tool calls in a chat of v1."""
    return _output(list(_v1_parts(response, clip)), response)


def read_v1_dimensions(body: Body) -> Dimensions:
    """The conversation that a chat of v1 continues."""
    conversation_id = text(body.get("conversation_id"))
    return Dimensions(conversation_id=conversation_id) if conversation_id else NO_DIMENSIONS


def read_generated(response: Any, clip: Clip) -> Attributes:
    """The texts of a text completion, each a message; of a stream that was cut, what came."""
    messages = [_message(list(_v1_parts(one, clip)), one) for one in members(response, "generations") or (response,)]
    return {sc.GEN_AI_OUTPUT_MESSAGES: [one for one in messages if one["parts"]] or None}


def _output(parts: list[Part], response: Any) -> Attributes:
    return {sc.GEN_AI_OUTPUT_MESSAGES: [_message(parts, response)]}


def _message(parts: list[Part], response: Any) -> OutputMessage:
    reason = text(member(response, "finish_reason")) or "error"
    return OutputMessage(role="assistant", parts=parts, finish_reason=reason)


def _v2_parts(message: Any, clip: Clip) -> Iterator[Part]:
    content = member(message, "content")
    contents = [{"type": "text", "text": content}] if text(content) else members(message, "content")
    parts = [_part(one, clip) for one in contents]
    if text(member(message, "role")) == "tool":
        response = parts[0]["content"] if len(parts) == 1 and text(content) else parts
        yield {"type": "tool_call_response", "id": text(member(message, "tool_call_id")), "response": response}
        return
    plan = text(member(message, "tool_plan"))
    if plan:
        yield {"type": "reasoning", "content": clip(plan)}
    yield from parts
    for call in members(message, "tool_calls"):
        function = member(call, "function")
        yield {
            "type": "tool_call",
            "id": text(member(call, "id")),
            "name": text(member(function, "name")) or "",
            "arguments": clip(member(function, "arguments") or ""),
        }


def _part(part: Any, clip: Clip) -> Any:
    if isinstance(part, str):
        return {"type": "text", "content": clip(part)}
    kind = text(member(part, "type"))
    if kind == "thinking":
        return {"type": "reasoning", "content": clip(member(part, "thinking") or "")}
    if kind == "document":
        return {"type": "document", "content": clip(member(member(part, "document"), "data") or "")}
    return _chat.part_of(part, clip)


def _v1_parts(message: Any, clip: Clip) -> Iterator[Part]:
    said = text(member(message, "message")) or text(member(message, "text"))
    if said:
        yield {"type": "text", "content": clip(said)}
    for call in members(message, "tool_calls"):
        name = text(member(call, "name")) or ""
        yield {"type": "tool_call", "id": None, "name": name, "arguments": clip(member(call, "parameters") or {})}
    for result in members(message, "tool_results"):
        yield {"type": "tool_call_response", "id": None, "response": clip(member(result, "outputs") or [])}
