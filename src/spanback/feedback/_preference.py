"""record_preference: which of two or more responses is the better one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from spanback import _settings
from spanback.errors import InvalidFeedback
from spanback.feedback import _rules
from spanback.feedback._attributes import Relation
from spanback.feedback._guard import refuse_self_rating
from spanback.feedback._model import checked
from spanback.feedback._presets import PREFERENCE
from spanback.feedback._receipt import Receipt
from spanback.feedback._record import record, resolved
from spanback.feedback._rules import Placement, Primitive, Source, Type
from spanback.feedback._target import Target


def record_preference(
    chosen: object,
    rejected: object,
    *,
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

    Args:
        chosen: The better response, in any form that `record_feedback` takes but None.
        rejected: The other response, or a list of up to 64 others.
        name: Which signal, of low cardinality.
        criterion: What was looked at, such as `tone`; formed as a name.
        weight: How much it counts, 0 to 1; 1 unless given.
        source: `user` (the default) or `system`.
        type: `explicit` (stated, the default) or `implicit` (inferred from behaviour).
        label: A category.
        comment: Free text, as in `record_feedback`.
        improvement: The response that would have been better still, as in `record_feedback`.
        metadata: At most 64 keys with primitive values.
        user_id: Who prefers. A user has one preference among the same responses under the same name, whichever is
            chosen.
        rater_id: Which of several raters prefers; kept as `user_id` is.
        feedback_id: The signal's id; the same id again replaces the earlier signal.
        observed_at: When it was stated, with a time zone, where that is not now.
        placement: Where the carrier goes, as in `record_feedback`, seen from the chosen response.

    Returns:
        What really happened; `target` is the chosen response, and `unresolved` means that one of them is not known.

    Raises:
        InvalidFeedback: An argument breaks its rule, or a response is on both sides. Nothing is emitted then. Nothing
            else is ever raised.
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
        user_id=user_id,
        feedback_id=feedback_id,
        observed_at=observed_at,
        rater_id=rater_id,
        criterion=criterion,
        is_bare=True,
        is_strict=settings.strict,
    )
    where = _rules.checked_placement(placement)
    targets = sides(chosen, rejected)
    for target, _ in targets:
        refuse_self_rating(feedback, target, settings)
    return record(feedback, targets, where, settings)


def sides(
    chosen: object, rejected: object, chosen_field: str = "chosen", rejected_field: str = "rejected"
) -> tuple[tuple[Target, Relation], ...]:
    """The responses of a preference, the chosen one first.

    Args:
        chosen: The better one.
        rejected: The other one, or a list of them.
        chosen_field: What errors call the first.
        rejected_field: What errors call the second.

    Raises:
        InvalidFeedback: One of them is none that can be rated, or is named twice.
    """
    several = list(cast("list[object] | tuple[object, ...]", rejected)) if isinstance(rejected, (list, tuple)) else None
    if several is not None and not 1 <= len(several) <= _rules.REJECTED_LIMIT:
        raise InvalidFeedback(rejected_field, rejected, _rules.REJECTED_RULE)
    found: list[tuple[Target, Relation]] = [(_side(chosen, chosen_field), "chosen")]
    for number, one in enumerate([rejected] if several is None else several):
        field = rejected_field if several is None else f"{rejected_field}[{number}]"
        target = _side(one, field)
        if any(_is_same(target, other) for other, _ in found):
            raise InvalidFeedback(field, one, _rules.SIDES_RULE)
        found.append((target, "rejected"))
    return tuple(found)


def _side(target: object, field: str) -> Target:
    if target is None:
        raise InvalidFeedback(field, None, _rules.SIDE_RULE)
    return resolved(target, field)


def _is_same(one: Target, other: Target) -> bool:
    if one.response_id is not None and other.response_id is not None:
        return one.response_id == other.response_id
    if one.ref is None or other.ref is None:
        return False
    return (one.ref.trace_id, one.ref.span_id) == (other.ref.trace_id, other.ref.span_id)
