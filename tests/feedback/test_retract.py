"""A signal is withdrawn by one more record, which says which one and links to what it was about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import spanback
from spanback import InvalidFeedback, record_feedback, retract_feedback, signals
from spanback.feedback import _rules
from spanback.feedback._recent import RECENT, RecentSignals
from spanback.testing import InMemoryTelemetry, LogRow, fake_ref
from tests.feedback.conftest import NOW_NS
from tests.feedback.test_wire import DIMENSIONS, SPAN_ID, TARGET, TRACE_ID

WITHDRAWN = {
    "feedback.id": "f-1",
    "feedback.action": "retract",
    "feedback.name": "user_thumbs",
    "feedback.weight": 0.0,
    "feedback.source": "user",
    "feedback.type": "explicit",
}
EVENT = {
    "gen_ai.evaluation.name": "user_thumbs",
    "gen_ai.response.id": "chatcmpl-fake",
    "feedback.action": "retract",
    "feedback.id": "f-1",
    "feedback.weight": 0.0,
    "feedback.source": "user",
    "feedback.type": "explicit",
}


@pytest.mark.usefixtures("clock")
def test_a_withdrawal_says_which_signal_and_nothing_else(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """The whole span and log event: same id, name and link, no score, no comment, no weight."""
    configure(feedback_content=True)
    record_feedback(fake_ref(), signals.THUMBS_UP, comment="good", metadata={"page": "chat"}, feedback_id="f-1")
    receipt = retract_feedback("f-1")

    span = telemetry.spans[-1]
    (link,) = span.links
    (event,) = span.events
    assert span.name == "feedback user_thumbs"
    assert (span.start_time, span.end_time) == (NOW_NS, NOW_NS + 1_000)
    assert dict(span.attributes or {}) == DIMENSIONS | TARGET | WITHDRAWN
    assert (link.context.trace_id, link.context.span_id, dict(link.attributes or {})) == (
        TRACE_ID,
        SPAN_ID,
        {"feedback.relation": "rates"},
    )
    assert (event.name, dict(event.attributes or {})) == ("gen_ai.evaluation.result", EVENT)
    assert telemetry.logs[-1] == LogRow(
        event_name="gen_ai.evaluation.result",
        timestamp=NOW_NS,
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        severity_text="INFO",
        body="Feedback user_thumbs: withdrawn",
        attributes=DIMENSIONS | TARGET | WITHDRAWN | EVENT,
    )
    assert (receipt.feedback_id, receipt.status, receipt.placement) == ("f-1", "recorded", "child")


def test_a_withdrawal_is_no_signal_in_the_metrics(telemetry: InMemoryTelemetry) -> None:
    """Counters only grow, so what is withdrawn is not counted once more."""
    retract_feedback(record_feedback(fake_ref(), signals.THUMBS_UP))
    (count,) = telemetry.metrics["feedback.count"]
    assert count.value == 1


def _attributes(telemetry: InMemoryTelemetry) -> dict[str, Any]:
    return dict(telemetry.spans[-1].attributes or {})


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_receipt_is_enough(telemetry: InMemoryTelemetry, forgotten: bool) -> None:
    """The receipt knows id and target also where the process has forgotten the signal; the name is known only here."""
    receipt = record_feedback(fake_ref(), signals.COPIED, criterion="code")
    if forgotten:
        RECENT.clear()
    withdrawn = retract_feedback(receipt)
    assert (withdrawn.feedback_id, withdrawn.status, withdrawn.target) == (
        receipt.feedback_id,
        "recorded",
        receipt.target,
    )
    said = _attributes(telemetry)
    assert (said["feedback.name"], said["feedback.type"], said.get("feedback.criterion")) == (
        ("user_feedback", "explicit", None) if forgotten else ("copied", "implicit", "code")
    )
    assert len(telemetry.spans[-1].links) == 1


@pytest.mark.parametrize(
    ("arguments", "name", "links", "status"),
    [
        ({}, "user_feedback", 0, "unresolved"),
        ({"name": "stars"}, "stars", 0, "unresolved"),
        ({"target": fake_ref(), "name": "stars"}, "stars", 1, "recorded"),
        ({"target": fake_ref(), "signal": signals.SAVED}, "saved", 1, "recorded"),
        ({"target": "chatcmpl-unknown", "signal": signals.SAVED, "name": "kept"}, "kept", 0, "unresolved"),
    ],
)
def test_an_old_signal_is_withdrawn_as_far_as_the_call_says(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any], name: str, links: int, status: str
) -> None:
    """An id of another process is enough; target and name make the withdrawal visible where the signal is."""
    receipt = retract_feedback("from-elsewhere", **arguments)
    said = _attributes(telemetry)
    assert (said["feedback.id"], said["feedback.action"], said["feedback.name"]) == ("from-elsewhere", "retract", name)
    assert (len(telemetry.spans[-1].links), receipt.status) == (links, status)
    assert said["feedback.target.resolved"] is (links == 1)


@pytest.mark.parametrize(
    "vote",
    [
        {"signal": signals.THUMBS_UP, "user_id": "anna"},
        {"name": "tone", "user_id": "anna", "rater_id": "r-1", "criterion": "warmth"},
        {"name": "dwell", "type": "implicit"},
        {"signal": signals.COPIED},
    ],
)
@pytest.mark.parametrize("key", [None, b"key"])
def test_clearing_a_vote_withdraws_it(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any], key: bytes | None, vote: dict[str, Any]
) -> None:
    """Target, name and user are enough, as they are for giving a vote; giving it anew sets the same one."""
    configure(user_hash_key=key)
    given = record_feedback(fake_ref(), **vote, score=1)
    RECENT.clear()
    cleared = retract_feedback(target=fake_ref(), **vote)
    assert cleared.feedback_id == given.feedback_id
    assert cleared.omitted == (() if key else tuple(field for field in ("user_id", "rater_id") if field in vote))
    said = _attributes(telemetry)
    assert ("feedback.user.hash" in said, "feedback.rater.hash" in said) == (
        "user_id" in vote and key is not None,
        "rater_id" in vote and key is not None,
    )
    assert record_feedback(fake_ref(), **vote, score=-1).feedback_id == given.feedback_id


@pytest.mark.parametrize(
    "part",
    [
        {"choice": 1},
        {"tool_call_id": "call_1"},
        {"document_id": "doc-7"},
        {"scope": "trace"},
        {"scope": "conversation"},
    ],
    ids=lambda part: next(iter(part.values())),
)
def test_clearing_a_vote_on_a_part_withdraws_it(telemetry: InMemoryTelemetry, part: dict[str, Any]) -> None:
    """A part of a response that one user has rated is named as it was, and needs no id."""
    ref = fake_ref(conversation_id="talk-1")
    given = record_feedback(ref, signals.THUMBS_UP, user_id="anna", **part)
    RECENT.clear()
    taken = retract_feedback(target=ref, signal=signals.THUMBS_UP, user_id="anna", **part)
    assert taken.feedback_id == given.feedback_id
    assert taken.feedback_id != record_feedback(ref, signals.THUMBS_UP, user_id="anna").feedback_id
    kept, withdrawn = (dict(span.attributes or {}) for span in telemetry.spans[:2])
    for name in kept:
        if name.startswith(("feedback.target.", "gen_ai.")):
            assert withdrawn[name] == kept[name]


@pytest.mark.parametrize("preset", [signals.THUMBS_UP, signals.COPIED])
def test_a_vote_in_a_block_is_withdrawn_in_the_block(telemetry: InMemoryTelemetry, preset: signals.Signal) -> None:
    """The block's user is who gives the vote, and who withdraws it."""
    with spanback.context(user_id="anna"):
        given = record_feedback(fake_ref(), preset)
        taken = retract_feedback(target=fake_ref(), signal=preset)
        others = retract_feedback(target=fake_ref(), signal=preset, user_id="bert")
    assert taken.feedback_id == given.feedback_id
    assert others.feedback_id != given.feedback_id


