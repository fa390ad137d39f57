"""declare: what an app says beforehand of the signals that it records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from spanback._never_raise import never_raise
from spanback.errors import InvalidFeedback
from spanback.feedback import _rules
from spanback.feedback._model import DECLARED
from spanback.feedback._presets import USUAL
from spanback.feedback._rules import Source, Type
from spanback.feedback._signal import Signal

LABELS_RULE: Final = f"must be a list of 1 to {_rules.METADATA_LIMIT_KEYS} labels"
DESCRIPTION_RULE: Final = f"must be text, not blank, of at most {_rules.METADATA_VALUE_LIMIT_BYTES} bytes in UTF-8"
SCORES_RULE: Final = "must be two numbers (lowest, highest) from -1 to 1, with lowest < highest"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is said of a signal: what it is taken for where a call leaves it open, and what calls must keep to.

    Attributes:
        name: The signal's name.
        scale: The lowest and the highest rating; the only scale that calls may name.
        scores: The lowest and the highest score.
        labels: The only labels; none is asked for where it is empty.
        source: Who gives it, unless a call says otherwise.
        type: Whether it is stated or inferred, unless a call says otherwise.
        weight: How much it counts, unless a call says otherwise.
        description: What it means, for people.
    """

    name: str
    scale: tuple[float, float] | None = None
    scores: tuple[float, float] | None = None
    labels: tuple[str, ...] = ()
    source: Source | None = None
    type: Type | None = None
    weight: float | None = None
    description: str | None = None

    @property
    def usual(self) -> Signal:
        """What a signal of this name is where a call does not say otherwise."""
        weight = USUAL.weight if self.weight is None else self.weight
        return Signal(self.name, None, weight, self.source or USUAL.source, self.type or USUAL.type)

    def keep_to(self, scale: object, label: str | None, score: float | None) -> None:
        """Refuses what is declared otherwise.

        Args:
            scale: The scale that a call names, checked, or None.
            label: The label, checked, or None.
            score: The score, checked, or None.

        Raises:
            InvalidFeedback: It is not allowed.
        """
        if scale is not None and self.scale is not None and scale != self.scale:
            raise InvalidFeedback("scale", scale, f"must be {self.scale}, as {self.name} is declared")
        if label is not None and self.labels and label not in self.labels:
            raise InvalidFeedback("label", label, f"must be one of {', '.join(self.labels)}, as is declared")
        if score is not None and self.scores is not None:
            lowest, highest = self.scores
            if not lowest <= score <= highest:
                raise InvalidFeedback("score", score, f"must be from {lowest:g} to {highest:g}, as is declared")

    def to_json(self) -> dict[str, Any]:
        """The object that `spanback signals --json` prints."""
        return {
            "name": self.name,
            "scale": self.scale,
            "scores": self.scores,
            "labels": list(self.labels),
            "source": self.source,
            "type": self.type,
            "weight": self.weight,
            "description": self.description,
        }


def declare(
    name: str,
    *,
    scale: tuple[float, float] | None = None,
    scores: tuple[float, float] | None = None,
    labels: Iterable[str] | None = None,
    source: Source | None = None,
    type: Type | None = None,
    weight: float | None = None,
    description: str | None = None,
) -> Declaration:
    """Says what a signal is, once, where an app starts.

        declare("helpfulness", scale=(1, 5), source="user", description="How much the answer helped")
        record_feedback(response, rating=4, name="helpfulness")

    Later calls by that name take scale, source, type and weight from here where neither they nor a preset say
    otherwise, and are refused where they name another scale, a label that is not listed or a score beyond `scores`.
    `spanback signals` lists what an app declares. Declared again, the later declaration holds.

    Args:
        name: The signal's name.
        scale: The lowest and the highest rating.
        scores: The lowest and the highest score, from -1 to 1.
        labels: All labels that there are.
        source: `user` or `system`.
        type: `explicit` or `implicit`.
        weight: How much it counts, 0 to 1.
        description: What it means, for people.

    Returns:
        The declaration.

    Raises:
        InvalidFeedback: An argument breaks its rule; nothing has changed then.
    """
    declaration = Declaration(
        _rules.checked_name(name),
        None if scale is None else _rules.checked_scale(scale),
        None if scores is None else _scores(scores),
        () if labels is None else _labels(labels),
        None if source is None else _rules.checked_source(source),
        None if type is None else _rules.checked_type(type),
        None if weight is None else _rules.checked_weight(weight),
        None if description is None else _rules.checked_description(description, DESCRIPTION_RULE),
    )
    DECLARED[declaration.name] = declaration
    return declaration


def _scores(value: object) -> tuple[float, float]:
    scores = never_raise(_rules.checked_scale, value)
    if scores is None or not -1.0 <= scores[0] < scores[1] <= 1.0:
        raise InvalidFeedback("scores", value, SCORES_RULE)
    return scores


def _labels(value: object) -> tuple[str, ...]:
    items = None if isinstance(value, (str, bytes)) else never_raise(tuple, cast("Iterable[object]", value))
    if items is None or not 1 <= len(items) <= _rules.METADATA_LIMIT_KEYS:
        raise InvalidFeedback("labels", value, LABELS_RULE)
    return tuple(_rules.checked_label(item, "labels") for item in items)
