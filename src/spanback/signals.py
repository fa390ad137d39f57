"""Signals that most chat products have, ready to use.

    from spanback import signals

    record_feedback(response, signals.THUMBS_UP)
    record_feedback(response, signals.EDITED, improvement=final_text)

Weights follow how much a signal says: what a user states counts 0.8, what a user merely does 0.3 to 0.6.
"""

from typing import Final

from spanback.feedback import Signal

__all__ = [
    "COPIED",
    "DISMISSED",
    "EDITED",
    "READ",
    "REGENERATED",
    "SAVED",
    "SELECTED",
    "SHARED",
    "THUMBS_DOWN",
    "THUMBS_UP",
    "Signal",
]

THUMBS_UP: Final = Signal("user_thumbs", 1.0, 0.8, type="explicit")
THUMBS_DOWN: Final = Signal("user_thumbs", -1.0, 0.8, type="explicit")
COPIED: Final = Signal("copied", 1.0, 0.4)
SELECTED: Final = Signal("selected", 0.5, 0.3)
SAVED: Final = Signal("saved", 1.0, 0.5)
SHARED: Final = Signal("shared", 1.0, 0.6)
REGENERATED: Final = Signal("regenerated", -1.0, 0.5)
DISMISSED: Final = Signal("dismissed", -1.0, 0.3)
EDITED: Final = Signal("edited", -0.5, 0.4)
READ: Final = Signal("read", 0.5, 0.3)
