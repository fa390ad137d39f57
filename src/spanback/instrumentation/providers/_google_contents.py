"""Google's contents, parts and tools as the conventions' messages, and what its two APIs have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part, ToolDefinition
from spanback.instrumentation._adapter import Attributes, Body, Clip, member, members, text
from spanback.instrumentation.providers._chat import blob

TOOL_PROMPTS: Final = "tool prompts"
"""Where a reader of a response puts the tokens of tools' prompts, until they are added to the input's."""

_EMPTY: Final[Mapping[str, Any]] = {}
_UNSPECIFIED: Final = "finish_reason_unspecified"
_ROLES: Final = {"model": "assistant", "function": "tool"}
_CODE: Final = {"executable_code": "code", "code_execution_result": "output"}
_MODALITIES: Final = frozenset({"text", "image", "audio"})


def fields_of(thing: Any) -> Mapping[str, Any]:
    """The fields of a config, a dict or an object. Not by its attributes: reading a deprecated one would warn."""
    fields = thing if isinstance(thing, dict) else getattr(thing, "__dict__", None)
    return fields if isinstance(fields, dict) else _EMPTY


@lru_cache(256)
def camel(name: str) -> str:
    """A field's name as the API writes it."""
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))


def either(thing: Any, name: str) -> Any:
    """A field of an object or a dict, which may have the API's name there."""
    if isinstance(thing, dict):
        value = thing.get(name)
        return thing.get(camel(name)) if value is None else value
    return getattr(thing, name, None)


def add_parts(attributes: Attributes) -> None:
    """Adds what the APIs count apart to the totals: thoughts to the output, the prompts of tools to the input."""
    for part, total in (
        (attributes.get(sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS), sc.GEN_AI_USAGE_OUTPUT_TOKENS),
        (attributes.pop(TOOL_PROMPTS, None), sc.GEN_AI_USAGE_INPUT_TOKENS),
    ):
        if part:
            attributes[total] = attributes.get(total, 0) + part


def add_modalities(attributes: Attributes, usage: Any, names: Mapping[str, str]) -> None:
    """Adds the tokens of each modality that the conventions know, where an API tells them."""
    for name, kind in names.items():
        for one in members(usage, name):
            modality = (text(member(one, "modality")) or "").lower()
            tokens = member(one, "token_count")
            tokens = member(one, "tokens") if tokens is None else tokens
            if tokens and type(tokens) is int and modality in _MODALITIES:
                attributes[f"{sc.GEN_AI_USAGE}{modality}.{kind}"] = tokens


def finish_reason(reason: Any) -> str:
    """A finish reason in lower case, as the conventions write it; `error` where the API names none."""
    lower = (text(reason) or "error").lower()
    return "error" if lower == _UNSPECIFIED else lower


def read_input(body: Body, clip: Clip) -> Attributes:
    """Instructions, contents and tools, as the conventions shape them."""
    config = fields_of(body.get("config"))
    instructions = [
        part
        for message in _messages(either(config, "system_instruction"), clip)
        for part in message["parts"]
        if part.get("type") == "text"
    ]
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: instructions or None,
        sc.GEN_AI_INPUT_MESSAGES: list(_messages(body.get("contents"), clip)) or None,
        sc.GEN_AI_TOOL_DEFINITIONS: list(_tools(either(config, "tools"))) or None,
    }


def read_output(response: Any, clip: Clip) -> Attributes:
    """The model's messages, one a candidate."""
    messages: list[OutputMessage] = []
    for candidate in members(response, "candidates"):
        parts = [part_of(part, clip) for part in _joined(members(member(candidate, "content"), "parts"))]
        reason = finish_reason(member(candidate, "finish_reason"))
        messages.append(OutputMessage(role="assistant", parts=parts, finish_reason=reason))
    return {sc.GEN_AI_OUTPUT_MESSAGES: messages or None}


def media(modality: str, mime_type: Any, data: Any, uri: Any, clip: Clip) -> Part:
    """Media inline, as bytes or base64 (elided), or by address."""
    if text(uri):
        return {"type": "uri", "modality": modality, "uri": clip(uri)}
    size = (len(data) + 2) // 3 * 4 if isinstance(data, bytes) else len(data) if isinstance(data, str) else 0
    return blob(modality, clip(mime_type) if text(mime_type) else None, size)


