"""Consent, redaction and hashes: what the app does not allow in so many words is nowhere on the wire."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

import spanback
from spanback import InvalidSetting, record_feedback, record_preference, retract_feedback, signals
from spanback.feedback import Receipt
from spanback.feedback._privacy import REFUSED
from spanback.testing import FeedbackRow, InMemoryTelemetry, fake_ref
from tests.conftest import Memory

SAID: dict[str, Any] = {
    "score": 1,
    "comment": "call +33 1 40 20 53 17",
    "improvement": {"text": "call +33 1 40 20 53 17"},
    "metadata": {"phone": "+33 1 40 20 53 17"},
}


def _row(telemetry: InMemoryTelemetry) -> FeedbackRow:
    (row,) = telemetry.feedback
    return row


def test_each_field_is_redacted_once_a_signal(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """The function gets each field's name and value as the app gave it, and what it returns is kept instead."""
    asked: list[tuple[str, Any]] = []

    def redact(field: str, value: Any) -> Any:
        asked.append((field, value))
        return {"comment": "call ...", "improvement": ["call ..."], "metadata": {"phone": "..."}}[field]

    configure(feedback_content=True, redact=redact)
    receipt = record_feedback(fake_ref(), **SAID)
    assert asked == [(field, SAID[field]) for field in ("comment", "improvement", "metadata")]
    row = _row(telemetry)
    assert (row.comment, row.improvement, row.metadata) == ("call ...", ["call ..."], {"phone": "..."})
    assert (receipt.omitted, receipt.reason) == ((), "in the rated span's trace")
    assert all("+33" not in str(value) for log in telemetry.logs for value in log.attributes.values())


def test_what_is_not_kept_anyway_is_not_shown_to_the_function(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """With content off only metadata is asked about; a signal with nothing to redact asks nothing."""
    asked: list[str] = []
    configure(redact=lambda field, value: asked.append(field) or value)
    receipt = record_feedback(fake_ref(), **SAID)
    record_feedback(fake_ref(), signals.THUMBS_UP)
    assert asked == ["metadata"]
    assert receipt.omitted == ("comment", "improvement")
    assert telemetry.feedback[0].metadata == SAID["metadata"]


def test_what_the_function_takes_away_is_left_out(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """None leaves the field out, and the receipt names it."""
    configure(feedback_content=True, redact=lambda field, value: None)
    receipt = record_feedback(fake_ref(), **SAID)
    row = _row(telemetry)
    assert (row.score, row.comment, row.improvement, row.metadata) == (1.0, None, None, {})
    assert receipt.omitted == ("comment", "improvement", "metadata")
    assert receipt.reason == "in the rated span's trace"


def _fail(field: str, value: Any) -> Any:
    raise RuntimeError(value)


async def _later(field: str, value: Any) -> Any:
    return value


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("redact", [_fail, _later, lambda field, value: b"", lambda field: field])
def test_a_function_that_fails_lets_nothing_through(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any], redact: Any
) -> None:
    """What raises, is not done yet or breaks the field's rule is left out, and the receipt says so."""
    configure(feedback_content=True, redact=redact)
    receipt = record_feedback(fake_ref(), **SAID)
    row = _row(telemetry)
    assert (row.score, row.comment, row.improvement, row.metadata) == (1.0, None, None, {})
    assert receipt.status == "recorded"
    assert receipt.omitted == ("comment", "improvement", "metadata")
    assert receipt.reason == (
        "in the rated span's trace; without comment, improvement, metadata: redact() raised or gave what breaks the "
        "field's rule"
    )


def test_preferences_are_redacted_too(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """One function for all kinds of signals."""
    configure(feedback_content=True, redact=lambda field, value: "..." if field == "comment" else value)
    record_preference(fake_ref(), "r-2", comment="call me")
    assert _row(telemetry).comment == "..."


@pytest.mark.parametrize("user_id", ["anna", None])
def test_consent_is_asked_with_user_and_target(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any], user_id: str | None
) -> None:
    """It is asked inside each call, and True records."""
    asked: list[Any] = []
    configure(consent=lambda user, target: not asked.append((user, target)))
    ref = fake_ref()
    assert record_feedback(ref, signals.THUMBS_UP, user_id=user_id).status == "recorded"
    assert record_feedback("chatcmpl-unknown", signals.READ, user_id=user_id).status == "unresolved"
    assert asked == [(user_id, ref), (user_id, None)]


def _refuse(user: str | None, target: Any) -> bool:
    raise RuntimeError(user)


async def _wait(user: str | None, target: Any) -> bool:
    return True


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("consent", [lambda user, target: False, lambda user, target: "yes", _refuse, _wait])
def test_without_consent_nothing_is_recorded(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any], consent: Any
) -> None:
    """False, anything but True, an exception and a coroutine are no consent."""
    configure(consent=consent)
    ref = fake_ref()
    receipt = record_feedback(ref, signals.THUMBS_UP, user_id="anna", comment="c", feedback_id="f-1")
    assert receipt == Receipt("f-1", "refused", None, ref, None, None, (), REFUSED)
    assert record_preference(ref, "r-2").status == "refused"
    assert (telemetry.spans, telemetry.logs, telemetry.metrics) == ((), (), {})


