"""What one feedback signal is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from spanback.errors import InvalidFeedback
from spanback.feedback import _rules
from spanback.feedback._presets import KNOWN_NAMES, USUAL
from spanback.feedback._rules import Primitive, Source, Type
from spanback.feedback._signal import Signal

if TYPE_CHECKING:
    from spanback.feedback._declared import Declaration

DECLARED: Final[dict[str, Declaration]] = {}
"""What has been declared in this process, by name. Safe for threads: each step is one operation of a dict in C."""


class Feedback(NamedTuple):
    """One signal whose fields have been checked.

    Attributes:
        name: Which signal.
        score: -1 to 1, or None.
        sentiment: `positive`, `neutral` or `negative` by the sign of the score; None without a score.
        weight: 0 to 1.
        source: `user` or `system`.
        type: `explicit` or `implicit`.
        raw: Rating, lowest and highest of the scale, where a rating was given.
        label: Category.
        comment: Free text.
        improvement: The corrected response, as JSON.
        metadata: Keys and primitive values.
        user_id: Who gave it, as the app said.
        feedback_id: Its id, where the app gave one.
        observed_at: When it was given, ISO 8601 in UTC, where the app said so.
        rater_id: Which rater gave it, as the app said.
        criterion: What the rater looked at.
    """

    name: str
    score: float | None
    sentiment: str | None
    weight: float
    source: Source
    type: Type
    raw: tuple[float, float, float] | None
    label: str | None
    comment: str | None
    improvement: str | None
    metadata: tuple[tuple[str, Primitive], ...]
    user_id: str | None
    feedback_id: str | None
    observed_at: str | None
    rater_id: str | None
    criterion: str | None


def checked(
    signal: object = None,
    *,
    score: object = None,
    rating: object = None,
    scale: object = None,
    name: object = None,
    weight: object = None,
    source: object = None,
    type: object = None,
    label: object = None,
    comment: object = None,
    improvement: object = None,
    metadata: object = None,
    user_id: object = None,
    feedback_id: object = None,
    observed_at: object = None,
    rater_id: object = None,
    criterion: object = None,
    is_bare: bool = False,
    is_strict: bool = False,
) -> Feedback:
    """The signal that the arguments describe, each as in `record_feedback`; None means not given.

    A signal that is bare, as a preference is, needs neither score nor label, comment or improvement. Where names are
    strict, they must be known.

    Raises:
        InvalidFeedback: An argument breaks its rule.
    """
    usual = USUAL if signal is None else signal
    if not isinstance(usual, Signal):
        raise InvalidFeedback("signal", signal, _rules.SIGNAL_RULE)
    own_name = usual.name if name is None else _rules.checked_name(name)
    declared = DECLARED.get(own_name)
    if declared is not None:
        usual = declared.usual if signal is None else usual
        scale = declared.scale if rating is not None and scale is None else scale
    elif is_strict and own_name not in KNOWN_NAMES:
        raise InvalidFeedback("name", own_name, _rules.UNDECLARED_RULE)
    label = None if label is None else _rules.checked_label(label)
    value = usual.score if score is None else _rules.checked_score(score)
    raw = None
    if rating is not None or scale is not None:
        raw = _rating(rating, scale, score)
        value = _rules.mapped(*raw)
    if value is None and label is None and comment is None and improvement is None and not is_bare:
        raise InvalidFeedback("score", None, _rules.GIVEN_RULE)
    if declared is not None:
        declared.keep_to(None if raw is None else raw[1:], label, value)
    # A Signal has been checked when it was made, so only what the call itself gives is checked here.
    return Feedback(
        own_name,
        value,
        None if value is None else "positive" if value > 0.0 else "negative" if value < 0.0 else "neutral",
        usual.weight if weight is None else _rules.checked_weight(weight),
        usual.source if source is None or source is usual.source else _rules.checked_source(source),
        usual.type if type is None or type is usual.type else _rules.checked_type(type),
        raw,
        label,
        None if comment is None else _rules.checked_comment(comment),
        None if improvement is None else _rules.checked_improvement(improvement),
        () if metadata is None else _rules.checked_metadata(metadata),
        None if user_id is None else _rules.checked_user_id(user_id),
        None if feedback_id is None else _rules.checked_feedback_id(feedback_id),
        None if observed_at is None else _rules.checked_time(observed_at),
        None if rater_id is None else _rules.checked_rater_id(rater_id),
        None if criterion is None else _rules.checked_criterion(criterion),
    )


def withdrawal(
    *,
    name: object,
    source: object,
    type: object,
    criterion: object = None,
    user_id: object = None,
    rater_id: object = None,
    feedback_id: object = None,
) -> Feedback:
    """What the record says that withdraws a signal: which one, and nothing else; it weighs nothing.

    Raises:
        InvalidFeedback: An argument breaks its rule.
    """
    return Feedback(
        _rules.checked_name(name),
        None,
        None,
        0.0,
        _rules.checked_source(source),
        _rules.checked_type(type),
        None,
        None,
        None,
        None,
        (),
        None if user_id is None else _rules.checked_user_id(user_id),
        None if feedback_id is None else _rules.checked_feedback_id(feedback_id),
        None,
        None if rater_id is None else _rules.checked_rater_id(rater_id),
        None if criterion is None else _rules.checked_criterion(criterion),
    )


def _rating(rating: object, scale: object, score: object) -> tuple[float, float, float]:
    if rating is None:
        raise InvalidFeedback("scale", scale, _rules.SCALE_WITH_RATING_RULE)
    if score is not None:
        raise InvalidFeedback("rating", rating, _rules.RATING_ALONE_RULE)
    return _rules.checked_rating(rating, scale)
