"""Who sends a request, seen through proxies."""

from __future__ import annotations

from collections.abc import Mapping


def forwarded(headers: Mapping[str, str], proxies: int) -> str | None:
    """The address that the outermost of your proxies has seen, as X-Forwarded-For says; None without proxies.

    Args:
        headers: Those of the request, names in lower case.
        proxies: How many proxies are yours. What stands before their entries anybody may have written.
    """
    hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",")] if proxies else []
    return hops[-proxies] or None if len(hops) >= proxies > 0 else None
