"""From what an app names to a shared index. Nothing is connected to."""

from __future__ import annotations

from typing import Any, Final

from spanback._index._redis import RedisIndex
from spanback._index._shared import SharedIndex
from spanback._index._sqlite import SqliteIndex
from spanback.errors import InvalidSetting

INDEX_RULE: Final = (
    "must be 'sqlite:///path', a URL of Redis (redis://, rediss://, unix://), or an object with put and find"
)
EXTRA_RULE: Final = "must have its client installed: pip install 'spanback[redis]'"

_SQLITE: Final = "sqlite:///"
_REDIS: Final = ("redis", "rediss", "unix")


def opened(given: Any, ttl_s: float) -> SharedIndex:
    """The index that an app names.

    Args:
        given: A URL, or an object of the app's own.
        ttl_s: For how long an entry is known, in seconds; an object of the app's own sees to that itself.

    Raises:
        InvalidSetting: It is neither, or Redis' client is missing. A URL is not shown: it may hold a password.
    """
    if isinstance(given, str):
        return SharedIndex(_of_url(given.strip(), ttl_s))
    if callable(getattr(given, "put", None)) and callable(getattr(given, "find", None)):
        return SharedIndex(given)
    raise InvalidSetting("index", type(given), INDEX_RULE)


def _of_url(url: str, ttl_s: float) -> SqliteIndex | RedisIndex:
    scheme, colon, _ = url.partition("://")
    if url.startswith(_SQLITE) and url != _SQLITE and "\0" not in url:
        return SqliteIndex(url.removeprefix(_SQLITE), ttl_s)
    if not colon or scheme not in _REDIS:
        raise InvalidSetting("index", f"{scheme}://..." if colon else str, INDEX_RULE)
    try:
        return RedisIndex(url, ttl_s)
    except ImportError:
        raise InvalidSetting("index", f"{scheme}://...", EXTRA_RULE) from None
    except ValueError:
        raise InvalidSetting("index", f"{scheme}://...", INDEX_RULE) from None
