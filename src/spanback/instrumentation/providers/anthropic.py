"""Anthropic's client, and those that reach its models through Bedrock, Vertex and Foundry: the Messages format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part
from spanback.instrumentation._adapter import (
    Attributes,
    Body,
    Clip,
    Endpoint,
    Received,
    Request,
    field_of,
    member,
    members,
    text,
)
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers._chat import blob, media, output_type, texts, tool_definitions
from spanback.instrumentation.providers._handing_over import hand_over
from spanback.instrumentation.providers._stainless import StainlessAdapter

_PLATFORMS: Final = (
    ("anthropic.lib.bedrock", "aws.bedrock"),
    ("anthropic.lib.vertex", "gcp.vertex_ai"),
    ("anthropic.lib.foundry", "azure.ai.inference"),
)
_OTHERS_BY_HOST: Final = {
    "api.deepseek.com": "deepseek",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "openrouter.ai": "openrouter",
}
_NONE: Final[Body] = {}
_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_FINAL_COUNTS: Final = ("output_tokens", "output_tokens_details")
_PIECES: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_TEXTS: Final = {"text": "text", "thinking": "thinking", "tool_use": "input", "server_tool_use": "input"}
_MAY_HOLD_FILES: Final = "web_fetch_tool_result"


def provider_of(host: str) -> str:
    """The provider behind a host name: some others speak the format, too."""
    return _OTHERS_BY_HOST.get(host, "anthropic")


def provider_of_client(client: Any) -> str | None:
    """The platform that a kind of client is for, by the module of its class or of one that it is made from."""
    for cls in type(client).__mro__:
        for module, provider in _PLATFORMS:
            if cls.__module__.startswith(module):
                return provider
    return None


def traces_itself(client: Any) -> bool:
    """Whether a client makes spans of its own; before release 2 none does, and from then on unless told otherwise."""
    return getattr(client, "_tracer", None) is not None


def silence(_client: Any, args: Sequence[Any], kwargs: Mapping[str, Any], _is_silent: Callable[[], bool]) -> None:
    """Takes the name of the client's own span out of the options, which are one call's; without it none is made."""
    options = args[1] if len(args) > 1 else kwargs["options"]
    if getattr(options, "span_name", None) is not None:
        options.span_name = None


def identify(thing: Any) -> tuple[str | None, str | None]:
    """Id and model of a message, or of the event that begins one."""
    own = getattr(thing, "__dict__", _NONE)
    if "id" in own and "model" in own:
        return text(own["id"]), text(own["model"])
    message = field_of(thing, "message") or thing
    return text(field_of(message, "id")), text(field_of(message, "model"))


_read_request = body_reader(
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("top_k", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("max_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("stop_sequences", sc.GEN_AI_REQUEST_STOP_SEQUENCES, texts),
    Field("output_format", sc.GEN_AI_OUTPUT_TYPE, output_type),
)
_read_response = response_reader(
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("usage.input_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage.output_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("usage.cache_read_input_tokens", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("usage.cache_creation_input_tokens", sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, int),
    Field("usage.output_tokens_details.thinking_tokens", sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, int),
    Field("stop_reason", sc.GEN_AI_RESPONSE_FINISH_REASONS, texts),
)


def read_request(body: Body) -> Attributes:
    """Attributes of a request for a message."""
    attributes = _read_request(body)
    config = body.get("output_config")
    if config is not None:
        effort, kind = text(member(config, "effort")), output_type(member(config, "format"))
        if effort:
            attributes[sc.GEN_AI_REQUEST_REASONING_LEVEL] = effort
        if kind:
            attributes[sc.GEN_AI_OUTPUT_TYPE] = kind
    return attributes


def read_response(response: Any) -> Attributes:
    """Attributes of a message. The API counts the tokens read from and written to the cache apart from the others."""
    attributes = _read_response(response)
    if sc.GEN_AI_USAGE_INPUT_TOKENS in attributes:
        attributes[sc.GEN_AI_USAGE_INPUT_TOKENS] += attributes.get(
            sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, 0
        ) + attributes.get(sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, 0)
    return attributes


class MessageEvents:
    """Folds the events of a streamed message: what it began as, what its end says, and the pieces of its blocks."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._begun: Any = None
        self._ends: list[Any] = []
        self._blocks: dict[Any, tuple[Any, list[str]]] = {}

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events. Most are pieces of a block, of which nothing is kept without content."""
        with_content = self._with_content
        for event in chunks:
            kind = getattr(event, "type", None)
            if kind == "content_block_delta":
                if with_content:
                    self._add_piece(event)
            elif kind == "message_start":
                self._begun = member(event, "message")
            elif kind == "message_delta":
                self._ends.append(event)
            elif kind == "content_block_start" and with_content:
                self._blocks[event.index] = (event.content_block, [])

    def response(self) -> Any:
        """The message so far. Until its end says them, the output tokens are not known: it begins with a stand-in."""
        usage = SimpleNamespace(**{name: member(member(self._begun, "usage"), name) for name in _COUNTS})
        usage.output_tokens = usage.output_tokens_details = None
        stop_reason = None
        for end in self._ends:
            stop_reason = member(member(end, "delta"), "stop_reason") or stop_reason
            told = member(end, "usage")
            for name in (*_COUNTS, *_FINAL_COUNTS):
                value = member(told, name)
                if value is not None:
                    setattr(usage, name, value)
        return SimpleNamespace(
            id=member(self._begun, "id"),
            model=member(self._begun, "model"),
            usage=usage,
            stop_reason=stop_reason,
            content=[_whole(block, pieces) for block, pieces in self._blocks.values()],
        )

    def _add_piece(self, event: Any) -> None:
        delta = getattr(event, "delta", None)
        piece = getattr(delta, _PIECES.get(getattr(delta, "type", None) or "", ""), None)
        known = self._blocks.get(getattr(event, "index", None))
        if known is not None and isinstance(piece, str):
            known[1].append(piece)


def _whole(block: Any, pieces: list[str]) -> Any:
    """A block that came in pieces; one that came whole as it is."""
    kind = text(member(block, "type")) or ""
    name = _TEXTS.get(kind)
    if name is None or not pieces:
        return block
    begun = member(block, name)
    joined = "".join((begun if isinstance(begun, str) else "", *pieces))
    return {"type": kind, "id": member(block, "id"), "name": member(block, "name"), name: joined}


def read_input(body: Body, clip: Clip) -> Attributes:
    """The system prompt, the conversation and the tools. What can be read only once is left to the client."""
    messages = [
        Message(role=text(member(message, "role")) or "user", parts=_content_parts(member(message, "content"), clip))
        for message in members(body, "messages")
    ]
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: _content_parts(body.get("system"), clip) or None,
        sc.GEN_AI_INPUT_MESSAGES: messages or None,
        sc.GEN_AI_TOOL_DEFINITIONS: tool_definitions(body),
    }


def read_output(response: Any, clip: Clip) -> Attributes:
    """The model's message."""
    parts = _content_parts(member(response, "content"), clip)
    if not parts:
        return {}
    reason = text(member(response, "stop_reason")) or "error"
    return {sc.GEN_AI_OUTPUT_MESSAGES: [OutputMessage(role="assistant", parts=parts, finish_reason=reason)]}


