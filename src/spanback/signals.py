"""Signals that most chat products have, ready to use.

    from spanback import signals

    record_feedback(response, signals.THUMBS_UP)
    record_feedback(response, signals.edited(answer, final_text), improvement=final_text)
    signals.regenerated(first_response, second_response)

Weights follow how much a signal says: what a user states counts 0.8, what a user merely does 0.3 to 0.6.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from spanback.feedback import PRESETS, Receipt, Signal, record_feedback
from spanback.feedback._distance import normalised_distance

__all__ = [
    "ABANDONED",
    "COPIED",
    "DISMISSED",
    "EDITED",
    "READ",
    "REGENERATED",
    "SAVED",
    "SELECTED",
    "SHARED",
    "THUMBS_DOWN",
    "THUMBS_UP",
    "Regenerated",
    "Signal",
    "edited",
    "regenerated",
]

THUMBS_UP: Final = PRESETS["THUMBS_UP"]
THUMBS_DOWN: Final = PRESETS["THUMBS_DOWN"]
COPIED: Final = PRESETS["COPIED"]
SELECTED: Final = PRESETS["SELECTED"]
SAVED: Final = PRESETS["SAVED"]
SHARED: Final = PRESETS["SHARED"]
REGENERATED: Final = PRESETS["REGENERATED"]
DISMISSED: Final = PRESETS["DISMISSED"]
ABANDONED: Final = PRESETS["ABANDONED"]
EDITED: Final = PRESETS["EDITED"]
READ: Final = PRESETS["READ"]


def edited(original: str, final: str) -> Signal:
    """The signal that a user edited an answer: the less there was to change, the better it was.

    The score is 1 where nothing was changed, -1 where nothing is left, and linear in the edit distance between them:
    1 - 2 * (characters put in, taken out or replaced) / (length of the longer text). It takes some 50 ms for two texts
    of 8,192 characters that have nothing in common, a hundredth of that for usual edits; beyond 8,192 characters of
    difference the distance is estimated.

    Args:
        original: The answer as the model gave it.
        final: What the user made of it.

    Returns:
        The signal, to be given to `record_feedback`.

    Raises:
        InvalidFeedback: One of them is no text, or longer than 262,144 characters.
    """
    return Signal(EDITED.name, 1.0 - 2.0 * normalised_distance(original, final), EDITED.weight)


class Regenerated(NamedTuple):
    """What became of the two signals that a regeneration is.

    Attributes:
        signal: The implicit signal on the old response.
        preference: That the new response is preferred to the old one.
    """

    signal: Receipt
    preference: Receipt


def regenerated(
    old: object,
    new: object,
    *,
    user_id: str | None = None,
    metadata: Mapping[str, str | bool | int | float] | None = None,
    observed_at: datetime | None = None,
) -> Regenerated:
    """Records that a user had an answer made anew: the old one was not good enough, and the new one is preferred to it.

    Both are implicit, and each counts once however often it is recorded: the signal on the old response, and the
    preference between the two. Record each step of a chain, old to new.

    Args:
        old: The response that was not good enough, in any form that `record_feedback` takes but None.
        new: The one that took its place.
        user_id: Who had it made anew, as in `record_feedback`.
        metadata: At most 64 keys with primitive values, for both.
        observed_at: When that was, with a time zone, where it is not now.

    Returns:
        What really happened to each.

    Raises:
        InvalidFeedback: An argument breaks its rule, or both are the same response. Nothing is emitted then.
        SpoolUnavailable: As in `record_feedback`; the signal may be recorded already, and the preference not. Nothing
            else is ever raised.
    """
    from spanback.feedback._preference import record_preference, sides  # noqa: PLC0415 - apps without it start faster

    sides(new, old, "new", "old")
    signal = record_feedback(old, REGENERATED, user_id=user_id, metadata=metadata, observed_at=observed_at)
    preference = record_preference(
        new,
        old,
        weight=REGENERATED.weight,
        type="implicit",
        user_id=user_id,
        metadata=metadata,
        observed_at=observed_at,
    )
    return Regenerated(signal, preference)
