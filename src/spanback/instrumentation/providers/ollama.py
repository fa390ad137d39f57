"""Ollama's client. Its responses bear no id, so what the app holds carries its handle: each object and each chunk.

Every call goes through one method, whatever it is called by: the functions of the module are methods of a client that
is made when the module is imported. A streamed one returns a generator that makes the call with its first step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

from spanback import semconv as sc
from spanback._messages import Message, OutputMessage, Part
from spanback.instrumentation._adapter import (
    INT_MAX,
    Attributes,
    Body,
    Clip,
    Endpoint,
    Received,
    Request,
    Target,
    member,
    members,
    text,
)
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers import _chat
from spanback.instrumentation.providers._places import DEFAULT_PORTS, MOST_ADDRESSES

_LAST: Final = ("model", "done_reason", "prompt_eval_count", "eval_count", "image")


def _output_type(asked: Any) -> str | None:
    """A format is the word "json" or a JSON schema."""
    return "json" if asked == "json" or (isinstance(asked, Mapping) and asked) else None


def _token_limit(num_predict: Any) -> int | None:
    """The most tokens; a negative number asks for no limit."""
    return num_predict if type(num_predict) is int and 0 <= num_predict <= INT_MAX else None


_read_body = body_reader(
    Field("format", sc.GEN_AI_OUTPUT_TYPE, _output_type),
    Field("think", sc.GEN_AI_REQUEST_REASONING_LEVEL, str),
    Field("dimensions", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int),
)
_read_options = body_reader(
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("top_k", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("frequency_penalty", sc.GEN_AI_REQUEST_FREQUENCY_PENALTY, float),
    Field("presence_penalty", sc.GEN_AI_REQUEST_PRESENCE_PENALTY, float),
    Field("num_predict", sc.GEN_AI_REQUEST_MAX_TOKENS, _token_limit),
    Field("seed", sc.GEN_AI_REQUEST_SEED, int),
    Field("stop", sc.GEN_AI_REQUEST_STOP_SEQUENCES, _chat.texts),
)


def read_request(body: Body) -> Attributes:
    """Attributes of a request, whose sampling parameters stand among the model's options."""
    attributes = _read_body(body)
    options = body.get("options")
    if isinstance(options, Mapping) and options:
        attributes.update(_read_options(options))
    return attributes


def read_embedding_request(body: Body) -> Attributes:
    """Attributes of a request for embeddings, on which options for sampling have no effect."""
    return _read_body(body)


def _reasons(done_reason: Any) -> tuple[str, ...] | None:
    reason = text(done_reason)
    return (reason,) if reason else None