def _content_parts(content: Any, clip: Clip) -> list[Part]:
    """The parts of a content, which is a text or a list of blocks."""
    if isinstance(content, str):
        return [{"type": "text", "content": clip(content)}] if content else []
    blocks = content if isinstance(content, (list, tuple)) else ()
    return [part for block in blocks for part in _parts(block, clip)]


def _parts(block: Any, clip: Clip) -> Iterator[Part]:
    kind = text(member(block, "type")) or "generic"
    if kind == "text":
        yield {"type": "text", "content": clip(member(block, "text") or "")}
    elif kind == "thinking":
        yield {"type": "reasoning", "content": clip(member(block, "thinking") or "")}
    elif kind in {"image", "document"}:
        yield from _of_source(kind, member(block, "source"), clip)
    elif kind == "container_upload":
        yield media("document", None, member(block, "file_id"), clip)
    elif kind in {"compaction", "search_result"}:
        content = member(block, "content")
        yield {"type": kind, "content": clip(content) if isinstance(content, str) else _content_parts(content, clip)}
    elif "tool" in kind:
        yield from _of_tool(kind, block, clip)
    else:
        yield {"type": kind}


def _of_source(modality: str, source: Any, clip: Clip) -> Iterator[Part]:
    """An image or a document: inline, of which the kind and the size are kept, by address, by id, or as text."""
    kind, data = text(member(source, "type")), member(source, "data")
    if kind == "base64":
        mime_type = text(member(source, "media_type"))
        yield blob(modality, clip(mime_type) if mime_type else None, len(data) if text(data) else 0)
    elif kind == "text":
        yield {"type": "text", "content": clip(data or "")}
    elif kind == "content":
        yield from _content_parts(member(source, "content"), clip)
    else:
        yield media(modality, member(source, "url"), member(source, "file_id"), clip)


def _of_tool(kind: str, block: Any, clip: Clip) -> Iterator[Part]:
    """A call of a tool or what it answered; those that the provider runs itself are told apart."""
    name = text(member(block, "name")) or ""
    if kind == "tool_use":
        arguments = clip(member(block, "input"))
        yield {"type": "tool_call", "id": text(member(block, "id")), "name": name, "arguments": arguments}
    elif kind.endswith("tool_use"):
        call = {"type": kind, "arguments": clip(member(block, "input"))}
        yield {"type": "server_tool_call", "id": text(member(block, "id")), "name": name, "server_tool_call": call}
    elif kind == "tool_result":
        content = member(block, "content")
        response = clip(content) if isinstance(content, str) else _content_parts(content, clip)
        yield {"type": "tool_call_response", "id": text(member(block, "tool_use_id")), "response": response}
    else:
        told = {"type": kind}
        if kind != _MAY_HOLD_FILES:
            told["content"] = clip(member(block, "content"))
        tool_id = text(member(block, "tool_use_id"))
        yield {"type": "server_tool_call_response", "id": tool_id, "server_tool_call_response": told}


class AnthropicAdapter(StainlessAdapter):
    """The family's adapter; before release 0.77 the stream helper does not read the stream that it is given."""

    __slots__ = ()

    def sort(self, request: Request, result: Any) -> Received | None:
        """As for the others of the family."""
        if request.is_stream and "_iterator" in getattr(result, "__dict__", ()):
            hand_over(result)
        return StainlessAdapter.sort(self, request, result)


ADAPTER: Final = AnthropicAdapter(
    client="anthropic",
    provider_of=provider_of,
    provider_of_client=provider_of_client,
    traces_itself=traces_itself,
    endpoints={
        "post /v1/messages": Endpoint(
            "chat",
            read_request,
            read_response,
            MessageEvents,
            read_input,
            read_output,
            has_chunk_ids=False,
            identify=identify,
            silence=silence,
        ),
    },
)
