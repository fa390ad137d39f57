"""The format of Bedrock's Converse, in which Amazon's own Nova models speak through InvokeModel, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part, ToolDefinition
from spanback.instrumentation._adapter import Attributes, Body, Clip, member, members, text
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers._chat import output_type, texts

_MEDIA: Final = ("image", "audio", "video", "document")
_BESIDE: Final = frozenset({"qualifiers"})
"""What stands beside a text that a guardrail looks at."""
_CACHED: Final = (sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS)

_read_config = body_reader(
    Field("maxTokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("topP", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("stopSequences", sc.GEN_AI_REQUEST_STOP_SEQUENCES, texts),
)
_read_additional = body_reader(
    Field("top_k", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("topK", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("k", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("seed", sc.GEN_AI_REQUEST_SEED, int),
)
_read_response = response_reader(
    Field("stopReason", sc.GEN_AI_RESPONSE_FINISH_REASONS, texts),
    Field("usage.inputTokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage.outputTokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("usage.cacheReadInputTokens", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("usage.cacheWriteInputTokens", sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, int),
    Field("usage.cacheReadInputTokenCount", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("usage.cacheWriteInputTokenCount", sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, int),
)


def as_body(value: Any) -> Body:
    """The value if it is a dict, else an empty one."""
    return cast("Body", value) if isinstance(value, dict) else {}


def read_request(body: Body) -> Attributes:
    """Attributes of the arguments of `converse`."""
    additional = as_body(body.get("additionalModelRequestFields"))
    attributes = _read_additional({**as_body(additional.get("inferenceConfig")), **additional})
    attributes.update(_read_config(as_body(body.get("inferenceConfig"))))
    guardrail = body.get("guardrailConfig")
    if guardrail is not None:
        attributes[sc.AWS_BEDROCK_GUARDRAIL_ID] = text(member(guardrail, "guardrailIdentifier"))
    output = body.get("outputConfig")
    if output is not None:
        attributes[sc.GEN_AI_REQUEST_REASONING_LEVEL] = text(member(output, "effort"))
        attributes[sc.GEN_AI_OUTPUT_TYPE] = output_type(member(output, "textFormat"))
    return attributes


def read_response(response: Any) -> Attributes:
    """Attributes of a response."""
    return with_cached(_read_response(response))


def with_cached(attributes: Attributes) -> Attributes:
    """Counts the tokens read from and written to the cache as input: Bedrock counts them apart from the others."""
    if sc.GEN_AI_USAGE_INPUT_TOKENS in attributes:
        for name in _CACHED:
            if name in attributes:
                attributes[sc.GEN_AI_USAGE_INPUT_TOKENS] += attributes[name]
    return attributes


class Events:
    """Folds the messages of `converse_stream`. Without content nothing but their end is read."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._whole: dict[str, Any] = {}
        self._blocks: dict[Any, dict[str, Any]] = {}

    def add(self, chunks: list[Any]) -> None:
        """Takes the next messages, each with a dict whose one key says what it is."""
        for _, parsed in chunks:
            for kind, event in parsed.items():
                if self._with_content or kind in {"messageStop", "metadata"}:
                    self.add_event(kind, event)

    def add_event(self, kind: str, event: Any) -> None:
        """Takes one event by its name."""
        if kind == "messageStop":
            self._whole["stopReason"] = member(event, "stopReason")
        elif kind == "metadata":
            self._whole["usage"] = member(event, "usage")
        elif kind == "contentBlockStart":
            self._block(event).update(as_body(member(event, "start")))
        elif kind == "contentBlockDelta":
            _add_piece(self._block(event), as_body(member(event, "delta")))

    def response(self) -> Any:
        """The response so far."""
        blocks = [_joined(block) for block in self._blocks.values()]
        return {**self._whole, "output": {"message": {"content": blocks}}}

    def _block(self, event: Any) -> dict[str, Any]:
        return self._blocks.setdefault(member(event, "contentBlockIndex"), {"pieces": {}})


def _add_piece(block: dict[str, Any], delta: Body) -> None:
    """A text, a piece of a tool's arguments, or of what the model thinks; of a citation nothing is kept."""
    pieces = {
        "text": delta.get("text"),
        "toolUse": member(delta.get("toolUse"), "input"),
        "reasoningContent": member(delta.get("reasoningContent"), "text"),
    }
    for kind, piece in pieces.items():
        if isinstance(piece, str):
            block["pieces"].setdefault(kind, []).append(piece)


