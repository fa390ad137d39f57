"""What of a target is rated: the response, one of its choices, a tool call, a document, the trace, the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from opentelemetry import context as otel_context
from opentelemetry import trace

from spanback._open_spans import OPEN_SPANS
from spanback._said import entry_of
from spanback.errors import InvalidFeedback
from spanback.feedback._rules import checked_line, whole_of
from spanback.feedback._target import NOWHERE, Scope, Target

CHOICE_LIMIT: Final = 9_999
PART_LIMIT_CHARACTERS: Final = 256

SCOPE_RULE: Final = "must be 'response', 'span', 'trace', 'conversation', 'tool_call', 'choice' or 'document'"
CHOICE_RULE: Final = f"must be an int from 0 to {CHOICE_LIMIT}, and no bool"
PART_RULE: Final = f"must be 1 to {PART_LIMIT_CHARACTERS} printable characters, not blank"
ONE_PART_RULE: Final = "must not be given together with choice, tool_call_id, document_id or conversation_id"
NO_TARGET_RULE: Final = "must be given without a target: a conversation is not rated by one of its responses"
CONVERSATION_RULE: Final = "must name it where neither the target nor spanback.context() does"

PARTS: Final[dict[str, Scope]] = {
    "conversation_id": "conversation",
    "choice": "choice",
    "tool_call_id": "tool_call",
    "document_id": "document",
}
"""Arguments that say what is rated, and the scope that each stands for."""

AIM: Final = ("scope", *PARTS)
_SCOPES: Final = {str(one): one for one in get_args(Scope)}
_NEEDS_NOTHING: Final = ("response", "span", "trace")


def checked_aim(aim: Mapping[str, object], *, has_target: bool) -> tuple[Scope | None, Any]:
    """The scope that arguments ask for, and what tells the rated part from others; None for what is not given.

    Args:
        aim: Those of `AIM`, by name; None where not given.
        has_target: Whether there is a target besides.

    Raises:
        InvalidFeedback: An argument breaks its rule, or goes with no other.
    """
    scope = None if aim.get("scope") is None else _checked_scope(aim["scope"])
    given = [name for name in PARTS if aim.get(name) is not None]
    if not given:
        return scope, None
    name, value = given[0], aim[given[0]]
    if len(given) > 1:
        raise InvalidFeedback(given[1], aim[given[1]], ONE_PART_RULE)
    implied = PARTS[name]
    if scope is not None and scope != implied:
        raise InvalidFeedback("scope", scope, f"must be {implied!r} where {name} is given")
    if name == "conversation_id" and has_target:
        raise InvalidFeedback(name, value, NO_TARGET_RULE)
    return implied, checked_choice(value) if name == "choice" else checked_part(name, value)


def checked_part(name: str, value: object) -> str:
    """The id of a part."""
    return checked_line(name, value, PART_LIMIT_CHARACTERS, PART_RULE)


def checked_choice(value: object, field: str = "choice") -> int:
    """The number of a choice."""
    number = whole_of(value)
    if number is None or not 0 <= number <= CHOICE_LIMIT:
        raise InvalidFeedback(field, value, CHOICE_RULE)
    return number


def scoped(found: Target, scope: Scope | None, detail: Any) -> Target:
    """A target as it is asked for.

    Args:
        found: What the app rates.
        scope: What of it; None leaves it to the target.
        detail: The choice's number, or the id of the part; None where not given.

    Raises:
        InvalidFeedback: The scope needs what neither the call nor the target says.
    """
    if scope is None or (scope == found.scope and detail is None):
        return found
    if scope == "trace":
        return _trace_of(found)
    if scope == "conversation":
        return _conversation_of(found, detail)
    if detail is None and scope not in _NEEDS_NOTHING:
        name = next(name for name, implied in PARTS.items() if implied == scope)
        raise InvalidFeedback(name, None, f"must be given with scope={scope!r}")
    return found._replace(scope=scope, detail=detail)


def _trace_of(found: Target) -> Target:
    """The span that this process began the trace with; where that is not known, the target stands for its trace."""
    ref = found.ref
    if ref is None:
        return found._replace(scope="trace")
    root = ref.root_span_id
    if root is None:
        current = trace.get_current_span()
        is_current = current.get_span_context().span_id == ref.span_id
        root = OPEN_SPANS.root_of(current if is_current else OPEN_SPANS.find(ref.span_id))
    # A trace is none of its responses: what joins by response ids must not find it there.
    ref = replace(ref, span_id=root or ref.span_id, root_span_id=root, response_id=None)
    return Target(ref, None, "trace")


def _conversation_of(found: Target, detail: str | None) -> Target:
    """A conversation has no span, so nothing is linked."""
    if detail is None and found.ref is not None:
        detail = found.ref.conversation_id
    if detail is None:
        entry = entry_of(otel_context.get_current())
        detail = None if entry is None else entry.said.conversation_id
    if detail is None:
        raise InvalidFeedback("conversation_id", None, CONVERSATION_RULE)
    return NOWHERE._replace(scope="conversation", detail=detail)


def _checked_scope(value: object) -> Scope:
    scope = _SCOPES.get(str.__str__(value)) if isinstance(value, str) else None
    if scope is None:
        raise InvalidFeedback("scope", value, SCOPE_RULE)
    return scope
