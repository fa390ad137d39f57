"""OpenAI's WebSocket connections: the Realtime API, and the Responses API over a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from spanback import semconv as sc
from spanback._messages import OutputMessage, Part
from spanback.instrumentation._adapter import (
    Adapter,
    Attributes,
    Body,
    Clip,
    Endpoint,
    Heard,
    Received,
    Request,
    Target,
    member,
    members,
    text,
)
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers import _responses

_EMPTY: Body = {}
_ASKS = "response.create"
_REASONS = {"completed": "stop", "failed": "error", "cancelled": "cancelled", "incomplete": "length"}

_read_request = body_reader(
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("max_output_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
)
_read_response = response_reader(
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("usage.input_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage.output_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("usage.input_token_details.cached_tokens", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
)


def read_response(response: Any) -> Attributes:
    """Attributes of a response of the Realtime API, which names no model."""
    attributes = _read_response(response)
    status = member(response, "status")
    reason = _REASONS.get(status) if isinstance(status, str) else None
    if reason is not None:
        attributes[sc.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)
    if status == "failed":
        error = member(member(response, "status_details"), "error")
        attributes[sc.ERROR_TYPE] = text(member(error, "code")) or text(member(error, "type")) or "_OTHER"
    return attributes


def read_output(response: Any, clip: Clip) -> Attributes:
    """What the model said, as one message; audio by its transcript."""
    parts: list[Part] = []
    for item in members(response, "output"):
        if text(member(item, "type")) == "function_call":
            name, arguments = text(member(item, "name")) or "", clip(member(item, "arguments") or "")
            parts.append(
                {"type": "tool_call", "id": text(member(item, "call_id")), "name": name, "arguments": arguments}
            )
        for part in members(item, "content"):
            said = text(member(part, "text")) or text(member(part, "transcript"))
            if said:
                parts.append({"type": "text", "content": clip(said)})
    if not parts:
        return {}
    reason = _REASONS.get(member(response, "status"), "error")
    return {sc.GEN_AI_OUTPUT_MESSAGES: [OutputMessage(role="assistant", parts=parts, finish_reason=reason)]}


@dataclass(frozen=True, slots=True)
class ConnectionAdapter:
    """The adapter of one response on a connection: its arguments are the body and the connection's model."""

    client: str
    provider_of: Callable[[str], str]
    targets: Sequence[Target] = ()
    traces_itself: Callable[[Any], bool] | None = None

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:  # noqa: ARG002
        """The session names it."""
        return None

    def read(self, endpoint: Endpoint, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:  # noqa: ARG002
        """What the response was asked for with. The server's name stands in the request that opened the connection."""
        body, model = args
        opened = getattr(getattr(instance, "_connection", None), "request", None)
        headers = getattr(opened, "headers", None) or _EMPTY
        place = urlsplit(f"//{text(headers.get('Host')) or ''}")
        port = (place.port or 443) if place.hostname else None
        provider = self.provider_of(place.hostname or "")
        return Request(endpoint, provider, text(body.get("model")) or model, body, True, place.hostname, port)

    def sort(self, request: Request, result: Any) -> Received | None:  # noqa: ARG002
        """Nothing is returned."""
        return None


@dataclass(frozen=True, slots=True)
class WebSocketSession:
    """How responses are told apart on a connection.

    Attributes:
        endpoint: Of each response.
        ends: Types of the events that end a response.
        inner: Name of the field of the event that asks for one in which its parameters stand; None for the event.
        provider_of: The provider's name for a host name.
    """

    endpoint: Endpoint
    ends: frozenset[str]
    inner: str | None
    provider_of: Callable[[str], str]

    def asks(self, event: Any) -> Body | None:
        """The parameters of the response that an event asks for; None for all other events."""
        if member(event, "type") != _ASKS:
            return None
        body = event if self.inner is None else member(event, self.inner)
        if isinstance(body, dict):
            return body
        dump: Callable[[], Body] | None = getattr(body, "to_dict", None)
        return dump() if dump is not None else _EMPTY

    def hears(self, event: Any) -> Heard | None:
        """What an event says of a response."""
        kind = text(member(event, "type")) or ""
        if kind.startswith("session."):
            return Heard("session", model=text(member(member(event, "session"), "model")))
        response = member(event, "response")
        response_id = text(member(response, "id")) or text(member(event, "response_id"))
        if kind == "response.created":
            return Heard("begun", response_id, response)
        if kind in self.ends:
            return Heard("ended", response_id, response)
        return Heard("chunk", response_id) if kind.startswith("response.") else None

    def adapter(self, of: Adapter) -> Adapter:
        """The adapter of one response."""
        return ConnectionAdapter(of.client, self.provider_of)


def targets(provider_of: Callable[[str], str]) -> tuple[Target, ...]:
    """The methods of connections through which every event goes."""
    realtime = WebSocketSession(_REALTIME, frozenset({"response.done"}), "response", provider_of)
    ends = frozenset({"response.completed", "response.incomplete", "response.failed"})
    responses = WebSocketSession(_RESPONSES, ends, None, provider_of)
    places = (
        ("openai.resources.realtime.realtime", "RealtimeConnection", realtime),
        ("openai.resources.responses.responses", "ResponsesConnection", responses),
    )
    found: list[Target] = []
    for module, name, session in places:
        for kind in ("", "Async"):
            found.append(Target(module, f"{kind}{name}.send", is_async=False, says=session))
            found.append(Target(module, f"{kind}{name}.parse_event", is_async=False, hears=session))
    return tuple(found)


_REALTIME: Final = Endpoint(
    "chat",
    _read_request,
    read_response,
    read_output=read_output,
)
_RESPONSES: Final = Endpoint(
    "chat",
    _responses.read_request,
    _responses.read_response,
    _responses.ResponseEvents,
    _responses.read_input,
    _responses.read_output,
    _responses.read_dimensions,
    constants={sc.OPENAI_API_TYPE: "responses"},
)