def _joined(block: dict[str, Any]) -> dict[str, Any]:
    pieces = {kind: "".join(parts) for kind, parts in block["pieces"].items()}
    if "toolUse" in block:
        return {"toolUse": {**as_body(block["toolUse"]), "input": pieces.get("toolUse", "")}}
    if "reasoningContent" in pieces:
        return {"reasoningContent": {"reasoningText": {"text": pieces["reasoningContent"]}}}
    return {"text": pieces.get("text", "")}


def read_input(body: Body, clip: Clip) -> Attributes:
    """The system prompt, the conversation and the tools."""
    messages = [
        Message(role=text(member(message, "role")) or "user", parts=_all_parts(message, clip))
        for message in members(body, "messages")
    ]
    system = [part for block in members(body, "system") for part in _parts(block, clip)]
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: system or None,
        sc.GEN_AI_INPUT_MESSAGES: messages or None,
        sc.GEN_AI_TOOL_DEFINITIONS: _tool_definitions(body),
    }


def read_output(response: Any, clip: Clip) -> Attributes:
    """The model's message."""
    parts = _all_parts(member(member(response, "output"), "message"), clip)
    if not parts:
        return {}
    reason = text(member(response, "stopReason")) or "error"
    return {sc.GEN_AI_OUTPUT_MESSAGES: [OutputMessage(role="assistant", parts=parts, finish_reason=reason)]}


def _tool_definitions(body: Body) -> list[ToolDefinition] | None:
    tools: list[ToolDefinition] = []
    for tool in members(body.get("toolConfig"), "tools"):
        for key, kind in (("toolSpec", "function"), ("systemTool", "system")):
            name = text(member(member(tool, key), "name"))
            if name:
                tools.append(ToolDefinition(type=kind, name=name))
    return tools or None


def _all_parts(message: Any, clip: Clip) -> list[Part]:
    return [part for block in members(message, "content") for part in _parts(block, clip)]


def _parts(block: Any, clip: Clip) -> Iterator[Part]:
    """The parts of a block: a dict whose one key says what it is."""
    for kind, value in as_body(block).items():
        if kind == "citationsContent":
            yield from _all_parts(value, clip)
        elif kind == "guardContent":
            yield from _parts(value.get("text") if isinstance(value, dict) else None, clip)
        elif kind in _MEDIA:
            yield _media(kind, value, clip)
        elif kind == "text":
            if text(value):
                yield {"type": "text", "content": clip(value)}
        elif kind in _READERS:
            yield _READERS[kind](value, clip)
        elif kind not in _BESIDE:
            yield {"type": kind}


def _tool_call(value: Any, clip: Clip) -> Part:
    arguments = clip(member(value, "input") or {})
    name, call_id = text(member(value, "name")) or "", text(member(value, "toolUseId"))
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}


def _tool_response(value: Any, clip: Clip) -> Part:
    response = _all_parts(value, clip)
    return {"type": "tool_call_response", "id": text(member(value, "toolUseId")), "response": response}


def _json(value: Any, clip: Clip) -> Part:
    return {"type": "json", "content": clip(value)}


def _reasoning(value: Any, clip: Clip) -> Part:
    thought = text(member(member(value, "reasoningText"), "text"))
    return {"type": "reasoning", "content": clip(thought)} if thought else {"type": "redacted_reasoning"}


def _media(modality: str, value: Any, clip: Clip) -> Part:
    """Media by address, or inline, of which the kind and the size are kept. The conventions have no documents."""
    source, form = member(value, "source"), text(member(value, "format"))
    uri = text(member(member(source, "s3Location"), "uri"))
    content = member(source, "bytes")
    size = len(content) if isinstance(content, (bytes, bytearray, str)) else 0
    left_out = f"[{size} {'characters of base64' if isinstance(content, str) else 'bytes'} left out]"
    if modality == "document":
        return {"type": modality, "content": clip(uri) if uri else left_out}
    if uri:
        return {"type": "uri", "modality": modality, "uri": clip(uri)}
    mime_type = f"{modality}/{clip(form)}" if form else None
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "content": left_out}


_READERS: Final[Mapping[str, Callable[[Any, Clip], Part]]] = {
    "toolUse": _tool_call,
    "toolResult": _tool_response,
    "reasoningContent": _reasoning,
    "json": _json,
}
