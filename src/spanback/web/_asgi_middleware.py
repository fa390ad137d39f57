"""The middleware for ASGI apps: a request in which a model is called hands a token out with its response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from spanback._spanref import LATEST_CALL, LatestCall
from spanback.web._handing import Events, Handed, headers_for, is_event_stream

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class FeedbackMiddleware:
    """Adds `X-Feedback-Token`, `X-Feedback-Url` and `traceresponse` to responses for which a model was called.

    The headers leave with the first piece of the body, so they are there for streams, too: the token is for the span
    of the call that was begun last. Headers of an event stream leave at once; an event `feedback` has the same in it.

    Args:
        app: The app.
        handed: As in `Handed`.

    Raises:
        MissingTokenKey: There is no key that signs.
        InvalidSetting: One of the keys is no key.
    """

    def __init__(self, app: Application, **handed: Any) -> None:
        self._app = app
        self._handed = Handed(**handed)
        self._handed.check()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the app answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        latest = LatestCall()
        adding = _Adding(self._handed, latest, scope, send)
        token = LATEST_CALL.set(latest)
        try:
            await self._app(scope, receive, adding.send)
        finally:
            LATEST_CALL.reset(token)
        await adding.release()


class _Adding:
    """Sends the messages of one response."""

    __slots__ = ("_events", "_handed", "_latest", "_scope", "_send", "_start")

    def __init__(self, handed: Handed, latest: LatestCall, scope: Scope, send: Send) -> None:
        self._handed = handed
        self._latest = latest
        self._scope = scope
        self._send = send
        self._start: Message | None = None
        self._events: Events | None = None

    async def send(self, message: Message) -> None:
        """Sends a message of the app, or keeps it until the first piece of the body."""
        kind = message["type"]
        if kind == "http.response.start":
            self._start = message
            if self._handed.events and is_event_stream(_decoded(message)):
                self._events = Events(lambda: self._handed.handle(self._latest, self._scope))
                await self.release()
            return
        await self.release()
        if self._events is not None and kind == "http.response.body":
            more = self._events.before(message.get("body", b""))
            if more:
                message = {**message, "body": more + message["body"]}
        await self._send(message)

    async def release(self) -> None:
        """Sends the headers, if they have not left yet."""
        start, self._start = self._start, None
        if start is None:
            return
        handed = self._handed.handle(self._latest, self._scope)
        if handed is not None:
            stay, more = headers_for(handed, _decoded(start))
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stay]
            headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in more]
            start = {**start, "headers": headers}
        await self._send(start)


def _decoded(start: Message) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
