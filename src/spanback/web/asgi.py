"""The feedback endpoint and the middleware for ASGI apps: FastAPI, Starlette, Django and others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from spanback._telemetry import TELEMETRY
from spanback.web._endpoint import Endpoint, Options, Pending, cut_off, too_long, too_slow
from spanback.web._http import Head, Problem, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_THREADS: Final = 4
_SLOW_S: Final = 0.005
"""What takes longer is done in a thread from then on, so that the event loop goes on meanwhile."""


class FeedbackApp:
    """The feedback endpoint as an ASGI app, to be mounted anywhere.

        app.mount("/feedback", FeedbackApp())

    Args:
        options: As in `spanback.web.Options`.

    Raises:
        MissingTokenKey: There are neither keys of tokens nor API keys.
        InvalidSetting: An option breaks its rule.
    """

    def __init__(self, **options: Any) -> None:
        self._endpoint = Endpoint(Options(**options))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="spanback-feedback")
        # The first signal may set the SDK up, which imports exporters.
        self._is_slow = True

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
        await _respond(answer, send, with_body=head.method != "HEAD")

    def _waits(self, head: Head) -> bool:
        """Whether the first step may wait: for a store of rates, or for a record of a withdrawal."""
        return head.method == "DELETE" or (self._endpoint.waits and head.method == "POST")

    async def _finish(self, pending: Pending, body: bytes) -> Response:
        if self._is_slow or self._endpoint.waits or getattr(TELEMETRY, "spool", None) is not None:
            response, took_s = await self._run(self._timed, pending, body)
        else:
            response, took_s = self._timed(pending, body)
        self._is_slow = took_s > _SLOW_S
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
        try:
            body = await asyncio.wait_for(_read(receive, options.body_limit_bytes), options.body_timeout_s)
        except asyncio.TimeoutError:
            return self._endpoint.refuse(head, too_slow(options.body_timeout_s))
        return self._endpoint.refuse(head, body) if isinstance(body, Problem) else body


def head_of(scope: Scope, proxies: int) -> Head:
    """A request, of an ASGI scope."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, root = scope["path"], scope.get("root_path", "")
    if root and path.startswith(root):  # servers differ in whether it is still there
        path = path[len(root) :]
    client = scope.get("client")
    address = forwarded(headers, proxies) or (client[0] if client else "")
    return Head(scope["method"], path, scope.get("query_string", b"").decode("latin-1"), headers, address, scope)


def forwarded(headers: dict[str, str], proxies: int) -> str | None:
    """The address that the outermost of your proxies has seen, as X-Forwarded-For says; None without proxies."""
    hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",")] if proxies else []
    return hops[-proxies] or None if len(hops) >= proxies > 0 else None


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
