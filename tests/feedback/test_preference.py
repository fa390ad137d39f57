"""A preference is one carrier with two links, or more for the best of several."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

import spanback
from spanback import InvalidFeedback, SpanRef, record_preference, retract_feedback
from spanback.feedback import _rules
from spanback.feedback._scope import CHOICE_RULE
from spanback.testing import InMemoryTelemetry, LogRow, capture, fake_ref
from tests.feedback.conftest import NOW_NS
from tests.feedback.test_wire import DIMENSIONS, SPAN_ID, TARGET, TRACE_ID

OTHER = SpanRef(0xA1, 0xB2, response_id="chatcmpl-2", request_model="m-2", response_model="m-2-2026")
THIRD = SpanRef(0xA1, 0xB3, response_id=None, request_model="m-3")
UNKNOWN = "chatcmpl-unknown"

PREFERENCE = {
    "feedback.id": "p-1",
    "feedback.action": "set",
    "feedback.name": "preference",
    "feedback.weight": 1.0,
    "feedback.source": "user",
    "feedback.type": "explicit",
}
REJECTED = {
    "feedback.rejected.trace_ids": (f"{0xA1:032x}",),
    "feedback.rejected.span_ids": (f"{0xB2:016x}",),
    "feedback.rejected.response_ids": ("chatcmpl-2",),
    "feedback.rejected.models": ("m-2-2026",),
    "feedback.rejected.resolved": True,
}
EVENT = {
    "gen_ai.evaluation.name": "preference",
    "gen_ai.response.id": "chatcmpl-fake",
    "feedback.id": "p-1",
    "feedback.weight": 1.0,
    "feedback.source": "user",
    "feedback.type": "explicit",
}


def _links(telemetry: InMemoryTelemetry) -> list[tuple[int, int, Any]]:
    return [
        (link.context.trace_id, link.context.span_id, (link.attributes or {})["feedback.relation"])
        for link in telemetry.spans[-1].links
    ]


@pytest.mark.usefixtures("clock")
def test_a_preference_is_one_carrier_with_both_sides(telemetry: InMemoryTelemetry) -> None:
    """The whole span and log event: the chosen response is the target, the rejected one stands beside it."""
    receipt = record_preference(fake_ref(), OTHER, feedback_id="p-1")
    (span,) = telemetry.spans
    (event,) = span.events
    assert (span.name, span.start_time, span.end_time) == ("feedback preference", NOW_NS, NOW_NS + 1_000)
    assert dict(span.attributes or {}) == DIMENSIONS | TARGET | PREFERENCE | REJECTED
    assert _links(telemetry) == [(TRACE_ID, SPAN_ID, "chosen"), (0xA1, 0xB2, "rejected")]
    assert (event.name, dict(event.attributes or {})) == ("gen_ai.evaluation.result", EVENT)
    assert telemetry.logs == (
        LogRow(
            event_name="gen_ai.evaluation.result",
            timestamp=NOW_NS,
            trace_id=TRACE_ID,
            span_id=SPAN_ID,
            severity_text="INFO",
            body="Feedback preference",
            attributes=DIMENSIONS | TARGET | PREFERENCE | REJECTED | EVENT,
        ),
    )
    assert (receipt.status, receipt.placement, receipt.target) == ("recorded", "child", receipt.target)
    (count,) = telemetry.metrics["feedback.count"]
    assert (count.attributes["feedback.name"], count.value) == ("preference", 1)


def test_every_field_of_a_preference_has_its_attribute(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """A preference says what a signal says, but for the score."""
    configure(feedback_content=True, user_hash_key=b"key")
    receipt = record_preference(
        fake_ref(),
        [OTHER],
        name="best_of_n",
        criterion="tone",
        weight=0.5,
        source="system",
        type="implicit",
        label="friendlier",
        comment="Warm",
        improvement="Warmer",
        metadata={"page": 1},
        user_id="anna",
        rater_id="r-1",
        feedback_id="p-2",
        observed_at=datetime(2025, 3, 1, tzinfo=timezone.utc),
        placement="linked",
    )
    attributes = dict(telemetry.spans[0].attributes or {})
    assert attributes.pop("feedback.user.hash") != attributes.pop("feedback.rater.hash")
    assert attributes == DIMENSIONS | TARGET | REJECTED | {
        "feedback.id": "p-2",
        "feedback.action": "set",
        "feedback.name": "best_of_n",
        "feedback.criterion": "tone",
        "feedback.weight": 0.5,
        "feedback.source": "system",
        "feedback.type": "implicit",
        "feedback.label": "friendlier",
        "feedback.comment": "Warm",
        "feedback.improvement": '"Warmer"',
        "feedback.metadata.page": 1,
        "feedback.observed_at": "2025-03-01T00:00:00+00:00",
    }
    assert receipt.placement == "linked"


def test_sides_that_are_not_known_are_marked(telemetry: InMemoryTelemetry) -> None:
    """The best of three, of which one is known by its id alone: each place in the lists is a rejected response."""
    receipt = record_preference(fake_ref(), [UNKNOWN, THIRD])
    attributes = dict(telemetry.spans[0].attributes or {})
    assert {name: value for name, value in attributes.items() if ".rejected." in name} == {
        "feedback.rejected.trace_ids": ("", f"{0xA1:032x}"),
        "feedback.rejected.span_ids": ("", f"{0xB3:016x}"),
        "feedback.rejected.response_ids": (UNKNOWN, ""),
        "feedback.rejected.models": ("", "m-3"),
        "feedback.rejected.resolved": False,
    }
    assert _links(telemetry) == [(TRACE_ID, SPAN_ID, "chosen"), (0xA1, 0xB3, "rejected")]
    assert (receipt.status, receipt.target is None) == ("unresolved", False)


def test_an_unknown_chosen_response_is_marked(telemetry: InMemoryTelemetry) -> None:
    """The link to the rejected one stays, and the log event belongs to no span."""
    receipt = record_preference(UNKNOWN, fake_ref())
    attributes = dict(telemetry.spans[0].attributes or {})
    assert (attributes["feedback.target.resolved"], attributes["feedback.rejected.resolved"]) == (False, True)
    assert attributes["gen_ai.response.id"] == UNKNOWN
    assert _links(telemetry) == [(TRACE_ID, SPAN_ID, "rejected")]
    assert (receipt.status, receipt.placement, receipt.target) == ("unresolved", "linked", None)
    assert telemetry.logs[0].span_id == 0


def test_a_user_has_one_preference_among_the_same_responses(telemetry: InMemoryTelemetry) -> None:
    """Who changes their mind replaces the earlier choice; other responses, names and users are other votes."""

    def preferred(chosen: object, rejected: object, **arguments: Any) -> str:
        return record_preference(chosen, rejected, **{"user_id": "anna", **arguments}).feedback_id

    first = preferred(fake_ref(), [OTHER, THIRD])
    assert preferred(OTHER, [THIRD, fake_ref()]) == first
    assert preferred("chatcmpl-2", ["chatcmpl-fake", THIRD]) == first
    others = [
        preferred(fake_ref(), OTHER),
        preferred(fake_ref(), [OTHER, THIRD], user_id="bert"),
        preferred(fake_ref(), [OTHER, THIRD], criterion="tone"),
        preferred(fake_ref(), [OTHER, THIRD], name="best"),
        preferred(fake_ref(), [OTHER, THIRD], type="implicit"),
        preferred(fake_ref(), [OTHER, f"00-{0:032x}-{0:016x}-00"]),
    ]
    assert len({first, *others}) == 7


def test_a_preference_in_a_block_is_of_its_user(telemetry: InMemoryTelemetry) -> None:
    """As any other feedback that is recorded in a block of `context()`."""
    with spanback.context(user_id="anna"):
        in_block = record_preference(fake_ref(), fake_ref(span_id=1, response_id="other"))
    by_name = record_preference(fake_ref(), fake_ref(span_id=1, response_id="other"), user_id="anna")
    assert in_block.feedback_id == by_name.feedback_id


def test_a_withdrawn_preference_links_to_both_sides(telemetry: InMemoryTelemetry) -> None:
    """Who sees either response sees that the preference is withdrawn."""
    retract_feedback(record_preference(fake_ref(), OTHER).feedback_id)
    attributes = dict(telemetry.spans[-1].attributes or {})
    assert (attributes["feedback.action"], attributes["feedback.name"]) == ("retract", "preference")
    assert attributes["feedback.rejected.span_ids"] == (f"{0xB2:016x}",)
    assert _links(telemetry) == [(TRACE_ID, SPAN_ID, "chosen"), (0xA1, 0xB2, "rejected")]


@pytest.mark.usefixtures("clock")
def test_a_preference_between_choices_of_one_response(telemetry: InMemoryTelemetry) -> None:
    """The whole span and log event: both links go to the same span, and say which choice is which."""
    receipt = record_preference(fake_ref(), chosen_choice=0, rejected_choice=2, feedback_id="p-1")
    (span,) = telemetry.spans
    attributes = (
        DIMENSIONS
        | PREFERENCE
        | {**TARGET, "feedback.target.scope": "choice", "feedback.target.choice": 0}
        | {
            "feedback.rejected.trace_ids": (f"{TRACE_ID:032x}",),
            "feedback.rejected.span_ids": (f"{SPAN_ID:016x}",),
            "feedback.rejected.response_ids": ("chatcmpl-fake",),
            "feedback.rejected.models": (DIMENSIONS["gen_ai.response.model"],),
            "feedback.rejected.choices": (2,),
            "feedback.rejected.resolved": True,
        }
    )
    assert dict(span.attributes or {}) == attributes
    assert [(link.context.span_id, dict(link.attributes or {})) for link in span.links] == [
        (SPAN_ID, {"feedback.relation": "chosen", "feedback.target.choice": 0}),
        (SPAN_ID, {"feedback.relation": "rejected", "feedback.target.choice": 2}),
    ]
    assert [dict(event.attributes or {}) for event in span.events] == [EVENT]
    (log,) = telemetry.logs
    assert log.attributes == attributes | EVENT
    assert (receipt.status, receipt.placement) == ("recorded", "child")


@pytest.mark.parametrize(
    ("rejected", "choices", "sides", "said"),
    [
        (None, [1, 2], [SPAN_ID, SPAN_ID], (1, 2)),
        (None, (3,), [SPAN_ID], (3,)),
        (OTHER, 0, [0xB2], (0,)),
        (OTHER, [0, 1], [0xB2, 0xB2], (0, 1)),
        ([OTHER, THIRD], [1, None], [0xB2, 0xB3], (1, -1)),
        ([OTHER], None, [0xB2], None),
    ],
)
def test_choices_of_one_response_or_of_several(
    telemetry: InMemoryTelemetry, rejected: Any, choices: Any, sides: list[int], said: Any
) -> None:
    """Several choices of one response, or one of each of several; a response may also stand as a whole."""
    record_preference(fake_ref(), rejected, chosen_choice=0, rejected_choice=choices)
    attributes = dict(telemetry.spans[0].attributes or {})
    assert attributes.get("feedback.rejected.choices") == said
    assert [link.context.span_id for link in telemetry.spans[0].links] == [SPAN_ID, *sides]


def test_a_whole_response_is_better_than_a_choice(telemetry: InMemoryTelemetry) -> None:
    """Only the side that is a choice says so."""
    record_preference(fake_ref(), OTHER, rejected_choice=1)
    attributes = dict(telemetry.spans[0].attributes or {})
    assert (attributes["feedback.target.scope"], attributes["feedback.rejected.choices"]) == ("response", (1,))
    assert "feedback.target.choice" not in attributes


def test_a_user_has_one_preference_among_the_same_choices(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """Who changes their mind replaces the earlier choice; another pair of choices is another vote."""
    configure(user_hash_key=b"key")

    def preferred(chosen: int, rejected: int) -> str:
        choices: Any = {"chosen_choice": chosen, "rejected_choice": rejected}
        return record_preference(fake_ref(), **choices, user_id="anna").feedback_id

    first = preferred(0, 1)
    assert preferred(1, 0) == first
    other = preferred(0, 2)
    kept = spanback.reduce(telemetry.records)
    assert [(one.feedback_id, one.choice, one.rejected_choices) for one in kept] == [(first, 1, (0,)), (other, 0, (2,))]
    assert [one.feedback_id for one in spanback.reduce(telemetry.records, per_user=False)] == [first, other]


@pytest.mark.parametrize(
    ("rejected", "chosen_choice", "rejected_choice", "field", "rule"),
    [
        (None, 0, None, "rejected", _rules.SIDE_RULE),
        (None, 0, 0, "rejected_choice", _rules.SIDES_RULE),
        (None, None, 0, "rejected_choice", _rules.SIDES_RULE),
        (None, 0, [1, 1], "rejected_choice[1]", _rules.SIDES_RULE),
        (None, 0, [1, None], "rejected", _rules.SIDES_RULE),
        ("chatcmpl-fake", 1, None, "rejected", _rules.SIDES_RULE),
        (None, -1, 0, "chosen_choice", CHOICE_RULE),
        (None, True, 0, "chosen_choice", CHOICE_RULE),
        (None, 0, "1", "rejected_choice", CHOICE_RULE),
        (None, 0, [1, 10_000], "rejected_choice[1]", CHOICE_RULE),
        (None, 0, [], "rejected_choice", _rules.REJECTED_CHOICE_RULE),
        (None, 0, list(range(1, 66)), "rejected_choice", _rules.REJECTED_CHOICE_RULE),
        ([OTHER, THIRD], 0, 1, "rejected_choice", _rules.REJECTED_CHOICE_RULE),
        ([OTHER, THIRD], 0, [1], "rejected_choice", _rules.REJECTED_CHOICE_RULE),
    ],
)
def test_a_choice_that_cannot_be_a_side_is_refused(
    telemetry: InMemoryTelemetry, rejected: Any, chosen_choice: Any, rejected_choice: Any, field: str, rule: str
) -> None:
    """The error names the argument; a choice is neither better than itself nor than the response it belongs to."""
    with pytest.raises(InvalidFeedback) as refusal:
        record_preference(fake_ref(), rejected, chosen_choice=chosen_choice, rejected_choice=rejected_choice)
    assert (refusal.value.field, refusal.value.rule) == (field, rule)
    assert telemetry.spans == ()


TWICE = fake_ref(response_id=None)


@pytest.mark.parametrize(
    ("chosen", "rejected", "field", "rule"),
    [
        (None, OTHER, "chosen", _rules.SIDE_RULE),
        (OTHER, None, "rejected", _rules.SIDE_RULE),
        (OTHER, [THIRD, None], "rejected[1]", _rules.SIDE_RULE),
        (OTHER, [], "rejected", _rules.REJECTED_RULE),
        (OTHER, [f"r-{number}" for number in range(65)], "rejected", _rules.REJECTED_RULE),
        (7, OTHER, "chosen", None),
        (OTHER, 7, "rejected", None),
        (OTHER, [THIRD, 7], "rejected[1]", None),
        (OTHER, object(), "rejected", None),
        (OTHER, "a\nb", "rejected", None),
        (OTHER, OTHER, "rejected", _rules.SIDES_RULE),
        (OTHER, "chatcmpl-2", "rejected", _rules.SIDES_RULE),
        (TWICE, TWICE.traceparent, "rejected", _rules.SIDES_RULE),
        (OTHER, [THIRD, OTHER], "rejected[1]", _rules.SIDES_RULE),
        (OTHER, (THIRD, THIRD), "rejected[1]", _rules.SIDES_RULE),
    ],
)
def test_a_side_that_cannot_be_one_is_refused(
    telemetry: InMemoryTelemetry, chosen: Any, rejected: Any, field: str, rule: str | None
) -> None:
    """The error names the side; a response is not better than itself."""
    with pytest.raises(InvalidFeedback) as refusal:
        record_preference(chosen, rejected)
    assert refusal.value.field == field
    assert rule is None or refusal.value.rule == rule
    assert (telemetry.spans, telemetry.logs, telemetry.metrics) == ((), (), {})


@pytest.mark.parametrize("field", ["name", "criterion", "weight", "source", "type", "label", "comment", "placement"])
def test_fields_of_a_preference_keep_the_rules_of_signals(telemetry: InMemoryTelemetry, field: str) -> None:
    """The same rules hold as for any signal."""
    arguments: dict[str, Any] = {field: "\n"}
    with pytest.raises(InvalidFeedback) as refusal:
        record_preference(fake_ref(), OTHER, **arguments)
    assert refusal.value.field == field
    assert telemetry.spans == ()


def test_without_telemetry_a_preference_is_disabled() -> None:
    """Objects that no instrumentation has seen are no mistake of an app without telemetry."""
    with capture():
        pass
    assert record_preference(object(), object()).status == "disabled"
