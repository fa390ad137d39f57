"""The rules that the fields of a signal keep, each with the function that checks it.

Every function raises InvalidFeedback, which names field, value and rule, and nothing else. Text is refused where it
holds a lone surrogate: UTF-8 cannot carry it, and an exporter would drop its whole batch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final, Literal, TypeVar, cast

from spanback._never_raise import never_raise
from spanback.errors import InvalidFeedback

Primitive = str | bool | int | float
Source = Literal["user", "system"]
Type = Literal["explicit", "implicit"]
Placement = Literal["auto", "child", "linked"]
T = TypeVar("T")

COMMENT_LIMIT_BYTES: Final = 16_384
IMPROVEMENT_LIMIT_BYTES: Final = 65_536
LABEL_LIMIT_BYTES: Final = 256
METADATA_LIMIT_KEYS: Final = 64
METADATA_KEY_LIMIT_BYTES: Final = 256
METADATA_VALUE_LIMIT_BYTES: Final = 4_096
NAME_LIMIT_CHARACTERS: Final = 64
USER_ID_LIMIT_CHARACTERS: Final = 256
FEEDBACK_ID_LIMIT_CHARACTERS: Final = 128
CLOCK_TOLERANCE_S: Final = 60

SCORE_RULE: Final = "must be a number from -1 to 1, and no bool"
GIVEN_RULE: Final = "must be given, unless there is a label, a comment or an improvement"
WEIGHT_RULE: Final = "must be a number from 0 to 1, and no bool"
RATING_RULE: Final = "must be a finite number within the scale, and no bool"
RATING_ALONE_RULE: Final = "must not be given together with score"
SCALE_RULE: Final = "must be two finite numbers (lowest, highest), with lowest < highest"
SCALE_WITH_RATING_RULE: Final = "must be given together with rating, as (lowest, highest)"
NAME_RULE: Final = f"must be 1 to {NAME_LIMIT_CHARACTERS} characters out of a-z, 0-9, '_', '.' and '-'"
SOURCE_RULE: Final = "must be 'user' or 'system'"
TYPE_RULE: Final = "must be 'explicit' or 'implicit'"
PLACEMENT_RULE: Final = "must be 'auto', 'child' or 'linked'"
LABEL_RULE: Final = f"must be one line of text, not blank, of at most {LABEL_LIMIT_BYTES} bytes in UTF-8"
COMMENT_RULE: Final = f"must be text, not blank, of at most {COMMENT_LIMIT_BYTES} bytes in UTF-8"
IMPROVEMENT_RULE: Final = (
    f"must be a JSON value of at most {IMPROVEMENT_LIMIT_BYTES} bytes in UTF-8, "
    "not blank, without nan, inf, cycles or lone surrogates"
)
METADATA_RULE: Final = f"must be a mapping of at most {METADATA_LIMIT_KEYS} keys"
METADATA_KEY_RULE: Final = f"must have keys of text, not blank, of at most {METADATA_KEY_LIMIT_BYTES} bytes in UTF-8"
METADATA_VALUE_RULE: Final = (
    f"must be text of at most {METADATA_VALUE_LIMIT_BYTES} bytes in UTF-8, a bool, a 64-bit int or a finite float"
)
USER_ID_RULE: Final = f"must be 1 to {USER_ID_LIMIT_CHARACTERS} printable characters, not blank"
RATER_ID_RULE: Final = USER_ID_RULE
CRITERION_RULE: Final = NAME_RULE
FEEDBACK_ID_RULE: Final = f"must be 1 to {FEEDBACK_ID_LIMIT_CHARACTERS} printable characters, not blank"
OBSERVED_AT_RULE: Final = (
    f"must be a datetime with a time zone, at most {CLOCK_TOLERANCE_S} s ahead of this machine's clock"
)
WITHDRAWAL_RULE: Final = "must be given, unless target, name and user_id say which vote is meant"
SIDE_RULE: Final = "must be given: a preference is between two responses"
REJECTED_LIMIT: Final = 64
REJECTED_RULE: Final = f"must be a response, or a list of 1 to {REJECTED_LIMIT} responses"
REJECTED_CHOICE_RULE: Final = (
    f"must be the number of a choice, or a list of 1 to {REJECTED_LIMIT}: of one response, or one for each"
)
SIDES_RULE: Final = (
    "must be another response, or another choice of it, than those before: nothing is better than itself"
)
ITEMS_RULE: Final = "must be an iterable of mappings, each with the arguments of record_feedback"
ITEM_RULE: Final = "must be a mapping of the arguments of record_feedback"
ARGUMENT_RULE: Final = "must not be given: record_feedback has no such argument"
PROGRESS_RULE: Final = "must be True, False, None or a function of two arguments"
UNDECLARED_RULE: Final = "must be declared by spanback.declare(), or be a preset's, where names are strict"
SIGNAL_RULE: Final = "must be one of spanback.signals, or another Signal"

_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_INT64: Final = 1 << 63
_SOURCES: Final[dict[str, Source]] = {"user": "user", "system": "system"}
_TYPES: Final[dict[str, Type]] = {"explicit": "explicit", "implicit": "implicit"}
_PLACEMENTS: Final[dict[str, Placement]] = {"auto": "auto", "child": "child", "linked": "linked"}
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def checked_score(value: object) -> float:
    """A score; -0.0 becomes 0.0."""
    number = value if type(value) is float else _number(value)
    if number is None or not -1.0 <= number <= 1.0:
        raise InvalidFeedback("score", value, SCORE_RULE)
    return number + 0.0


def checked_weight(value: object) -> float:
    """A weight; -0.0 becomes 0.0."""
    number = value if type(value) is float else _number(value)
    if number is None or not 0.0 <= number <= 1.0:
        raise InvalidFeedback("weight", value, WEIGHT_RULE)
    return number + 0.0


def checked_number(rating: object) -> float:
    """A rating whose scale is not known."""
    number = _number(rating)
    if number is None:
        raise InvalidFeedback("rating", rating, RATING_RULE)
    return number


def checked_rating(rating: object, scale: object) -> tuple[float, float, float]:
    """A rating, with the lowest and the highest of its scale."""
    if scale is None:
        raise InvalidFeedback("scale", None, SCALE_WITH_RATING_RULE)
    lowest, highest = checked_scale(scale)
    number = checked_number(rating)
    if not lowest <= number <= highest:
        raise InvalidFeedback("rating", rating, RATING_RULE)
    return number, lowest, highest


def mapped(rating: float, lowest: float, highest: float) -> float:
    """The score of a rating: linear, -1 at the lowest and 1 at the highest, never beyond."""
    return 2.0 * ((rating - lowest) / (highest - lowest)) - 1.0


def checked_name(value: object, field: str = "name") -> str:
    """A name of low cardinality."""
    name = str.__str__(value) if isinstance(value, str) else ""
    if not 0 < len(name) <= NAME_LIMIT_CHARACTERS or not _NAME_CHARACTERS.issuperset(name):
        raise InvalidFeedback(field, value, NAME_RULE)
    return name


def checked_criterion(value: object) -> str:
    """What a rater looked at."""
    return checked_name(value, "criterion")


def checked_source(value: object) -> Source:
    """Who gives it."""
    return _choice("source", value, _SOURCES, SOURCE_RULE)


def checked_type(value: object) -> Type:
    """Whether it is stated or inferred."""
    return _choice("type", value, _TYPES, TYPE_RULE)


def checked_placement(value: object) -> Placement:
    """Where the carrier goes."""
    return _choice("placement", value, _PLACEMENTS, PLACEMENT_RULE)


def checked_user_id(value: object) -> str:
    """A user's id."""
    return checked_line("user_id", value, USER_ID_LIMIT_CHARACTERS, USER_ID_RULE)


