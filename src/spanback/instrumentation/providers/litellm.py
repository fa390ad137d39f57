"""LiteLLM, whatever the provider behind it and whichever client it takes to reach it.

Each public function is a wrapper of LiteLLM's own around the function that does the work. An app that has imported it
holds that wrapper, so what is wrapped is the variable inside through which all of them go. An answer from LiteLLM's
cache does not come that far: no model was called, and its id is that of the call that was.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakValueDictionary

from spanback import semconv as sc
from spanback.instrumentation._adapter import (
    EXTRA,
    Accumulator,
    Attributes,
    Body,
    Endpoint,
    Received,
    Request,
    Retries,
    StandIn,
    Target,
    field_of,
    member,
    members,
    text,
)
from spanback.instrumentation.providers import _chat, _embeddings, _responses, _sent_messages, anthropic
from spanback.instrumentation.providers._places import place

_PROVIDERS: Final = {
    "anthropic_text": "anthropic",
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "azure_text": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "bedrock_mantle": "aws.bedrock",
    "codestral": "mistral_ai",
    "cohere_chat": "cohere",
    "custom_openai": "openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "ollama_chat": "ollama",
    "openai_like": "openai",
    "text-completion-codestral": "mistral_ai",
    "text-completion-openai": "openai",
    "watsonx": "ibm.watsonx.ai",
    "watsonx_text": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""LiteLLM's names of providers that the conventions name otherwise."""
_NONE: Final[Body] = {}
_BOTH: Final = "USE_OTEL_LITELLM_REQUEST_SPAN"
_OTEL: Final = "litellm.integrations.opentelemetry"
_OTEL_2: Final = "litellm.integrations.otel.logger"
_ASYNC_EVENTS: Final = ("async_log_success_event", "async_log_failure_event")
_VERTEX: Final = "vertex_ai"
_THOUGHTS: Final = "thinking_blocks"
_TOTALS: Final = frozenset({sc.GEN_AI_USAGE_INPUT_TOKENS, sc.GEN_AI_USAGE_OUTPUT_TOKENS})
_COUNTS: Final = ("prompt_tokens", "completion_tokens")
_DETAILS: Final = {
    "prompt_tokens_details": ("cached_tokens", "cache_creation_tokens", "audio_tokens"),
    "completion_tokens_details": ("reasoning_tokens", "audio_tokens"),
}


def read_response(response: Any) -> Attributes:
    """Attributes of a chat or text completion, with the tokens written to a cache, for which OpenAI has no field.

    Where a provider tells the thoughts of its model and not their number, LiteLLM counts them itself. Such a count is
    an estimate, and left out.
    """
    attributes = _chat.read_response(response)
    usage = field_of(response, "usage")
    written = field_of(field_of(usage, "prompt_tokens_details"), "cache_creation_tokens")
    written = written or field_of(usage, "cache_creation_input_tokens")
    if type(written) is int:
        attributes[sc.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS] = written
    if any(field_of(field_of(choice, "message"), _THOUGHTS) for choice in members(response, "choices")):
        attributes.pop(sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, None)
    return _without_filled_in(attributes)


def read_embeddings(response: Any) -> Attributes:
    """Attributes of embeddings."""
    return _without_filled_in(_embeddings.read_response(response))


def read_whole_response(response: Any) -> Attributes:
    """Attributes of a response of the Responses API, which LiteLLM makes for other providers of their chats."""
    return _without_filled_in(_responses.read_response(response))


def read_message(response: Any) -> Attributes:
    """Attributes of a message in Anthropic's format, which LiteLLM makes for other providers of their answers."""
    return _without_filled_in(anthropic.read_response(response))


def _without_filled_in(attributes: Attributes) -> Attributes:
    """Without the zeros that LiteLLM writes where the provider has sent nothing: all, where no count is another."""
    counts = [name for name in attributes if name.startswith("gen_ai.usage.")]
    is_filled_in = not any(attributes[name] for name in counts)
    for name in counts:
        if attributes[name] == 0 and (is_filled_in or name not in _TOTALS):
            del attributes[name]
    return attributes


class LiteLLMChunks(_chat.ChatChunks):
    """Folds the chunks of a completion. LiteLLM takes the usage out of them, but keeps them as they came, too."""

    def __init__(self, kept: Sequence[Any], with_content: bool) -> None:
        super().__init__(with_content)
        self._kept = kept

    def response(self) -> Any:
        """The completion so far, with the token counts that the provider sent. LiteLLM's own estimates are none."""
        found: dict[str, Any] = {name: {} for name in _DETAILS}
        for chunk in self._kept:
            own, others = getattr(chunk, "__dict__", _NONE), getattr(chunk, EXTRA, None) or _NONE
            usage = own.get("usage") or others.get("usage")
            if usage is not None:
                found.update(_counted(usage, _COUNTS))
                for name, counts in _DETAILS.items():
                    found[name].update(_counted(member(usage, name), counts))
        details = found["completion_tokens_details"]
        if "reasoning_tokens" in details and self._has_thoughts():
            del details["reasoning_tokens"]
        self.usage(found)
        return super().response()

    def _has_thoughts(self) -> bool:
        choices = (choice for chunk in self._kept for choice in members(chunk, "choices"))
        return any(member(choice.delta, _THOUGHTS) for choice in choices)


