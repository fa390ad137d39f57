"""Stands between spools and the real collector, and misbehaves as backends and networks do."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.export.spool.backend import REQUESTS, RESPONSES

MODES = ("pass", "slow", "429", "503", "partial", "lost answer", "reset")
SLOW_S = 0.3


class Proxy:
    """What it does at the moment, and what it has done.

    Attributes:
        url: Its base URL.
        mode: One of `MODES`.
        done: How many requests it has treated in each of them.
    """

    def __init__(self, target: str) -> None:
        self.url = ""
        self.mode = "pass"
        self.done: Counter[str] = Counter()
        self._target = urlsplit(target).netloc
        self._forwarding = threading.Lock()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Forwards nothing for the time of a block, and nothing is under way in it."""
        before, self.mode = self.mode, "503"
        with self._forwarding:
            yield
        self.mode = before

    def forward(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Hands a request on; 502 where nobody answers."""
        # Closed by hand: a connection that is only let go of warns of its open socket.
        with self._forwarding, closing(http.client.HTTPConnection(self._target, timeout=10)) as connection:
            try:
                connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"})
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                return 502, b""

    def partial(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Hands half of the records on and says that the others were rejected; a record alone gets through."""
        kind = path.rpartition("/")[2]
        message = REQUESTS[kind].FromString(body)
        resources = message.resource_spans if kind == "traces" else message.resource_logs
        scopes = resources[0].scope_spans if kind == "traces" else resources[0].scope_logs
        items = scopes[0].spans if kind == "traces" else scopes[0].log_records
        rejected = len(items) // 2
        del items[len(items) - rejected :]
        status, content = self.forward(path, message.SerializeToString())
        if status != 200:
            return status, content
        response = RESPONSES[kind]()
        setattr(response.partial_success, "rejected_spans" if kind == "traces" else "rejected_log_records", rejected)
        response.partial_success.error_message = "half of it" if rejected else ""
        return status, response.SerializeToString()


@contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    """Runs a proxy in front of a base URL."""
    proxy = Proxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            mode = proxy.mode
            proxy.done[mode] += 1
            if mode == "reset":
                self.close_connection = True
                return
            if mode == "slow":
                time.sleep(SLOW_S)
            if mode in ("429", "503"):
                status, content = int(mode), b""
            elif mode == "partial":
                status, content = proxy.partial(self.path, body)
            else:
                status, content = proxy.forward(self.path, body)
            if mode == "lost answer":
                self.close_connection = True
                return
            self.send_response(status)
            if mode == "429":
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    class QuietServer(ThreadingHTTPServer):
        def handle_error(self, *args: Any) -> None:
            """A killed process leaves its connection; that is what this is for."""

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
