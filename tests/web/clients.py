"""One way to talk to the endpoint as an ASGI and as a WSGI app, in this process."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import httpx

from spanback.web import asgi, wsgi

Kind = Literal["asgi", "wsgi"]
KINDS: tuple[Kind, ...] = ("asgi", "wsgi")


def feedback_app(kind: Kind, **options: Any) -> Any:
    """The endpoint."""
    return (asgi if kind == "asgi" else wsgi).FeedbackApp(**options)


def request(app: Any, kind: Kind, method: str, path: str, **more: Any) -> httpx.Response:
    """What the app answers to one request."""
    if kind == "wsgi":
        with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://host") as client:
            return client.request(method, path, **more)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


class Api:
    """The endpoint, and what it is asked."""

    def __init__(self, kind: Kind, **options: Any) -> None:
        self.kind = kind
        self.app = feedback_app(kind, **options)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Sends a request."""
        return request(self.app, self.kind, method, path, **more)

    def post(self, signal: Any, token: str | None = None, path: str = "/", **headers: str) -> httpx.Response:
        """Gives a signal."""
        content = signal if isinstance(signal, bytes) else json.dumps(signal).encode()
        sent = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return self.request("POST", path, content=content, headers=sent)
