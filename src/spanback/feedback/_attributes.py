"""What a signal says on the wire: the attributes of its span and log event, and those of the evaluation event."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, cast

from opentelemetry.util.types import AttributeValue

from spanback import semconv
from spanback.feedback._model import Feedback
from spanback.feedback._rules import Placement
from spanback.feedback._target import Target

Action = Literal["set", "retract"]
Relation = Literal["rates", "chosen", "rejected"]
Attributes = dict[str, AttributeValue]


_OPTIONAL: Final = (
    semconv.FEEDBACK_COMMENT,
    semconv.FEEDBACK_IMPROVEMENT,
    semconv.FEEDBACK_LABEL,
    semconv.FEEDBACK_CRITERION,
    semconv.FEEDBACK_USER_HASH,
    semconv.FEEDBACK_RATER_HASH,
    semconv.FEEDBACK_OBSERVED_AT,
)
_NONE_OF_THEM: Final = (None,) * len(_OPTIONAL)


class Emission(NamedTuple):
    """One record of a signal: what it says, about what, and what the app is to be told of it.

    Attributes:
        feedback: The signal, with nothing in it that must not be kept.
        targets: What it is about, and how; the first is the one that is rated, or the chosen one of a preference.
        feedback_id: Its id.
        action: Whether the record sets the signal or withdraws it.
        user_hash: Who gave it, or None.
        rater_hash: Which rater gave it, or None.
        omitted: Names of arguments that were given and are not kept, for the receipt.
        placement: Where the app wants the carrier.
    """

    feedback: Feedback
    targets: tuple[tuple[Target, Relation], ...]
    feedback_id: str
    action: Action = "set"
    user_hash: str | None = None
    rater_hash: str | None = None
    omitted: tuple[str, ...] = ()
    placement: Placement = "auto"


def dimensions_of(target: Target) -> dict[str, Any]:
    """What is known of the response, as text that UTF-8 can carry."""
    if target.ref is not None:
        known: dict[str, Any] = dict(target.ref.dimensions())
    else:
        known = {} if target.response_id is None else {semconv.GEN_AI_RESPONSE_ID: target.response_id}
    try:
        plain = "".join(known.values()).isascii()
    except TypeError:  # there are tags, or an app made a reference with something else in it
        plain = False
    return known if plain else {key: _carried(value) for key, value in known.items()}


def _carried(value: object) -> AttributeValue:
    if isinstance(value, tuple):
        return tuple(str(_carried(one)) for one in cast("tuple[object, ...]", value))
    return str(value).encode("utf-8", "replace").decode()


def span_attributes(emission: Emission, dimensions: dict[str, Any]) -> Attributes:
    """The span's attributes. Metadata comes first: where the SDK's limit on their number is low, the oldest go."""
    feedback, target = emission.feedback, emission.targets[0][0]
    attributes: Attributes = dict(dimensions)
    if feedback.metadata:
        attributes = {semconv.FEEDBACK_METADATA + key: value for key, value in feedback.metadata} | attributes
    optional = (
        feedback.comment,
        feedback.improvement,
        feedback.label,
        feedback.criterion,
        emission.user_hash,
        emission.rater_hash,
        feedback.observed_at,
    )
    if optional != _NONE_OF_THEM:
        for key, value in zip(_OPTIONAL, optional, strict=True):
            if value is not None:
                attributes[key] = value
    if feedback.raw is not None:
        raw, lowest, highest = feedback.raw
        attributes[semconv.FEEDBACK_SCORE_RAW] = raw
        attributes[semconv.FEEDBACK_SCORE_MIN] = lowest
        attributes[semconv.FEEDBACK_SCORE_MAX] = highest
    _add_target(attributes, target)
    if len(emission.targets) > 1:
        _add_rejected(attributes, [one for one, relation in emission.targets if relation == "rejected"])
    if feedback.score is not None:
        attributes[semconv.FEEDBACK_SCORE] = feedback.score
        attributes[semconv.FEEDBACK_WEIGHTED_SCORE] = feedback.score * feedback.weight
        attributes[semconv.FEEDBACK_SENTIMENT] = feedback.sentiment or "neutral"
    attributes[semconv.FEEDBACK_WEIGHT] = feedback.weight
    attributes[semconv.FEEDBACK_SOURCE] = feedback.source
    attributes[semconv.FEEDBACK_TYPE] = feedback.type
    attributes[semconv.FEEDBACK_NAME] = feedback.name
    attributes[semconv.FEEDBACK_ACTION] = emission.action
    attributes[semconv.FEEDBACK_ID] = emission.feedback_id
    return attributes


def _add_target(attributes: Attributes, target: Target) -> None:
    if target.ref is not None:
        attributes[semconv.FEEDBACK_TARGET_TRACE_ID] = f"{target.ref.trace_id:032x}"
        attributes[semconv.FEEDBACK_TARGET_SPAN_ID] = f"{target.ref.span_id:016x}"
        attributes[semconv.FEEDBACK_TARGET_SAMPLED] = target.ref.sampled
    if target.detail is not None:
        attributes[_DETAILS[target.scope]] = target.detail
    attributes[semconv.FEEDBACK_TARGET_SCOPE] = target.scope
    attributes[semconv.FEEDBACK_TARGET_RESOLVED] = is_resolved(target)


def is_resolved(target: Target) -> bool:
    """Whether it is known what is rated: a span, or a conversation, which has none."""
    return target.ref is not None or target.scope == "conversation"


_DETAILS: Final = {
    "conversation": semconv.GEN_AI_CONVERSATION_ID,
    "choice": semconv.FEEDBACK_TARGET_CHOICE,
    "tool_call": semconv.GEN_AI_TOOL_CALL_ID,
    "document": semconv.FEEDBACK_TARGET_DOCUMENT_ID,
}


def _add_rejected(attributes: Attributes, rejected: list[Target]) -> None:
    """Both sides are on the span and not only in its links, which neither metrics nor searches read."""
    refs = [target.ref for target in rejected]
    known = [dimensions_of(target) for target in rejected]
    model, requested, response_id = (
        [dimensions.get(name, "") for dimensions in known]
        for name in (semconv.GEN_AI_RESPONSE_MODEL, semconv.GEN_AI_REQUEST_MODEL, semconv.GEN_AI_RESPONSE_ID)
    )
    attributes[semconv.FEEDBACK_REJECTED_TRACE_IDS] = ["" if ref is None else f"{ref.trace_id:032x}" for ref in refs]
    attributes[semconv.FEEDBACK_REJECTED_SPAN_IDS] = ["" if ref is None else f"{ref.span_id:016x}" for ref in refs]
    attributes[semconv.FEEDBACK_REJECTED_RESPONSE_IDS] = response_id
    attributes[semconv.FEEDBACK_REJECTED_MODELS] = [one or other for one, other in zip(model, requested, strict=True)]
    if any(target.scope == "choice" for target in rejected):
        choices = [target.detail if target.scope == "choice" else None for target in rejected]
        attributes[semconv.FEEDBACK_REJECTED_CHOICES] = [one if isinstance(one, int) else -1 for one in choices]
    attributes[semconv.FEEDBACK_REJECTED_RESOLVED] = None not in refs


def event_attributes(emission: Emission, dimensions: dict[str, Any]) -> Attributes:
    """The event's attributes: the conventions' own, and ours that say how to read them."""
    feedback = emission.feedback
    attributes: Attributes = {
        semconv.GEN_AI_EVALUATION_NAME: feedback.name,
        semconv.FEEDBACK_ID: emission.feedback_id,
        semconv.FEEDBACK_WEIGHT: feedback.weight,
        semconv.FEEDBACK_SOURCE: feedback.source,
        semconv.FEEDBACK_TYPE: feedback.type,
    }
    if emission.action == "retract":
        attributes[semconv.FEEDBACK_ACTION] = "retract"  # who reads events alone would take it for a result
    if feedback.score is not None:
        attributes[semconv.GEN_AI_EVALUATION_SCORE_VALUE] = feedback.score
    category = feedback.label or feedback.sentiment
    if category is not None:
        attributes[semconv.GEN_AI_EVALUATION_SCORE_LABEL] = category
    if feedback.comment is not None:
        attributes[semconv.GEN_AI_EVALUATION_EXPLANATION] = feedback.comment
    if semconv.GEN_AI_RESPONSE_ID in dimensions:
        attributes[semconv.GEN_AI_RESPONSE_ID] = dimensions[semconv.GEN_AI_RESPONSE_ID]
    return attributes
