"""A stand-in for the feedback endpoint, for tests of what the browser sends: it notes requests and answers as told."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

MODULE = Path(__file__).parents[2] / "src" / "spanback" / "web" / "static" / "feedback.js"
_TYPES = {".js": "text/javascript", "": "text/html; charset=utf-8"}


class Request(NamedTuple):
    """One request: `POST` with its body, or `DELETE` with the id and the token that the header holds.

    Attributes:
        method: Of the request.
        body: What it says.
        is_beacon: Whether the page has sent it without waiting for an answer.
    """

    method: str
    body: dict[str, Any]
    is_beacon: bool = False


class Answer(NamedTuple):
    """What to answer a request with."""

    status: int
    body: dict[str, Any] | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never written to


@dataclass
class Endpoint:
    """The stand-in, serving until `close()`: pages below `/`, and the endpoint below `/feedback/`.

    Attributes:
        page: What any page holds.
        requests: What came in, oldest first.
        answers: What the next requests are answered with; 202 where there is none left.
        is_stalled: While it is set, nothing but beacons is taken.
    """

    page: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    is_stalled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """The address of the pages."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The signals, without tokens and ids."""
        return [
            {key: value for key, value in request.body.items() if key not in {"token", "feedback_id"}}
            for request in self.requests
        ]

    @property
    def ids(self) -> list[str]:
        """The ids of the signals."""
        return [request.body["feedback_id"] for request in self.requests]

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(endpoint) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the connection's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                is_module = path.endswith("/feedback.js")
                content = MODULE.read_bytes() if is_module else endpoint.page.encode()
                self.reply(200, content, {"Content-Type": _TYPES[".js" if is_module else ""]})

            def do_POST(self) -> None:
                is_beacon = self.headers["Sec-Fetch-Mode"] == "no-cors"
                if endpoint.is_stalled.is_set() and not is_beacon:
                    self.close_connection = True
                    self.rfile.read(1_000_000)  # until the page has gone
                    return
                text = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "text/plain;charset=UTF-8"
                assert self.path == "/feedback/"
                self.note(Request("POST", json.loads(text), is_beacon))

            def do_DELETE(self) -> None:
                url = urlsplit(self.path)
                token = self.headers["Authorization"].removeprefix("Bearer ")
                name = url.query.removeprefix("name=")
                feedback_id = unquote(url.path.removeprefix("/feedback/"))
                self.note(Request("DELETE", {"feedback_id": feedback_id, "token": token, "name": name}))

            def note(self, request: Request) -> None:
                endpoint.requests.append(request)
                answer = endpoint.answers.popleft() if endpoint.answers else Answer(202)
                body = answer.body or {"feedback_id": request.body["feedback_id"], "status": "recorded"}
                self.reply(answer.status, json.dumps(body).encode(), answer.headers)

            def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                try:
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # the page has gone

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Handler
