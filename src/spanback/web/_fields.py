"""What a signal in JSON may hold: one table for reading it and for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, get_args

from spanback.errors import InvalidFeedback
from spanback.feedback import _rules
from spanback.feedback._target import Scope

TOKEN_RULE: Final = "must be a feedback token"
UNKNOWN_RULE: Final = "must not be given: there is no such field"
SERVER_RULE: Final = "must not be given with a token"
SIGNAL_RULE: Final = "must be a JSON object"

Schema = Mapping[str, Any]


class Field(NamedTuple):
    """One field.

    Attributes:
        schema: What it may hold, as JSON schema.
        description: What it means.
        is_for_servers: Whether it is taken with an API key only: who holds a token says neither who he is nor which
            response he means; the token does.
    """

    schema: Schema
    description: str
    is_for_servers: bool = False


def _text(most: int, **more: Any) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": most, **more}


_LINE: Final = r"^[!-~]([ -~]*[!-~])?$"
_NAME: Final = _text(_rules.NAME_LIMIT_CHARACTERS, pattern=r"^[a-z0-9_.\-]+$")

FIELDS: Final[Mapping[str, Field]] = {
    "score": Field({"type": "number", "minimum": -1, "maximum": 1}, "From -1 (worst) to 1 (best)."),
    "rating": Field({"type": "number"}, "A number on `scale`, instead of a score."),
    "scale": Field(
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}, "Lowest and highest rating."
    ),
    "name": Field(_NAME, "Which signal; `user_feedback` unless given."),
    "weight": Field({"type": "number", "minimum": 0, "maximum": 1}, "How much it counts; 1 unless given."),
    "type": Field({"enum": ["explicit", "implicit"]}, "Stated, or inferred from behaviour."),
    "label": Field(_text(_rules.LABEL_LIMIT_BYTES, pattern=_LINE), "A category."),
    "comment": Field(_text(_rules.COMMENT_LIMIT_BYTES), "Free text; its limit is counted in bytes."),
    "improvement": Field({}, "The corrected response, any JSON value."),
    "metadata": Field(
        {
            "type": "object",
            "maxProperties": _rules.METADATA_LIMIT_KEYS,
            "additionalProperties": {"type": ["string", "boolean", "number"]},
        },
        "Context for analysis.",
    ),
    "criterion": Field(_NAME, "What was looked at."),
    "scope": Field({"enum": list(get_args(Scope))}, "What is rated: the response unless said otherwise."),
    "choice": Field({"type": "integer", "minimum": 0}, "Which of several answers, from 0."),
    "tool_call_id": Field(_text(256, pattern=_LINE), "Which call of a tool."),
    "document_id": Field(_text(256, pattern=_LINE), "Which retrieved document."),
    "feedback_id": Field(_text(100, pattern=_LINE), "The signal's id; the same id again replaces the signal."),
    "observed_at": Field({"type": "string", "format": "date-time"}, "When it was given, where that is not now."),
    "rejected": Field(
        {"anyOf": [_text(4_096), {"type": "array", "items": _text(4_096), "minItems": 1, "maxItems": 64}]},
        "Tokens of responses that are worse than this one; then the signal is a preference.",
    ),
    "rejected_choice": Field(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "array", "items": {"type": ["integer", "null"], "minimum": 0}, "minItems": 1, "maxItems": 64},
            ]
        },
        "Which choices of the rejected responses, or without these of the same response, are worse than `choice`.",
    ),
    "user_id": Field(_text(_rules.USER_ID_LIMIT_CHARACTERS, pattern=_LINE), "Whom the token is bound to."),
    "token": Field(_text(4_096), "The feedback token, unless it is in a header."),
    "source": Field({"enum": ["user", "system"]}, "Who gives it.", is_for_servers=True),
    "rater_id": Field(_text(_rules.USER_ID_LIMIT_CHARACTERS, pattern=_LINE), "Which rater.", is_for_servers=True),
    "conversation_id": Field(
        _text(256, pattern=_LINE), "A whole conversation, instead of a target.", is_for_servers=True
    ),
    "target": Field(_text(4_096), "A token, a W3C traceparent or a response id.", is_for_servers=True),
}


def read(signal: Mapping[str, Any], *, is_server: bool) -> dict[str, Any]:
    """The arguments of `record_feedback` that a signal holds, not yet checked but for what JSON has no type for.

    Args:
        signal: The JSON object.
        is_server: Whether an API key has been shown.

    Raises:
        InvalidFeedback: A field is unknown, or not to be given.
    """
    arguments: dict[str, Any] = {}
    for name, value in signal.items():
        field = FIELDS.get(name)
        if field is None:
            raise InvalidFeedback(name, value, UNKNOWN_RULE)
        if field.is_for_servers and not is_server and (name, value) != ("source", "user"):
            raise InvalidFeedback(name, value, SERVER_RULE)
        if value is not None:
            arguments[name] = value
    if "observed_at" in arguments:
        arguments["observed_at"] = _time(arguments["observed_at"])
    return arguments


def _time(value: object) -> datetime:
    text = value if isinstance(value, str) else ""
    try:
        # Python 3.10 does not know the Z.
        return datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in {"Z", "z"} else text)
    except ValueError:
        raise InvalidFeedback("observed_at", value, _rules.OBSERVED_AT_RULE) from None
