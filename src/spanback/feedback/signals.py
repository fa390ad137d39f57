"""Signals that most chat products have, ready to use.

    record_feedback(response, signals.THUMBS_UP)
    record_feedback(response, signals.EDITED, improvement=final_text)

Weights follow how much a signal says: what a user states counts 0.8, what a user merely does 0.3 to 0.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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


THUMBS_UP: Final = Signal("user_thumbs", 1.0, 0.8, type="explicit")
THUMBS_DOWN: Final = Signal("user_thumbs", -1.0, 0.8, type="explicit")
COPIED: Final = Signal("copied", 1.0, 0.4)
SAVED: Final = Signal("saved", 1.0, 0.5)
SHARED: Final = Signal("shared", 1.0, 0.6)
REGENERATED: Final = Signal("regenerated", -1.0, 0.5)
DISMISSED: Final = Signal("dismissed", -1.0, 0.3)
EDITED: Final = Signal("edited", -0.5, 0.4)
READ: Final = Signal("read", 0.5, 0.3)
