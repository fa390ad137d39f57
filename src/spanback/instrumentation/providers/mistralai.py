"""Mistral's client, since 1.0. Its classes hold a sync and an async method for each call, and take only keywords."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import AsyncGeneratorType, GeneratorType, SimpleNamespace
from typing import Any, Final

from spanback import semconv as sc
from spanback.instrumentation._adapter import (
    Attributes,
    Body,
    Clip,
    Endpoint,
    Received,
    Request,
    Target,
    field_of,
    member,
    members,
    text,
)
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers import _chat, _conversations, _responses
from spanback.instrumentation.providers._places import place

_TELEMETRY: Final = "mistralai.extra.observability.telemetry"
_USAGE: Final = (
    ("prompt_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS),
    ("completion_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS),
)

_read_request: Final = body_reader(
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("top_k", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("frequency_penalty", sc.GEN_AI_REQUEST_FREQUENCY_PENALTY, float),
    Field("presence_penalty", sc.GEN_AI_REQUEST_PRESENCE_PENALTY, float),
    Field("max_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("random_seed", sc.GEN_AI_REQUEST_SEED, int),
    Field("n", sc.GEN_AI_REQUEST_CHOICE_COUNT, _chat.choice_count),
    Field("stop", sc.GEN_AI_REQUEST_STOP_SEQUENCES, _chat.texts),
    Field("response_format", sc.GEN_AI_OUTPUT_TYPE, _chat.output_type),
    Field("reasoning_effort", sc.GEN_AI_REQUEST_REASONING_LEVEL, str),
)
_read_embeddings_request: Final = body_reader(
    Field("output_dimension", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int),
    Field("encoding_format", sc.GEN_AI_REQUEST_ENCODING_FORMATS, _chat.texts),
)
_read_completion: Final = response_reader(
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
)


def _usage(response: Any) -> Attributes:
    """Token counts. The client fills in zeros for what the server does not say; those are left out."""
    usage = field_of(response, "usage")
    said = getattr(usage, "model_fields_set", ())
    counts = ((name, attribute, field_of(usage, name)) for name, attribute in _USAGE)
    return {attribute: count for name, attribute, count in counts if type(count) is int and name in said}


def _read_response(response: Any) -> Attributes:
    attributes = _read_completion(response)
    reasons = [reason for one in members(response, "choices") if (reason := text(member(one, "finish_reason")))]
    if reasons:
        attributes[sc.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reasons)
    return {**attributes, **_usage(response)}


def _read_embeddings(response: Any) -> Attributes:
    attributes = {**_read_completion(response), **_usage(response)}
    attributes.pop(sc.GEN_AI_USAGE_OUTPUT_TOKENS, None)  # there is none, which the server tells as zero
    return attributes


def _read_conversation_request(body: Body) -> Attributes:
    """What the completions of a conversation are to be like stands in an object or a dict of its own."""
    arguments = body.get("completion_args")
    return _read_request(arguments if isinstance(arguments, dict) else getattr(arguments, "__dict__", {}))


def _read_conversation(response: Any) -> Attributes:
    return {**_conversations.read_response(response), **_usage(response)}


def _read_responses_response(response: Any) -> Attributes:
    attributes = _responses.read_response(response)
    attributes.pop(sc.OPENAI_RESPONSE_SERVICE_TIER, None)
    return attributes


def _read_code(body: Body, clip: Clip) -> Attributes:
    """Code before and after the gap that is to be filled, as one message of a user."""
    pieces = [piece for name in ("prompt", "suffix") if (piece := text(body.get(name)))]
    parts = [{"type": "text", "content": clip(piece)} for piece in pieces]
    return {sc.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": parts}] if parts else None}


def _identify(thing: Any) -> tuple[str | None, str | None]:
    """Id and model of a completion, or of a chunk of one, which is wrapped in an event."""
    chunk = field_of(thing, "data") or thing
    return text(field_of(chunk, "id")), text(field_of(chunk, "model"))


def _identify_response(thing: Any) -> tuple[str | None, str | None]:
    """As `_identify`, for responses, which stand inside the events that bear them."""
    event = field_of(thing, "data") or thing
    return _identify(field_of(event, "response") or event)


class MistralChunks(_chat.ChatChunks):
    """Folds chunks, each wrapped in an event. What a delta says may be one text, or texts and thoughts."""

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events."""
        super().add([getattr(chunk, "data", None) for chunk in chunks])

    def _add_choice(self, choice: Any) -> None:
        delta = member(choice, "delta")
        content = member(delta, "content")
        if not isinstance(content, list):
            super()._add_choice(choice)
            return
        deltas = [
            SimpleNamespace(content=text(member(one, "text")), reasoning=_chat.thought_of(one)) for one in content
        ]
        deltas.append(SimpleNamespace(content=None, tool_calls=member(delta, "tool_calls")))
        for one in deltas:
            index, reason = member(choice, "index"), member(choice, "finish_reason")
            super()._add_choice(SimpleNamespace(index=index, finish_reason=reason, delta=one))


