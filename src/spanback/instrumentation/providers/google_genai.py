"""Google's GenAI client, for the Gemini API and Vertex AI: contents, embeddings, and the functions to wrap.

Functions that the client calls by itself belong to the call that offered them, so the public methods are wrapped and
not the single requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any, Final

from spanback import semconv as sc
from spanback.instrumentation._adapter import (
    Attributes,
    Body,
    Endpoint,
    Received,
    Request,
    Target,
    member,
    members,
    text,
    whole,
)
from spanback.instrumentation._tables import Field, body_reader, response_reader
from spanback.instrumentation.providers import _google_contents, _google_interactions
from spanback.instrumentation.providers._chat import choice_count, texts
from spanback.instrumentation.providers._google_contents import (
    TOOL_PROMPTS,
    add_modalities,
    add_parts,
    camel,
    either,
    fields_of,
)
from spanback.instrumentation.providers._places import place
from spanback.instrumentation.providers._stainless import StainlessAdapter

_VERTEX_HOSTS: Final = "aiplatform.googleapis.com"
_OUTPUT_TYPES: Final = {"application/json": "json", "text/plain": "text"}
_OUTPUT_MODALITIES: Final = {"audio": "speech", "image": "image"}
_MODALITIES: Final = {
    "prompt_tokens_details": "input_tokens",
    "candidates_tokens_details": "output_tokens",
    "cache_tokens_details": "cache_read.input_tokens",
}


def _output_type(mime_type: Any) -> str | None:
    return _OUTPUT_TYPES.get(text(mime_type) or "")


def _output_modality(modalities: Any) -> str | None:
    """`gen_ai.output.type` where something else than text is asked for."""
    asked = (_OUTPUT_MODALITIES.get(one.lower()) for one in texts(modalities) or ())
    return next((one for one in asked if one is not None), None)


def _level(thinking: Any) -> str | None:
    return text(either(thinking, "thinking_level"))


def _in_both_cases(*table: Field) -> list[Field]:
    """Rows for the names that a config has as an object, and for those that it may have as a dict."""
    return list(chain.from_iterable((row, row._replace(key=camel(row.key))) for row in table))


_read_config: Final = body_reader(
    *_in_both_cases(
        Field("temperature", sc.GEN_AI_REQUEST_TEMPERATURE, float),
        Field("top_p", sc.GEN_AI_REQUEST_TOP_P, float),
        Field("top_k", sc.GEN_AI_REQUEST_TOP_K, whole),
        Field("candidate_count", sc.GEN_AI_REQUEST_CHOICE_COUNT, choice_count),
        Field("max_output_tokens", sc.GEN_AI_REQUEST_MAX_TOKENS, int),
        Field("stop_sequences", sc.GEN_AI_REQUEST_STOP_SEQUENCES, texts),
        Field("presence_penalty", sc.GEN_AI_REQUEST_PRESENCE_PENALTY, float),
        Field("frequency_penalty", sc.GEN_AI_REQUEST_FREQUENCY_PENALTY, float),
        Field("seed", sc.GEN_AI_REQUEST_SEED, int),
        Field("response_mime_type", sc.GEN_AI_OUTPUT_TYPE, _output_type),
        Field("response_modalities", sc.GEN_AI_OUTPUT_TYPE, _output_modality),
        Field("thinking_config", sc.GEN_AI_REQUEST_REASONING_LEVEL, _level),
    )
)
_read_embedding_config: Final = body_reader(
    *_in_both_cases(Field("output_dimensionality", sc.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, int))
)
_read_response: Final = response_reader(
    Field("response_id", sc.GEN_AI_RESPONSE_ID, str),
    Field("model_version", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("usage_metadata.prompt_token_count", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage_metadata.candidates_token_count", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
    Field("usage_metadata.cached_content_token_count", sc.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, int),
    Field("usage_metadata.thoughts_token_count", sc.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, int),
    Field("usage_metadata.tool_use_prompt_token_count", TOOL_PROMPTS, int),
)


def read_request(body: Body) -> Attributes:
    """Attributes of a request for content."""
    return _read_config(fields_of(body.get("config")))


def read_embedding_request(body: Body) -> Attributes:
    """Attributes of a request for embeddings."""
    return _read_embedding_config(fields_of(body.get("config")))


def read_response(response: Any) -> Attributes:
    """Attributes of a response. The API counts thoughts and the prompts of tools apart; the totals include them."""
    attributes = _read_response(response)
    add_parts(attributes)
    usage = member(response, "usage_metadata")
    if usage is not None:
        add_modalities(attributes, usage, _MODALITIES)
    reasons: list[str] = []
    for candidate in members(response, "candidates"):
        reason = member(candidate, "finish_reason")
        if reason is not None and text(reason):
            reasons.append(_google_contents.finish_reason(reason))
    if reasons:
        attributes[sc.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reasons)
    return attributes


def read_embeddings(response: Any) -> Attributes:
    """Attributes of embeddings, which have no id: the tokens, where the API tells them of all or of each."""
    tokens = member(member(response, "usage_metadata"), "prompt_token_count")
    if tokens is None:
        each = [whole(member(member(one, "statistics"), "token_count")) for one in members(response, "embeddings")]
        known = [one for one in each if one is not None]
        tokens = sum(known) if each and len(known) == len(each) else None
    return {sc.GEN_AI_USAGE_INPUT_TOKENS: tokens if type(tokens) is int else None}


class ContentChunks:
    """Folds chunks of generated content. Without content it keeps the few fields that attributes need."""

    def __init__(self, with_content: bool) -> None:
        self._with_content = with_content
        self._whole = SimpleNamespace(response_id=None, model_version=None, usage_metadata=None, candidates=[])
        self._candidates: dict[int, SimpleNamespace] = {}

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks. Token counts are those so far, so that the last ones count."""
        whole_response, with_content = self._whole, self._with_content
        for chunk in chunks:
            usage = getattr(chunk, "usage_metadata", None)
            if usage is not None:
                whole_response.usage_metadata = usage
            for candidate in getattr(chunk, "candidates", None) or ():
                if with_content or candidate.finish_reason is not None:
                    self._add_candidate(candidate)
        for chunk in (chunks[0], chunks[-1]):
            for name in ("response_id", "model_version"):
                value = getattr(chunk, name, None)
                if value:
                    setattr(whole_response, name, value)

    def response(self) -> Any:
        """The response so far."""
        self._whole.candidates = [self._candidates[index] for index in sorted(self._candidates)]
        return self._whole

    def _add_candidate(self, candidate: Any) -> None:
        index = getattr(candidate, "index", None) or 0
        kept = self._candidates.get(index)
        if kept is None:
            kept = self._candidates[index] = SimpleNamespace(finish_reason=None, content={"parts": []})
        kept.finish_reason = getattr(candidate, "finish_reason", None) or kept.finish_reason
        if self._with_content:
            kept.content["parts"] += members(getattr(candidate, "content", None), "parts")


