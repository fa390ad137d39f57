"""What a response takes along for whoever wants to rate it: headers, and in an event stream an event."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from spanback import _tokens
from spanback._never_raise import never_raise
from spanback._spanref import LatestCall
from spanback.web._http import Headers
from spanback.web.tokens import handle

EVENT: Final = "feedback"

_OURS: Final = "X-Feedback-Token, X-Feedback-Url, traceresponse"
_EXPOSE: Final = "access-control-expose-headers"
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode
_STREAM: Final = "text/event-stream"


class Handed(NamedTuple):
    """What is handed out, and how.

    Attributes:
        url: Where the endpoint is, as a browser is told.
        user_of: Says for whom a request is answered, given the ASGI scope or the WSGI environ: the only user who may
            use the token. None for whoever gets it, and so what it gives for a visitor whom the app does not know;
            where it raises, no token is handed out.
        signals: The only names of signals that tokens are good for; all when None.
        expires_in_s: For how many seconds tokens are good.
        max_uses: For how many signals they are good; any number when None.
        audience: For whom they are; SPANBACK_TOKEN_AUDIENCE when None.
        keys: Keys as text, oldest to newest; SPANBACK_TOKEN_KEYS when None.
        events: Whether an event stream gets an event `feedback`.
    """

    url: str = "/feedback"
    user_of: Callable[[Any], str | None] | None = None
    signals: Sequence[str] | None = None
    expires_in_s: int = 86_400
    max_uses: int | None = None
    audience: str | None = None
    keys: Sequence[str] | None = None
    events: bool = True

    def check(self) -> None:
        """Says early what would go wrong at the first response.

        Raises:
            MissingTokenKey: There is no key that signs.
            InvalidSetting: One of the keys is no key.
        """
        _tokens.keys_of(self.keys).newest()

    def handle(self, latest: LatestCall, given: Any) -> dict[str, Any] | None:
        """What a browser needs; None where no model call was made, or nobody can say who is asking. Never raises."""
        if latest.call is None:
            return None
        user_id = None
        if self.user_of is not None:
            found = never_raise(_found, self.user_of, given)
            if found is None:
                _say_unknown()
                return None
            (user_id,) = found
        return never_raise(
            handle,
            latest.reference(),
            url=self.url,
            user_id=user_id,
            signals=self.signals,
            expires_in_s=self.expires_in_s,
            max_uses=self.max_uses,
            audience=self.audience,
            keys=self.keys,
        )


def _found(user_of: Callable[[Any], str | None], given: Any) -> tuple[str | None]:
    """What is found, as more than None, which is what comes of raising."""
    return (user_of(given),)


@cache
def _say_unknown() -> None:
    logging.getLogger("spanback.web").warning(
        "user_of raised, so a response left without a feedback token, which is not to be for whoever gets it. For a "
        "visitor whom the app does not know it is to return None. Said once."
    )


def headers_for(handed: dict[str, Any], present: Iterable[tuple[str, str]]) -> tuple[Headers, Headers]:
    """The headers of a response that hands out a token.

    Args:
        handed: What `Handed.handle` gives.
        present: The headers that the response has; names in any case.

    Returns:
        Those that stay, and those that come in addition.
    """
    stay: list[tuple[str, str]] = []
    exposed = _OURS
    has_trace = False
    for name, value in present:
        lower = name.lower()
        if lower == _EXPOSE:
            exposed = f"{value}, {exposed}"
            continue
        has_trace = has_trace or lower == "traceresponse"
        stay.append((name, value))
    more = [("X-Feedback-Token", handed["token"]), ("X-Feedback-Url", handed["url"])]
    if not has_trace:
        more.append(("traceresponse", handed["traceparent"]))
    return tuple(stay), (*more, ("Access-Control-Expose-Headers", exposed))


def is_event_stream(present: Iterable[tuple[str, str]]) -> bool:
    """Whether the response is a stream of Server-Sent Events that more can be put into."""
    found = {name.lower(): value for name, value in present}
    is_plain = "content-length" not in found and found.get("content-encoding", "identity") == "identity"
    return is_plain and found.get("content-type", "").partition(";")[0].strip().lower() == _STREAM


class Events:
    """Puts one event into a stream of Server-Sent Events, between two others and as early as the model is called.

    Args:
        give: Gives what the event holds; None as long as no model call was made.
    """

    def __init__(self, give: Callable[[], dict[str, Any] | None]) -> None:
        self._give = give
        self._is_given = False
        self._is_between = True

    def before(self, chunk: bytes) -> bytes:
        """What goes before a chunk of the stream; empty but once."""
        if not chunk:
            return b""
        is_between, self._is_between = self._is_between, chunk.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
        if self._is_given or not is_between:
            return b""
        handed = self._give()
        if handed is None:
            return b""
        self._is_given = True
        return f"event: {EVENT}\ndata: {_ENCODE(handed)}\n\n".encode()
