"""Which shared index is in force, and what holds on to it: the responses of this process, the flush, the exit."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Final

from spanback import _settings
from spanback._spanref import RESPONSES
from spanback._telemetry import TELEMETRY

if TYPE_CHECKING:
    from spanback._index import SharedIndex


class Sharing:
    """The shared index of this process, if it has one.

    Attributes:
        index: The index in force.
        named: What the app has named for it, and its time limit in seconds.
    """

    def __init__(self) -> None:
        self.index: SharedIndex | None = None
        self.named: tuple[object, float] | None = None
        self._is_at_exit = False

    def use(self, index: SharedIndex | None) -> None:
        """Puts an index in force, and takes leave of the one before; None for none."""
        before, self.index = self.index, index
        if before is not None and before is not index:
            before.close(_settings.current().flush_timeout_s)
        RESPONSES.offer, RESPONSES.ask = (None, None) if index is None else (index.offer, index.find)
        if index is None:
            self.named = None
            TELEMETRY.before_flush.discard(self.flush)
            return
        TELEMETRY.before_flush.add(self.flush)
        if not self._is_at_exit:
            self._is_at_exit = True
            atexit.register(self.flush)

    def flush(self, timeout_s: float | None = None) -> None:
        """Waits until the index has been told of all responses.

        Args:
            timeout_s: For no longer than so many seconds; for those that the exit may take when None.
        """
        if self.index is not None:
            self.index.flush(_settings.current().flush_timeout_s if timeout_s is None else timeout_s)


SHARING: Final = Sharing()
"""That of this process."""