class MistralResponseEvents(_responses.ResponseEvents):
    """Folds the events of a streamed response, each wrapped in a frame."""

    def add(self, chunks: list[Any]) -> None:
        """Takes the next frames."""
        super().add([getattr(chunk, "data", None) for chunk in chunks])


def _traces_itself(instance: Any) -> bool:
    """Whether the client will make a span of its own where the app's spans go.

    Clients of 3.x do so when they are told, and can also send their spans to Mistral alone, which nobody else sees:
    then there is nothing to adopt. The last releases of 1.x, and the first of 2.x, do so wherever the app has set a
    global provider.
    """
    configuration = instance.sdk_configuration
    hook = _tracing_hook(configuration)
    if hook is None:
        return False
    if not hasattr(hook, "_telemetry_auto_disabled"):
        return bool(sys.modules[type(hook).__module__].get_or_create_otel_tracer()[0])
    if hook.tracer_provider is not None:
        return hook.tracer_provider is not hook._auto_telemetry_provider  # noqa: SLF001 - it has no public name
    if hook._telemetry_auto_disabled:  # noqa: SLF001 - as above
        return bool(hook._telemetry_use_global_provider)  # noqa: SLF001 - as above
    return _asked_for(getattr(configuration, "telemetry", None)) == "global"


def _tracing_hook(configuration: Any) -> Any:
    """What makes the client's own spans; None before the releases that can."""
    hooks = getattr(getattr(configuration, "_hooks", None), "before_request_hooks", ())
    return next((one for one in hooks if type(one).__name__ == "TracingHook"), None)


def _silence(instance: Any, _args: Sequence[Any], _kwargs: Mapping[str, Any], is_silent: Callable[[], bool]) -> None:
    """Has the client's hook pass requests on within calls that are to be silent; it has no switch for a single one.

    It is a client's own, and what stands in it goes away with the first request of another call.
    """
    if not _traces_itself(instance):
        return
    hook = _tracing_hook(instance.sdk_configuration)
    before = hook.before_request

    def pass_on(context: Any, request: Any) -> Any:
        if is_silent():
            return request
        vars(hook).pop("before_request", None)
        return before(context, request)

    if "before_request" not in vars(hook):
        hook.before_request = pass_on


def _asked_for(setting: Any) -> str | None:
    """Where a client that has sent no request yet will send its spans. It settles that with its first one."""
    telemetry: Any = sys.modules[_TELEMETRY]
    try:
        if isinstance(setting, (bool, str)):
            return telemetry._resolve_telemetry_mode(setting)  # noqa: SLF001 - it has no public name
        return telemetry._resolve_mistral_telemetry_env()  # noqa: SLF001 - as above
    except telemetry.TelemetryConfigurationError:
        return None  # which the client will raise itself


def _chat_endpoint(operation: str, read_input: Callable[[Body, Clip], Attributes], *, is_stream: bool) -> Endpoint:
    return Endpoint(
        operation,
        _read_request,
        _read_response,
        MistralChunks if is_stream else None,
        read_input,
        _chat.read_output,
        has_chunk_ids=False,
        identify=_identify,
        silence=_silence,
    )


