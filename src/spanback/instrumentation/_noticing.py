"""A span processor that notices the model calls which others trace.

It is put on the app's provider only once a package is imported that makes such spans: it costs some microseconds for
every span of the app.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import wrapt
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from spanback import semconv as sc
from spanback._never_raise import never_raise
from spanback._open_spans import OPEN_SPANS
from spanback._spanref import RESPONSES, Handle
from spanback._telemetry import SCOPE_NAME, TELEMETRY
from spanback.instrumentation._adapter import text
from spanback.instrumentation._adopt import CAPTURE, OPENINFERENCE_CALLS, OPENINFERENCE_KIND, note, peer_of, unseen_peer
from spanback.instrumentation._applying import apply_to

_INSTRUMENTATIONS: Final = (
    "langfuse",
    "langsmith",
    "logfire",
    "openinference.instrumentation",
    "openlit",
    "opentelemetry.instrumentation.botocore",
    "opentelemetry.semconv_ai",
    "opentelemetry.util.genai",
)
_CLIENTS_THAT_TRACE_THEMSELVES: Final = ("anthropic", "mistralai.extra.observability")
_SET_GLOBAL: Final = "_set_tracer_provider"
_OPENINFERENCE_OUTPUT: Final = "output.value"
_ID_IN_OUTPUT: Final = r'\s*\{\s*"id"\s*:\s*"([^"\\]{1,256})"'


class Noticing:
    """Hands the spans that others start inside a call to the call, and knows responses by the ids on ended spans.

    Attributes:
        is_needed: Whether anything is imported that may make spans of model calls.
    """

    skips_calls: Final = True
    """Whether our spans of calls are no matter to it."""
    skips_carriers: Final = True
    """Whether spans that carry feedback are no matter to it."""

    def __init__(self) -> None:
        self._is_live = False
        self.is_needed = False
        self._watched: list[Any] = []  # a provider lives as long as the process, and may be unhashable
        self._hooked: set[str] = set()
        self._set_global: Callable[..., Any] | None = None

    def install(self) -> None:
        """Notices from now on, on the provider that the app has or will have. Twice is harmless."""
        self._is_live = True
        OPEN_SPANS.install()
        TELEMETRY.on_tracer_provider = self.watch
        for module in (*_INSTRUMENTATIONS, *_CLIENTS_THAT_TRACE_THEMSELVES):
            if module not in self._hooked:
                self._hooked.add(module)
                wrapt.register_post_import_hook(self._on_import, module)
        if self.is_needed:
            self._reach_providers()

    def remove(self) -> None:
        """Notices no more. A processor cannot be taken off its provider; it does nothing then."""
        self._is_live = False
        OPEN_SPANS.remove()
        TELEMETRY.on_tracer_provider = None
        if self._set_global is not None:
            if getattr(vars(trace).get(_SET_GLOBAL), "__self__", None) is self:
                setattr(trace, _SET_GLOBAL, self._set_global)
            self._set_global = None

    def watch(self, provider: Any) -> None:
        """Watches the spans of a provider: all while they are open, and where others may make some, theirs."""
        if self._is_live:
            OPEN_SPANS.watch(provider)
        is_known = any(one is provider for one in self._watched)
        is_new = self._is_live and self.is_needed and not is_known
        if is_new and hasattr(provider, "add_span_processor"):
            self._watched.append(provider)
            provider.add_span_processor(self)

    def has_peers(self) -> bool:
        """Whether somebody else's instrumentation is imported."""
        return self.is_needed and any(module in sys.modules for module in _INSTRUMENTATIONS)

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Hands a span to the call that it was started in. Never raises: the app has just begun the span."""
        if not self._is_live or peer_of(span, is_inside=True) is None:
            return
        note(span)
        context = otel_context.get_current() if parent_context is None else parent_context
        found: Any = context.get(CAPTURE)
        if found is not None and not found:  # the first counts; a task that outlives the call may go on making spans
            found.append(span)
        # Some say what they are only at their end, and begin where no call of ours is around them.
        if found is not None or peer_of(span) is not None or unseen_peer() is not None:
            never_raise(apply_to, span, context)

    def on_end(self, span: Any) -> None:
        """Makes the response of a span known by its id. The innermost span of a call ends first, and counts.

        Never raises: the app is just ending the span.
        """
        scope = span.instrumentation_scope
        if not self._is_live or scope is None or scope.name == SCOPE_NAME:
            return
        found: Any = otel_context.get_current().get(CAPTURE)
        if found and found[0].get_span_context()[1] == span.context.span_id:
            return  # the call that it was handed to is about to return, and does it then
        attributes: Mapping[str, Any] = (span.attributes or {}).copy()  # the SDK's own answers slowly
        response_id = response_id_in(attributes)
        if response_id is not None and RESPONSES.handle(response_id) is None:
            RESPONSES.add(response_id, _handle(span, attributes), text(attributes.get(sc.GEN_AI_RESPONSE_MODEL)))

    def shutdown(self) -> None:
        """Does nothing: nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK gives it
        """Does nothing: nothing is held."""
        return True

    def _on_ending(self, span: Any) -> None:
        """The SDK calls it on each processor."""

    def _on_import(self, _module: Any) -> None:
        self.is_needed = True
        if self._is_live:
            never_raise(self._reach_providers)

    def _reach_providers(self) -> None:
        """Watches the provider of now, and the one that the app may set later: its first spans count, too."""
        self.watch(TELEMETRY.providers()["traces"])
        if self._set_global is None:
            self._set_global = getattr(trace, _SET_GLOBAL, None)
            if self._set_global is not None:
                setattr(trace, _SET_GLOBAL, self._set_and_watch)

    def _set_and_watch(self, tracer_provider: Any, *args: Any, **kwargs: Any) -> Any:
        set_global = self._set_global
        result = set_global(tracer_provider, *args, **kwargs) if set_global is not None else None
        never_raise(self.watch, tracer_provider)
        return result


