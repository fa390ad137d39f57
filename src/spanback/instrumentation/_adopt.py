"""Spans that others make for the same call. Two spans for one call count its tokens twice, so theirs is kept."""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import Span

from spanback import semconv as sc

_PEERS: Final = (
    "opentelemetry.instrumentation.",
    "opentelemetry.util.genai",
    "openinference.instrumentation.",
    "openlit.",
    "logfire",
    "langfuse",
)
_MODEL_CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings", "fetch_response"})
_OWN_SCOPE: Final = "spanback"


def peer_of(span: Span) -> str | None:
    """Who made a span for the model call that is about to be made inside it.

    A peer's span counts when it says itself that it is a model call. Spans of agents, tools and workflows, within
    which the model is called, are none.

    Args:
        span: The current span.

    Returns:
        The scope name of the peer, or None. Never raises.
    """
    # The SDK's spans have both; the API's, and those that are not sampled, have neither.
    scope = getattr(span, "instrumentation_scope", None)
    if scope is None or scope.name == _OWN_SCOPE or not span.is_recording():
        return None
    attributes = getattr(span, "attributes", None) or {}
    if attributes.get(sc.GEN_AI_OPERATION_NAME) in _MODEL_CALLS or attributes.get("openinference.span.kind") == "LLM":
        return scope.name
    is_peer = scope.name.startswith(_PEERS)
    return scope.name if is_peer and "llm.request.type" in attributes else None
