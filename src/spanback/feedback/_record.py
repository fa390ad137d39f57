"""record_feedback: checks, decides what is kept, emits, and says what happened."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from spanback import _settings
from spanback._people import keyed_hash
from spanback._said import current_user_id
from spanback._settings import Settings
from spanback.errors import InvalidFeedback
from spanback.feedback import _emit
from spanback.feedback._attributes import Emission, Relation
from spanback.feedback._guard import refuse_self_rating
from spanback.feedback._ids import new_id, vote_id
from spanback.feedback._model import Feedback, checked
from spanback.feedback._privacy import REFUSED, is_consented, kept_of
from spanback.feedback._receipt import Receipt
from spanback.feedback._rules import Placement, Primitive, Source, Type, checked_placement
from spanback.feedback._scope import checked_aim, scoped
from spanback.feedback._signal import Signal
from spanback.feedback._target import KIND_RULE, NOTHING_RULE, NOWHERE, Scope, Target, resolve

_AUTO: Final = "auto"

Checked = tuple[Feedback, tuple[tuple[Target, Relation], ...], Placement]


def record_feedback(
    target: object = None,
    signal: Signal | None = None,
    *,
    score: float | None = None,
    rating: float | None = None,
    scale: tuple[float, float] | None = None,
    name: str | None = None,
    weight: float | None = None,
    source: Source | None = None,
    type: Type | None = None,
    label: str | None = None,
    comment: str | None = None,
    improvement: object = None,
    metadata: Mapping[str, Primitive] | None = None,
    user_id: str | None = None,
    feedback_id: str | None = None,
    observed_at: datetime | None = None,
    rater_id: str | None = None,
    criterion: str | None = None,
    scope: Scope | None = None,
    conversation_id: str | None = None,
    choice: int | None = None,
    tool_call_id: str | None = None,
    document_id: str | None = None,
    placement: Placement = _AUTO,
) -> Receipt:
    """Records how good a response was, seconds or weeks after it was given.

        record_feedback(response, signals.THUMBS_UP)
        record_feedback(response, rating=4, scale=(1, 5), name="helpfulness", comment="A bit long")

    Args:
        target: What is rated: a client's response, stream or chunk, a raw or dumped response, a SpanRef, an
            OpenTelemetry Span, SpanContext or Context, a W3C traceparent, a feedback token, a response id; None for
            the current span.
        signal: A preset of `spanback.signals`; every argument that is given goes before it.
        score: From -1 (worst) to 1 (best). A score, a rating, a label, a comment or an improvement must be given.
        rating: A number on `scale`, instead of a score; it is mapped linearly onto -1..1 and also kept as it is.
        scale: The lowest and the highest rating.
        name: Which signal, of low cardinality; `user_feedback` unless given.
        weight: How much it counts, 0 to 1; 1 unless given.
        source: `user` (the default) or `system`.
        type: `explicit` (stated, the default) or `implicit` (inferred from behaviour).
        label: A category, such as `hallucination`.
        comment: Free text, at most 16,384 bytes; kept only where content capture is on.
        improvement: The corrected response, any JSON value of at most 65,536 bytes; kept as a comment is.
        metadata: At most 64 keys with primitive values, for analysis.
        user_id: Who gave it; unless given, the user of the current `spanback.context()` block. Only its HMAC is kept,
            and only where the app has set a key.
        feedback_id: The signal's id; the same id again replaces the earlier signal, comment and score together. A user
            has one vote on each target and name, so with `user_id` the id is made of these three unless given. So it
            is with `rater_id`, for each criterion, and for an implicit signal, which is one on its target and name.
            Else the id is a new one.
        observed_at: When it was given, with a time zone, where that is not now.
        rater_id: Which of several raters gave it; kept as `user_id` is.
        criterion: What the rater looked at, such as `tone`; formed as a name.
        scope: What of the target is rated, where it is not the response or span itself. `trace` stands for the whole
            trace: the signal is linked to the span that this process began it with or, where that is not known, to the
            target. `conversation` stands for the conversation that the target belongs to; the others follow from the
            arguments below.
        conversation_id: Rates a conversation as a whole, without a target: it needs no span, and links to none.
        choice: Rates one of several choices of the response, counted from 0.
        tool_call_id: Rates one tool call that the response asks for. A span of `execute_tool` needs none.
        document_id: Rates one of the documents that were retrieved for the response.
        placement: `child` puts the carrier into the rated span's trace, `linked` into a trace of its own. `auto` is
            `child` while the span is known to have started less than five minutes ago. An unsampled span has no
            trace to be put into, so the carrier is `linked` then in any case.

    Returns:
        What really happened: `receipt.status` and `receipt.reason`.

    Raises:
        InvalidFeedback: An argument breaks its rule; it names field, value and rule. Nothing is emitted then.
        SpoolUnavailable: The app has asked for a spool, it cannot take the signal, and SPANBACK_SPOOL_FULL is `raise`.
            Nothing else is ever raised.
    """
    settings = _settings.current()
    feedback = checked(
        signal,
        score=score,
        rating=rating,
        scale=scale,
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
        is_strict=settings.strict,
    )
    where = placement if placement is _AUTO else checked_placement(placement)
    if scope is None and conversation_id is None and choice is None and tool_call_id is None and document_id is None:
        found = resolve(target) or resolved(target)
    else:
        aim = {"scope": scope, "conversation_id": conversation_id, "choice": choice}
        found = aimed(target, {**aim, "tool_call_id": tool_call_id, "document_id": document_id})
    refuse_self_rating(feedback, found, settings)
    return record(feedback, ((found, "rates"),), where, settings)


def aimed(target: object, aim: Mapping[str, object]) -> Target:
    """What a target stands for, and what of it is rated.

    Args:
        target: As `record_feedback` takes it.
        aim: The arguments of `record_feedback` that say what of it is rated, by name.

    Raises:
        InvalidFeedback: It cannot be rated, or one of the arguments breaks its rule.
    """
    scope, detail = checked_aim(aim, has_target=target is not None)
    if scope == "conversation" and target is None and (detail is not None or resolve(None) is None):
        return scoped(NOWHERE, scope, detail)
    return scoped(resolved(target), scope, detail)


def resolved(target: object, field: str = "target") -> Target:
    """What a target stands for.

    Args:
        target: As `record_feedback` takes it.
        field: Name of the argument.

    Raises:
        InvalidFeedback: It cannot be rated.
    """
    found = resolve(target, field)
    if found is not None:
        return found
    if _emit.is_enabled():
        raise InvalidFeedback(field, target, NOTHING_RULE if target is None else KIND_RULE)
    return NOWHERE  # a span that an app without telemetry has not got is no mistake of the app


def record(
    feedback: Feedback, targets: tuple[tuple[Target, Relation], ...], placement: Placement, settings: Settings
) -> Receipt:
    """Decides what of a checked signal is kept, and emits it.

    Args:
        feedback: The signal.
        targets: What it is about, and how.
        placement: Where the app wants the carrier.
        settings: Those in force.

    Returns:
        What really happened.

    Raises:
        SpoolUnavailable: There is a spool, it does not take the signal, and the app wants to be told.
    """
    prepared = _prepared(feedback, targets, placement, settings)
    if isinstance(prepared, Receipt):
        return prepared
    emission, failed = prepared
    receipt = _emit.emit(emission, settings)
    return _told(receipt, failed) if failed else receipt


def record_all(batch: Iterable[Checked], settings: Settings) -> list[Receipt]:
    """Does the same with many checked signals; with a spool they are committed together, all or none."""
    prepared = [_prepared(*one, settings) for one in batch]
    receipts = iter(_emit.emit_all([one[0] for one in prepared if not isinstance(one, Receipt)], settings))
    return [one if isinstance(one, Receipt) else _told(next(receipts), one[1]) for one in prepared]


def _prepared(
    feedback: Feedback, targets: tuple[tuple[Target, Relation], ...], placement: Placement, settings: Settings
) -> Receipt | tuple[Emission, Sequence[str]]:
    """What is to be emitted, and the fields that could not be redacted; a receipt where nothing may be."""
    key = settings.user_hash_key
    feedback_id, user_id, rater_id = feedback.feedback_id, feedback.user_id, feedback.rater_id
    is_vote = user_id is not None or rater_id is not None or feedback.type == "implicit"
    if feedback_id is None:  # `vote_id` would say no as well, but most signals need not ask
        feedback_id = (vote_id(targets, feedback, key) if is_vote else None) or new_id(time.time_ns())
    if settings.consent is not None and not is_consented(settings.consent, feedback.user_id, targets[0][0].ref):
        return Receipt(feedback_id, "refused", None, targets[0][0].ref, None, None, (), REFUSED)
    kept, omitted, failed = kept_of(feedback, settings)
    user = None if feedback.user_id is None else hashed(feedback.user_id, key)
    rater = None if feedback.rater_id is None else hashed(feedback.rater_id, key)
    return Emission(kept, targets, feedback_id, "set", user, rater, omitted, placement), failed


def _told(receipt: Receipt, failed: Sequence[str]) -> Receipt:
    if not failed:
        return receipt
    reason = f"{receipt.reason}; without {', '.join(failed)}: redact() raised or gave what breaks the field's rule"
    return replace(receipt, reason=reason)


def hashed(person_id: str | None, key: bytes | None) -> str | None:
    """What is kept of who gave a signal: with a key a hash, without one nothing."""
    return None if person_id is None or key is None else keyed_hash(person_id, key)
