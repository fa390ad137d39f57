"""Declared signals: what a call leaves open comes from the declaration, what it says must keep to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from spanback import InvalidFeedback, declare, record_feedback, record_preference, signals
from spanback.feedback import _declared, _rules
from spanback.feedback._declared import DECLARED, Declaration
from spanback.feedback._model import checked
from spanback.testing import InMemoryTelemetry, fake_ref


@pytest.fixture(autouse=True)
def _own_declarations() -> Iterator[None]:
    before = dict(DECLARED)
    DECLARED.clear()
    yield
    DECLARED.clear()
    DECLARED.update(before)


def test_a_declaration_fills_in_what_a_call_leaves_open(telemetry: InMemoryTelemetry) -> None:
    """Scale, source, type and weight are those of the declaration."""
    declare("helpfulness", scale=(1, 5), source="system", type="implicit", weight=0.5)
    record_feedback(fake_ref(), rating=4, name="helpfulness")
    (row,) = telemetry.feedback
    assert (row.score, row.source, row.type, row.weight) == (0.5, "system", "implicit", 0.5)
    assert row.attributes["feedback.score.max"] == 5.0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"rating": 4, "scale": [1, 5]}, (0.5, "user", "explicit", 0.7)),
        ({"rating": 4, "source": "system"}, (0.5, "system", "explicit", 0.7)),
        ({"rating": 4, "weight": 0.1, "type": "implicit"}, (0.5, "user", "implicit", 0.1)),
        ({"score": 0.25}, (0.25, "user", "explicit", 0.7)),
        ({"label": "good"}, (None, "user", "explicit", 0.7)),
        ({"signal": signals.Signal("other", 1.0, 0.2, "system")}, (1.0, "system", "implicit", 0.2)),
    ],
)
def test_what_a_call_or_a_preset_says_goes_before(arguments: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """A declaration is the last to be asked."""
    declare("helpfulness", scale=(1, 5), labels=["good", "bad"], weight=0.7)
    feedback = checked(**arguments, name="helpfulness")
    assert (feedback.score, feedback.source, feedback.type, feedback.weight) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rating": 4, "scale": (0, 10)}, "scale=<tuple> must be (1.0, 5.0), as helpfulness is declared"),
        ({"rating": 6}, f"rating=6 {_rules.RATING_RULE}"),
        ({"label": "fine"}, "label='fine' must be one of good, bad, as is declared"),
        ({"score": -0.5}, "score=-0.5 must be from 0 to 1, as is declared"),
        ({"rating": 2}, "score=-0.5 must be from 0 to 1, as is declared"),
    ],
)
def test_what_a_declaration_does_not_allow_is_refused(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any], said: str
) -> None:
    """The error names field, value and rule, and nothing is emitted."""
    declare("helpfulness", scale=(1, 5), labels=["good", "bad"], scores=(0, 1))
    with pytest.raises(InvalidFeedback) as refusal:
        record_feedback(fake_ref(), **arguments, name="helpfulness")
    assert str(refusal.value) == said
    assert telemetry.spans == ()


def test_a_declaration_also_holds_for_presets_and_preferences(telemetry: InMemoryTelemetry) -> None:
    """The name decides, however it is said."""
    declare("user_thumbs", labels=["wrong"])
    declare("preference", labels=["tone"], source="system")
    with pytest.raises(InvalidFeedback, match="label='odd'"):
        record_feedback(fake_ref(), signals.THUMBS_DOWN, label="odd")
    with pytest.raises(InvalidFeedback, match="label='odd'"):
        record_preference(fake_ref(), "r-2", label="odd")
    record_preference(fake_ref(), "r-2", label="tone")


def test_only_names_that_are_known_are_taken_where_names_are_strict(
    telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """Known are what is declared, what presets are named, and the usual names."""
    configure(strict=True)
    declare("stars", scale=(1, 5))
    record_feedback(fake_ref(), rating=5, name="stars")
    record_feedback(fake_ref(), score=1)
    record_feedback(fake_ref(), signals.COPIED)
    record_preference(fake_ref(), "r-2")
    for refused in (record_feedback, record_preference):
        more: Any = {"score": 1} if refused is record_feedback else {"rejected": "r-2"}
        with pytest.raises(InvalidFeedback) as refusal:
            refused(fake_ref(), **more, name="starz")
        assert (refusal.value.field, refusal.value.value, refusal.value.rule) == (
            "name",
            "starz",
            _rules.UNDECLARED_RULE,
        )
    assert len(telemetry.spans) == 4


def test_a_later_declaration_holds() -> None:
    """A module that is loaded again declares again."""
    declare("stars", scale=(1, 5))
    made = declare("stars", scale=(1, 10), labels=("a",), description="Stars")
    assert {"stars": made} == DECLARED
    assert made == Declaration("stars", (1.0, 10.0), None, ("a",), description="Stars")
    assert made.to_json() == {
        "name": "stars",
        "scale": (1.0, 10.0),
        "scores": None,
        "labels": ["a"],
        "source": None,
        "type": None,
        "weight": None,
        "description": "Stars",
    }


def test_many_threads_may_declare_and_record(telemetry: InMemoryTelemetry) -> None:
    """No declaration is lost, and each call sees one of them whole."""

    def work(number: int) -> float | None:
        declare(f"n{number % 50}", scale=(0, 10))
        return checked(rating=5, name=f"n{number % 50}").score

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(work, range(2_000))) == {0.0}
    assert len(DECLARED) == 50


class Hostile:
    """Something that looks like a list and fails."""

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError


@pytest.mark.parametrize(
    ("arguments", "field", "rule"),
    [
        ({"name": "A"}, "name", _rules.NAME_RULE),
        ({"scale": (5, 1)}, "scale", _rules.SCALE_RULE),
        *[({"scores": bad}, "scores", _declared.SCORES_RULE) for bad in ((0, 2), (1, 0), "01", (0,), (-1.5, 0))],
        *[({"labels": bad}, "labels", _declared.LABELS_RULE) for bad in ((), "good", b"good", 7, Hostile())],
        ({"labels": [f"l{number}" for number in range(65)]}, "labels", _declared.LABELS_RULE),
        ({"labels": ["good", "a\nb"]}, "labels", _rules.LABEL_RULE),
        ({"source": "agent"}, "source", _rules.SOURCE_RULE),
        ({"type": "guess"}, "type", _rules.TYPE_RULE),
        ({"weight": 2}, "weight", _rules.WEIGHT_RULE),
        *[({"description": bad}, "description", _declared.DESCRIPTION_RULE) for bad in ("", " ", 7, "a" * 4_097)],
    ],
)
def test_a_declaration_that_breaks_a_rule_is_refused(arguments: dict[str, Any], field: str, rule: str) -> None:
    """Nothing is declared then."""
    with pytest.raises(InvalidFeedback) as refusal:
        declare(**{"name": "stars", **arguments})
    assert (refusal.value.field, refusal.value.rule) == (field, rule)
    assert DECLARED == {}
