"""The middleware for WSGI apps: a request in which a model is called hands a token out with its response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from spanback._spanref import LATEST_CALL, LatestCall
from spanback.web._handing import Events, Handed, headers_for, is_event_stream

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], Any]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class FeedbackMiddleware:
    """Adds `X-Feedback-Token`, `X-Feedback-Url` and `traceresponse` to responses for which a model was called.

    The headers leave with the first piece of the body, so they are there for streams, too: the token is for the span
    of the call that was begun last. In an event stream an event `feedback` has the same in it.

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

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Lets the app answer."""
        adding = _Adding(self._handed, environ, start_response)
        token = LATEST_CALL.set(adding.latest)
        try:
            result = self._app(environ, adding.start)
        finally:
            LATEST_CALL.reset(token)
        file_wrapper = environ.get("wsgi.file_wrapper")
        is_file = isinstance(file_wrapper, type) and isinstance(result, file_wrapper)
        if is_file or (isinstance(result, (list, tuple)) and not adding.is_event_stream):
            adding.release()
            return result
        return _Pieces(result, adding)


class _Adding:
    """The begin of one response, kept until the first piece of its body."""

    __slots__ = ("_environ", "_events", "_handed", "_start", "_start_response", "_write", "is_event_stream", "latest")

    def __init__(self, handed: Handed, environ: Environ, start_response: StartResponse) -> None:
        self._handed = handed
        self._environ = environ
        self._start_response = start_response
        self._start: tuple[str, list[tuple[str, str]], Any] | None = None
        self._write: Callable[[bytes], Any] | None = None
        self._events: Events | None = None
        self.is_event_stream = False
        self.latest = LatestCall()

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        """What the app calls."""
        if self._write is not None:  # headers may only be changed by an error, and the server says so
            return self._start_response(status, headers, exc_info)
        self._start = (status, headers, exc_info)
        self.is_event_stream = self._handed.events and is_event_stream(headers)
        if self.is_event_stream:
            self._events = Events(lambda: self._handed.handle(self.latest, self._environ))
        return self._written

    def release(self) -> None:
        """Sends the headers, if they have not left yet."""
        if self._start is None:
            return
        (status, headers, exc_info), self._start = self._start, None
        handed = self._handed.handle(self.latest, self._environ)
        if handed is not None:
            stay, more = headers_for(handed, headers)
            headers = [*stay, *more]
        self._write = self._start_response(status, headers, *(() if exc_info is None else (exc_info,)))

    def before(self, piece: bytes) -> bytes:
        """What goes before a piece of the body."""
        return b"" if self._events is None else self._events.before(piece)

    def _written(self, piece: bytes) -> None:
        """What an app of the old kind calls with pieces of its body."""
        self.release()
        write = cast("Callable[[bytes], Any]", self._write)  # released, since the app got this from `start`
        write(self.before(piece) + piece)


class _Pieces:
    """The body, piece by piece; model calls made for a piece are noticed."""

    __slots__ = ("_adding", "_iterator", "_result")

    def __init__(self, result: Iterable[bytes], adding: _Adding) -> None:
        self._result = result
        self._iterator: Iterator[bytes] | None = None
        self._adding = adding

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        adding = self._adding
        token = LATEST_CALL.set(adding.latest)
        try:
            if self._iterator is None:
                self._iterator = iter(self._result)
            piece = next(self._iterator)
        except StopIteration:
            adding.release()
            raise
        finally:
            LATEST_CALL.reset(token)
        if piece:
            adding.release()
            return adding.before(piece) + piece
        return piece

    def close(self) -> None:
        """Closes what the app gave."""
        close = getattr(self._result, "close", None)
        if close is not None:
            close()
