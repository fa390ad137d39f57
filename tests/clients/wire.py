"""A loopback HTTP server that speaks the wire format of whatever client is tested."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


@dataclass(frozen=True)
class WireRequest:
    """What a client has sent. `number` counts the requests of one test from 1."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes
    number: int

    @property
    def body(self) -> Any:
        """The JSON that was sent; None for none."""
        return json.loads(self.content) if self.content else None


@dataclass(frozen=True)
class WireAnswer:
    """What the server says.

    Attributes:
        body: The whole body; or its pieces, each sent as one chunk of a chunked body.
        status: HTTP status.
        headers: Besides those of HTTP itself.
        is_cut: Whether the connection breaks after the body, before its proper end.
    """

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    is_cut: bool = False


def as_json(value: Any, status: int = 200, **headers: str) -> WireAnswer:
    """A JSON answer."""
    return WireAnswer(json.dumps(value).encode(), status, {"content-type": "application/json", **headers})


def as_sse(events: Iterable[Any], *, done: bool = False, named: bool = False, is_cut: bool = False) -> WireAnswer:
    """Server-sent events, one JSON value each; with the value's `type` as the event's name where `named`."""

    def pieces() -> Iterator[bytes]:
        for event in events:
            head = f"event: {event['type']}\n" if named else ""
            yield f"{head}data: {json.dumps(event)}\n\n".encode()
        if done:
            yield b"data: [DONE]\n\n"

    return WireAnswer(pieces(), headers={"content-type": "text/event-stream"}, is_cut=is_cut)


def as_lines(values: Iterable[Any], content_type: str = "application/x-ndjson") -> WireAnswer:
    """Lines of JSON."""
    return WireAnswer((json.dumps(value).encode() + b"\n" for value in values), headers={"content-type": content_type})


Answers = Callable[[WireRequest], WireAnswer]


class WireServer:
    """The server. What it answers is set by each test."""

    def __init__(self) -> None:
        self.requests: list[WireRequest] = []
        self._answers: Answers | None = None
        server = self

        class Handler(_Handler):
            wire = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def speak(self, answers: Answers) -> None:
        """Answers as a provider does, and counts requests from 1."""
        self._answers = answers
        self.requests = []

    def answer(self, request: WireRequest) -> WireAnswer:
        """Notes the request and gives its answer."""
        self.requests.append(request)
        return cast("Answers", self._answers)(request)

    @contextmanager
    def running(self) -> Iterator[WireServer]:
        """Serves until it is left."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wire: WireServer

    def handle(self) -> None:
        with suppress(ConnectionError, ValueError):  # a client that stops reading closes the connection
            super().handle()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0)) or self._chunked()
        headers = {name.lower(): value for name, value in self.headers.items()}
        number = len(self.wire.requests) + 1
        answer = self.wire.answer(WireRequest(self.command, self.path, headers, content, number))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes):
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in answer.body:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
        if answer.is_cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST  # noqa: N815 - as above

    def _chunked(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return b""
        pieces: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Always the same: some clients put the headers of an answer into what an app gets."""
        return "Sat, 21 Nov 2026 00:00:00 GMT"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""