_DIMENSIONS: Final = (
    sc.GEN_AI_REQUEST_MODEL,
    sc.GEN_AI_PROMPT_NAME,
    sc.GEN_AI_PROMPT_VERSION,
    sc.GEN_AI_CONVERSATION_ID,
    sc.FEATURE_FLAG_KEY,
    sc.FEATURE_FLAG_RESULT_VARIANT,
)
NOTICING: Final = Noticing()
"""The one of this process."""


def response_id_in(attributes: Mapping[str, Any]) -> str | None:
    """The id of a response that a span says, or None. Never raises."""
    return text(attributes.get(sc.GEN_AI_RESPONSE_ID)) or _id_in_output(attributes)


def _id_in_output(attributes: Mapping[str, Any]) -> str | None:
    """OpenInference keeps a response as JSON, in which clients put the id first; it is not parsed for that."""
    output = attributes.get(_OPENINFERENCE_OUTPUT)
    if not isinstance(output, str) or attributes.get(OPENINFERENCE_KIND) not in OPENINFERENCE_CALLS:
        return None
    found = re.match(_ID_IN_OUTPUT, output)
    return found and found.group(1)


def _handle(span: Any, attributes: Mapping[str, Any]) -> Handle:
    context = span.get_span_context()
    said = [None if one is None else text(one) for one in map(attributes.get, _DIMENSIONS)]
    model, prompt, version, conversation, experiment, variant = said
    tags = attributes.get(sc.TAGS)
    return (
        context.trace_id,
        context.span_id,
        int(context.trace_flags),
        span.start_time,
        text(attributes.get(sc.GEN_AI_PROVIDER_NAME)) or text(attributes.get("gen_ai.system")) or "unknown",
        model,
        prompt,
        version,
        conversation,
        tuple(filter(None, map(text, tags))) if isinstance(tags, (tuple, list)) else (),
        experiment,
        variant,
        OPEN_SPANS.root_of(span),
    )
