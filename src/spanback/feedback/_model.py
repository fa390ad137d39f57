"""What one feedback signal is, and the rules that its fields keep."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, cast

from spanback._never_raise import never_raise
from spanback.errors import InvalidFeedback
from spanback.feedback.signals import Signal

USUAL: Final = Signal("user_feedback", None, 1.0, "user", "explicit")
"""What a signal is unless the app says otherwise."""

COMMENT_LIMIT_BYTES: Final = 16_384
IMPROVEMENT_LIMIT_BYTES: Final = 65_536
METADATA_LIMIT_KEYS: Final = 64
METADATA_KEY_LIMIT_BYTES: Final = 256
METADATA_VALUE_LIMIT_BYTES: Final = 4_096

_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_CLOCK_TOLERANCE: Final = timedelta(seconds=60)
_LABEL_LIMIT_BYTES: Final = 256
_INT64: Final = 1 << 63

SCORE_RULE: Final = "must be a number from -1 to 1, and no bool"
GIVEN_RULE: Final = "must be given, unless there is a label, a comment or an improvement"
WEIGHT_RULE: Final = "must be a number from 0 to 1, and no bool"
RATING_RULE: Final = "must be a finite number within the scale, and no bool"
RATING_ALONE_RULE: Final = "must not be given together with score"
SCALE_RULE: Final = "must be two finite numbers (lowest, highest), with lowest < highest"
SCALE_WITH_RATING_RULE: Final = "must be given together with rating, as (lowest, highest)"
NAME_RULE: Final = "must be 1 to 64 characters out of a-z, 0-9, '_', '.' and '-'"
SOURCE_RULE: Final = "must be 'user' or 'system'"
TYPE_RULE: Final = "must be 'explicit' or 'implicit'"
PLACEMENT_RULE: Final = "must be 'auto', 'child' or 'linked'"
LABEL_RULE: Final = f"must be one line of text, not blank, of at most {_LABEL_LIMIT_BYTES} bytes in UTF-8"
COMMENT_RULE: Final = f"must be text, not blank, of at most {COMMENT_LIMIT_BYTES} bytes in UTF-8"
IMPROVEMENT_RULE: Final = f"must be a JSON value, no blank text, no nan, inf or cycle in it, of at most {IMPROVEMENT_LIMIT_BYTES} bytes as JSON"
METADATA_RULE: Final = f"must be a mapping of at most {METADATA_LIMIT_KEYS} keys"
METADATA_KEY_RULE: Final = f"must have keys of text, not blank, of at most {METADATA_KEY_LIMIT_BYTES} bytes in UTF-8"
METADATA_VALUE_RULE: Final = (
    f"must be text of at most {METADATA_VALUE_LIMIT_BYTES} bytes in UTF-8, a bool, a 64-bit int or a finite float"
)
USER_ID_RULE: Final = "must be 1 to 256 printable characters, not blank"
FEEDBACK_ID_RULE: Final = "must be 1 to 128 printable characters, not blank"
OBSERVED_AT_RULE: Final = "must be a datetime with a time zone, at most 60 s ahead of this machine's clock"
SIGNAL_RULE: Final = "must be one of spanback.signals, or another Signal"

Primitive = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Feedback:
    """One signal whose fields have been checked.

    Attributes:
        name: Which signal.
        score: -1 to 1, or None.
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
    """

    name: str
    score: float | None
    weight: float
    source: str
    type: str
    raw: tuple[float, float, float] | None
    label: str | None
    comment: str | None
    improvement: str | None
    metadata: tuple[tuple[str, Primitive], ...]
    user_id: str | None
    feedback_id: str | None
    observed_at: str | None

    @property
    def sentiment(self) -> str | None:
        """`positive`, `neutral` or `negative` by the sign of the score; None without a score."""
        if self.score is None:
            return None
        return "positive" if self.score > 0.0 else "negative" if self.score < 0.0 else "neutral"


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
) -> Feedback:
    """The signal that the arguments describe, each as in `record_feedback`; None means not given.

    Raises:
        InvalidFeedback: An argument breaks its rule.
    """
    usual = USUAL if signal is None else signal
    if not isinstance(usual, Signal):
        raise InvalidFeedback("signal", signal, SIGNAL_RULE)
    value, raw = _score(usual.score if score is None and rating is None else score, rating, scale)
    feedback = Feedback(
        name=_name(usual.name if name is None else name),
        score=value,
        weight=_within("weight", usual.weight if weight is None else weight, 0.0, WEIGHT_RULE),
        source=_choice("source", usual.source if source is None else source, ("user", "system"), SOURCE_RULE),
        type=_choice("type", usual.type if type is None else type, ("explicit", "implicit"), TYPE_RULE),
        raw=raw,
        label=None if label is None else _label(label),
        comment=None if comment is None else _text("comment", comment, COMMENT_LIMIT_BYTES, COMMENT_RULE),
        improvement=None if improvement is None else _json(improvement),
        metadata=() if metadata is None else _metadata(metadata),
        user_id=None if user_id is None else printable("user_id", user_id, 256, USER_ID_RULE),
        feedback_id=None if feedback_id is None else printable("feedback_id", feedback_id, 128, FEEDBACK_ID_RULE),
        observed_at=None if observed_at is None else _time(observed_at),
    )
    if value is None and feedback.label is None and feedback.comment is None and feedback.improvement is None:
        raise InvalidFeedback("score", None, GIVEN_RULE)
    return feedback


def checked_placement(placement: object) -> str:
    """The placement asked for.

    Raises:
        InvalidFeedback: It is none of the three.
    """
    return _choice("placement", placement, ("auto", "child", "linked"), PLACEMENT_RULE)


def printable(field: str, value: object, limit_characters: int, rule: str) -> str:
    """One line of printable text, not blank, as an exact `str`.

    Raises:
        InvalidFeedback: It is not.
    """
    if not isinstance(value, str):
        raise InvalidFeedback(field, value, rule)
    text = str.__str__(value)
    if len(text) > limit_characters or not text.isprintable() or not text.strip():
        raise InvalidFeedback(field, value, rule)
    return text


def _score(score: object, rating: object, scale: object) -> tuple[float | None, tuple[float, float, float] | None]:
    if rating is None:
        if scale is not None:
            raise InvalidFeedback("scale", scale, SCALE_WITH_RATING_RULE)
        return (None if score is None else _within("score", score, -1.0, SCORE_RULE)), None
    if score is not None:
        raise InvalidFeedback("rating", rating, RATING_ALONE_RULE)
    if scale is None:
        raise InvalidFeedback("scale", None, SCALE_WITH_RATING_RULE)
    lowest, highest = _scale(scale)
    number = _number(rating)
    if number is None or not lowest <= number <= highest:
        raise InvalidFeedback("rating", rating, RATING_RULE)
    return 2.0 * ((number - lowest) / (highest - lowest)) - 1.0, (number, lowest, highest)


def _scale(scale: object) -> tuple[float, float]:
    if isinstance(scale, (tuple, list)):
        ends = tuple(cast("tuple[object, ...] | list[object]", scale))
        if len(ends) == 2:
            lowest, highest = _number(ends[0]), _number(ends[1])
            if lowest is not None and highest is not None and lowest < highest and math.isfinite(highest - lowest):
                return lowest, highest
    raise InvalidFeedback("scale", scale, SCALE_RULE)


def _number(value: object) -> float | None:
    """A finite float, or None for everything that is no such number; a bool is none: True could mean 1 or "yes"."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = never_raise(float, value)
    return number if number is not None and math.isfinite(number) else None


