"""Signals from behaviour: how much was edited, what was made anew; each once a target and kind."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanback import InvalidFeedback, SpanRef, record_feedback, record_preference, signals
from spanback.feedback import _distance, _rules
from spanback.testing import InMemoryTelemetry, fake_ref
from tests.feedback.test_wire import DIMENSIONS, SPAN_ID, TARGET, TRACE_ID

NEW = SpanRef(0xA1, 0xB2, response_id="chatcmpl-2", request_model="m-2")


def by_table(one: str, other: str) -> int:
    """The Levenshtein distance as textbooks have it."""
    row = list(range(len(other) + 1))
    for number, character in enumerate(one, 1):
        above, row = row, [number]
        for place, wanted in enumerate(other, 1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (character != wanted)))
    return row[-1]


TEXT = st.text("ab\U0001f44d", max_size=12)


@given(TEXT, TEXT)
def test_the_distance_is_that_of_levenshtein(one: str, other: str) -> None:
    """The fast way gives what the table gives, and is the same in both directions."""
    longer = max(len(one), len(other), 1)
    assert _distance.normalised_distance(one, other) == by_table(one, other) / longer
    assert _distance.normalised_distance(other, one) == by_table(one, other) / longer


@pytest.mark.parametrize(
    ("original", "final", "score"),
    [
        ("The Mona Lisa", "The Mona Lisa", 1.0),
        ("", "", 1.0),
        ("abc", "xyz", -1.0),
        ("", "abc", -1.0),
        ("abc", "", -1.0),
        ("abcd", "abxd", 0.5),
        ("ab", "abcd", 0.0),
        ("kitten", "sitting", 1 - 2 * 3 / 7),
    ],
)
def test_the_less_was_changed_the_better_it_was(original: str, final: str, score: float) -> None:
    """Linear from 1 for nothing changed to -1 for nothing left."""
    assert signals.edited(original, final) == signals.Signal("edited", score, 0.4)


def test_an_edit_is_recorded_with_its_score(telemetry: InMemoryTelemetry) -> None:
    """It is a signal like any preset, one a target however often it is saved."""
    ids = {record_feedback(fake_ref(), signals.edited("abcd", final)).feedback_id for final in ("abxx", "abxd")}
    (row,) = telemetry.feedback
    assert (row.name, row.score, row.weight, row.type, {row.feedback_id}) == ("edited", 0.5, 0.4, "implicit", ids)


LIMIT = _distance.EXACT_LIMIT_CHARACTERS
PROSE = " ".join(f"word{number}" for number in range(8_000))


@pytest.mark.parametrize(
    ("original", "final", "low", "high"),
    [
        (PROSE, PROSE, 1.0, 1.0),
        (PROSE, PROSE.replace("word77", "verb77"), 0.9, 1.0),
        (PROSE, PROSE[: len(PROSE) // 2] + "!" + PROSE[len(PROSE) // 2 :], 0.99, 1.0),
        ("a" * 200_000, "b" * 200_000, -1.0, -1.0),
        ("ab" * 131_072, "", -1.0, -1.0),
        ("x" + "ab" * LIMIT, "ab" * LIMIT + "y", 0.99, 1.0),
    ],
)
def test_long_texts_take_no_long_time(original: str, final: str, low: float, high: float) -> None:
    """Beyond what can be compared exactly the score is an estimate, which takes a second at most."""
    since_s = time.thread_time()
    score = signals.edited(original, final).score
    assert time.thread_time() - since_s < 1.0
    assert score is not None
    assert low <= score <= high


@pytest.mark.parametrize("bad", [None, 7, b"bytes", ["a"], "a" * (_distance.TEXT_LIMIT_CHARACTERS + 1)])
@pytest.mark.parametrize("field", ["original", "final"])
def test_what_is_no_text_was_not_edited(field: str, bad: Any) -> None:
    """The error names which of the two is wrong."""
    with pytest.raises(InvalidFeedback) as refusal:
        signals.edited(**{"original": "a", "final": "b", field: bad})
    assert (refusal.value.field, refusal.value.rule) == (field, _distance.TEXT_RULE)


@pytest.mark.usefixtures("clock")
def test_a_regeneration_is_a_signal_and_a_preference(telemetry: InMemoryTelemetry) -> None:
    """Both whole: what was not good enough, and what was preferred to it."""
    receipts = signals.regenerated(fake_ref(), NEW, observed_at=datetime(2025, 3, 1, tzinfo=timezone.utc))
    signal, preference = telemetry.spans
    observed = {"feedback.observed_at": "2025-03-01T00:00:00+00:00"}
    assert dict(signal.attributes or {}) == DIMENSIONS | TARGET | observed | {
        "feedback.id": receipts.signal.feedback_id,
        "feedback.action": "set",
        "feedback.name": "regenerated",
        "feedback.score": -1.0,
        "feedback.weight": 0.5,
        "feedback.weighted_score": -0.5,
        "feedback.sentiment": "negative",
        "feedback.source": "user",
        "feedback.type": "implicit",
    }
    assert dict(preference.attributes or {}) == observed | {
        "feedback.id": receipts.preference.feedback_id,
        "feedback.action": "set",
        "feedback.name": "preference",
        "feedback.weight": 0.5,
        "feedback.source": "user",
        "feedback.type": "implicit",
        "feedback.target.trace_id": f"{0xA1:032x}",
        "feedback.target.span_id": f"{0xB2:016x}",
        "feedback.target.sampled": True,
        "feedback.target.resolved": True,
        "feedback.target.scope": "response",
        "gen_ai.request.model": "m-2",
        "gen_ai.response.id": "chatcmpl-2",
        "feedback.rejected.trace_ids": (f"{TRACE_ID:032x}",),
        "feedback.rejected.span_ids": (f"{SPAN_ID:016x}",),
        "feedback.rejected.response_ids": ("chatcmpl-fake",),
        "feedback.rejected.models": ("gpt-4o-mini-2024-07-18",),
        "feedback.rejected.resolved": True,
    }
    assert [(link.attributes or {})["feedback.relation"] for link in preference.links] == ["chosen", "rejected"]


@pytest.mark.parametrize("user_id", [None, "anna"])
def test_each_step_of_a_chain_counts_once(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any], user_id: str | None
) -> None:
    """The same regeneration told twice is one signal and one preference; another user's or a next step's is another."""
    first = signals.regenerated(fake_ref(), NEW, user_id=user_id)
    again = signals.regenerated(fake_ref(), NEW, user_id=user_id)
    next_step = signals.regenerated(NEW, "chatcmpl-3", user_id=user_id)
    stated = record_preference(NEW, fake_ref(), user_id="anna")
    assert [receipt.feedback_id for receipt in first] == [receipt.feedback_id for receipt in again]
    assert len({receipt.feedback_id for receipt in (*first, *next_step, stated)}) == 5


@pytest.mark.parametrize(
    ("arguments", "field", "rule"),
    [
        ({"old": None}, "old", _rules.SIDE_RULE),
        ({"new": None}, "new", _rules.SIDE_RULE),
        ({"old": NEW}, "old", _rules.SIDES_RULE),
        ({"new": 7}, "new", None),
        ({"old": 7}, "old", None),
        ({"old": []}, "old", _rules.REJECTED_RULE),
        ({"user_id": ""}, "user_id", _rules.USER_ID_RULE),
        ({"metadata": 7}, "metadata", _rules.METADATA_RULE),
        ({"observed_at": 7}, "observed_at", _rules.OBSERVED_AT_RULE),
    ],
)
def test_a_regeneration_that_is_none_is_refused(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any], field: str, rule: str | None
) -> None:
    """Neither of the two signals is emitted then."""
    with pytest.raises(InvalidFeedback) as refusal:
        signals.regenerated(**{"old": fake_ref(), "new": NEW, **arguments})
    assert refusal.value.field == field
    assert rule is None or refusal.value.rule == rule
    assert telemetry.spans == ()