def part_of(part: Any, clip: Clip) -> Part:
    """One part of a content, a text or a file; media keeps its kind and size, never its bytes."""
    if isinstance(part, str):
        return {"type": "text", "content": clip(part)}
    said = either(part, "text")
    if isinstance(said, str):
        return {"type": "reasoning" if member(part, "thought") else "text", "content": clip(said)}
    call = either(part, "function_call")
    if call is not None:
        name, arguments = text(member(call, "name")) or "", clip(member(call, "args") or {})
        return {"type": "tool_call", "id": text(member(call, "id")), "name": name, "arguments": arguments}
    answer = either(part, "function_response")
    if answer is not None:
        response = clip(member(answer, "response"))
        return {"type": "tool_call_response", "id": text(member(answer, "id")), "response": response}
    return _rarer_part(part, clip)


def _rarer_part(part: Any, clip: Clip) -> Part:
    for name, inside in _CODE.items():
        code = either(part, name)
        if code is not None:
            return {"type": name, "content": clip(member(code, inside) or "")}
    inline = either(part, "inline_data")
    # What is no part is a file that was sent before.
    file = inline if inline is not None else either(part, "file_data") or part
    mime_type, data = either(file, "mime_type"), member(file, "data")
    uri = either(file, "file_uri") or member(file, "uri")
    if data is None and not text(uri):
        return {"type": "generic"}
    return media(modality_of(mime_type), mime_type, data, uri, clip)


def modality_of(mime_type: Any) -> str:
    """The modality of a MIME type."""
    kind = (text(mime_type) or "").partition("/")[0]
    return kind if kind in {"image", "audio", "video"} else "document"


def _messages(contents: Any, clip: Clip) -> Iterator[Message]:
    """Contents as messages. Parts beside each other are one message, as the client makes of them."""
    loose: list[Any] = []
    # An iterator belongs to the client: nobody could read it a second time.
    for one in contents if isinstance(contents, (list, tuple)) else () if contents is None else (contents,):
        parts = member(one, "parts") if not isinstance(one, str) else None
        if isinstance(one, (list, tuple)):
            parts = one
        if parts is None:
            if not hasattr(one, "__next__"):
                loose.append(one)
            continue
        if loose:
            yield _message("user", loose, clip)
            loose = []
        yield _message(text(member(one, "role")) or "user", parts, clip)
    if loose:
        yield _message("user", loose, clip)


def _message(role: str, parts: Any, clip: Clip) -> Message:
    shaped = [part_of(part, clip) for part in parts] if isinstance(parts, (list, tuple)) else []
    kinds = {part.get("type") for part in shaped}
    if kinds == {"tool_call_response"}:
        role = "tool"
    elif kinds == {"tool_call"}:
        role = "model"
    return Message(role=_ROLES.get(role, role), parts=shaped)


def _joined(parts: Any) -> Iterator[Any]:
    """Parts with the pieces of one text put together."""
    pieces: list[str] = []
    is_thought = False
    for part in parts:
        piece = member(part, "text")
        if isinstance(piece, str) and (not pieces or bool(member(part, "thought")) is is_thought):
            is_thought = bool(member(part, "thought"))
            pieces.append(piece)
            continue
        if pieces:
            yield {"text": "".join(pieces), "thought": is_thought}
            pieces = []
        if isinstance(piece, str):
            is_thought = not is_thought
            pieces.append(piece)
        else:
            yield part
    if pieces:
        yield {"text": "".join(pieces), "thought": is_thought}


def _tools(tools: Any) -> Iterator[ToolDefinition]:
    """Type and name of each tool that is offered: functions, declared ones, and those of the API."""
    for tool in tools if isinstance(tools, (list, tuple)) else ():
        if callable(tool):
            yield ToolDefinition(type="function", name=getattr(tool, "__name__", "function"))
            continue
        for name, value in fields_of(tool).items():
            if name in {"function_declarations", "functionDeclarations"}:
                for one in value or ():
                    yield ToolDefinition(type="function", name=text(member(one, "name")) or "function")
            elif value is not None and not name.startswith("_"):
                yield ToolDefinition(type=name, name=name)