def _counted(usage: Any, names: Sequence[str]) -> dict[str, int]:
    """The counts that are there. A provider that tells them in parts has zeros in the other parts."""
    return {name: value for name in names if (value := member(usage, name))}


class LiteLLMEvents(_responses.ResponseEvents):
    """Folds the events of a response. Their types are those of the API, but members of an enum."""

    def add(self, chunks: list[Any]) -> None:
        """Takes the next events."""
        super().add([_plain(event) for event in chunks])


def _plain(event: Any) -> Any:
    kind = getattr(event, "type", None)
    if type(kind) is str:
        return event
    fields = {name: getattr(event, name, None) for name in ("response", "item", "delta", "code")}
    return SimpleNamespace(type=text(kind), **fields)


def _attempts_left(error: BaseException, kwargs: Mapping[str, Any]) -> int:
    """How often LiteLLM will try again by itself, told as it tells that. Its routers see to that themselves."""
    litellm: Any = sys.modules["litellm"]
    if "model_group" in (kwargs.get("metadata") or _NONE):
        return 0
    count = kwargs.get("num_retries") or litellm.num_retries
    policy = kwargs.get("retry_policy")
    if policy:
        count = sys.modules["litellm.utils"].get_num_retries_from_retry_policy(exception=error, retry_policy=policy)
    if count:
        # In older releases the async function is tried again only once, whatever LiteLLM is told.
        is_async = member(kwargs.get("litellm_logging_obj"), "call_type") == "acompletion"
        if is_async and "AsyncRetrying" not in litellm.acompletion_with_retries.__code__.co_names:
            count = 1
        return count if isinstance(error, sys.modules["openai"].APIError) else 0
    others = kwargs.get("context_window_fallback_dict") or _NONE
    return int(isinstance(error, litellm.ContextWindowExceededError) and kwargs.get("model") in others)


def _no_attempts_left(_error: BaseException, _kwargs: Mapping[str, Any]) -> int:
    return 0


def _responses_left(error: BaseException, kwargs: Mapping[str, Any]) -> int:
    return _attempts_left(error, kwargs) if hasattr(sys.modules["litellm"], "responses_with_retries") else 0


def _name_of(kwargs: Mapping[str, Any]) -> str | None:
    return text(kwargs.get("litellm_call_id"))


class _Mark:
    """What gives the span of a call to a callback. It lives as long as LiteLLM's own record of the call."""

    __slots__ = ("__weakref__", "span_for")

    def __init__(self, span_for: Callable[[Any], Any]) -> None:
        self.span_for = span_for


_marks: Final[WeakValueDictionary[str, _Mark]] = WeakValueDictionary()
"""By the names of calls. Callbacks are given no object of the call on which a mark could be found."""


def _take_place(kwargs: Mapping[str, Any], span_for: Callable[[Any], Any]) -> None:
    """Notes the span for LiteLLM's own `otel` callbacks, where there are any."""
    record = kwargs.get("litellm_logging_obj")
    if record is not None and not sys.modules.keys().isdisjoint((_OTEL, _OTEL_2)):
        record.spanback_mark = mark = _Mark(span_for)
        _marks[record.litellm_call_id] = mark


