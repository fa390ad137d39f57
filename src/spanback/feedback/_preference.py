"""record_preference: which of two or more responses is the better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from spanback import _settings
from spanback._said import current_user_id
from spanback.errors import InvalidFeedback
from spanback.feedback import _rules
from spanback.feedback._attributes import Relation
from spanback.feedback._guard import refuse_self_rating
from spanback.feedback._model import checked
from spanback.feedback._presets import PREFERENCE
from spanback.feedback._receipt import Receipt
from spanback.feedback._record import record, resolved
from spanback.feedback._rules import Placement, Primitive, Source, Type
from spanback.feedback._scope import checked_choice, scoped
from spanback.feedback._target import Target


def record_preference(
    chosen: object,
    rejected: object = None,
    *,
    chosen_choice: int | None = None,
    rejected_choice: int | Sequence[int | None] | None = None,
    name: str = "preference",
    criterion: str | None = None,
    weight: float | None = None,
    source: Source | None = None,
    type: Type | None = None,
    label: str | None = None,
    comment: str | None = None,
    improvement: object = None,
    metadata: Mapping[str, Primitive] | None = None,
    user_id: str | None = None,
    rater_id: str | None = None,
    feedback_id: str | None = None,
    observed_at: datetime | None = None,
    placement: Placement = "auto",
) -> Receipt:
    """Records that one response is better than another, or the best of several.

        record_preference(response_a, response_b, user_id="anna")
        record_preference(best, [second, third], criterion="tone", comment="Friendlier")
        record_preference(response, chosen_choice=0, rejected_choice=1)     # two choices of one response

    Args:
        chosen: The better response, in any form that `record_feedback` takes but None.
        rejected: The other response, or a list of up to 64 others; the same response unless given, where
            `rejected_choice` is.
        chosen_choice: Which of several choices of the chosen response is the better one, counted from 0.
        rejected_choice: Which choice of the other response is meant, or a list: several choices of one response, or one
            for each of several responses, with None for a response as a whole.
        name: Which signal, of low cardinality.
        criterion: What was looked at, such as `tone`; formed as a name.
        weight: How much it counts, 0 to 1; 1 unless given.
        source: `user` (the default) or `system`.
        type: `explicit` (stated, the default) or `implicit` (inferred from behaviour).
        label: A category.
        comment: Free text, as in `record_feedback`.
        improvement: The response that would have been better still, as in `record_feedback`.
        metadata: At most 64 keys with primitive values.
        user_id: Who prefers, as in `record_feedback`. A user has one preference among the same responses under the same
            name, whichever is chosen.
        rater_id: Which of several raters prefers; kept as `user_id` is.
        feedback_id: The signal's id; the same id again replaces the earlier signal.
        observed_at: When it was stated, with a time zone, where that is not now.
        placement: Where the carrier goes, as in `record_feedback`, seen from the chosen response.

    Returns:
        What really happened; `target` is the chosen response, and `unresolved` means that one of them is not known.

    Raises:
        InvalidFeedback: An argument breaks its rule, or a response or choice is on both sides. Nothing is emitted
            then.
        SpoolUnavailable: As in `record_feedback`. Nothing else is ever raised.
    """
    settings = _settings.current()
    feedback = checked(
        PREFERENCE,
        name=name,
        weight=weight,
        source=source,
        type=type,
        label=label,
        comment=comment,
        improvement=improvement,
        metadata=metadata,
        user_id=current_user_id() if user_id is None else user_id,
        feedback_id=feedback_id,
        observed_at=observed_at,
        rater_id=rater_id,
        criterion=criterion,
        is_bare=True,
        is_strict=settings.strict,
    )
    where = _rules.checked_placement(placement)
    targets = sides(chosen, rejected, choices=(chosen_choice, rejected_choice))
    for target, _ in targets:
        refuse_self_rating(feedback, target, settings)
    return record(feedback, targets, where, settings)


def sides(
    chosen: object,
    rejected: object,
    chosen_field: str = "chosen",
    rejected_field: str = "rejected",
    *,
    choices: tuple[object, object] = (None, None),
    choice_field: str = "chosen_choice",
) -> tuple[tuple[Target, Relation], ...]:
    """The responses of a preference, the chosen one first.

    Args:
        chosen: The better one.
        rejected: The other one, or a list of them.
        chosen_field: What errors call the first.
        rejected_field: What errors call the second.
        choices: Which of their choices are meant, as `record_preference` takes them.
        choice_field: What errors call the first of these.

    Raises:
        InvalidFeedback: One of them is none that can be rated, or is named twice.
    """
    own_choice, other_choices = choices
    several = _listed(rejected)
    if several is not None and not 1 <= len(several) <= _rules.REJECTED_LIMIT:
        raise InvalidFeedback(rejected_field, rejected, _rules.REJECTED_RULE)
    if rejected is None and other_choices is not None:
        rejected = chosen
    found: list[tuple[Target, Relation]] = [(_side(chosen, chosen_field, own_choice, choice_field), "chosen")]
    for number, (one, choice) in enumerate(_paired(rejected, several, other_choices)):
        field = rejected_field if several is None else f"{rejected_field}[{number}]"
        other_field = f"rejected_choice[{number}]" if _listed(other_choices) else "rejected_choice"
        target = _side(one, field, choice, other_field)
        if any(_is_same(target, other) for other, _ in found):
            raise InvalidFeedback(*((field, one) if choice is None else (other_field, choice)), _rules.SIDES_RULE)
        found.append((target, "rejected"))
    return tuple(found)


def _listed(value: object) -> list[object] | None:
    """What a list or tuple holds; None for one thing alone."""
    items = _rules.items_of(value)
    return None if items is None else list(items)


def _paired(rejected: object, several: list[object] | None, choice: object) -> list[tuple[object, object]]:
    """Each rejected response with its choice."""
    choices = _listed(choice)
    if several is None:
        if choices is not None and not 1 <= len(choices) <= _rules.REJECTED_LIMIT:
            raise InvalidFeedback("rejected_choice", choice, _rules.REJECTED_CHOICE_RULE)
        return [(rejected, one) for one in ([choice] if choices is None else choices)]
    if choice is None:
        return [(one, None) for one in several]
    if choices is None or len(choices) != len(several):
        raise InvalidFeedback("rejected_choice", choice, _rules.REJECTED_CHOICE_RULE)
    return list(zip(several, choices, strict=True))


def _side(target: object, field: str, choice: object, choice_field: str) -> Target:
    if target is None:
        raise InvalidFeedback(field, None, _rules.SIDE_RULE)
    number = None if choice is None else checked_choice(choice, choice_field)
    return scoped(resolved(target, field), None if number is None else "choice", number)


def _is_same(one: Target, other: Target) -> bool:
    if one.detail is not None and other.detail is not None and one.detail != other.detail:
        return False
    if one.response_id is not None and other.response_id is not None:
        return one.response_id == other.response_id
    if one.ref is None or other.ref is None:
        return False
    return (one.ref.trace_id, one.ref.span_id) == (other.ref.trace_id, other.ref.span_id)
