"""The signals that most chat products have. What a user states counts 0.8, what a user merely does 0.3 to 0.6."""

from __future__ import annotations

from typing import Final

from spanback.feedback._signal import Signal

USUAL: Final = Signal("user_feedback", None, 1.0, "user", "explicit")
"""What a signal is unless the app says otherwise."""

PREFERENCE: Final = Signal("preference", None, 1.0, "user", "explicit")
"""What a preference is unless the app says otherwise."""

PRESETS: Final = {
    "THUMBS_UP": Signal("user_thumbs", 1.0, 0.8, type="explicit"),
    "THUMBS_DOWN": Signal("user_thumbs", -1.0, 0.8, type="explicit"),
    "COPIED": Signal("copied", 1.0, 0.4),
    "SELECTED": Signal("selected", 0.5, 0.3),
    "SAVED": Signal("saved", 1.0, 0.5),
    "SHARED": Signal("shared", 1.0, 0.6),
    "REGENERATED": Signal("regenerated", -1.0, 0.5),
    "DISMISSED": Signal("dismissed", -1.0, 0.3),
    "ABANDONED": Signal("abandoned", -0.5, 0.3),
    "EDITED": Signal("edited", -0.5, 0.4),
    "READ": Signal("read", 0.5, 0.3),
}
"""By the names that `spanback.signals` has for them."""

KNOWN_NAMES: Final = frozenset(signal.name for signal in (USUAL, PREFERENCE, *PRESETS.values()))
"""Names that need no declaration where names are strict."""
