"""Google's GenAI client, with the Gemini API."""

from __future__ import annotations

import importlib
import warnings
from importlib.util import find_spec
from inspect import getsource
from typing import Any

from google import genai
from google.genai import _api_client, models

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_sse

QUESTION = "When should I visit Kyoto?"
ANSWER = "In April."
USAGE = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 6,
    "cachedContentTokenCount": 5,
    "totalTokenCount": 22,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
}
INTERACTION_USAGE = {
    "total_input_tokens": 12,
    "total_output_tokens": 4,
    "total_thought_tokens": 6,
    "total_cached_tokens": 5,
    "total_tokens": 22,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 12}],
}


def options(server: WireServer, **more: Any) -> Any:
    """Options of a client that talks to the server and does not try again, where the release can be told so."""
    given = {"base_url": server.base_url, **more}
    if "retry_options" in genai.types.HttpOptions.model_fields:
        given["retry_options"] = {"attempts": 1}
    return given


def http() -> Any:
    """The HTTP client that this release takes by itself: httpx2 or httpx."""
    return importlib.import_module(getattr(_api_client, "_DEFAULT_HTTP_CLIENT_BACKEND", "httpx"))


def connect(server: WireServer, is_async: bool) -> Any:
    """A client of the kind that is asked for."""
    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)  # the first releases' own
    # Without a transport it would take aiohttp where that is installed, whose newest release warns of how it does so.
    has_arguments = is_async and "async_client_args" in genai.types.HttpOptions.model_fields
    more = {"async_client_args": {"transport": http().AsyncHTTPTransport()}} if has_arguments else {}
    client = genai.Client(api_key="test", http_options=options(server, **more))
    if not is_async:
        return client
    client.aio.__dict__["keeps"] = client  # the sync client closes itself when it goes
    return client.aio


def close(client: Any) -> None:
    """Closes a client, where the release can do so."""
    getattr(client, "close", int)()


