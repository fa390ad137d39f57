"""Where calls are sent: `server.address` and `server.port` of a base URL."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
MOST_ADDRESSES: Final = 256
"""How many base URLs are remembered: an app has few, and a mistake of it must not grow without end."""


@lru_cache(maxsize=MOST_ADDRESSES)
def place(url: str) -> tuple[str | None, int | None]:
    """Host and port of a URL; None for both where it has no host."""
    parts = urlsplit(url)
    host = parts.hostname
    return host, (parts.port or DEFAULT_PORTS.get(parts.scheme)) if host else None