def _stands_in(callback: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> StandIn | None:
    """The span that is there for the call, unless the app wants LiteLLM's beside any other."""
    call = kwargs.get("kwargs") or next(one for one in args if isinstance(one, dict))
    mark = _marks.get(text(call.get("litellm_call_id")) or "")
    span = None if mark is None else mark.span_for(callback.tracer)
    if span is None or not hasattr(callback, "_get_span_name"):  # the second generation has none, and no such choice
        return None if span is None else StandIn(span, None)
    asks = getattr(sys.modules[_OTEL], "get_secret_bool", None)
    if asks is not None and asks(_BOTH):
        return None
    return StandIn(span, callback._get_span_name(call))  # noqa: SLF001 - it has no public name


_ONLY_ROUTED: Final = Retries(_name_of, _no_attempts_left)


_CHAT: Final = Endpoint(
    "chat",
    _chat.read_request,
    read_response,
    _chat.ChatChunks,
    _chat.read_input,
    _chat.read_output,
    encloses=True,
    take_place=_take_place,
    retries=Retries(_name_of, _attempts_left),
)
_TEXT: Final = replace(_CHAT, operation="text_completion", read_input=_chat.read_prompt, retries=_ONLY_ROUTED)
_EMBEDDINGS: Final = replace(
    _embeddings.EMBEDDINGS,
    read_response=read_embeddings,
    encloses=True,
    take_place=_take_place,
    retries=_ONLY_ROUTED,
)
_RESPONSES: Final = Endpoint(
    "chat",
    _responses.read_request,
    read_whole_response,
    LiteLLMEvents,
    _responses.read_input,
    _responses.read_output,
    _responses.read_dimensions,
    has_chunk_ids=False,
    encloses=True,
    take_place=_take_place,
    retries=Retries(_name_of, _responses_left),
)
_MESSAGES: Final = Endpoint(
    "chat",
    anthropic.read_request,
    read_message,
    _sent_messages.SentEvents,
    anthropic.read_input,
    anthropic.read_output,
    identify=_sent_messages.identify,
    encloses=True,
    take_place=_take_place,
    retries=_ONLY_ROUTED,
)
_MESSAGES_MODULES: Final = (
    "litellm.llms.anthropic.messages.native.handler",
    "litellm.llms.anthropic.pass_through.messages.handler",
    "litellm.llms.anthropic.experimental_pass_through.messages.handler",
)
"""In 1.109, in 1.106, and before. The sync function has no work of its own: it calls one of the others."""
_FIRST_ARGUMENTS: Final = (
    (_CHAT, ("model", "messages")),
    (_TEXT, ("prompt", "model")),
    (_EMBEDDINGS, ("model", "input")),
    (_RESPONSES, ("input", "model")),
    (_MESSAGES, ("max_tokens", "messages", "model")),
)
"""What apps pass by position."""


def _targets(module: str | tuple[str, ...], endpoint: Endpoint, *names: str) -> list[Target]:
    return [
        Target(module, name, is_async=name.startswith("a"), endpoint=endpoint, closure="original_function")
        for name in names
    ]


def _callbacks(module: str, kind: str, *names: str) -> list[Target]:
    return [
        Target(module, f"{kind}.{name}", is_async=name.startswith("async_"), stands_in=_stands_in) for name in names
    ]


class LiteLLMAdapter:
    """LiteLLM's public functions, and its own callbacks that make spans."""

    client: Final = "litellm"
    traces_itself: Callable[[Any], bool] | None = None
    targets: Sequence[Target] = (
        *_targets("litellm.main", _CHAT, "completion", "acompletion"),
        *_targets("litellm.main", _TEXT, "text_completion", "atext_completion"),
        *_targets("litellm.main", _EMBEDDINGS, "embedding", "aembedding"),
        *_targets("litellm.responses.main", _RESPONSES, "responses", "aresponses"),
        *_targets(_MESSAGES_MODULES, _MESSAGES, "anthropic_messages"),
        Target("litellm.router", "Router.async_function_with_fallbacks", is_async=True, is_router=True),
        *_callbacks(_OTEL, "OpenTelemetry", "log_success_event", "log_failure_event", *_ASYNC_EVENTS),
        *_callbacks(_OTEL_2, "OpenTelemetryV2", "log_pre_api_call", *_ASYNC_EVENTS),
    )

    def find_endpoint(self, _args: Sequence[Any], _kwargs: Mapping[str, Any]) -> Endpoint | None:
        """None: each function has its endpoint."""
        return None

    def read(self, endpoint: Endpoint, _instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """The arguments as the app gave them."""
        body = kwargs
        if args:
            names = next(names for known, names in _FIRST_ARGUMENTS if known is endpoint)
            body = {**dict(zip(names, args, strict=False)), **kwargs}
        provider, model = routed(text(body.get("model")), text(body.get("custom_llm_provider")))
        # Known only where the app says it itself.
        host, port = place(text(body.get("api_base")) or text(body.get("base_url")) or "")
        return Request(endpoint, provider, model, body, bool(body.get("stream")), host, port)

    def sort(self, _request: Request, result: Any) -> Received | None:
        """Streams make their chunks in a method of their own; some providers' are nothing but generators."""
        if not (hasattr(result, "__next__") or hasattr(result, "__anext__")):
            return None
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            return Received(stream=result)
        return Received(stream=result, slot="__next__", holder=result, accumulator=_accumulator_of(result))


def _accumulator_of(stream: Any) -> Callable[[bool], Accumulator] | None:
    """What folds the chunks of a completion; it gets the list that LiteLLM keeps, and not the stream."""
    for one in (stream, getattr(stream, "completion_stream", None)):
        kept = getattr(one, "chunks", None)
        if isinstance(kept, list):
            return lambda with_content: LiteLLMChunks(kept, with_content)
    return None


def routed(model: str | None, given: str | None) -> tuple[str, str | None]:
    """Where LiteLLM sends a call, told as LiteLLM does: an argument, the model's prefix, or its table of models.

    Args:
        model: The model's name, which may begin with a provider's.
        given: The provider that the app names itself.

    Returns:
        The provider by its name in the conventions, and the model by the provider's name for it.
    """
    litellm = sys.modules.get("litellm")
    head, slash, rest = (model or "").partition("/")
    # The names of providers are made when they are first asked for.
    if slash and (head == given or (given is None and head in (getattr(litellm, "provider_list", None) or ()))):
        given, model = head, rest
    if given is None:
        # The table of models is not: to make it may ask the network.
        costs = getattr(litellm, "__dict__", {}).get("model_cost") or {}
        given = text(member(costs.get(model), "litellm_provider")) or "openai"
    known = _PROVIDERS.get(given) or ("gcp.vertex_ai" if given.startswith(_VERTEX) else given)
    return known, model or None


ADAPTER: Final = LiteLLMAdapter()