def _conversation_endpoint(*, is_stream: bool) -> Endpoint:
    return Endpoint(
        "chat",
        _read_conversation_request,
        _read_conversation,
        _conversations.ConversationEvents if is_stream else None,
        _conversations.read_input,
        _conversations.read_output,
        _conversations.read_dimensions,
        has_chunk_ids=False,
        identify=_conversations.identify,
        silence=_silence,
    )


_RESPONSES: Final = Endpoint(
    "chat",
    _responses.read_request,
    _read_responses_response,
    MistralResponseEvents,
    _responses.read_input,
    _responses.read_output,
    _responses.read_dimensions,
    has_chunk_ids=False,
    identify=_identify_response,
    silence=_silence,
)
_CHAT: Final = _chat_endpoint("chat", _chat.read_input, is_stream=False)
_CHAT_STREAM: Final = _chat_endpoint("chat", _chat.read_input, is_stream=True)
_CODE: Final = _chat_endpoint("text_completion", _read_code, is_stream=False)
_CODE_STREAM: Final = _chat_endpoint("text_completion", _read_code, is_stream=True)
_CONVERSATION: Final = _conversation_endpoint(is_stream=False)
_CONVERSATION_STREAM: Final = _conversation_endpoint(is_stream=True)
_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "chat.Chat.complete": _CHAT,
    "chat.Chat.stream": _CHAT_STREAM,
    "agents.Agents.complete": _CHAT,
    "agents.Agents.stream": _CHAT_STREAM,
    "fim.Fim.complete": _CODE,
    "fim.Fim.stream": _CODE_STREAM,
    "embeddings.Embeddings.create": Endpoint(
        "embeddings", _read_embeddings_request, _read_embeddings, is_inference=False, silence=_silence
    ),
    "conversations.Conversations.start": _CONVERSATION,
    "conversations.Conversations.append": _CONVERSATION,
    "conversations.Conversations.restart": _CONVERSATION,
    "conversations.Conversations.start_stream": _CONVERSATION_STREAM,
    "conversations.Conversations.append_stream": _CONVERSATION_STREAM,
    "conversations.Conversations.restart_stream": _CONVERSATION_STREAM,
    "responses.Responses.create": _RESPONSES,
}


def _targets() -> tuple[Target, ...]:
    """Every function, sync and async. From 2.0 on the modules are one package deeper."""
    targets: list[Target] = []
    for name, endpoint in _ENDPOINTS.items():
        module, _, path = name.partition(".")
        modules = (f"mistralai.client.{module}", f"mistralai.{module}")
        targets.append(Target(modules, path, is_async=False, endpoint=endpoint))
        targets.append(Target(modules, f"{path}_async", is_async=True, endpoint=endpoint))
    return tuple(targets)


class MistralAdapter:
    """What the engine asks about Mistral's client."""

    client: Final = "mistralai"
    targets: Final = _targets()
    traces_itself: Final = staticmethod(_traces_itself)

    def find_endpoint(self, _args: Sequence[Any], _kwargs: Mapping[str, Any]) -> Endpoint | None:
        """None: each function has its endpoint."""

    def read(self, endpoint: Endpoint, instance: Any, _args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """The keywords of the call, which are the body's. A one-shot iterable among them is left alone."""
        url = kwargs.get("server_url") or instance.sdk_configuration.get_server_details()[0]
        host, port = place(url)
        is_stream = endpoint.accumulator is not None and (endpoint is not _RESPONSES or kwargs.get("stream") is True)
        return Request(endpoint, "mistral_ai", text(kwargs.get("model")), kwargs, is_stream, host, port)

    def sort(self, _request: Request, result: Any) -> Received | None:
        """A stream is an object around a generator; in the first releases it is the generator itself."""
        own: Mapping[str, Any] = getattr(result, "__dict__", {})
        if "generator" in own:
            return Received(stream=result, slot="generator", body=own.get("response"))
        return Received(stream=result) if isinstance(result, (GeneratorType, AsyncGeneratorType)) else None


ADAPTER: Final = MistralAdapter()
