"""OpenAI's client, and every provider that is reached through it."""

from __future__ import annotations

from typing import Final

from spanback import semconv as sc
from spanback.instrumentation._adapter import Attributes, Body, Clip, Endpoint
from spanback.instrumentation.providers import _chat, _openai_sessions, _responses
from spanback.instrumentation.providers._embeddings import EMBEDDINGS
from spanback.instrumentation.providers._stainless import StainlessAdapter

_PROVIDERS_BY_HOST: Final = {
    "api.openai.com": "openai",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.mistral.ai": "mistral_ai",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.together.xyz": "together_ai",
    "api.together.ai": "together_ai",
    "openrouter.ai": "openrouter",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
_PROVIDERS_BY_SUFFIX: Final = (
    (".openai.azure.com", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".models.ai.azure.com", "azure.ai.inference"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".api.openai.com", "openai"),
    (".amazonaws.com", "aws.bedrock"),
)


def provider_of(host: str) -> str:
    """The provider behind a host name; an unknown one is taken for OpenAI's own or a stand-in for it."""
    known = _PROVIDERS_BY_HOST.get(host)
    return known or next((name for suffix, name in _PROVIDERS_BY_SUFFIX if host.endswith(suffix)), "openai")


def read_no_content(_body: Body, _clip: Clip) -> Attributes:
    """A fetch sends no messages."""
    return {}


def find_by_prefix(method: str, path: str) -> Endpoint | None:
    """The fetch of a stored response, whose path holds the id and nothing behind it."""
    is_fetch = method == "get" and path.startswith("/responses/") and path.count("/") == 2
    return _FETCH_RESPONSE if is_fetch else None


_FETCH_RESPONSE: Final = Endpoint(
    "fetch_response",
    _responses.read_fetch,
    _responses.read_fetched,
    _responses.ResponseEvents,
    read_no_content,
    _responses.read_output,
    constants={sc.OPENAI_API_TYPE: "responses"},
    has_chunk_ids=False,
    is_inference=False,
)
ADAPTER: Final = StainlessAdapter(
    client="openai",
    provider_of=provider_of,
    find_by_prefix=find_by_prefix,
    connections=_openai_sessions.targets(provider_of),
    endpoints={
        "post /chat/completions": Endpoint(
            "chat",
            _chat.read_request,
            _chat.read_response,
            _chat.ChatChunks,
            _chat.read_input,
            _chat.read_output,
            constants={sc.OPENAI_API_TYPE: "chat_completions"},
        ),
        "post /responses": Endpoint(
            "chat",
            _responses.read_request,
            _responses.read_response,
            _responses.ResponseEvents,
            _responses.read_input,
            _responses.read_output,
            _responses.read_dimensions,
            constants={sc.OPENAI_API_TYPE: "responses"},
            has_chunk_ids=False,
        ),
        "post /completions": Endpoint(
            "text_completion",
            _chat.read_request,
            _chat.read_response,
            _chat.ChatChunks,
            _chat.read_prompt,
            _chat.read_output,
        ),
        "post /embeddings": EMBEDDINGS,
    },
)
