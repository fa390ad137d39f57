"""Together's client. It speaks the formats of chat completions, text completions and embeddings, and reranks."""

from __future__ import annotations

from typing import Any, Final

from spanback import semconv as sc
from spanback.instrumentation._adapter import Attributes, Body, Endpoint, field_of, text
from spanback.instrumentation._tables import Field, response_reader
from spanback.instrumentation.providers import _chat
from spanback.instrumentation.providers._embeddings import EMBEDDINGS
from spanback.instrumentation.providers._stainless import StainlessAdapter


class TogetherChunks(_chat.ChatChunks):
    """Folds chunks of which the last may say beside its choices why it is the last."""

    def response(self) -> Any:
        """The completion so far."""
        whole = super().response()
        reason = text(field_of(self.last, "finish_reason"))
        if reason is not None:
            whole.choices = whole.choices or [_chat.new_choice()]
            for choice in whole.choices:
                choice.finish_reason = choice.finish_reason or reason
        return whole


def provider_of(_host: str) -> str:
    """Together, whatever the host: the client speaks to nobody else."""
    return "together_ai"


def read_rerank_request(_body: Body) -> Attributes:
    """The conventions have no attributes of a request to rerank."""
    return {}


_read_reranked: Final = response_reader(
    Field("id", sc.GEN_AI_RESPONSE_ID, str),
    Field("model", sc.GEN_AI_RESPONSE_MODEL, str),
    Field("usage.prompt_tokens", sc.GEN_AI_USAGE_INPUT_TOKENS, int),
    Field("usage.completion_tokens", sc.GEN_AI_USAGE_OUTPUT_TOKENS, int),
)
_ENDPOINTS: Final = {
    "/chat/completions": Endpoint(
        "chat",
        _chat.read_request,
        _chat.read_response,
        TogetherChunks,
        _chat.read_input,
        _chat.read_output,
    ),
    "/completions": Endpoint(
        "text_completion",
        _chat.read_request,
        _chat.read_response,
        TogetherChunks,
        _chat.read_prompt,
        _chat.read_output,
    ),
    "/embeddings": EMBEDDINGS,
    "/rerank": Endpoint("rerank", read_rerank_request, _read_reranked, is_inference=False),
}
# Up to some release the version is part of the base URL, and later of each path.
ADAPTER: Final = StainlessAdapter(
    client="together",
    provider_of=provider_of,
    endpoints={f"post {version}{path}": found for path, found in _ENDPOINTS.items() for version in ("/v1", "")},
)
