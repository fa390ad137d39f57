"""A shared index in Redis, for any number of machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanback._index._value import packed, unpacked
from spanback._spanref import SpanRef

TIMEOUT_S: Final = 0.25
"""For each connection that is made and for each answer."""
PREFIX: Final = "spanback:ref:"


class RedisIndex:
    """Keys `spanback:ref:<response id>` that expire by themselves.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as the client of Redis takes it.
        ttl_s: For how long an entry is known, in seconds.

    Raises:
        ImportError: The client is not installed.
        ValueError: It is no URL of its.
    """

    def __init__(self, url: str, ttl_s: float) -> None:
        import redis  # noqa: PLC0415 - of an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        self._ttl_ms = max(1, int(ttl_s * 1_000))
        # Its pool makes new connections by itself in a process that was forked off.
        self._client: Any = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def put_all(self, refs: Mapping[str, SpanRef]) -> None:
        """Notes many responses in one round trip."""
        with self._client.pipeline(transaction=False) as pipeline:
            for response_id, ref in refs.items():
                pipeline.set(PREFIX + response_id, packed(ref), px=self._ttl_ms)
            pipeline.execute()

    def find(self, response_id: str) -> SpanRef | None:
        """One response, where it is known."""
        text: object = self._client.get(PREFIX + response_id)
        return unpacked(text.decode()) if isinstance(text, bytes) else None