def identify(response: Any) -> tuple[str | None, str | None]:
    """Id and model of a response or a chunk."""
    return text(member(response, "response_id")), text(member(response, "model_version"))


def _always(_kwargs: Mapping[str, Any]) -> bool:
    return True


class GoogleAdapter:
    """The client's adapter."""

    client = "google-genai"
    traces_itself = None

    @property
    def targets(self) -> Sequence[Target]:
        """The public methods. The newer interactions are in a module that is imported when they are first used."""
        return _TARGETS

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:
        """Each target has its own endpoint, but for those of the interactions before."""
        return _BEFORE.find_endpoint(args, kwargs)

    def read(self, endpoint: Endpoint, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """The call as the app made it: nothing is consumed, and nothing is transformed yet."""
        if endpoint is _CREATE_BEFORE or endpoint is _FETCH_BEFORE:
            return _BEFORE.read(endpoint, instance, args, kwargs)
        if endpoint is _CREATE or endpoint is _FETCH:
            url, is_vertex = _google_interactions.server_of(instance)
            if endpoint is _FETCH:
                body: Body = {"id": kwargs.get("id", args[0] if args else None)}
                is_stream = kwargs.get("stream") is True
            else:
                body = _google_interactions.body_of(kwargs)
                is_stream = body.get("stream") is True
        else:
            body, is_stream = kwargs, endpoint is _STREAM
            api = instance._api_client  # noqa: SLF001 - it has no public name
            url, is_vertex = _url_of(api, kwargs.get("config")), bool(api.vertexai)
        host, port = place(text(url) or "")
        return Request(
            endpoint, _provider(host, is_vertex=is_vertex), text(body.get("model")), body, is_stream, host, port
        )

    def sort(self, request: Request, result: Any) -> Received | None:
        """Tells whole responses and streams apart. Synchronous streams of content are late, and never come here."""
        if request.endpoint is _CREATE_BEFORE or request.endpoint is _FETCH_BEFORE:
            return _BEFORE.sort(request, result)
        if request.endpoint is _STREAM:
            return Received(stream=result)
        is_interaction = request.endpoint is _CREATE or request.endpoint is _FETCH
        return _google_interactions.sort(result, request.is_stream) if is_interaction else None


def _url_of(api: Any, config: Any) -> Any:
    """The base URL of one call: its own config's, or the client's."""
    own = either(either(config, "http_options"), "base_url") if config is not None else None
    return own or member(api._http_options, "base_url")  # noqa: SLF001 - as above


def _provider(host: str | None, *, is_vertex: bool) -> str:
    """Whose models are asked: those of a client that says so, or of Vertex AI's own hosts, are Vertex AI's."""
    return "gcp.vertex_ai" if is_vertex or (host or "").endswith(_VERTEX_HOSTS) else "gcp.gemini"


_GENERATE: Final = Endpoint(
    "generate_content",
    read_request,
    read_response,
    ContentChunks,
    _google_contents.read_input,
    _google_contents.read_output,
    identify=identify,
)
_STREAM: Final = replace(_GENERATE)
_EMBED: Final = Endpoint("embeddings", read_embedding_request, read_embeddings, is_inference=False, identify=identify)
_CREATE: Final = Endpoint(
    "generate_content",
    _google_interactions.read_request,
    _google_interactions.read_response,
    _google_interactions.InteractionEvents,
    _google_interactions.read_input,
    _google_interactions.read_output,
    has_chunk_ids=False,
    identify=_google_interactions.identify,
)
_FETCH: Final = Endpoint(
    "fetch_response",
    _google_interactions.read_fetch,
    _google_interactions.read_fetched,
    _google_interactions.InteractionEvents,
    None,
    _google_interactions.read_output,
    has_chunk_ids=False,
    is_inference=False,
    identify=_google_interactions.identify,
)
# Up to some release the interactions came of another generator, whose raw resources hold methods of their own.
_CREATE_BEFORE: Final = replace(_CREATE)
_FETCH_BEFORE: Final = replace(_FETCH)


def find_by_path(method: str, path: str) -> Endpoint | None:
    """The endpoint of the interactions before, whose paths begin with the API's version, and a project on Vertex AI."""
    head, _, last = path.rpartition("/")
    if method == "post":
        return _CREATE_BEFORE if last == "interactions" else None
    return _FETCH_BEFORE if method == "get" and head.endswith("/interactions") else None


def provider_of(host: str) -> str:
    """Whose models are behind a host name."""
    return _provider(host, is_vertex=False)


def provider_of_client(client: Any) -> str | None:
    """Vertex AI, where a client of the interactions before says that it is its."""
    adapter = getattr(client, "client_adapter", None)
    return "gcp.vertex_ai" if adapter is not None and adapter.is_vertex_ai() else None


_BEFORE: Final = StainlessAdapter(
    client="google.genai._interactions",
    endpoints={},
    find_by_prefix=find_by_path,
    provider_of=provider_of,
    provider_of_client=provider_of_client,
)
_MODELS: Final = "google.genai.models"
_GENERATED: Final = "google.genai._gaos"
_NEXT: Final = f"{_GENERATED}.google_genai"
_TARGETS: Final = (
    Target(_MODELS, "Models.generate_content", is_async=False, endpoint=_GENERATE),
    Target(_MODELS, "AsyncModels.generate_content", is_async=True, endpoint=_GENERATE),
    Target(_MODELS, "Models.generate_content_stream", is_async=False, is_late=_always, endpoint=_STREAM),
    # Not late: in some releases it makes the request at once, in others at the first step.
    Target(_MODELS, "AsyncModels.generate_content_stream", is_async=True, endpoint=_STREAM),
    Target(_MODELS, "Models.embed_content", is_async=False, endpoint=_EMBED),
    Target(_MODELS, "AsyncModels.embed_content", is_async=True, endpoint=_EMBED),
    Target(_NEXT, "GeminiNextGenInteractions.create", is_async=False, endpoint=_CREATE),
    Target(_NEXT, "AsyncGeminiNextGenInteractions.create", is_async=True, endpoint=_CREATE),
    Target(_NEXT, "GeminiNextGenInteractions.get", is_async=False, endpoint=_FETCH),
    Target(_NEXT, "AsyncGeminiNextGenInteractions.get", is_async=True, endpoint=_FETCH),
    *(target._replace(unless=_GENERATED) for target in _BEFORE.targets),
)
ADAPTER: Final = GoogleAdapter()
