"""What is refused: field, value and rule, before anything is emitted."""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanback import InvalidFeedback, signals
from spanback.feedback import _rules, record_feedback
from spanback.feedback._model import checked
from spanback.feedback._presets import USUAL
from spanback.testing import InMemoryTelemetry, fake_ref
from tests.feedback.hostile import HostileFloat, HostileInt, HostileList

NAN, INF, SURROGATE = math.nan, math.inf, "\ud83d"
AWARE = datetime(2025, 3, 1, tzinfo=timezone.utc)

CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]


class Hostile(Mapping[str, Any]):
    """A mapping whose reading fails."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


class Nowhere(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Fails."""
        raise RuntimeError


SCORE, WEIGHT, RATING = _rules.SCORE_RULE, _rules.WEIGHT_RULE, _rules.RATING_RULE
SCALE, KEY, VALUE = _rules.SCALE_RULE, _rules.METADATA_KEY_RULE, _rules.METADATA_VALUE_RULE
SIXTY_FIVE = {f"k{i}": i for i in range(65)}
TOO_BIG = ["a" * 65_536]
FUTURE = datetime(2999, 1, 1, tzinfo=timezone.utc)
HOSTILE, NOWHERE = Hostile(), datetime(2025, 3, 1, tzinfo=Nowhere())
TWO, ENDS = HostileFloat(2.0), HostileList([1, 5])
FIRST = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))

