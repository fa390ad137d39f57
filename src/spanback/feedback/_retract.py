"""retract_feedback: a signal is withdrawn by one more record, since telemetry is only ever added to."""

from __future__ import annotations

from collections.abc import Mapping

from spanback import _settings
from spanback._said import current_user_id
from spanback.errors import InvalidFeedback
from spanback.feedback import _emit, _rules
from spanback.feedback._attributes import Emission, Relation
from spanback.feedback._guard import refuse_self_rating
from spanback.feedback._ids import vote_id
from spanback.feedback._model import withdrawal
from spanback.feedback._presets import USUAL
from spanback.feedback._privacy import unhashed
from spanback.feedback._receipt import Receipt
from spanback.feedback._recent import RECENT, Recent
from spanback.feedback._record import aimed, hashed
from spanback.feedback._rules import Placement, Source, Type
from spanback.feedback._signal import Signal
from spanback.feedback._target import NOWHERE, Scope, Target


def retract_feedback(
    feedback_id: str | Receipt | None = None,
    target: object = None,
    *,
    signal: Signal | None = None,
    name: str | None = None,
    criterion: str | None = None,
    source: Source | None = None,
    type: Type | None = None,
    user_id: str | None = None,
    rater_id: str | None = None,
    scope: Scope | None = None,
    conversation_id: str | None = None,
    choice: int | None = None,
    tool_call_id: str | None = None,
    document_id: str | None = None,
    placement: Placement = "auto",
) -> Receipt:
    """Withdraws a signal: its score, comment and whatever else it said, at once.

        receipt = record_feedback(response, signals.THUMBS_UP, user_id="anna")
        retract_feedback(receipt)
        retract_feedback(target=response, signal=signals.THUMBS_UP, user_id="anna")    # the same, without the receipt

    What this process has recorded of late is known by its id; of older signals say the target and the name, so that
    the withdrawal is seen where the signal is. A signal set again later, under the same id, stands again.

    Args:
        feedback_id: The signal's id, or the receipt of it. Without one, target, name, criterion, type and who gave it
            say which vote is meant.
        target: What was rated, as `record_feedback` takes it.
        signal: The preset that was given, for its name, source and type.
        name: The signal's name.
        criterion: The signal's criterion.
        source: Who gave the signal, `user` or `system`.
        type: Whether it was stated or inferred.
        user_id: Who gave it; without an id of the signal, and unless given, the user of the current
            `spanback.context()` block, as in `record_feedback`.
        rater_id: Which rater gave it.
        scope: What of the target was rated, as in `record_feedback`; so are the four below.
        conversation_id: The conversation that was rated.
        choice: The choice that was rated.
        tool_call_id: The tool call that was rated.
        document_id: The document that was rated.
        placement: Where the carrier goes, as in `record_feedback`.

    Returns:
        What really happened; `unresolved` where it is not known what was rated.

    Raises:
        InvalidFeedback: An argument breaks its rule, nothing says which signal is meant, or it is a user's on the very
            call or agent that the code runs inside of. Nothing is emitted then.
        SpoolUnavailable: As in `record_feedback`. Nothing else is ever raised.
    """
    own_id = feedback_id.feedback_id if isinstance(feedback_id, Receipt) else feedback_id
    if target is None and isinstance(feedback_id, Receipt):
        target = feedback_id.target
    recent = RECENT.find(str.__str__(own_id)) if isinstance(own_id, str) else None
    its_name, its_source, its_type, its_criterion = _usual(signal, recent)
    feedback = withdrawal(
        name=its_name if name is None else name,
        source=its_source if source is None else source,
        type=its_type if type is None else type,
        criterion=its_criterion if criterion is None else criterion,
        user_id=current_user_id() if user_id is None and own_id is None else user_id,
        rater_id=rater_id,
        feedback_id=own_id,
    )
    where = _rules.checked_placement(placement)
    aim = {"scope": scope, "conversation_id": conversation_id, "choice": choice}
    aim |= {"tool_call_id": tool_call_id, "document_id": document_id}
    targets = _targets(target, aim, recent, has_id=own_id is not None)
    settings = _settings.current()
    for one, _ in targets:
        refuse_self_rating(feedback, one, settings)
    key = settings.user_hash_key
    said_id = feedback.feedback_id or vote_id(targets, feedback, key)
    if said_id is None:
        raise InvalidFeedback("feedback_id", feedback_id, _rules.WITHDRAWAL_RULE)
    omitted = () if key is not None else unhashed(feedback)
    hashes = hashed(feedback.user_id, key), hashed(feedback.rater_id, key)
    return _emit.emit(Emission(feedback, targets, said_id, "retract", *hashes, omitted, where), settings)


def _usual(signal: object, recent: Recent | None) -> tuple[str, Source, Type, str | None]:
    """Name, source, type and criterion: of the preset, else as the signal was recorded, else the usual ones."""
    if signal is not None and not isinstance(signal, Signal):
        raise InvalidFeedback("signal", signal, _rules.SIGNAL_RULE)
    if signal is None and recent is not None:
        return recent[1:]
    usual = signal or USUAL
    return usual.name, usual.source, usual.type, None


def _targets(
    target: object, aim: Mapping[str, object], recent: Recent | None, *, has_id: bool
) -> tuple[tuple[Target, Relation], ...]:
    """What the signal was about: as it was recorded, else as the call says, else nothing that is known."""
    if recent is not None and (target is None or recent[0][0][0].ref is not None):
        return recent[0]
    is_aimed = any(value is not None for value in aim.values())
    return ((NOWHERE if target is None and has_id and not is_aimed else aimed(target, aim), "rates"),)