def checked_rater_id(value: object) -> str:
    """A rater's id."""
    return checked_line("rater_id", value, USER_ID_LIMIT_CHARACTERS, RATER_ID_RULE)


def checked_feedback_id(value: object) -> str:
    """A signal's id."""
    return checked_line("feedback_id", value, FEEDBACK_ID_LIMIT_CHARACTERS, FEEDBACK_ID_RULE)


def checked_line(field: str, value: object, limit_characters: int, rule: str) -> str:
    """Printable text, not blank, as ids are."""
    line = str.__str__(value) if isinstance(value, str) else ""
    if len(line) > limit_characters or not line.isprintable() or not line.strip():
        raise InvalidFeedback(field, value, rule)
    return line


def checked_label(value: object, field: str = "label") -> str:
    """A category."""
    label = _text(field, value, LABEL_LIMIT_BYTES, LABEL_RULE)
    if not label.strip() or label.splitlines() != [label]:
        raise InvalidFeedback(field, value, LABEL_RULE)
    return label


def checked_description(value: object, rule: str) -> str:
    """What something means, for people."""
    description = _text("description", value, METADATA_VALUE_LIMIT_BYTES, rule)
    if not description.strip():
        raise InvalidFeedback("description", value, rule)
    return description


def checked_comment(value: object) -> str:
    """Free text."""
    comment = _text("comment", value, COMMENT_LIMIT_BYTES, COMMENT_RULE)
    if not comment.strip():
        raise InvalidFeedback("comment", value, COMMENT_RULE)
    return comment


