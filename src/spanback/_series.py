"""How many series metrics may have: each combination of values makes one in every metric, for the process's life."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

SERIES_LIMIT: Final = 1_000
"""How many combinations a meter gets. Older releases of the SDK, such as 1.39, have no limit of their own."""

T = TypeVar("T")
Values = tuple[str | int | None, ...]


class BoundedSeries(Generic[T]):
    """The combinations that came first, with the attributes of each, made once.

    Args:
        make: Makes the attributes of a combination.
        logger: Is told once that there are too many.
        too_many: What it is told; ``%d`` is the limit.
    """

    def __init__(self, make: Callable[[Values], T], logger: logging.Logger, too_many: str) -> None:
        self._make = make
        self._logger = logger
        self._too_many = too_many
        self._known: dict[Values, T] = {}
        # The garbage collector may be at work inside, and end a stream's call, which asks for a combination itself.
        self._lock = threading.RLock()
        self._is_full = False

    def get(self, values: Values) -> T | None:
        """The attributes of a combination; None of one too many."""
        known = self._known.get(values)
        if known is None:
            with self._lock:
                known = self._admitted(values)
        return known

    def _admitted(self, values: Values) -> T | None:
        if len(self._known) < SERIES_LIMIT:
            return self._known.setdefault(values, self._make(values))
        if not self._is_full:
            self._is_full = True
            self._logger.warning(self._too_many, SERIES_LIMIT)
        return self._known.get(values)
