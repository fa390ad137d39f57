"""Spans that others make for the same call. Two spans for one call count its tokens twice, so theirs is kept.

A span of theirs is the current one around a call, or is started inside it, or never comes near a function that
spanback wraps. The first kind is looked at when the call begins. The others are noticed by a span processor, which is
put on the app's provider only once a package that makes such spans is imported.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from spanback import semconv as sc
from spanback._telemetry import SCOPE_NAME
from spanback.instrumentation._langchain import LANGCHAIN, span_of_run

ADOPTED: Final[dict[str, str]] = {}
"""Client name to the scope name of the peer whose span was kept last, for `status()`."""

CAPTURE: Final = otel_context.create_key("spanback-capture")
"""Context key of a list that takes the spans which others start inside a call."""

WITHIN: Final = otel_context.create_key("spanback-within")
"""Context key of the client whose inner calls belong to the call around them; `*` where those of all clients do."""

_PEERS: Final = (
    *(
        f"opentelemetry.instrumentation.{client}"
        for client in (
            *("openai", "anthropic", "googlegen", "google_gen", "vertexai", "mistralai", "cohere", "ollama", "groq"),
            *("together", "bedrock", "botocore", "litellm", "langchain", "genai"),
        )
    ),
    *("opentelemetry.util.genai", "openinference.instrumentation", "langfuse", "_langfuse"),
    *("com.anthropic.sdk.python", "mistralai_sdk_tracer"),
)
"""How the names of scopes and modules of peers begin."""
_PEER_PACKAGES: Final = frozenset({"openlit", "logfire", "langsmith"})
"""Those whose names, where they go on, go on behind a dot."""
_MODEL_CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings", "fetch_response"})
_NO_MODEL_CALLS: Final = frozenset({"invoke_agent", "create_agent", "execute_tool", "invoke_workflow", "retrieval"})
OPENINFERENCE_KIND: Final = "openinference.span.kind"
OPENINFERENCE_CALLS: Final = frozenset({"LLM", "EMBEDDING"})
_OPENLLMETRY_TYPE: Final = "llm.request.type"
_LITELLM: Final = "litellm"
"""The scope of LiteLLM's own spans, which says only in the name of one, if at all, that it is a model call."""
_LOGFIRE_NAME: Final = "{gen_ai.request.model"
"""Logfire names spans by templates, and those that are made for agents say only at their end what they are."""
_DEEPEST_CHAIN: Final = 32
_DEEPEST_STACK: Final = 40
_UNSEEN: Final = ("langfuse.openai", "opentelemetry.instrumentation.openai.v1.responses_wrappers")
"""Modules of peers whose span is not the current one around the call, or is made only after it."""
_HIDING: Final = (LANGCHAIN, *_UNSEEN)
"""Modules in whose absence there is no such span."""

_latest: Final[ContextVar[Span | None]] = ContextVar("spanback-latest", default=None)


def peer_of(span: Span, *, is_inside: bool = False) -> str | None:
    """Who else made a span for a model call.

    A span counts when it says itself that it is a model call. Spans of agents, tools and workflows, within which the
    model is called, are none.

    Args:
        span: The current span before the call, or one started inside it.
        is_inside: Whether it was started inside the call. Some peers say what it is only when it ends; inside, a span
            of theirs counts unless it says that it is something else.

    Returns:
        The scope name of the peer, or None. Never raises.
    """
    # The SDK's spans have both; the API's, and those that are not sampled, have neither.
    scope = getattr(span, "instrumentation_scope", None)
    if scope is None or scope.name == SCOPE_NAME or not span.is_recording():
        return None
    attributes: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    if attributes.get(sc.GEN_AI_OPERATION_NAME) in _MODEL_CALLS:
        return scope.name
    if attributes.get(OPENINFERENCE_KIND) in OPENINFERENCE_CALLS:
        return scope.name
    name = getattr(span, "name", None)
    name = name if isinstance(name, str) else ""  # the SDK takes whatever an app gives
    first_word = name.partition(" ")[0]
    if scope.name == _LITELLM:
        return scope.name if first_word in _MODEL_CALLS else None
    if not _is_peer(scope.name):
        return None
    if _OPENLLMETRY_TYPE in attributes or _LOGFIRE_NAME in name:
        return scope.name
    is_something_else = (
        first_word in _NO_MODEL_CALLS
        or attributes.get(sc.GEN_AI_OPERATION_NAME) is not None
        or attributes.get(OPENINFERENCE_KIND) is not None
    )
    is_call = not is_something_else and (is_inside or first_word in _MODEL_CALLS)
    return scope.name if is_call else None


def peer_in(function: Any) -> str | None:
    """Which peer has put a wrapper of its own around a function, seen from outside in.

    Returns:
        The name of the module of the peer's wrapper, or None. Never raises.
    """
    for one in _layers(function):
        module = getattr(one, "__globals__", {}).get("__name__")
        if isinstance(module, str) and _is_peer(module):
            return module
    return None


class Around:
    """Somebody else's span for a call that is about to be made; None where it is made only after the call."""

    __slots__ = ("peer", "span")

    def __init__(self, peer: str, span: Span | None) -> None:
        self.peer = peer
        self.span = span


def around(context: Context, *, with_unseen: bool) -> Around | None:
    """Whether somebody else already traces the call that is about to be made.

    Args:
        context: The current context.
        with_unseen: Whether to look also for peers whose span is not the current one.

    Returns:
        Who it is and the span, or None. Never raises.
    """
    if context:
        span = trace.get_current_span(context)
        peer = peer_of(span)
        if peer is not None:
            return Around(peer, span)
    if not with_unseen or sys.modules.keys().isdisjoint(_HIDING):
        return None
    span = span_of_run()
    peer = None if span is None else peer_of(span, is_inside=True)
    if peer is not None:
        return Around(peer, span)
    module = unseen_peer()
    if module is None:
        return None
    noted = _latest.get()
    return Around(module, noted if noted is not None and noted.is_recording() else None)


def note(span: Span) -> None:
    """Remembers a model call that somebody else has just begun, in the context of the caller."""
    _latest.set(span)


def unseen_peer() -> str | None:
    """The module of a peer that is calling the client right now; its frame is on the stack. Never raises."""
    modules = {name for name in _UNSEEN if name in sys.modules}
    frame = inspect.currentframe() if modules else None
    for _ in range(_DEEPEST_STACK):
        if frame is None:
            return None
        module = frame.f_globals.get("__name__")
        if module in modules:
            return module
        frame = frame.f_back
    return None


def _is_peer(name: str) -> bool:
    return name.startswith(_PEERS) or name.partition(".")[0] in _PEER_PACKAGES


def _layers(function: Any) -> Iterator[Any]:
    """A function, what it wraps, and for wrapt's proxies the functions that do the work."""
    for _ in range(_DEEPEST_CHAIN):
        if function is None:
            return
        own = getattr(function, "_self_wrapper", None)
        if own is not None:
            yield getattr(own, "__func__", own)
            yield vars(type(own)).get("__call__")  # some wrappers are objects
        yield getattr(function, "__func__", function)
        function = getattr(function, "__wrapped__", None)
