"""The feedback endpoint and the middleware for WSGI apps: Flask, Django and others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from spanback.web._address import forwarded
from spanback.web._endpoint import Endpoint, Options, Pending, cut_off, too_long, too_slow
from spanback.web._http import Head, Problem, Response
from spanback.web._wsgi_middleware import Application, Environ, FeedbackMiddleware, StartResponse

__all__ = ["FeedbackApp", "FeedbackMiddleware", "mounted"]

_PIECE_BYTES: Final = 8_192


class FeedbackApp:
    """The feedback endpoint as a WSGI app, to be mounted anywhere.

    The time that a body may take is watched where the server's socket is known, as it is with gunicorn's and
    Python's own; a body that comes in drops is given up after it in any case, by the server's own timeout else.

    Args:
        options: As in `spanback.web._endpoint.Options`.

    Raises:
        MissingTokenKey: There are neither keys of tokens nor API keys.
        InvalidSetting: An option breaks its rule.
    """

    def __init__(self, **options: Any) -> None:
        self._endpoint = Endpoint(Options(**options))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        options = self._endpoint.options
        head = head_of(environ, options.proxies)
        answer = self._endpoint.begin(head)
        if isinstance(answer, Pending):
            body = _read(environ, options)
            is_bad = isinstance(body, Problem)
            answer = self._endpoint.refuse(head, body) if is_bad else self._endpoint.finish(answer, body)
        return _respond(answer, start_response, with_body=head.method != "HEAD")


def mounted(app: Application, path: str, feedback: Application) -> Application:
    """An app with another one at a path.

    Args:
        app: The app.
        path: Such as `/feedback`.
        feedback: The app at the path and below it.
    """

    def dispatch(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        asked: str = environ.get("PATH_INFO", "")
        if asked != path and not asked.startswith(f"{path}/"):
            return app(environ, start_response)
        moved = {**environ, "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + path, "PATH_INFO": asked[len(path) :]}
        return feedback(moved, start_response)

    return dispatch


def head_of(environ: Environ, proxies: int) -> Head:
    """A request, of a WSGI environ."""
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")
    address = forwarded(headers, proxies) or environ.get("REMOTE_ADDR", "")
    return Head(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), headers, address, environ)


def _read(environ: Environ, options: Options) -> bytes | Problem:
    """The body, or what is wrong with it."""
    stream = environ["wsgi.input"]
    length = int(environ.get("CONTENT_LENGTH") or 0)  # begin has looked at it
    if not length and not environ.get("wsgi.input_terminated"):
        return b""
    limit = length or options.body_limit_bytes + 1
    ends = time.monotonic() + options.body_timeout_s
    set_timeout = _timeout_of(environ)
    before = set_timeout(options.body_timeout_s)
    read: Callable[[int], bytes] = getattr(stream, "read1", None) or stream.read
    pieces = bytearray()
    try:
        while len(pieces) < limit:
            piece = read(min(limit - len(pieces), _PIECE_BYTES))
            if not piece:
                break
            pieces += piece
            if time.monotonic() > ends:
                return too_slow(options.body_timeout_s)
    except TimeoutError:
        return too_slow(options.body_timeout_s)
    except OSError:
        return cut_off()
    finally:
        set_timeout(before)
    if len(pieces) > options.body_limit_bytes:
        return too_long(options.body_limit_bytes)
    return cut_off() if len(pieces) < length else bytes(pieces)


def _timeout_of(environ: Environ) -> Callable[[float | None], float | None]:
    """Sets the timeout of the server's socket, where it is known, and gives the one before."""
    stream = environ["wsgi.input"]
    raw = getattr(stream, "raw", None)
    found = environ.get("gunicorn.socket") or environ.get("werkzeug.socket") or getattr(raw, "_sock", None)

    def put(timeout_s: float | None) -> float | None:
        if found is None:
            return None
        before: float | None = found.gettimeout()
        found.settimeout(timeout_s)
        return before

    return put


def _respond(response: Response, start_response: StartResponse, *, with_body: bool) -> Iterable[bytes]:
    status = HTTPStatus(response.status)
    # The server decides whether a connection is kept: WSGI forbids the header.
    headers = list(response.without("connection").headers)
    start_response(f"{status.value} {status.phrase}", headers)
    return [response.body] if with_body else []