def answers(request: WireRequest) -> WireAnswer:
    """What generativelanguage.googleapis.com says."""
    if "/interactions" in request.path:
        return interactions(request)
    model, _, method = request.path.partition("?")[0].rpartition("/")[2].partition(":")
    if model == "error-429":
        return as_json({"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"candidates": [')
    if method == "batchEmbedContents":
        return as_json({"embeddings": [{"values": [0.1, 0.2]}], "usageMetadata": {"promptTokenCount": 5}})
    if method == "predict":
        statistics = {"truncated": False, "token_count": 3}
        embeddings = {"values": [0.1, 0.2], "statistics": statistics}
        return as_json({"predictions": [{"embeddings": embeddings}] * len(request.body["instances"])})
    head = {"responseId": f"resp-{request.number}", "modelVersion": f"{model}-001"}
    if method == "streamGenerateContent":
        return as_sse(chunks(head, model, request.body), is_cut=model == "cut-stream")
    return as_json(whole(head, model, request.body))


def called(body: Any) -> dict[str, Any] | None:
    """The function call that a model with functions asks for first."""
    if not body.get("tools") or "functionResponse" in str(body["contents"]):
        return None
    return {"functionCall": {"name": "weather", "args": {"city": "Kyoto"}}}


def whole(head: dict[str, Any], model: str, body: Any) -> dict[str, Any]:
    """A whole answer."""
    parts = None if model == "content-null" else [called(body) or {"text": ANSWER}]
    content = None if parts is None else {"role": "model", "parts": parts}
    candidates = None if model == "no-choices" else [{"content": content, "finishReason": "STOP", "index": 0}]
    return {**head, "candidates": candidates, "usageMetadata": None if model == "null-usage" else USAGE}


def chunks(head: dict[str, Any], model: str, body: Any) -> list[dict[str, Any]]:
    """The chunks of a streamed answer."""
    if model == "empty-stream":
        return []
    call = called(body)
    words = [call] if call else [{"text": word} for word in ("In", " April", ".")]
    found: list[dict[str, Any]] = []
    for word in words:
        content = None if model == "content-null" else {"role": "model", "parts": [word]}
        candidate: dict[str, Any] = {"content": content}
        if word is words[-1]:
            candidate["finishReason"] = "STOP"
        candidates = None if model == "no-choices" else [candidate]
        usage = None if model == "null-usage" else USAGE if word is words[-1] else {"promptTokenCount": 12}
        found.append({**head, "candidates": candidates, "usageMetadata": usage})
    return found[:1] if model == "cut-stream" else found


def interactions(request: WireRequest) -> WireAnswer:
    """What the API says of interactions."""
    path, _, query = request.path.partition("?")
    body = request.body or {}
    model = body.get("model") or path.rpartition("/")[2]
    if model == "error-429":
        return as_json({"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"id": "v1_')
    whole: dict[str, Any] = {
        "id": f"v1_{request.number}" if body else model,
        "model": f"{model}-001",
        "status": "completed",
        "created": "2026-11-21T00:00:00Z",
        "updated": "2026-11-21T00:00:00Z",
        "usage": None if model == "null-usage" else INTERACTION_USAGE,
    }
    if body.get("stream") or "stream=true" in query:
        return as_sse(events(whole, model), is_cut=model == "cut-stream")
    content = None if model == "content-null" else [{"type": "text", "text": ANSWER}]
    steps = None if model == "no-choices" else [{"type": "thought"}, {"type": "model_output", "content": content}]
    return as_json({**whole, "steps": steps})


def events(whole: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """The events of a streamed interaction."""
    if model == "empty-stream":
        return []
    started = {**whole, "status": "in_progress", "usage": None}
    steps: list[dict[str, Any]] = [
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
        *(
            {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": word}}
            for word in ("In", " April", ".")
        ),
        {"event_type": "step.stop", "index": 0},
    ]
    found = [
        {"event_type": "interaction.created", "interaction": started},
        *([] if model in {"no-choices", "content-null"} else steps),
        {"event_type": "interaction.completed", "interaction": whole},
    ]
    return found[:3] if model == "cut-stream" else found


CONFIG = {"temperature": 0.5, "max_output_tokens": 50, "top_k": 40, "system_instruction": "Be brief."}
REQUEST = {
    "gen_ai.operation.name": "generate_content",
    "gen_ai.provider.name": "gcp.gemini",
    "gen_ai.request.model": "model-1",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 50,
    "gen_ai.request.top_k": 40,
}
RESPONSE = {
    "gen_ai.response.model": "model-1-001",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.cache_read.input_tokens": 5,
}
TEXTS = {"gen_ai.usage.text.input_tokens": 12}
THOUGHTS = {"gen_ai.usage.output_tokens": 10, "gen_ai.usage.reasoning.output_tokens": 6}
CREATED = {**REQUEST, **RESPONSE, **TEXTS, **THOUGHTS, "gen_ai.response.id": "v1_1"}
del CREATED["gen_ai.request.top_k"]


def known(kind: Any, field: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes, where a type of this release has a field; the first releases drop what they have none for."""
    return attributes if field in kind.model_fields else {}


def response_id(number: int) -> dict[str, Any]:
    """The id of a response, where this release takes it over from the Gemini API; some have a field, for Vertex AI."""
    is_told = "responseId" in getsource(models._GenerateContentResponse_from_mldev)
    return {"gen_ai.response.id": f"resp-{number}"} if is_told else {}


def generated(number: int) -> dict[str, Any]:
    """All attributes of generated content that answers the request with a number."""
    usage = genai.types.GenerateContentResponseUsageMetadata
    return {
        **REQUEST,
        **RESPONSE,
        "gen_ai.usage.output_tokens": 4,
        **known(usage, "prompt_tokens_details", TEXTS),
        **known(usage, "thoughts_token_count", THOUGHTS),
        **response_id(number),
    }


GENERATED = generated(1)
FETCHED = {
    "gen_ai.operation.name": "fetch_response",
    "gen_ai.provider.name": "gcp.gemini",
    "gen_ai.response.id": "model-1",
    "gen_ai.response.model": "model-1-001",
    "gen_ai.response.status": "completed",
    "gen_ai.response.finish_reasons": ("stop",),
}
EMBEDDED = {
    "gen_ai.operation.name": "embeddings",
    "gen_ai.provider.name": "gcp.gemini",
    "gen_ai.request.model": "model-1",
    "gen_ai.embeddings.dimension.count": 2,
    **known(genai.types.EmbedContentResponse, "usage_metadata", {"gen_ai.usage.input_tokens": 5}),
}
ASKED = [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}]
CONTENT = {
    "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
    "gen_ai.input.messages": ASKED,
    "gen_ai.output.messages": SAID,
}
WITH_TOOLS = {**CONTENT, "gen_ai.tool.definitions": [{"type": "function", "name": "weather"}]}
UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
STREAMED = ("no-choices", "null-usage", "content-null", "empty-stream", "cut-stream", "html")
# The first releases with interactions give a page as it is, which has no status; later ones raise.
FETCHED_UNARY = UNARY if find_spec("google.genai._gaos") else ("no-choices", "null-usage", "content-null", "not-json")


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Mild in {city}."


weather.__annotations__ = {"city": str, "return": str}  # the first releases do not resolve names


def generate(client: Any, model: str) -> Any:
    """Contents, whole."""
    return client.models.generate_content(model=model, contents=QUESTION, config=CONFIG)


def generate_streamed(client: Any, model: str) -> Any:
    """Contents, streamed."""
    return client.models.generate_content_stream(model=model, contents=QUESTION, config=CONFIG)


def with_functions(client: Any, model: str) -> Any:
    """Contents, after the client has called a function by itself."""
    return client.models.generate_content(model=model, contents=QUESTION, config={**CONFIG, "tools": [weather]})


def with_functions_streamed(client: Any, model: str) -> Any:
    """The same, streamed."""
    config = {**CONFIG, "tools": [weather]}
    return client.models.generate_content_stream(model=model, contents=QUESTION, config=config)


def send(client: Any, model: str) -> Any:
    """A message of a chat."""
    return client.chats.create(model=model, config=CONFIG).send_message(QUESTION)


def send_streamed(client: Any, model: str) -> Any:
    """A message of a chat, its answer streamed."""
    return client.chats.create(model=model, config=CONFIG).send_message_stream(QUESTION)


def embed(client: Any, model: str) -> Any:
    """An embedding."""
    return client.models.embed_content(model=model, contents=QUESTION, config={"output_dimensionality": 2})


def create(resource: Any, model: str, **more: Any) -> Any:
    """An interaction."""
    config = {"temperature": 0.5, "max_output_tokens": 50}
    return resource.create(
        model=model, input=QUESTION, system_instruction="Be brief.", generation_config=config, **more
    )


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of client."""
    suffix = " async" if is_async else ""
    interacting = (2, 0)

    def style(name: str, call: Any, **more: Any) -> Style:
        given = {
            "span_name": "generate_content model-1",
            "attributes": GENERATED,
            "content": CONTENT,
            "odd": STREAMED if more.get("is_stream") else UNARY,
            "error_type": "ClientError",
            **more,
        }
        return Style(name + suffix, call, is_async=is_async, **given)

    def interaction(name: str, call: Any, **more: Any) -> Style:
        given = {"attributes": CREATED, "error_type": "RateLimitError", "from_version": interacting, **more}
        return style(name, call, **given)

    def fetch(name: str, call: Any, **more: Any) -> Style:
        given = {"span_name": "fetch_response", "attributes": FETCHED, "content": {"gen_ai.output.messages": SAID}}
        return interaction(name, call, **{"odd": FETCHED_UNARY, **given, **more})

    twice = generated(2)
    return [
        style("models.generate_content", generate),
        style("models.generate_content_stream", generate_streamed, is_stream=True),
        style("models.generate_content functions", with_functions, attributes=twice, content=WITH_TOOLS),
        style(
            "models.generate_content_stream functions",
            with_functions_streamed,
            attributes=twice,
            content=None,
            is_stream=True,
            odd=("no-choices", "empty-stream", "html"),
        ),
        style("chats.send_message", send, odd=("null-usage", "html", "not-json")),
        style("chats.send_message_stream", send_streamed, is_stream=True, odd=("null-usage", "html", "cut-stream")),
        style(
            "models.embed_content",
            embed,
            span_name="embeddings model-1",
            attributes=EMBEDDED,
            content={},
            odd=("html", "not-json"),
        ),
        interaction("interactions.create", lambda client, model: create(client.interactions, model)),
        interaction(
            "interactions.create streamed",
            lambda client, model: create(client.interactions, model, stream=True),
            is_stream=True,
        ),
        interaction(
            "interactions.create raw",
            lambda client, model: create(client.interactions.with_raw_response, model),
            reads=lambda got: got.parse(),
        ),
        fetch("interactions.get", lambda client, model: client.interactions.get(model)),
        fetch(
            "interactions.get streamed",
            lambda client, model: client.interactions.get(id=model, stream=True),
            is_stream=True,
            odd=STREAMED,
        ),
    ]


CASE = ClientCase(
    client="google-genai",
    distribution="google-genai",
    module="google.genai",
    connect=connect,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
    note="; `interactions` from 2.0 on",
)