REFUSED: list[tuple[dict[str, Any], str, Any, str]] = [
    *[({"score": bad}, "score", bad, SCORE) for bad in (NAN, INF, -INF, 1.0001, -2, 10**400, True, "1", [1], 1j)],
    *[({"score": 1, "weight": bad}, "weight", bad, WEIGHT) for bad in (NAN, INF, -0.1, 1.1, 10**400, False, "1", {})],
    *[({"rating": bad, "scale": (1, 5)}, "rating", bad, RATING) for bad in (0, 5.1, NAN, INF, 10**400, True, "4")],
    ({"score": 10**5_000}, "score", 10**5_000, SCORE),
    ({"score": TWO}, "score", TWO, SCORE),
    ({"rating": 4, "scale": ENDS}, "scale", ENDS, SCALE),
    ({"rating": 4}, "scale", None, _rules.SCALE_WITH_RATING_RULE),
    ({"scale": (1, 5)}, "scale", (1, 5), _rules.SCALE_WITH_RATING_RULE),
    ({"score": 1, "scale": (1, 5)}, "scale", (1, 5), _rules.SCALE_WITH_RATING_RULE),
    ({"score": 1, "rating": 4, "scale": (1, 5)}, "rating", 4, _rules.RATING_ALONE_RULE),
    *[
        ({"rating": 4, "scale": bad}, "scale", bad, SCALE)
        for bad in (
            (5, 1),
            (1, 1),
            (1,),
            (1, 5, 9),
            "15",
            5,
            ("1", "5"),
            (True, 5),
            (1, NAN),
            (-INF, 5),
            (-1e308, 1e308),
            (2**53, 2**53 + 1),
            (1, 10**400),
            {1, 5},
        )
    ],
    *[
        ({"score": 1, "name": bad}, "name", bad, _rules.NAME_RULE)
        for bad in ("", "A", "a b", "é", "a" * 65, 1, SURROGATE)
    ],
    *[({"score": 1, "source": bad}, "source", bad, _rules.SOURCE_RULE) for bad in ("", "User", "agent", 1, [])],
    *[({"score": 1, "type": bad}, "type", bad, _rules.TYPE_RULE) for bad in ("", "Explicit", True)],
    *[({"score": 1, "placement": bad}, "placement", bad, _rules.PLACEMENT_RULE) for bad in ("", "auto ", None, 1)],
    *[
        ({"label": bad}, "label", bad, _rules.LABEL_RULE)
        for bad in ("", "  ", "a\nb", "a\n", "a" * 257, "é" * 129, 1, SURROGATE)
    ],
    *[
        ({"comment": bad}, "comment", bad, _rules.COMMENT_RULE)
        for bad in ("", " \n", "a" * 16_385, "é" * 8_193, b"bytes", 1, f"a{SURROGATE}")
    ],
    *[
        ({"improvement": bad}, "improvement", bad, _rules.IMPROVEMENT_RULE)
        for bad in (
            "",
            " ",
            NAN,
            [INF],
            {"a": NAN},
            CYCLE,
            DEEP,
            {1, 2},
            object(),
            b"bytes",
            {(1, 2): 3},
            TOO_BIG,
            SURROGATE,
            {SURROGATE: 1},
        )
    ],
    *[
        ({"score": 1, "metadata": bad}, "metadata", bad, _rules.METADATA_RULE)
        for bad in ([], "a", 1, SIXTY_FIVE, HOSTILE)
    ],
    *[
        ({"score": 1, "metadata": {bad: 1}}, "metadata", bad, KEY)
        for bad in ("", " ", "a" * 257, "é" * 129, 1, None, ("a",), SURROGATE)
    ],
    *[
        ({"score": 1, "metadata": {"k": bad}}, "metadata['k']", bad, VALUE)
        for bad in (None, [1], {"a": 1}, NAN, INF, 2**63, -(2**63) - 1, "a" * 4_097, "é" * 2_049, b"b", SURROGATE)
    ],
    *[
        ({"score": 1, "user_id": bad}, "user_id", bad, _rules.USER_ID_RULE)
        for bad in ("", " ", "a\n", "a" * 257, 7, SURROGATE)
    ],
    *[
        ({"score": 1, "feedback_id": bad}, "feedback_id", bad, _rules.FEEDBACK_ID_RULE)
        for bad in ("", " ", "a\tb", "a" * 129, 7, SURROGATE)
    ],
    *[
        ({"score": 1, "observed_at": bad}, "observed_at", bad, _rules.OBSERVED_AT_RULE)
        for bad in (datetime(2025, 3, 1), FUTURE, NOWHERE, FIRST, "2025-03-01", 1_740_000_000, AWARE.date())  # noqa: DTZ001
    ],
    *[
        ({"score": 1, "rater_id": bad}, "rater_id", bad, _rules.RATER_ID_RULE)
        for bad in ("", " ", "a\n", "a" * 257, 7, SURROGATE)
    ],
    *[({"score": 1, "criterion": bad}, "criterion", bad, _rules.CRITERION_RULE) for bad in ("", "A", "a" * 65, 1)],
    ({}, "score", None, _rules.GIVEN_RULE),
    ({"name": "n", "metadata": {"k": 1}, "user_id": "u", "weight": 1}, "score", None, _rules.GIVEN_RULE),
    *[({"signal": bad}, "signal", bad, _rules.SIGNAL_RULE) for bad in ("THUMBS_UP", 1, {}, signals)],
]


@pytest.mark.parametrize(
    ("arguments", "field", "value", "rule"), REFUSED, ids=[f"{case[1]}-{i}" for i, case in enumerate(REFUSED)]
)
def test_a_field_that_breaks_its_rule_is_refused_by_name(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any], field: str, value: Any, rule: str
) -> None:
    """The error names field, value and rule, and nothing is emitted."""
    with pytest.raises(InvalidFeedback) as refusal:
        record_feedback(fake_ref(), **arguments)
    assert (refusal.value.field, refusal.value.rule) == (field, rule)
    assert refusal.value.value is value or refusal.value.value == value
    assert (telemetry.spans, telemetry.logs, telemetry.metrics) == ((), (), {})


@pytest.mark.parametrize("field", ["score", "weight", "name", "source", "type"])
def test_a_signal_of_the_apps_own_is_checked_when_it_is_made(field: str) -> None:
    """A preset cannot carry what a call could not."""
    fields: dict[str, Any] = {"name": "voted", "score": 1.0, "weight": 0.5}
    with pytest.raises(InvalidFeedback) as refusal:
        signals.Signal(**{**fields, field: "BAD"})
    assert refusal.value.field == field