def checked_improvement(value: object) -> str:
    """A JSON value, as JSON."""
    # Containers of the app's own classes may raise anything while they are read, deep ones RecursionError.
    text = never_raise(_ENCODER.encode, value)
    if text is None or not _fits(text, IMPROVEMENT_LIMIT_BYTES) or (isinstance(value, str) and not str.strip(value)):
        raise InvalidFeedback("improvement", value, IMPROVEMENT_RULE)
    return text


def checked_metadata(value: object) -> tuple[tuple[str, Primitive], ...]:
    """Keys and primitive values."""
    pairs = pairs_of(value)
    if pairs is None or len(pairs) > METADATA_LIMIT_KEYS:
        raise InvalidFeedback("metadata", value, METADATA_RULE)
    return tuple((name := _key(key), _primitive(name, item)) for key, item in pairs)


def checked_time(value: object) -> str:
    """A point in time, ISO 8601 in UTC."""
    # A time zone is code of the app, and the ends of the calendar overflow in other zones.
    text = never_raise(_utc, value)
    if text is None:
        raise InvalidFeedback("observed_at", value, OBSERVED_AT_RULE)
    return text


def _number(value: object) -> float | None:
    """A finite float, or None for everything that is no such number; True could mean 1 or "yes", so a bool is none."""
    whole = whole_of(value)
    try:
        number = float.__float__(value) if isinstance(value, float) else None if whole is None else float(whole)
    except OverflowError:
        return None
    return number if number is not None and math.isfinite(number) else None


def whole_of(value: object) -> int | None:
    """An int in its exact type, or None for everything else, a bool too; an app's own kind may fail in any method."""
    return int.__int__(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _choice(field: str, value: object, choices: Mapping[str, T], rule: str) -> T:
    chosen = choices.get(str.__str__(value)) if isinstance(value, str) else None
    if chosen is None:
        raise InvalidFeedback(field, value, rule)
    return chosen


def checked_scale(scale: object) -> tuple[float, float]:
    """The lowest and the highest rating."""
    ends = items_of(scale) or ()
    numbers = [number for number in map(_number, ends) if number is not None]
    if len(ends) != 2 or len(numbers) != 2 or not 0.0 < numbers[1] - numbers[0] < math.inf:
        raise InvalidFeedback("scale", scale, SCALE_RULE)
    return numbers[0], numbers[1]


def items_of(value: object) -> tuple[object, ...] | None:
    """What a list or tuple holds, which may be of the app's own class; None for anything else, and where it fails."""
    return never_raise(tuple, cast("list[object]", value)) if issubclass(type(value), (list, tuple)) else None


def _text(field: str, value: object, limit_bytes: int, rule: str) -> str:
    text = str.__str__(value) if isinstance(value, str) else None
    if text is None or not _fits(text, limit_bytes):
        raise InvalidFeedback(field, value, rule)
    return text


def _fits(text: str, limit_bytes: int) -> bool:
    try:
        return len(text.encode()) <= limit_bytes
    except UnicodeEncodeError:
        return False


def pairs_of(metadata: object) -> list[tuple[object, object]] | None:
    """Keys and values of a mapping, which may be of the app's own class; None where it is none, or fails."""
    return never_raise(_pairs, metadata)


def _pairs(value: object) -> list[tuple[object, object]] | None:
    return list(cast("Mapping[object, object]", value).items()) if isinstance(value, Mapping) else None


def _key(value: object) -> str:
    key = _text("metadata", value, METADATA_KEY_LIMIT_BYTES, METADATA_KEY_RULE)
    if not key.strip():
        raise InvalidFeedback("metadata", value, METADATA_KEY_RULE)
    return key


def _primitive(key: str, value: object) -> Primitive:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(f"metadata[{key!r}]", value, METADATA_VALUE_LIMIT_BYTES, METADATA_VALUE_RULE)
    whole = whole_of(value)
    if whole is not None and -_INT64 <= whole < _INT64:  # what OTLP can carry
        return whole
    number = _number(value) if isinstance(value, float) else None
    if number is None:
        raise InvalidFeedback(f"metadata[{key!r}]", value, METADATA_VALUE_RULE)
    return number


def _utc(value: object) -> str | None:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return None
    ahead = value - datetime.now(timezone.utc)
    return None if ahead > timedelta(seconds=CLOCK_TOLERANCE_S) else value.astimezone(timezone.utc).isoformat()