read_response: Final = response_reader(
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("done_reason", sc.GEN_AI_RESPONSE_FINISH_REASONS, _reasons),
    Field("prompt_eval_count", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("eval_count", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
)
read_embeddings: Final = response_reader(
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("prompt_eval_count", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
)


def identify(response: Any) -> tuple[str | None, str | None]:
    """No id, and the model of a response or chunk."""
    return None, text(member(response, "model"))


class OllamaChunks:
    """Folds the chunks of a chat or a completion, of which the last has the token counts."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[Any] = []
        self._whole = SimpleNamespace(**dict.fromkeys(_LAST), message=None)

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks. The last value of a field counts; texts are joined."""
        whole, last = self._whole, chunks[-1]
        for name in _LAST:
            value = getattr(last, name, None)
            if value is not None:
                setattr(whole, name, value)
        if self._with_content:
            for chunk in chunks:
                self._add_content(chunk)

    def response(self) -> Any:
        """The response so far."""
        if self._with_content:
            thinking = "".join(self._thoughts)
            self._whole.message = {"content": "".join(self._texts), "thinking": thinking, "tool_calls": self._calls}
        return self._whole

    def _add_content(self, chunk: Any) -> None:
        message = getattr(chunk, "message", None)
        said = getattr(chunk, "response", None) if message is None else message.content
        if said:
            self._texts.append(said)
        holder = chunk if message is None else message
        thought = getattr(holder, "thinking", None)
        if thought:
            self._thoughts.append(thought)
        self._calls.extend(members(holder, "tool_calls"))


def read_input(body: Body, clip: Clip) -> Attributes:
    """The conversation so far and the tools on offer."""
    messages: list[Message] = []
    for message in members(body, "messages"):
        shaped = Message(role=text(member(message, "role")) or "user", parts=list(_parts(message, clip)))
        name = text(member(message, "tool_name"))
        if name:
            shaped["name"] = name
        messages.append(shaped)
    return {sc.GEN_AI_INPUT_MESSAGES: messages or None, sc.GEN_AI_TOOL_DEFINITIONS: _chat.tool_definitions(body)}


def read_prompt(body: Body, clip: Clip) -> Attributes:
    """The prompt, its images and what is to follow the answer, as one message of a user."""
    system, suffix = text(body.get("system")), text(body.get("suffix"))
    parts = list(_parts({"content": body.get("prompt"), "images": body.get("images")}, clip))
    if suffix:
        parts.append({"type": "suffix", "content": clip(suffix)})
    return {
        sc.GEN_AI_SYSTEM_INSTRUCTIONS: [{"type": "text", "content": clip(system)}] if system else None,
        sc.GEN_AI_INPUT_MESSAGES: [Message(role="user", parts=parts)] if parts else None,
    }


def read_output(response: Any, clip: Clip) -> Attributes:
    """The model's message, or its completion as one."""
    message = member(response, "message")
    if message is None:
        message = {"content": member(response, "response"), "thinking": member(response, "thinking")}
    parts = list(_parts(message, clip))
    image = text(member(response, "image"))
    if image:
        parts.append(_chat.blob("image", None, len(image)))
    reason = text(member(response, "done_reason")) or "error"
    return {sc.GEN_AI_OUTPUT_MESSAGES: [OutputMessage(role="assistant", parts=parts, finish_reason=reason)]}


def _parts(message: Any, clip: Clip) -> Iterator[Part]:
    content = text(member(message, "content"))
    if text(member(message, "role")) == "tool":
        yield {"type": "tool_call_response", "id": None, "response": clip(content or "")}
        return
    thinking = text(member(message, "thinking"))
    if thinking:
        yield {"type": "reasoning", "content": clip(thinking)}
    if content:
        yield {"type": "text", "content": clip(content)}
    for image in members(message, "images"):
        yield _chat.blob("image", None, len(text(image) or ""))
    for call in members(message, "tool_calls"):
        function = member(call, "function")
        arguments = member(function, "arguments")
        yield {
            "type": "tool_call",
            "id": None,
            "name": text(member(function, "name")) or "",
            "arguments": clip({} if arguments is None else arguments),
        }


_EMBEDDINGS: Final = Endpoint(
    "embeddings", read_embedding_request, read_embeddings, is_inference=False, identify=identify
)
_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/api/chat": Endpoint(
        "chat",
        read_request,
        read_response,
        OllamaChunks,
        read_input,
        read_output,
        has_chunk_ids=False,
        identify=identify,
    ),
    "/api/generate": Endpoint(
        "text_completion",
        read_request,
        read_response,
        OllamaChunks,
        read_prompt,
        read_output,
        has_chunk_ids=False,
        identify=identify,
    ),
    "/api/embed": _EMBEDDINGS,
    "/api/embeddings": _EMBEDDINGS,
}


def is_streamed(kwargs: Mapping[str, Any]) -> bool:
    """Whether `_request` returns a generator, which makes the call when it is first read."""
    return bool(kwargs.get("stream"))


class OllamaAdapter:
    """Ollama. A method and a path say what is called; the body is a dict of JSON already."""

    client: Final = "ollama"
    traces_itself: Final = None
    targets: Final = (
        Target("ollama._client", "Client._request", is_async=False, is_late=is_streamed),
        Target("ollama._client", "AsyncClient._request", is_async=True, is_late=is_streamed),
    )

    def __init__(self) -> None:
        self._addresses: dict[int, tuple[Any, str | None, int | None]] = {}

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:
        """Looks the path up in `_request(cls, method, path, *, json, stream)`."""
        return _ENDPOINTS.get(args[2] if len(args) > 2 else kwargs.get("url", ""))

    def read(
        self,
        endpoint: Endpoint,
        instance: Any,
        args: Sequence[Any],  # noqa: ARG002 - part of what the engine asks, and nothing of the body is in it
        kwargs: Mapping[str, Any],
    ) -> Request:
        """The call's body, as the client has already transformed it: no objects, no iterators."""
        body: Body = kwargs.get("json") or {}
        base = member(member(instance, "_client"), "base_url")
        known = self._addresses.get(id(base))
        if known is None or known[0] is not base:
            known = self._address(base)
        model = text(body.get("model"))
        return Request(endpoint, "ollama", model, body, is_streamed(kwargs), known[1], known[2])

    def sort(self, request: Request, result: Any) -> Received | None:  # noqa: ARG002 - there is nothing to tell apart
        """A whole response, for a streamed call is late and never gets here."""
        return None

    def _address(self, base: Any) -> tuple[Any, str | None, int | None]:
        """Host and port of a client, remembered by the identity of its base URL."""
        if len(self._addresses) >= MOST_ADDRESSES:
            self._addresses.clear()
        host = text(member(base, "host"))
        port = (member(base, "port") or DEFAULT_PORTS.get(member(base, "scheme"))) if host else None
        found = self._addresses[id(base)] = (base, host, port)
        return found


ADAPTER: Final = OllamaAdapter()