class Level(str, enum.Enum):
    """A text of the app's own class."""

    USER = "user"


class Number(float):
    """A number of the app's own class."""


class Whole(int):
    """An integer of the app's own class."""


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        ({"score": -1}, "score", -1.0),
        ({"score": Number(0.5)}, "score", 0.5),
        ({"score": HostileFloat(0.5)}, "score", 0.5),
        ({"score": 1, "metadata": {"k": HostileInt(7)}}, "metadata", (("k", 7),)),
        ({"score": 0.5, "weight": 0}, "weight", 0.0),
        ({"score": 1, "name": "a" * 64}, "name", "a" * 64),
        ({"score": 1, "name": "a_b.c-9"}, "name", "a_b.c-9"),
        ({"score": 1, "source": Level.USER}, "source", "user"),
        ({"label": "é" * 128}, "label", "é" * 128),
        ({"comment": "a" * 16_384}, "comment", "a" * 16_384),
        ({"comment": "two\nlines"}, "comment", "two\nlines"),
        ({"improvement": "a" * 65_534}, "improvement", '"' + "a" * 65_534 + '"'),
        ({"improvement": {}}, "improvement", "{}"),
        ({"improvement": False}, "improvement", "false"),
        ({"score": 1, "metadata": {}}, "metadata", ()),
        ({"score": 1, "metadata": {"a" * 256: "b" * 4_096}}, "metadata", (("a" * 256, "b" * 4_096),)),
        ({"score": 1, "metadata": {"k": 2**63 - 1}}, "metadata", (("k", 2**63 - 1),)),
        ({"score": 1, "metadata": {"k": Whole(7)}}, "metadata", (("k", 7),)),
        ({"score": 1, "metadata": {"k": Number(7)}}, "metadata", (("k", 7.0),)),
        ({"score": 1, "metadata": {Level.USER: Level.USER}}, "metadata", (("user", "user"),)),
        ({"score": 1, "metadata": dict(list(SIXTY_FIVE.items())[:64])}, "metadata", tuple(SIXTY_FIVE.items())[:64]),
        ({"score": 1, "user_id": "ü" * 256}, "user_id", "ü" * 256),
        ({"score": 1, "feedback_id": "a b" * 42}, "feedback_id", "a b" * 42),
        ({"score": 1, "observed_at": AWARE}, "observed_at", "2025-03-01T00:00:00+00:00"),
        ({"rating": 4, "scale": [1, 5]}, "score", 0.5),
        ({"rating": 4, "scale": (1, 5)}, "raw", (4.0, 1.0, 5.0)),
    ],
)
def test_what_just_keeps_a_rule_is_taken(arguments: dict[str, Any], field: str, expected: Any) -> None:
    """The limits themselves are allowed, and values of subclasses become plain ones."""
    value = getattr(checked(**arguments), field)
    assert value == expected
    if field == "metadata":
        assert [(type(key), type(item)) for key, item in value] == [(type(key), type(item)) for key, item in expected]
    else:
        assert type(value) is type(expected)


