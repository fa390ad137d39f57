"""Cohere's client, v1 and v2 of its API.

Every call goes through its raw clients, whose methods give an `HttpResponse` that holds the parsed response, or are
context managers that give one that holds a generator of events. Releases before the raw clients are wrapped where the
app calls them. `Client.embed` cuts its texts in batches and sends them from threads: there the span is its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from spanback import semconv as sc
from spanback.instrumentation._adapter import (
    Attributes,
    Endpoint,
    Received,
    Request,
    Target,
    field_of,
    members,
    text,
    whole,
)
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers import _chat, _cohere_messages
from spanback.instrumentation.providers._places import place

_MOST_FRAMES = 12
_ID_NAMES = ("response_id", "generation_id", "id")


def identify(thing: Any) -> tuple[str | None, None]:
    """Id of a response, of the first event of a stream, or of the response in its last one. None of them has a model.

    v1 has two ids, one of the response and one of its text.
    """
    response = field_of(thing, "response") or thing
    for name in _ID_NAMES:
        response_id = text(field_of(response, name))
        if response_id is not None:
            return response_id, None
    return None, None


_SAMPLING: Final = (
    Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
    Field("p", sc.GEN_AI_REQUEST_TOP_P, float),
    Field("k", sc.GEN_AI_REQUEST_TOP_K, int),
    Field("frequency_penalty", sc.GEN_AI_REQUEST_FREQUENCY_PENALTY, float),
    Field("presence_penalty", sc.GEN_AI_REQUEST_PRESENCE_PENALTY, float),
    Field("max_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
    Field("seed", sc.GEN_AI_REQUEST_SEED, int),
    Field("end_sequences", sc.GEN_AI_REQUEST_STOP_SEQUENCES, _chat.texts),
    Field("stop_sequences", sc.GEN_AI_REQUEST_STOP_SEQUENCES, _chat.texts),
    Field("num_generations", sc.GEN_AI_REQUEST_CHOICE_COUNT, _chat.choice_count),
    Field("response_format", sc.GEN_AI_OUTPUT_TYPE, _chat.output_type),
)
read_sampling: Final = body_reader(*_SAMPLING)
read_embed: Final = body_reader(
    Field("output_dimension", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int),
    Field("embedding_types", sc.GEN_AI_REQUEST_ENCODING_FORMATS, _chat.texts),
)


def _usage(at: str) -> tuple[Field, ...]:
    """What the model has processed; where Cohere does not tell that, what it bills."""
    return (
        Field(f"{at}.billed_units.input_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, whole),
        Field(f"{at}.billed_units.output_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, whole),
        Field(f"{at}.tokens.input_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, whole),
        Field(f"{at}.tokens.output_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, whole),
        Field(f"{at}.cached_tokens", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, whole),
    )


read_v2_chat: Final = response_reader(
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("finish_reason", sc.GEN_AI_RESPONSE_FINISH_REASONS, _chat.texts),
    *_usage("usage"),
)
_read_v1: Final = response_reader(*_usage("meta"))


def read_v1_chat(response: Any) -> Attributes:
    """Attributes of a chat response of v1."""
    return {**_read_v1(response), **_ends(response, [response])}


def read_generations(response: Any) -> Attributes:
    """Attributes of a text completion of v1, which has a reason to end for each text."""
    return {**_read_v1(response), **_ends(response, members(response, "generations"))}


def read_metered(response: Any) -> Attributes:
    """Attributes of embeddings and rankings."""
    return {**_read_v1(response), **_ends(response, ())}


def _ends(response: Any, choices: Sequence[Any]) -> Attributes:
    reasons = [reason for choice in choices if (reason := text(field_of(choice, "finish_reason")))]
    return {sc.GEN_AI_RESPONSE_ID: identify(response)[0], sc.GEN_AI_RESPONSE_FINISH_REASONS: tuple(reasons) or None}


_V2_CHAT: Final = Endpoint(
    "chat",
    read_sampling,
    read_v2_chat,
    read_input=_cohere_messages.read_v2_input,
    read_output=_cohere_messages.read_v2_output,
    has_chunk_ids=False,
    identify=identify,
)
_V1_CHAT: Final = Endpoint(
    "chat",
    read_sampling,
    read_v1_chat,
    read_input=_cohere_messages.read_v1_input,
    read_output=_cohere_messages.read_v1_output,
    read_dimensions=_cohere_messages.read_v1_dimensions,
    has_chunk_ids=False,
    identify=identify,
)
_GENERATE: Final = Endpoint(
    "text_completion",
    read_sampling,
    read_generations,
    read_input=_chat.read_prompt,
    read_output=_cohere_messages.read_generated,
    has_chunk_ids=False,
    identify=identify,
)
_EMBED: Final = Endpoint("embeddings", read_embed, read_metered, is_inference=False, identify=identify)
_EMBED_BATCHES: Final = replace(_EMBED, encloses=True)
# The conventions have no name for it.
_RERANK: Final = Endpoint("rerank", body_reader(), read_metered, is_inference=False, identify=identify)


def _streamed(endpoint: Endpoint, accumulator: Any) -> Endpoint:
    return replace(endpoint, accumulator=accumulator)


_V2_CHAT_STREAM: Final = _streamed(_V2_CHAT, _cohere_messages.V2Events)
_V1_CHAT_STREAM: Final = _streamed(_V1_CHAT, _cohere_messages.V1Events)
_GENERATE_STREAM: Final = _streamed(_GENERATE, _cohere_messages.V1Events)
_V2_METHODS: Final = {"chat": _V2_CHAT, "chat_stream": _V2_CHAT_STREAM, "embed": _EMBED, "rerank": _RERANK}
_V1_METHODS: Final = {
    "chat": _V1_CHAT,
    "chat_stream": _V1_CHAT_STREAM,
    "generate": _GENERATE,
    "generate_stream": _GENERATE_STREAM,
    "rerank": _RERANK,
    "embed": None,  # `find_endpoint` tells
}


def _always(_kwargs: Mapping[str, Any]) -> bool:
    return True


def _targets(module: str, cls: str, methods: Mapping[str, Endpoint | None], *, is_async: bool) -> list[Target]:
    return [
        Target(
            module,
            f"{'Async' if is_async else ''}{cls}.{name}",
            is_async=is_async and not name.endswith("_stream"),
            endpoint=endpoint,
            is_manager=name.endswith("_stream"),
        )
        for name, endpoint in methods.items()
    ]


def _before_raw(targets: Sequence[Target]) -> list[Target]:
    """The same methods of releases that have no raw clients. Streams are generators there."""
    return [
        target._replace(
            is_manager=False, is_late=_always if target.is_manager else None, unless="cohere.raw_base_client"
        )
        for target in targets
    ]


def _all_targets(is_async: bool) -> list[Target]:
    prefix = "Async" if is_async else ""
    return [
        *_targets("cohere.v2.raw_client", "RawV2Client", _V2_METHODS, is_async=is_async),
        *_targets("cohere.raw_base_client", "RawBaseCohere", _V1_METHODS, is_async=is_async),
        Target("cohere.client", f"{prefix}Client.embed", is_async, endpoint=_EMBED_BATCHES),
        *_before_raw(_targets("cohere.v2.client", "V2Client", _V2_METHODS, is_async=is_async)),
        *_before_raw(_targets("cohere.base_client", "BaseCohere", _V1_METHODS, is_async=is_async)),
    ]


def is_batch() -> bool:
    """Whether this is one of the batches that `Client.embed` sends from threads: a function inside it is running.

    A thread of a pool knows neither the context nor the span of the call that it works for.
    """
    frame = inspect.currentframe()
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name == "<lambda>" and frame.f_globals.get("__name__") == "cohere.client":
            return True
        frame = frame.f_back
    return False


class CohereAdapter:
    """The adapter. All methods take their arguments by name."""

    client: Final = "cohere"
    targets: Final = (*_all_targets(is_async=False), *_all_targets(is_async=True))
    traces_itself: Final = None

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:  # noqa: ARG002 - the engine's signature
        """Embeddings of v1, but for the batches of a call that has its span already."""
        return None if is_batch() else _EMBED

    def read(self, endpoint: Endpoint, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:  # noqa: ARG002 - as above
        """The call's arguments are its body; what is not given stands there as a sentinel of no type of use."""
        base_url = text(instance._client_wrapper.get_base_url())  # noqa: SLF001 - no public name
        is_stream = endpoint.accumulator is not None
        return Request(endpoint, "cohere", text(kwargs.get("model")), kwargs, is_stream, *place(base_url or ""))

    def sort(self, request: Request, result: Any) -> Received | None:
        """Looks into what the raw clients give."""
        own = getattr(result, "__dict__", None) or {}
        if "_data" not in own or "_response" not in own:
            return None
        if request.is_stream:
            return Received(stream=result, slot="_data", body=own["_response"])
        return Received(response=own["_data"])


ADAPTER: Final = CohereAdapter()
