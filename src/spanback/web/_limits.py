"""How many requests are let through: counted by `limits`, in memory of bounded size or in Redis."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from typing import Final

from limits import RateLimitItem, parse
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from spanback._never_raise import never_raise
from spanback.errors import InvalidSetting
from spanback.web._http import Problem

RATE_RULE: Final = "must be a rate such as '60/minute'"
STORE_RULE: Final = "must be None for this process alone, or the address of a store, such as 'redis://localhost:6379'"

_IPV6_BITS: Final = 64
"""A household or a server has so many addresses: all of them count as one."""


class BoundedMemory:
    """Counters in this process, bounded: the oldest go first. Those of `limits` start a thread at every hit.

    Args:
        limit: The most counters kept.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, key: str, expiry_s: float) -> tuple[int, float]:
        """Counts, in a window that begins with the first hit.

        Args:
            key: Of the counter.
            expiry_s: How long the window is.

        Returns:
            The count, this time included, and when the window ends, in seconds since the epoch.
        """
        now = time.time()
        with self._lock:
            count, ends = self._counters.get(key, (0, 0.0))
            found = self._counters[key] = (1, now + expiry_s) if ends <= now else (count + 1, ends)
            if len(self._counters) > self._limit:
                self._counters.popitem(last=False)
        return found


class Rates:
    """The limits in force.

    Args:
        per_token: How often one token, or one API key, may be used; None for any number.
        per_address: How often one address may come; None for any number.
        store: Where the counts are kept: None for this process, else the address of a store of `limits`.

    Raises:
        InvalidSetting: One of them is not understood.
    """

    def __init__(self, per_token: str | None, per_address: str | None, store: str | None) -> None:
        self._per_token = _rate("rate_per_token", per_token)
        self._per_address = _rate("rate_per_address", per_address)
        self._memory = BoundedMemory()
        try:
            self._limiter = None if store is None else FixedWindowRateLimiter(storage_from_string(store))
        except (ConfigurationError, ImportError, ValueError):  # the address may hold a password
            raise InvalidSetting("rate_store", "<address>", STORE_RULE) from None

    def count_address(self, address: str) -> None:
        """Counts a request of an address.

        Raises:
            Problem: It is one too many.
        """
        if self._per_address is not None:
            self._count(self._per_address, "address", _network(address))

    def count_token(self, token_id: str) -> None:
        """Counts a use of a token or an API key.

        Raises:
            Problem: It is one too many.
        """
        if self._per_token is not None:
            self._count(self._per_token, "token", token_id)

    def _refused_until(self, rate: RateLimitItem, kind: str, name: str) -> float | None:
        """Counts, and says when the window of what is one too many ends; None for what is let through."""
        if self._limiter is None:
            count, ends = self._memory.count(f"{kind} {name}", rate.get_expiry())
            return None if count <= rate.amount else ends
        # A store that does not answer, and so says None, keeps nobody from giving feedback.
        if never_raise(self._limiter.hit, rate, "spanback", kind, name) is not False:
            return None
        window = never_raise(self._limiter.get_window_stats, rate, "spanback", kind, name)
        return rate.get_expiry() + time.time() if window is None else window.reset_time

    def _count(self, rate: RateLimitItem, kind: str, name: str) -> None:
        ends = self._refused_until(rate, kind, name)
        if ends is None:
            return
        wait_s = max(1, int(ends - time.time()) + 1)
        headers = (("retry-after", str(wait_s)),)
        detail = f"at most {rate.amount} requests in {rate.get_expiry()} s are taken from one {kind}"
        raise Problem(429, "too-many-requests", "Too many requests", detail, headers=headers)


def _rate(setting: str, text: str | None) -> RateLimitItem | None:
    if text is None:
        return None
    try:
        return parse(text)
    except (ValueError, TypeError, AttributeError):
        raise InvalidSetting(setting, text, RATE_RULE) from None


def _network(address: str) -> str:
    """What an address counts as: itself without a port; of IPv6, the network that one customer gets."""
    # Some proxies write the port behind, which is another one each time: `1.2.3.4:567`, `[2001:db8::1]:567`.
    host = address[1:].partition("]")[0] if address.startswith("[") else address
    before, _, port = host.partition(":")
    if port.isdecimal():
        host = before
    if ":" not in host:
        return host
    try:
        number = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    # As a socket for both kinds of addresses sees a client of IPv4.
    return str(number.ipv4_mapped or f"{int(number) >> (128 - _IPV6_BITS):x}")
