"""Nobody rates their own output: a user's signal is neither given nor withdrawn by code inside of what it rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from opentelemetry import trace

from spanback import semconv
from spanback._open_spans import OPEN_SPANS
from spanback._settings import Settings
from spanback.errors import InvalidFeedback
from spanback.feedback._ids import vote_id
from spanback.feedback._model import Feedback
from spanback.feedback._recent import RECENT
from spanback.feedback._target import Target

SELF_RULE: Final = (
    "must be 'system' inside of the rated call's own span: what a model or an agent says of itself is no user's "
    "feedback; spanback.instrument(self_rating=True) allows it"
)

_KIND: Final = "openinference.span.kind"
_PARTS_OF_A_CALL: Final = frozenset({"response", "choice", "document"})
_GUARDED_KINDS: Final = frozenset({"LLM", "AGENT"})


def refuse_self_rating(feedback: Feedback, target: Target, settings: Settings) -> None:
    """Refuses a user's signal on a model call or an agent, its withdrawal or its replacement, inside of its own span.

    Only spans of model calls, agents and whatever else says `gen_ai.operation.name` are guarded: an app may rate the
    request that it is answering. A stream is left once the call has returned it, so that rating it while it is read is
    no self-rating.

    Raises:
        InvalidFeedback: It is one.
    """
    if settings.self_rating:
        return
    current = trace.get_current_span()
    if not current.get_span_context().is_valid:
        return
    rated = _replaced(feedback, target, settings)
    if feedback.source == "user":
        rated = (target, *rated)
    for one in rated:
        for span_id, span in _around(current):
            if one.ref is not None and span_id == one.ref.span_id and _is_guarded(span, one):
                raise InvalidFeedback("source", "user", SELF_RULE)


def _replaced(feedback: Feedback, target: Target, settings: Settings) -> tuple[Target, ...]:
    """What the user's signal was about whose id this one has, and so takes its place; by whomever it is given."""
    own_id = feedback.feedback_id
    if own_id is None and feedback.source != "user":  # a user's own is on the same target
        own_id = vote_id(((target, "rates"),), feedback, settings.user_hash_key)
    recent = None if own_id is None else RECENT.find(own_id)
    return () if recent is None or recent[2] != "user" else tuple(one for one, _ in recent[0])


def _around(current: trace.Span) -> Iterator[tuple[int, Any]]:
    """The spans that the code runs inside of, as far as they are known; the last one maybe by its id alone."""
    span: Any = current
    for span in OPEN_SPANS.lineage(current):
        yield span.get_span_context().span_id, span
    parent = getattr(span, "parent", None)
    if isinstance(parent, trace.SpanContext):
        yield parent.span_id, None


def _is_guarded(span: Any, target: Target) -> bool:
    attributes: object = getattr(span, "attributes", None)
    if not isinstance(attributes, Mapping):  # known by its id alone, or not sampled
        return target.scope in _PARTS_OF_A_CALL
    known = cast("Mapping[str, object]", attributes)
    return semconv.GEN_AI_OPERATION_NAME in known or known.get(_KIND) in _GUARDED_KINDS
