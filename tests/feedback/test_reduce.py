"""The reducer: the same votes count whatever the order of the records, and however often they arrive."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spanback
from spanback import InvalidFeedback, record_feedback, record_preference, retract_feedback, signals
from spanback.reading import Feedback
from spanback.testing import FeedbackRow, InMemoryTelemetry, fake_ref

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def row(feedback_id: str = "f", time_ns: int = 1, **fields: Any) -> Feedback:
    """A record, as it is read back."""
    return Feedback(feedback_id, time_ns, **{"trace_id": TRACE, "span_id": SPAN, **fields})


def counted(*rows: Any, **choices: Any) -> list[tuple[str, int]]:
    """Ids and times of what counts."""
    return [(one.feedback_id, one.time_ns) for one in spanback.reduce(rows, **choices)]


OFTEN = st.sampled_from
ROWS = st.builds(
    row,
    feedback_id=OFTEN("abcd"),
    time_ns=st.integers(1, 4),
    action=OFTEN(["set", "set", "retract"]),
    name=OFTEN(["thumbs", "stars"]),
    score=OFTEN([None, -1.0, 0.5, 1.0]),
    type=OFTEN(["explicit", "implicit"]),
    source=OFTEN(["user", "system"]),
    criterion=OFTEN([None, "tone"]),
    user_hash=OFTEN([None, "u1", "u2"]),
    rater_hash=OFTEN([None, None, "r1"]),
    comment=OFTEN([None, "a", "b"]),
    span_id=OFTEN([SPAN, "b7ad6b7169203332", None]),
    dimensions=OFTEN([{}, {"gen_ai.response.id": "r-1"}, {"gen_ai.conversation.id": "c-1"}]),
    scope=OFTEN(["response", "response", "span", "trace", "conversation", "choice"]),
    choice=OFTEN([None, None, 1]),
    observed_at=OFTEN([None, None, "1970-01-01T00:00:00.000000003Z"]),
)
CHOICES = {"policy": OFTEN(["last", "first", "all"]), "per_user": st.booleans()}


@given(st.lists(ROWS, max_size=12), st.randoms(use_true_random=False), st.data())
def test_order_and_repetition_change_nothing(rows: list[Feedback], random: Any, data: st.DataObject) -> None:
    """Any permutation with any repetitions of the same records gives the same rows."""
    choices = {name: data.draw(strategy) for name, strategy in CHOICES.items()}
    expected = spanback.reduce(rows, **choices)
    shuffled = rows + data.draw(st.lists(OFTEN(rows), max_size=6) if rows else st.just([]))
    random.shuffle(shuffled)
    assert spanback.reduce(shuffled, **choices) == expected


@given(st.lists(ROWS, max_size=12), CHOICES["policy"], CHOICES["per_user"])
def test_what_has_been_reduced_stays(rows: list[Feedback], policy: Any, per_user: bool) -> None:
    """Reducing twice is reducing once."""
    once = spanback.reduce(rows, policy, per_user)
    assert spanback.reduce(once, policy, per_user) == once


@given(st.lists(ROWS, max_size=12))
def test_what_counts_is_some_of_what_stands(rows: list[Feedback]) -> None:
    """Each policy keeps rows that were given, one an id, none withdrawn; and stated is never mixed with inferred."""
    everything = spanback.reduce(rows, "all")
    assert len({one.feedback_id for one in everything}) == len(everything)
    assert all(one in rows and one.action == "set" for one in everything)
    for policy, per_user in itertools.product(("last", "first"), (True, False)):
        kept = spanback.reduce(rows, policy, per_user)  # pyright: ignore[reportArgumentType]
        assert all(one in everything for one in kept)
        assert {one.type for one in kept} == {one.type for one in everything}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(time_ns=1), row(time_ns=2)], [("f", 2)]),
        ([row(time_ns=1), row(time_ns=2, action="retract")], []),
        ([row(time_ns=1, action="retract"), row(time_ns=2)], [("f", 2)]),
        ([row(time_ns=1), row(time_ns=2, action="retract"), row(time_ns=3)], [("f", 3)]),
        ([row(time_ns=1), row(time_ns=1, action="retract")], []),
        ([row(action="retract")], []),
    ],
)
def test_the_latest_record_of_an_id_stands(rows: list[Feedback], expected: list[Any]) -> None:
    """A withdrawal takes away what was said before it or at the same time; what is set again later stands again."""
    assert counted(*rows) == counted(*reversed(rows)) == expected


def test_at_the_same_time_what_is_said_decides() -> None:
    """Two different records of one id and time are told apart by what they say, not by their order."""
    one, other = row(comment="a"), row(comment="b")
    assert spanback.reduce([one, other]) == spanback.reduce([other, one])


BY_TIME: dict[str, Any] = {"user_hash": "u"}


@pytest.mark.parametrize(
    ("rows", "last", "first"),
    [
        ([row("a", 1, **BY_TIME), row("b", 2, **BY_TIME)], [("b", 2)], [("a", 1)]),
        (
            [row("a", 1, **BY_TIME), row("b", 2, observed_at="1970-01-01T00:00:00Z", **BY_TIME)],
            [("b", 2)],
            [("a", 1)],
        ),
        (
            [row("a", 9, observed_at="1970-01-01T00:00:00.000000005Z", **BY_TIME), row("b", 6, **BY_TIME)],
            [("b", 6)],
            [("a", 9)],
        ),
        ([row("a", 1, **BY_TIME), row("b", 1, **BY_TIME)], [("b", 1)], [("a", 1)]),
        ([row("a", 1), row("b", 2)], [("a", 1), ("b", 2)], [("a", 1), ("b", 2)]),
    ],
)
def test_of_the_votes_of_one_user_the_policy_keeps_one(rows: list[Feedback], last: Any, first: Any) -> None:
    """By the time at which they were given; signals of nobody in particular each stand for themselves."""
    assert counted(*rows, policy="last") == last
    assert counted(*rows, policy="first") == first
    assert counted(*rows, policy="all") == sorted(((one.feedback_id, one.time_ns) for one in rows), key=lambda x: x[1])


def test_one_vote_a_target_where_users_do_not_count() -> None:
    """per_user=False keeps one on each target and name, whoever gave it."""
    rows = [row("a", 1), row("b", 2, user_hash="u"), row("c", 3, user_hash="v"), row("d", 4, type="implicit")]
    assert counted(*rows, per_user=False) == [("c", 3), ("d", 4)]
    assert counted(*rows, per_user=False, policy="first") == [("a", 1), ("d", 4)]


OTHER: dict[str, Any] = {"user_hash": "u"}
R1 = {"gen_ai.response.id": "r-1"}
C1 = {"gen_ai.conversation.id": "c-1"}
OF_R1: dict[str, Any] = {
    "dimensions": R1,
    "rejected_trace_ids": ("",),
    "rejected_span_ids": ("",),
    "rejected_response_ids": ("r-1",),
}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({}, {}, True),
        ({}, {"span_id": "b7ad6b7169203332"}, False),
        ({}, {"name": "stars"}, False),
        ({}, {"criterion": "tone"}, False),
        ({}, {"type": "implicit"}, False),
        ({}, {"source": "system"}, False),
        ({}, {"user_hash": "v"}, False),
        ({}, {"rater_hash": "r"}, False),
        ({}, {"choice": 1}, False),
        ({}, {"document_id": "d"}, False),
        ({}, {"tool_call_id": "t"}, False),
        ({}, {"scope": "trace"}, False),
        ({}, {"scope": "span"}, True),
        ({"scope": "trace"}, {"scope": "trace", "span_id": "b7ad6b7169203332"}, True),
        ({"dimensions": R1}, {}, True),
        ({"dimensions": R1}, {"dimensions": R1, "trace_id": None, "span_id": None}, True),
        (
            {"dimensions": C1, "scope": "conversation"},
            {"dimensions": C1, "scope": "conversation", "span_id": None},
            True,
        ),
        ({"dimensions": C1}, {"dimensions": C1, "scope": "conversation"}, False),
        ({"trace_id": None, "span_id": None}, {"trace_id": None, "span_id": None}, False),
        ({"scope": "conversation"}, {"scope": "conversation"}, False),
        ({"scope": "trace", "trace_id": None}, {"scope": "trace", "trace_id": None}, False),
        (
            {
                "rejected_trace_ids": (TRACE,),
                "rejected_span_ids": ("b7ad6b7169203332",),
                "rejected_response_ids": ("",),
            },
            {
                "span_id": "b7ad6b7169203332",
                "rejected_trace_ids": (TRACE,),
                "rejected_span_ids": (SPAN,),
                "rejected_response_ids": ("",),
            },
            True,
        ),
        (
            {"rejected_trace_ids": ("",), "rejected_span_ids": ("",), "rejected_response_ids": ("r-2",)},
            {"rejected_trace_ids": ("",), "rejected_span_ids": ("",), "rejected_response_ids": ("r-3",)},
            False,
        ),
        ({"choice": 0, **OF_R1, "rejected_choices": (1,)}, {"choice": 1, **OF_R1, "rejected_choices": (0,)}, True),
        ({"choice": 0, **OF_R1, "rejected_choices": (1,)}, {"choice": 0, **OF_R1, "rejected_choices": (2,)}, False),
        ({**OF_R1, "rejected_choices": (-1,)}, OF_R1, True),
    ],
)
def test_votes_on_the_same_thing_are_known_by_what_they_say(one: Any, other: Any, is_same: bool) -> None:
    """A response is the same by its id and by its span; parts of it, names, criteria and people are told apart."""
    rows = row("a", 1, **{**OTHER, **one}), row("b", 2, **{**OTHER, **other})
    assert counted(*rows) == ([("b", 2)] if is_same else [("a", 1), ("b", 2)])


def test_a_policy_that_is_none_is_refused() -> None:
    """The error names the three that there are."""
    policy: Any = "latest"
    with pytest.raises(InvalidFeedback, match=r"policy='latest' must be 'last', 'first' or 'all'"):
        spanback.reduce([], policy)


def test_the_reducer_imports_nothing_heavy() -> None:
    """A report can be made where nothing of OpenTelemetry is installed."""
    code = (
        "import sys, types; p = types.ModuleType('spanback'); p.__path__ = [sys.argv[1]]; sys.modules['spanback'] = p;"
        "import spanback._reduce; print(sorted(n for n in sys.modules if n.startswith(('spanback', 'opentelemetry'))))"
    )
    folder = next(iter(spanback.__path__))
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout == "['spanback', 'spanback._reduce', 'spanback.errors']\n"


def test_what_was_emitted_is_reduced_as_it_is(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """Rows of spanback.testing: changed, withdrawn and repeated votes, and a preference of a changed mind."""
    configure(user_hash_key=b"key")
    for user, preset in (("anna", signals.THUMBS_UP), ("anna", signals.THUMBS_DOWN), ("bert", signals.THUMBS_UP)):
        record_feedback(fake_ref(), preset, user_id=user)
    record_feedback(fake_ref(), signals.COPIED)
    record_feedback(fake_ref(), signals.COPIED)
    retract_feedback(target=fake_ref(), signal=signals.THUMBS_UP, user_id="bert")
    record_preference(fake_ref(), "r-2", user_id="anna")
    record_preference("r-2", fake_ref(), user_id="anna")
    kept = spanback.reduce(telemetry.records)
    assert [(one.name, one.score, one.response_id) for one in kept] == [
        ("user_thumbs", -1.0, "chatcmpl-fake"),
        ("copied", 1.0, "chatcmpl-fake"),
        ("preference", None, "r-2"),
    ]
    assert spanback.reduce(telemetry.feedback) == kept
    assert len(telemetry.records) == 2 * 8


def test_a_span_of_this_process_and_of_a_file_have_the_same_ids() -> None:
    """Numbers and hex digits mean the same, so a rejected response is known by its span."""
    common: Any = {"rejected_trace_ids": (TRACE,), "rejected_response_ids": ("",), "user_hash": "u"}
    fields = ("action", "name", "score", "weight", "source", "type", "label", "comment", "improvement")
    given = {name: getattr(row(), name) for name in fields}
    more: Any = {"metadata": {}, "response_id": None, "trace_id": int(TRACE, 16), "attributes": {}}
    made = FeedbackRow("a", **given, **more, span_id=2, time_ns=1, rejected_span_ids=(SPAN,), **common)
    flipped = replace(made, feedback_id="b", time_ns=2, span_id=int(SPAN, 16), rejected_span_ids=(f"{2:016x}",))
    assert counted(made, flipped) == [("b", 2)]


SCORES = {("r1", "tone"): 1.0, ("r2", "tone"): 0.5, ("r3", "tone"): -1.0, ("r1", "facts"): 1.0, ("r2", "facts"): 1.0}


def test_disagreement_of_raters_can_be_computed(telemetry: InMemoryTelemetry, configure: Callable[..., Any]) -> None:
    """The mean difference of two raters' scores on one target, by criterion, from nothing but the telemetry."""
    configure(user_hash_key=b"key")
    week_ago = datetime.now(timezone.utc) - timedelta(days=7)
    for (rater, criterion), score in SCORES.items():
        first_thought = record_feedback(fake_ref(), name="expert", score=0, rater_id=rater, criterion=criterion)
        again = record_feedback(
            fake_ref(), name="expert", score=score, rater_id=rater, criterion=criterion, observed_at=week_ago
        )
        assert again.feedback_id == first_thought.feedback_id
    scores: dict[tuple[str | None, str | None], list[float]] = {}
    for one in spanback.reduce(telemetry.records):
        scores.setdefault((one.response_id, one.criterion), []).append(one.score or 0.0)
    disagreement = {
        criterion: mean(abs(a - b) for a, b in itertools.combinations(given, 2))
        for (_, criterion), given in scores.items()
    }
    assert disagreement == {"tone": pytest.approx(4 / 3), "facts": 0.0}
    assert len({one.rater_hash for one in telemetry.records}) == 3