def test_a_clock_a_little_ahead_is_forgiven() -> None:
    """A signal from a browser whose clock is half a minute ahead is no mistake of the app."""
    soon = datetime.now(timezone.utc) + timedelta(seconds=30)
    assert checked(score=1, observed_at=soon).observed_at == soon.isoformat()


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (None, ("user_feedback", 0.0, 1.0, "user", "explicit")),
        (signals.THUMBS_UP, ("user_thumbs", 1.0, 0.8, "user", "explicit")),
        (signals.THUMBS_DOWN, ("user_thumbs", -1.0, 0.8, "user", "explicit")),
        (signals.COPIED, ("copied", 1.0, 0.4, "user", "implicit")),
        (signals.SELECTED, ("selected", 0.5, 0.3, "user", "implicit")),
        (signals.SAVED, ("saved", 1.0, 0.5, "user", "implicit")),
        (signals.SHARED, ("shared", 1.0, 0.6, "user", "implicit")),
        (signals.REGENERATED, ("regenerated", -1.0, 0.5, "user", "implicit")),
        (signals.DISMISSED, ("dismissed", -1.0, 0.3, "user", "implicit")),
        (signals.ABANDONED, ("abandoned", -0.5, 0.3, "user", "implicit")),
        (signals.EDITED, ("edited", -0.5, 0.4, "user", "implicit")),
        (signals.READ, ("read", 0.5, 0.3, "user", "implicit")),
    ],
)
def test_presets_carry_name_score_weight_source_and_type(preset: Any, expected: tuple[Any, ...]) -> None:
    """A preset is one argument for five, and without one the usual values hold."""
    feedback = checked(preset, score=None if preset else 0)
    assert (feedback.name, feedback.score, feedback.weight, feedback.source, feedback.type) == expected


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        ({"score": 0.25}, "score", 0.25),
        ({"rating": 2, "scale": (1, 5)}, "score", -0.5),
        ({"name": "thumb"}, "name", "thumb"),
        ({"weight": 1}, "weight", 1.0),
        ({"source": "system"}, "source", "system"),
        ({"type": "implicit"}, "type", "implicit"),
    ],
)
def test_an_argument_goes_before_the_preset(arguments: dict[str, Any], field: str, expected: Any) -> None:
    """What the call says counts, the preset fills in the rest."""
    assert getattr(checked(signals.THUMBS_UP, **arguments), field) == expected


def test_a_preset_without_a_score_needs_something_else() -> None:
    """A signal of the app's own may leave the score to each call."""
    own = signals.Signal("stars", None, 0.8)
    assert checked(own, score=0.5).score == 0.5
    with pytest.raises(InvalidFeedback) as refusal:
        checked(own)
    assert (refusal.value.field, refusal.value.rule) == ("score", _rules.GIVEN_RULE)
    assert USUAL.score is None


NUMBERS = st.floats(-1e150, 1e150)


@given(NUMBERS, NUMBERS)
def test_the_ends_of_a_scale_are_minus_one_and_one(a: float, b: float) -> None:
    """The lowest rating is the worst score and the highest the best, exactly."""
    lowest, highest = sorted((a, b))
    if lowest < highest:
        assert checked(rating=lowest, scale=(lowest, highest)).score == -1.0
        assert checked(rating=highest, scale=(lowest, highest)).score == 1.0


@given(NUMBERS, NUMBERS, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_rating_never_scores_lower(a: float, b: float, parts: tuple[float, float]) -> None:
    """The mapping is monotone and stays within -1..1."""
    lowest, highest = sorted((a, b))
    if lowest < highest:
        ratings = sorted(min(highest, max(lowest, lowest + part * (highest - lowest))) for part in parts)
        scores = [checked(rating=rating, scale=(lowest, highest)).score or 0.0 for rating in ratings]
        assert -1.0 <= scores[0] <= scores[1] <= 1.0


@given(st.integers(-1000, 1000), st.integers(1, 1000), st.data())
def test_the_mapping_is_linear(lowest: int, width: int, data: st.DataObject) -> None:
    """A step on the scale is the same step of the score, wherever it is taken."""
    step = data.draw(st.integers(0, width))
    score = checked(rating=lowest + step, scale=(lowest, lowest + width)).score
    assert score == pytest.approx(-1 + 2 * step / width, abs=1e-12)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = [
    *("score", "rating", "scale", "name", "weight", "source", "type", "label", "comment"),
    *("improvement", "metadata", "user_id", "feedback_id", "observed_at", "rater_id", "criterion"),
]


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING | st.sampled_from([1, (1, 5), "user", "implicit", {"k": 1}])))
def test_any_input_is_a_signal_or_is_refused(arguments: dict[str, Any]) -> None:
    """Nothing but InvalidFeedback is ever raised, and what is taken can be sent as UTF-8."""
    feedback = None
    with contextlib.suppress(InvalidFeedback):
        feedback = checked(**arguments)
    if feedback is not None:
        repr(feedback).encode()
        assert feedback.score is None or -1.0 <= feedback.score <= 1.0