def _within(field: str, value: object, lowest: float, rule: str) -> float:
    number = value if value.__class__ is float else _number(value)
    if number is None or not lowest <= cast("float", number) <= 1.0:
        raise InvalidFeedback(field, value, rule)
    return cast("float", number) + 0.0  # -0.0 becomes 0.0


def _name(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= 64 and _NAME_CHARACTERS.issuperset(value):
        return str.__str__(value)
    raise InvalidFeedback("name", value, NAME_RULE)


def _choice(field: str, value: object, choices: tuple[str, ...], rule: str) -> str:
    if isinstance(value, str):
        for choice in choices:
            if value == choice:
                return choice
    raise InvalidFeedback(field, value, rule)


def _text(field: str, value: object, limit_bytes: int, rule: str, *, blank: bool = False) -> str:
    """Text that UTF-8 can carry: a lone surrogate in it would make an exporter drop its whole batch."""
    if not isinstance(value, str):
        raise InvalidFeedback(field, value, rule)
    text = str.__str__(value)
    if not blank and not text.strip():
        raise InvalidFeedback(field, value, rule)
    if not _fits(text, limit_bytes):
        raise InvalidFeedback(field, value, rule)
    return text


def _fits(text: str, limit_bytes: int) -> bool:
    try:
        return len(text.encode()) <= limit_bytes
    except UnicodeEncodeError:
        return False


def _label(value: object) -> str:
    label = _text("label", value, _LABEL_LIMIT_BYTES, LABEL_RULE)
    if len(label.splitlines()) != 1:
        raise InvalidFeedback("label", value, LABEL_RULE)
    return label


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _json(value: object) -> str:
    if isinstance(value, str) and not value.strip():
        raise InvalidFeedback("improvement", value, IMPROVEMENT_RULE)
    # Containers of the app's own classes may raise anything while they are read, deep ones RecursionError.
    text = never_raise(_ENCODER.encode, value)
    if text is None or not _fits(text, IMPROVEMENT_LIMIT_BYTES):
        raise InvalidFeedback("improvement", value, IMPROVEMENT_RULE)
    return text


def _metadata(value: object) -> tuple[tuple[str, Primitive], ...]:
    pairs = never_raise(_pairs, value)
    if pairs is None or len(pairs) > METADATA_LIMIT_KEYS:
        raise InvalidFeedback("metadata", value, METADATA_RULE)
    checked_pairs: list[tuple[str, Primitive]] = []
    for key, item in pairs:
        name = _text("metadata", key, METADATA_KEY_LIMIT_BYTES, METADATA_KEY_RULE)
        checked_pairs.append((name, _primitive(name, item)))
    return tuple(checked_pairs)


def _pairs(value: object) -> list[tuple[object, object]] | None:
    if not isinstance(value, Mapping):
        return None
    return list(cast("Mapping[object, object]", value).items())


def _primitive(key: str, value: object) -> Primitive:
    field = f"metadata[{key!r}]"
    if isinstance(value, str):
        return _text(field, value, METADATA_VALUE_LIMIT_BYTES, METADATA_VALUE_RULE, blank=True)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and -_INT64 <= value < _INT64:  # what OTLP can carry
        return int(value)
    number = _number(value) if isinstance(value, float) else None
    if number is None:
        raise InvalidFeedback(field, value, METADATA_VALUE_RULE)
    return number


def _time(value: object) -> str:
    if isinstance(value, datetime):
        # A time zone is code of the app, and the ends of the calendar overflow in other zones.
        text = never_raise(_utc, value)
        if text is not None:
            return text
    raise InvalidFeedback("observed_at", value, OBSERVED_AT_RULE)


def _utc(value: datetime) -> str | None:
    if value.utcoffset() is None or value - datetime.now(timezone.utc) > _CLOCK_TOLERANCE:
        return None
    return value.astimezone(timezone.utc).isoformat()