def test_a_withdrawal_by_id_is_of_nobody_in_particular(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """Whoever is at work in a block may withdraw another one's signal, whose id says it all."""
    configure(user_hash_key=b"key")
    with spanback.context(user_id="moderator"):
        retract_feedback("f-1")
    assert "feedback.user.hash" not in _attributes(telemetry)


def test_a_target_that_is_known_by_now_is_linked(telemetry: InMemoryTelemetry) -> None:
    """A signal whose target was not known is withdrawn where the call says it was."""
    given = record_feedback("chatcmpl-never-seen", signals.THUMBS_UP)
    taken = retract_feedback(given.feedback_id, fake_ref())
    assert (given.status, taken.status) == ("unresolved", "recorded")
    assert (taken.feedback_id, taken.target) == (given.feedback_id, fake_ref(start_time_ns=taken.target.start_time_ns))
    assert telemetry.spans[-1].links[0].context.span_id == SPAN_ID


def test_without_an_id_the_current_span_is_meant(telemetry: InMemoryTelemetry) -> None:
    """As record_feedback rates the current span where nothing is given."""
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("work"):
        given = record_feedback(signal=signals.READ)
        cleared = retract_feedback(signal=signals.READ)
    assert (cleared.feedback_id, cleared.target) == (given.feedback_id, given.target)


@pytest.mark.parametrize(
    ("arguments", "field", "value", "rule"),
    [
        ({}, "target", None, "must be given where no span is current: there is nothing to rate"),
        ({"target": fake_ref()}, "feedback_id", None, _rules.WITHDRAWAL_RULE),
        ({"target": fake_ref(), "name": "stars"}, "feedback_id", None, _rules.WITHDRAWAL_RULE),
        ({"target": f"00-{0:032x}-{0:016x}-00", "user_id": "u"}, "feedback_id", None, _rules.WITHDRAWAL_RULE),
        ({"feedback_id": ""}, "feedback_id", "", _rules.FEEDBACK_ID_RULE),
        ({"feedback_id": 7}, "feedback_id", 7, _rules.FEEDBACK_ID_RULE),
        ({"feedback_id": "f", "target": 7}, "target", 7, None),
        ({"feedback_id": "f", "name": "A"}, "name", "A", _rules.NAME_RULE),
        ({"feedback_id": "f", "criterion": "A"}, "criterion", "A", _rules.CRITERION_RULE),
        ({"feedback_id": "f", "source": "agent"}, "source", "agent", _rules.SOURCE_RULE),
        ({"feedback_id": "f", "type": "guess"}, "type", "guess", _rules.TYPE_RULE),
        ({"feedback_id": "f", "user_id": " "}, "user_id", " ", _rules.USER_ID_RULE),
        ({"feedback_id": "f", "rater_id": "\n"}, "rater_id", "\n", _rules.RATER_ID_RULE),
        ({"feedback_id": "f", "signal": "thumbs"}, "signal", "thumbs", _rules.SIGNAL_RULE),
        ({"feedback_id": "f", "placement": "in"}, "placement", "in", _rules.PLACEMENT_RULE),
    ],
)
def test_what_says_no_signal_is_refused(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any], field: str, value: Any, rule: str | None
) -> None:
    """The error names field, value and rule, and nothing is emitted."""
    with pytest.raises(InvalidFeedback) as refusal:
        retract_feedback(**arguments)
    assert (refusal.value.field, refusal.value.value) == (field, value)
    assert rule is None or refusal.value.rule == rule
    assert (telemetry.spans, telemetry.logs) == ((), ())


def test_without_telemetry_nothing_is_remembered() -> None:
    """A signal that nobody took need not be withdrawn by its id alone."""
    RECENT.clear()
    receipt = record_feedback(fake_ref(), signals.THUMBS_UP)
    assert (receipt.status, len(RECENT)) == ("disabled", 0)
    assert retract_feedback(receipt).status == "disabled"


def test_the_memory_of_signals_is_bounded() -> None:
    """The oldest goes first, and nothing of a comment is kept."""
    memory = RecentSignals(limit=2)
    entries: Any = {number: ((), f"n{number}", "user", "explicit", None) for number in range(3)}
    for number, entry in entries.items():
        memory.add(str(number), entry)
    assert (len(memory), memory.find("0"), memory.find("2")) == (2, None, entries[2])
