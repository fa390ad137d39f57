"""The feedback endpoint and the middleware for ASGI apps: FastAPI, Starlette, Django and others."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import coroutine
from typing import Any, Final, TypeVar

from spanback._telemetry import TELEMETRY
from spanback.web._address import forwarded
from spanback.web._asgi_middleware import Application, FeedbackMiddleware, Receive, Scope, Send
from spanback.web._endpoint import Endpoint, Options, Pending, cut_off, too_long, too_slow
from spanback.web._http import Head, Problem, Response

__all__ = ["Application", "FeedbackApp", "FeedbackMiddleware", "Receive", "Scope", "Send", "mounted"]

T = TypeVar("T")

_THREADS: Final = 4
_SLOW_S: Final = 0.005
"""What usually takes longer is done in a thread, so that the event loop goes on meanwhile."""

_WEIGHT: Final = 0.2
"""How much the last signal says of what is usual."""


class FeedbackApp:
    """The feedback endpoint as an ASGI app, to be mounted anywhere.

        app.mount("/feedback", FeedbackApp())

    Args:
        options: As in `spanback.web._endpoint.Options`.

    Raises:
        MissingTokenKey: There are neither keys of tokens nor API keys.
        InvalidSetting: An option breaks its rule.
    """

    def __init__(self, **options: Any) -> None:
        self._endpoint = Endpoint(Options(**options))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="spanback-feedback")
        # The first signal may set the SDK up, which imports exporters; how long one takes is not known before.
        self._usual_s = 2 * _SLOW_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise TypeError(f"a feedback endpoint takes HTTP, not {scope['type']}")
        head = head_of(scope, self._endpoint.options.proxies)
        answer = await self._run(self._endpoint.begin, head) if self._waits(head) else self._endpoint.begin(head)
        if isinstance(answer, Pending):
            body = await self._body(head, receive)
            answer = body if isinstance(body, Response) else await self._finish(answer, body)
        if scope.get("http_version", "1.1") not in {"1.0", "1.1"}:
            answer = answer.without("connection")  # HTTP/2 forbids it (RFC 9113, section 8.2.2)
        await _respond(answer, send, with_body=head.method != "HEAD")

    def _waits(self, head: Head) -> bool:
        """Whether the first step may wait: for a store of rates, or for a record of a withdrawal."""
        return head.method == "DELETE" or (self._endpoint.waits and head.method == "POST")

    async def _finish(self, pending: Pending, body: bytes) -> Response:
        if self._usual_s > _SLOW_S or self._endpoint.waits or TELEMETRY.spool is not None:
            response, took_s = await self._run(self._timed, pending, body)
        else:
            response, took_s = self._timed(pending, body)
        # One may have taken long only because the machine had other things to do, or because the SDK was set up: it
        # moves no more than the next few into a thread, however long it took.
        self._usual_s = self._usual_s * (1 - _WEIGHT) + min(took_s, 5 * _SLOW_S) * _WEIGHT
        return response

    def _timed(self, pending: Pending, body: bytes) -> tuple[Response, float]:
        begun_s = time.perf_counter()
        response = self._endpoint.finish(pending, body)
        return response, time.perf_counter() - begun_s

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        run: Callable[..., Any] = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._threads, run, function, *arguments)

    async def _body(self, head: Head, receive: Receive) -> bytes | Response:
        options = self._endpoint.options
        reading = _read(receive, options.body_limit_bytes)
        try:
            body = await _in_time(reading, options.body_timeout_s)
        except asyncio.TimeoutError:
            return self._endpoint.refuse(head, too_slow(options.body_timeout_s))
        return self._endpoint.refuse(head, body) if isinstance(body, Problem) else body


async def _in_time(reading: Coroutine[Any, None, T], timeout_s: float) -> T:
    """What a coroutine gives. Where it need not wait, as for a body that is there, no timer is made for it."""
    if sys.version_info >= (3, 11):
        try:
            waited_for = reading.send(None)
        except StopIteration as ended:
            return ended.value
        async with asyncio.timeout(timeout_s):  # wait_for would make a task
            return await _begun(reading, waited_for)
    return await asyncio.wait_for(reading, timeout_s)  # pragma: no cover - the tests run with a newer one


@coroutine
def _begun(reading: Coroutine[Any, None, T], waited_for: Any) -> Generator[Any, None, T]:
    """The rest of a coroutine that has begun, and waits."""
    while True:
        try:
            yield waited_for
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's: that it is cancelled, mostly
            step = partial(reading.throw, error)
        else:
            step = partial(reading.send, None)
        try:
            waited_for = step()
        except StopIteration as ended:
            return ended.value


def mounted(app: Application, path: str, feedback: Application) -> Application:
    """An app with another one at a path.

    Args:
        app: The app.
        path: Such as `/feedback`.
        feedback: The app at the path and below it.
    """

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked = below_root(scope)
            if asked == path or asked.startswith(f"{path}/"):
                await feedback({**scope, "path": asked[len(path) :], "root_path": ""}, receive, send)
                return
        await app(scope, receive, send)

    return dispatch


def below_root(scope: Scope) -> str:
    """The path below the place where the app is mounted; servers differ in whether the place is in the path."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def head_of(scope: Scope, proxies: int) -> Head:
    """A request, of an ASGI scope."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    client = scope.get("client")
    address = forwarded(headers, proxies) or (client[0] if client else "")
    query = scope.get("query_string", b"").decode("latin-1")
    return Head(scope["method"], below_root(scope), query, headers, address, scope)


async def _read(receive: Receive, limit_bytes: int) -> bytes | Problem:
    """The body, or what is wrong with it."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return cut_off()
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            return too_long(limit_bytes)
        if not message.get("more_body", False):
            return bytes(body)


async def _respond(response: Response, send: Send, *, with_body: bool) -> None:
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
