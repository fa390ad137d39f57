"""Mistral's Conversations format: a thread of entries that the provider keeps."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part
from spanback.instrumentation._adapter import Attributes, Body, Clip, Dimensions, member, members, text
from spanback.instrumentation.providers import _chat

_MADE_BY = {
    "message.output.delta": ("message.output", "content"),
    "function.call.delta": ("function.call", "arguments"),
    "tool.execution.started": ("tool.execution", None),
}
"""By type of event: the entry that it belongs to, and where the event has a piece of it."""
_ENTRIES_OF_MODELS = frozenset({"message.output", "function.call", "tool.execution", "agent.handoff"})


def read_dimensions(body: Body) -> Dimensions:
    """The conversation that a request goes on with."""
    return Dimensions(conversation_id=text(body.get("conversation_id")))


def identify(thing: Any) -> tuple[str | None, str | None]:
    """No id: the API gives one to conversations and to entries, none to responses. The model stands in the entries."""
    return None, next((model for one in members(thing, "outputs") if (model := text(member(one, "model")))), None)


def read_response(response: Any) -> Attributes:
    """Conversation and model; a stream that failed names its error."""
    attributes: Attributes = {
        sc.GEN_AI_CONVERSATION_ID: text(member(response, "conversation_id")),
        sc.GEN_AI_RESPONSE_MODEL: identify(response)[1],
    }
    attributes = {name: value for name, value in attributes.items() if value is not None}
    error = member(response, "error")
    if error is not None:
        attributes[sc.ERROR_TYPE] = str(member(error, "code") or "_OTHER")
    return attributes


class ConversationEvents:
    """Folds the events of a streamed conversation into entries."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._whole = SimpleNamespace(conversation_id=None, usage=None, error=None, is_cut=True, outputs=[])
        self._entries: dict[tuple[Any, Any], dict[str, Any]] = {}

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events."""
        entries, with_content = self._entries, self._with_content
        for chunk in chunks:
            event = getattr(chunk, "data", None)
            kind = getattr(event, "type", None)
            made = _MADE_BY.get(kind) if isinstance(kind, str) else None
            if made is None:
                self._add_state(event, kind)
                continue
            name, piece = made
            key = (getattr(event, "output_index", None), getattr(event, "id", None))
            entry = entries.get(key)
            if entry is None:
                entry = entries[key] = _begun(event, name, piece)
            if piece is not None and with_content:
                entry[piece].append(getattr(event, piece, None))

    def response(self) -> Any:
        """The conversation's response so far."""
        self._whole.outputs = [_joined(entry) for entry in self._entries.values()]
        return self._whole

    def _add_state(self, event: Any, kind: Any) -> None:
        if kind == "conversation.response.started":
            self._whole.conversation_id = member(event, "conversation_id")
        elif kind == "conversation.response.done":
            self._whole.usage, self._whole.is_cut = member(event, "usage"), False
        elif kind == "conversation.response.error":
            self._whole.error = event


def _begun(event: Any, kind: str, piece: str | None) -> dict[str, Any]:
    """An entry of which the first event has come."""
    entry = {"type": kind, "name": member(event, "name"), "tool_call_id": member(event, "tool_call_id")}
    return entry if piece is None else {**entry, piece: [], "model": member(event, "model")}


def read_input(body: Body, clip: Clip) -> Attributes:
    """Instructions, entries and tools, as the conventions shape them."""
    instructions = text(body.get("instructions"))
    given = body.get("inputs")
    entries = [{"role": "user", "content": given}] if isinstance(given, str) else members(body, "inputs")
    messages = [Message(role=_role(entry), parts=list(_parts(entry, clip))) for entry in entries]
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: [{"type": "text", "content": clip(instructions)}] if instructions else None,
        sc.GEN_AI_INPUT_MESSAGES: messages or None,
        sc.GEN_AI_TOOL_DEFINITIONS: _chat.tool_definitions(body),
    }


def read_output(response: Any, clip: Clip) -> Attributes:
    """What the model gave, as one message: entries of one response are one turn."""
    entries = members(response, "outputs")
    parts = [part for entry in entries for part in _parts(entry, clip)]
    if not parts:
        return {}
    is_call = any(member(entry, "type") == "function.call" for entry in entries)
    reason = "error" if member(response, "is_cut") is True else "tool_calls" if is_call else "stop"
    return {sc.GEN_AI_OUTPUT_MESSAGES: [OutputMessage(role="assistant", parts=parts, finish_reason=reason)]}


def _joined(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose texts, which came in pieces, are whole; other content stays where it was among them."""
    whole = dict(entry)
    if "arguments" in entry:
        whole["arguments"] = "".join(text(piece) or "" for piece in entry["arguments"])
    if "content" in entry:
        content: list[Any] = []
        for piece in entry["content"]:
            kind, words = (member(piece, "type"), member(piece, "text")) if not text(piece) else ("text", piece)
            if kind != "text":
                content.append(piece)
            elif content and isinstance(content[-1], dict):
                content[-1]["text"] += words
            else:
                content.append({"type": "text", "text": words})
        whole["content"] = content
    return whole


def _role(entry: Any) -> str:
    kind = text(member(entry, "type"))
    if kind == "function.result":
        return "tool"
    return text(member(entry, "role")) or ("assistant" if kind in _ENTRIES_OF_MODELS else "user")


def _parts(entry: Any, clip: Clip) -> Iterator[Part]:
    kind = text(member(entry, "type")) or "message.input"
    if kind.startswith("message."):
        content = member(entry, "content")
        if text(content):
            yield {"type": "text", "content": clip(content)}
        else:
            yield from (_chat.part_of(one, clip) for one in members(entry, "content"))
    elif kind == "function.call":
        yield {
            "type": "tool_call",
            "id": text(member(entry, "tool_call_id")),
            "name": text(member(entry, "name")) or "",
            "arguments": clip(member(entry, "arguments") or ""),
        }
    elif kind == "function.result":
        response = clip(member(entry, "result") or "")
        yield {"type": "tool_call_response", "id": text(member(entry, "tool_call_id")), "response": response}
    else:
        yield {"type": kind}
