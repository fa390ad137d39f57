"""How often a token was used, for tokens that are good for only so many signals."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol


class UseCounter(Protocol):
    """Counts the uses of tokens. May be an object of the app."""

    def use(self, token_id: str, expires_in_s: int) -> int:
        """Counts one use.

        Args:
            token_id: Of the token.
            expires_in_s: For how long the count matters.

        Returns:
            How often the token was used, this time included.
        """
        ...


class MemoryUses:
    """Counts in this process, bounded: of more tokens than that, the one that was seen first is forgotten.

    Args:
        limit: The most tokens that are kept.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._uses: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def use(self, token_id: str, expires_in_s: int) -> int:  # noqa: ARG002 - the oldest are forgotten in any case
        """Counts one use."""
        with self._lock:
            count = self._uses[token_id] = self._uses.get(token_id, 0) + 1
            if len(self._uses) > self._limit:
                self._uses.popitem(last=False)
        return count


class RedisUses:
    """Counts in Redis, for several processes.

    Args:
        client: A client of `redis`, or of what speaks like it; with timeouts, since a request waits for it.
        prefix: What the keys begin with.
    """

    def __init__(self, client: Any, prefix: str = "spanback:uses:") -> None:
        self._client = client
        self._prefix = prefix

    def use(self, token_id: str, expires_in_s: int) -> int:
        """Counts one use."""
        key = self._prefix + token_id
        pipeline = self._client.pipeline(transaction=True)
        pipeline.incr(key)
        pipeline.expire(key, expires_in_s)
        return int(pipeline.execute()[0])