def test_a_signal_can_be_withdrawn_without_consent(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """Who takes their consent back must be able to take back what they said."""
    receipt = record_feedback(fake_ref(), signals.THUMBS_UP, user_id="anna")
    configure(consent=lambda user, target: False)
    assert retract_feedback(receipt).status == "recorded"


@pytest.mark.parametrize("key", ["secret", b"secret"])
def test_the_app_asks_for_all_of_it_in_one_place(instrument: Callable[..., None], memory: Memory, key: Any) -> None:
    """Arguments of instrument() are in force, those left out of a later call stay."""
    instrument(
        capture_feedback_content=True,
        user_hash_key=key,
        redact=lambda field, value: value.upper(),
        consent=lambda user, target: user == "anna",
        strict=True,
    )
    instrument(capture_content=False)
    assert record_feedback(fake_ref(), signals.THUMBS_UP, user_id="bert").status == "refused"
    record_feedback(fake_ref(), signals.THUMBS_UP, user_id="anna", comment="good")
    attributes = memory.span.attributes or {}
    assert attributes["feedback.comment"] == "GOOD"
    assert len(str(attributes["feedback.user.hash"])) == 64
    with pytest.raises(spanback.InvalidFeedback, match="name='stars' must be declared"):
        record_feedback(fake_ref(), score=1, name="stars", user_id="anna")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"user_hash_key": ""}, "user_hash_key=<type> must be text or bytes, not empty"),
        ({"user_hash_key": b""}, "user_hash_key=<type> must be text or bytes, not empty"),
        ({"user_hash_key": 123456}, "user_hash_key=<type> must be text or bytes, not empty"),
        ({"redact": "no"}, "redact='no' must be a callable of two arguments"),
        ({"consent": True}, "consent=True must be a callable of two arguments"),
        ({"strict": "yes"}, "strict='yes' must be True or False"),
        ({"capture_feedback_content": 1}, "capture_feedback_content=1 must be True or False"),
    ],
)
def test_wrong_settings_are_refused(
    instrument: Callable[..., None], memory: Memory, arguments: dict[str, Any], said: str
) -> None:
    """The error names setting and rule, never a key, and nothing has changed."""
    instrument(strict=True)
    with pytest.raises(InvalidSetting) as refusal:
        instrument(**{"strict": False, **arguments})
    assert str(refusal.value) == said
    with pytest.raises(spanback.InvalidFeedback, match="where names are strict"):
        record_feedback(fake_ref(), score=1, name="stars")


def test_no_id_and_no_key_is_in_any_telemetry_or_log(
    instrument: Callable[..., None], memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    """Raw ids of users and raters and the key stay inside the process, whatever is recorded."""
    instrument(user_hash_key="k3y-of-hashes")
    with caplog.at_level(logging.DEBUG):
        given = record_feedback(fake_ref(), signals.THUMBS_UP, user_id="anna@example.com", rater_id="rater-seven")
        record_preference(fake_ref(), "r-2", user_id="anna@example.com", rater_id="rater-seven")
        retract_feedback(given, user_id="anna@example.com", rater_id="rater-seven")
    told = repr([(span.name, span.attributes, span.links, span.events) for span in memory.spans])
    told += repr([(log.body, log.attributes) for log in memory.logs]) + repr(memory.metrics()) + caplog.text
    assert len(memory.spans) == 3
    assert not [secret for secret in ("anna", "rater-seven", "k3y") if secret in told]
