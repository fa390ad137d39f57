"""What this process has recorded last, so that a signal can be withdrawn by its id alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from spanback.feedback._attributes import Relation
from spanback.feedback._rules import Source, Type
from spanback.feedback._target import Target

Recent = tuple[tuple[tuple[Target, Relation], ...], str, Source, Type, "str | None"]
"""What a withdrawal repeats of the signal that it withdraws: targets, name, source, type, criterion. A plain
tuple, since one is made for each signal."""


class RecentSignals:
    """Feedback id to what it was about, bounded: what is forgotten can still be withdrawn, but without a link.

    Safe for threads, since each step is one operation of a dict in C.

    Args:
        limit: The most entries kept; the oldest goes first.
    """

    def __init__(self, limit: int = 4_096) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, Recent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, feedback_id: str, recent: Recent) -> None:
        """Notes a signal; a known id is overwritten. Never raises."""
        entries = self._entries
        entries[feedback_id] = recent
        if len(entries) > self._limit:
            try:
                entries.popitem(last=False)
            except KeyError:  # pragma: no cover - another thread emptied it between the two lines
                return

    def find(self, feedback_id: str) -> Recent | None:
        """What is known of a signal, or None. Never raises."""
        return self._entries.get(feedback_id)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()


RECENT: Final = RecentSignals()
"""The signals of this process."""
