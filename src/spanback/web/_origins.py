"""Which pages may use the endpoint: an allow-list of origins (Fetch standard, CORS)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from spanback.errors import InvalidSetting
from spanback.web._http import Head, Headers, Problem, Response

ORIGINS_RULE: Final = "must be a list of origins such as 'https://app.example.com', or ['*'] for every page"

_ALLOWED: Final = (
    ("access-control-allow-methods", "GET, POST, DELETE"),
    ("access-control-allow-headers", "authorization, content-type, x-feedback-token"),
    ("access-control-max-age", "600"),
)


class Origins:
    """The pages that may use the endpoint, besides those of its own host.

    Args:
        origins: Origins as browsers write them; `*` for every page.

    Raises:
        InvalidSetting: One of them is no origin.
    """

    def __init__(self, origins: Collection[str]) -> None:
        if isinstance(origins, str):
            raise InvalidSetting("origins", origins, ORIGINS_RULE)
        for origin in origins:
            if origin not in {"*", "null"} and not _is_origin(origin):
                raise InvalidSetting("origins", origin, ORIGINS_RULE)
        self._origins = frozenset(origins)

    def check(self, head: Head) -> Headers:
        """The headers that let the page read the response.

        Raises:
            Problem: The page is not among those allowed.
        """
        origin = head.headers.get("origin")
        if origin is None:
            return _VARY
        if origin not in self._origins and "*" not in self._origins and not _is_own(origin, head.headers.get("host")):
            raise Problem(403, "foreign-origin", "The page may not give feedback here", "origin must be an allowed one")
        return (("access-control-allow-origin", origin), ("access-control-expose-headers", "retry-after"), *_VARY)

    def preflight(self, head: Head) -> Response:
        """The answer to what a browser asks before the request.

        Raises:
            Problem: As `check`.
        """
        return Response(204, (*self.check(head), *_ALLOWED))


_VARY: Final = (("vary", "origin"),)


def _is_origin(text: object) -> bool:
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc) and text == f"{parts.scheme}://{parts.netloc}".lower()


def _is_own(origin: str, host: str | None) -> bool:
    """Whether a page is served where the endpoint is. A proxy may end TLS, so that the scheme is not known."""
    return host is not None and origin.lower() in {f"https://{host}".lower(), f"http://{host}".lower()}
