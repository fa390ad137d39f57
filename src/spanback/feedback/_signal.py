"""What a preset of a signal holds."""

from __future__ import annotations

from dataclasses import dataclass

from spanback.feedback import _rules
from spanback.feedback._rules import Source, Type


@dataclass(frozen=True, slots=True)
class Signal:
    """A name with its usual score, weight, source and type. Arguments given to `record_feedback` go before it.

    Attributes:
        name: The signal's name.
        score: -1 to 1; None where each signal has its own.
        weight: 0 to 1.
        source: Who gives it.
        type: Whether it is stated or inferred from behaviour.

    Raises:
        InvalidFeedback: A field breaks its rule.
    """

    name: str
    score: float | None
    weight: float
    source: Source = "user"
    type: Type = "implicit"

    def __post_init__(self) -> None:
        put = object.__setattr__  # the fields are frozen; what is put here is the same in its exact type
        put(self, "name", _rules.checked_name(self.name))
        put(self, "score", None if self.score is None else _rules.checked_score(self.score))
        put(self, "weight", _rules.checked_weight(self.weight))
        put(self, "source", _rules.checked_source(self.source))
        put(self, "type", _rules.checked_type(self.type))
