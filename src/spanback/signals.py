"""Signals that most chat products have, ready to use.

    from spanback import signals

    record_feedback(response, signals.THUMBS_UP)
    record_feedback(response, signals.EDITED, improvement=final_text)

Weights follow how much a signal says: what a user states counts 0.8, what a user merely does 0.3 to 0.6.
"""

from typing import Final

from spanback.feedback import PRESETS, Signal

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

THUMBS_UP: Final = PRESETS["THUMBS_UP"]
THUMBS_DOWN: Final = PRESETS["THUMBS_DOWN"]
COPIED: Final = PRESETS["COPIED"]
SELECTED: Final = PRESETS["SELECTED"]
SAVED: Final = PRESETS["SAVED"]
SHARED: Final = PRESETS["SHARED"]
REGENERATED: Final = PRESETS["REGENERATED"]
DISMISSED: Final = PRESETS["DISMISSED"]
EDITED: Final = PRESETS["EDITED"]
READ: Final = PRESETS["READ"]
