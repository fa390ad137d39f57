"""What of a signal may be kept, as the app says: consent, content, redaction.

Everything here fails closed: what the app's own functions do not allow in so many words is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from spanback._never_raise import never_raise
from spanback._settings import Consent, Redact, Settings
from spanback._spanref import SpanRef
from spanback.feedback import _rules
from spanback.feedback._model import Feedback

REFUSED: Final = "consent() did not return True for this user and target, so nothing was recorded"

_CHECKS: Final[dict[str, Callable[[object], object]]] = {
    "comment": _rules.checked_comment,
    "improvement": _rules.checked_improvement,
    "metadata": _rules.checked_metadata,
}


Kept = tuple[Feedback, tuple[str, ...], tuple[str, ...]]
"""A signal with nothing in it that must not be kept, the names of the arguments that were given and are not kept, and
those of them on which the redaction failed. A plain tuple, since one is made for each signal."""


def is_consented(consent: Consent, user_id: str | None, ref: SpanRef | None) -> bool:
    """Whether a signal may be recorded at all. Never raises: a function that fails has not consented."""
    # A coroutine is true too, but says nothing yet.
    return never_raise(consent, user_id, ref) is True


def kept_of(feedback: Feedback, settings: Settings) -> Kept:
    """The signal without what must not be kept. Never raises."""
    omitted: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    if not settings.feedback_content and (feedback.comment is not None or feedback.improvement is not None):
        given = (("comment", feedback.comment), ("improvement", feedback.improvement))
        omitted = tuple(name for name, value in given if value is not None)
        feedback = feedback._replace(comment=None, improvement=None)
    if settings.redact is not None:
        feedback, emptied, failed = _redacted(feedback, settings.redact)
        omitted += emptied
    if settings.user_hash_key is None and (feedback.user_id is not None or feedback.rater_id is not None):
        omitted += unhashed(feedback)
    return feedback, omitted, failed


def unhashed(feedback: Feedback) -> tuple[str, ...]:
    """The names of the arguments that would have been kept as a hash, if there was a key."""
    given = (("user_id", feedback.user_id), ("rater_id", feedback.rater_id))
    return tuple(name for name, value in given if value is not None)


def _redacted(feedback: Feedback, redact: Redact) -> Kept:
    """The signal as the app's function leaves it; what it fails on, or spoils, is left out."""
    omitted: list[str] = []
    failed: list[str] = []
    for field in _CHECKS:
        value = getattr(feedback, field)
        if not value:
            continue
        told = never_raise(_asked, redact, field, value)
        if told is None:
            failed.append(field)
        if not told:
            omitted.append(field)
        feedback = feedback._replace(**{field: told[0] if told else () if field == "metadata" else None})
    return feedback, tuple(omitted), tuple(failed)


def _asked(redact: Redact, field: str, value: Any) -> tuple[object, ...]:
    """What is to be kept of a field, checked, in a tuple; an empty one for nothing. Raises what `redact` raises."""
    given = json.loads(value) if field == "improvement" else dict(value) if field == "metadata" else value
    told = redact(field, given)
    return () if told is None else (_CHECKS[field](told),)
