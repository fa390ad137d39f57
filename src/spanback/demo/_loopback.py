"""A loopback HTTP server that speaks OpenAI's wire format, with scripted and deterministic answers.

Endpoints, behind any prefix (so that Azure's `/openai/deployments/<name>` and other providers' paths work too):
`POST /chat/completions`, `POST /responses`, `GET /responses/<id>`, `POST /responses/<id>/cancel`,
`POST /completions`, `POST /embeddings`, `GET /models`, `GET /models/<id>`.

A request forces a behaviour by its model's name, or by `[[name]]` in the last message of the user:

| behaviour | what happens |
|---|---|
| `error-NNN` | HTTP status NNN with OpenAI's error body and `x-should-retry: false` |
| `flaky` | 503 that asks to try again in 1 ms; the second try is answered |
| `drop` | the connection closes without an answer |
| `html` | 200 with an HTML page |
| `not-json` | 200 with a JSON content type and a body that is none |
| `slow`, `slow-NNN` | waits before it answers: `pause_s`, or NNN milliseconds |
| `slow-stream`, `slow-stream-NNN` | waits between the chunks of a stream: `chunk_pause_s`, or NNN milliseconds |
| `broken-stream` | the connection closes after three events |
| `error-in-stream` | an error event after three events |
| `empty-stream` | a stream without any event |
| `many-chunks-N` | an answer of N words, so a stream of N text chunks |
| `no-choices` | `choices: null` (responses: `output: null`; embeddings: `data: null`) |
| `no-usage` | `usage: null` |
| `content-null` | a message without content (responses: no message) |
| `refusal` | a refusal instead of content |
| `failed-response` | responses only: status `failed` with an error |
| `incomplete-response` | responses only: status `incomplete` for `max_output_tokens` |

A `max_tokens` smaller than the answer cuts it (`finish_reason: length`), and tools are called when the question names
them (see `_wire.asked_tools`).
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from spanback.demo import _wire, _wire_chat, _wire_responses
from spanback.demo._answers import Json, find_answer, last_question, text_of
from spanback.demo._wire import Behaviour, Call, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

MODELS: Final = ("gpt-4o-mini", "gpt-4.1", "o3", "text-embedding-3-small")

_SECRET_HEADERS: Final = frozenset({"authorization", "api-key", "cookie"})
_ROUTE: Final = re.compile(
    r".*?/(?:deployments/(?P<deployment>[^/]+)/)?"
    r"(?P<endpoint>chat/completions|completions|embeddings|responses|models)(?:/(?P<id>[^/]+)(?P<cancel>/cancel)?)?"
)
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_STREAM_EVENTS_BEFORE_TROUBLE: Final = 3
_WRITE_BYTES: Final = 16_384
_RESPONSES_KEPT: Final = 1_000


@dataclass(frozen=True)
class RecordedRequest:
    """A request as it came in.

    Attributes:
        method: The HTTP method.
        path: The path without its query.
        query: The query's fields.
        headers: The headers by lower-case name, without those that carry a key.
        body: The JSON body, or None.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json | None


class LoopbackServer:
    """The server, running in threads of its own from the moment it is made until `close()`.

    A context manager. Every connection that is still open at `close()` is cut, so that nothing waits for it.

    Args:
        pause_s: How long `slow` waits, in seconds.
        chunk_pause_s: How long `slow-stream` waits between two chunks, in seconds.
        keep: The most requests that are recorded; the oldest go first.
        port: Where to listen on 127.0.0.1; a free port when 0.

    Attributes:
        requests: What came in, oldest first.
    """

    def __init__(self, *, pause_s: float = 0.3, chunk_pause_s: float = 0.02, keep: int = 1_000, port: int = 0) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=keep)
        self._server = _Server(_Script(pause_s, chunk_pause_s), self.requests, port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="spanback-loopback", daemon=True
        )
        self._thread.start()

    @property
    def root_url(self) -> str:
        """The address without a path, which Azure's client takes as its endpoint."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def base_url(self) -> str:
        """The address that OpenAI's client takes as its `base_url`."""
        return f"{self.root_url}/v1"

    def close(self) -> None:
        """Stops the server and cuts its connections. Harmless when called again."""
        self._server.stop()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Script:
    """The endpoints: a parsed request in, a reply out."""

    def __init__(self, pause_s: float, chunk_pause_s: float) -> None:
        self.pause_s = pause_s
        self.chunk_pause_s = chunk_pause_s
        self._numbers = itertools.count(1)
        self._responses: OrderedDict[str, Json] = OrderedDict()

    def answer(self, request: RecordedRequest) -> tuple[Reply, Behaviour]:
        """What to reply, and the behaviour that the request forces on the connection."""
        route = _ROUTE.fullmatch(request.path)
        if route is None or request.method != _method(route):
            return _wire.error(404, f"Unknown request: {request.method} {request.path}"), Behaviour()
        if route["endpoint"] == "models":
            return _models(route["id"]), Behaviour()
        if route["id"]:
            return self._retrieve(route["id"], request, is_cancel=bool(route["cancel"])), Behaviour()
        if request.body is None:
            return _wire.error(400, "The body must be a JSON object."), Behaviour()
        call = self._call(route["endpoint"], request.body, route["deployment"])
        return self._endpoint(route["endpoint"], call, request), call.behaviour

    def _endpoint(self, endpoint: str, call: Call, request: RecordedRequest) -> Reply:
        if call.is_forced("error"):
            return _wire.error(call.behaviour.number or 500, f"Forced by {call.model}.")
        if call.is_forced("flaky") and request.headers.get("x-stainless-retry-count") == "0":
            again = {"x-should-retry": "true", "retry-after-ms": "1"}
            return Reply(body=_wire.error(503, "Try again.").body, status=503, headers=again)
        return self._answer(endpoint, call)

    def _answer(self, endpoint: str, call: Call) -> Reply:
        if endpoint == "chat/completions":
            return _wire_chat.chat(call)
        if endpoint == "completions":
            return _wire_chat.completion(call)
        if endpoint == "embeddings":
            return _wire_chat.embeddings(call)
        response = _wire_responses.finished(call)
        self._responses[response["id"]] = response
        if len(self._responses) > _RESPONSES_KEPT:
            self._responses.popitem(last=False)
        return _wire_responses.create(call, response)

    def _call(self, endpoint: str, body: Json, deployment: str | None) -> Call:
        model = str(body.get("model") or deployment or "")
        if endpoint == "chat/completions":
            question = last_question(body.get("messages") or [])
        elif endpoint == "responses":
            question = last_question(_wire_responses.messages_of(body))
        else:
            given: Any = body.get("prompt") or body.get("input")
            question = text_of(given[0] if isinstance(given, list) and given else given)
        found = find_answer(question)
        return Call(
            body,
            next(self._numbers),
            model,
            question,
            found.said(body.get("seed")),
            Behaviour.chosen_by(model, question, found.behaviour),
        )

    def _retrieve(self, response_id: str, request: RecordedRequest, *, is_cancel: bool) -> Reply:
        response = self._responses.get(response_id)
        if response is None:
            return _wire.error(404, f"Response with id '{response_id}' not found.")
        if is_cancel:
            return Reply(body={**_wire_responses.queued(response), "status": "cancelled"})
        if request.query.get("stream") == "true":
            return _wire_responses.stream(response, int(request.query.get("starting_after", -1)))
        return Reply(body=response)


def _method(route: re.Match[str]) -> str:
    is_read = route["endpoint"] == "models" or (route["id"] and not route["cancel"])
    return "GET" if is_read else "POST"


def _models(model: str | None) -> Reply:
    data = [{"id": name, "object": "model", "created": _wire.CREATED, "owned_by": "openai"} for name in MODELS]
    if model is None:
        return Reply(body={"object": "list", "data": data})
    found = [entry for entry in data if entry["id"] == model]
    return (
        Reply(body=found[0]) if found else _wire.error(404, f"The model '{model}' does not exist.", "model_not_found")
    )


class _Server(ThreadingHTTPServer):
    """Threads and connections: a keep-alive connection has a thread of its own."""

    request_queue_size = 128

    def __init__(self, script: _Script, requests: deque[RecordedRequest], port: int) -> None:
        self.script = script
        self.recorded = requests
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Binds without the reverse DNS query of the base class."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def opened(self, connection: socket.socket) -> None:
        self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        self._connections.discard(connection)

    def stop(self) -> None:
        if self.closing.is_set():
            return
        self.closing.set()
        self.shutdown()
        self.server_close()
        for connection in tuple(self._connections):
            cut(connection)


def cut(connection: socket.socket) -> None:
    """Ends a connection at once, whoever waits on it. Never raises."""
    with suppress(OSError):  # the other side was faster
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 65_536

    def setup(self) -> None:
        super().setup()
        self.owner = cast("_Server", self.server)
        self.owner.opened(self.connection)

    def finish(self) -> None:
        self.owner.closed(self.connection)
        super().finish()

    def handle_one_request(self) -> None:
        """Answers one request; a client that has gone away ends the connection and is no error."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        """Answers; what to do depends on the path alone."""
        self._answer()

    def do_POST(self) -> None:
        """Answers; what to do depends on the path alone."""
        self._answer()

    def _answer(self) -> None:
        request = self._read()
        self.owner.recorded.append(request)
        reply, behaviour = self.owner.script.answer(request)
        if behaviour.name == "slow" and self._wait(behaviour.number, self.owner.script.pause_s):
            return
        if behaviour.name == "drop":
            self._hang_up()
        elif behaviour.name == "html":
            self._send(200, "text/html", b"<html><body>Welcome to the proxy.</body></html>", {})
        elif behaviour.name == "not-json":
            self._send(200, "application/json", b'{"id": "chatcmpl-', {})
        elif reply.events is None:
            self._send(reply.status, "application/json", _wire.to_json(reply.body).encode(), reply.headers)
        else:
            self._stream(reply, behaviour)

    def _read(self) -> RecordedRequest:
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body: Any = json.loads(content) if content else None
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() not in _SECRET_HEADERS}
        found = cast("Json", body) if isinstance(body, dict) else None
        return RecordedRequest(self.command, url.path, dict(parse_qsl(url.query)), headers, found)

    def _send(self, status: int, content_type: str, content: bytes, headers: dict[str, str]) -> None:
        self.wfile.write(self._head(status, content_type, {**headers, "content-length": str(len(content))}) + content)

    def _head(self, status: int, content_type: str, headers: dict[str, str]) -> bytes:
        fields = {"content-type": content_type, "x-request-id": f"req_{len(self.owner.recorded):06d}", **headers}
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Other')}", *(f"{name}: {fields[name]}" for name in fields)]
        return "\r\n".join([*lines, "", ""]).encode()

    def _stream(self, reply: Reply, behaviour: Behaviour) -> None:
        self.wfile.write(self._head(200, "text/event-stream", {"transfer-encoding": "chunked"}))
        is_slow = behaviour.name == "slow-stream"
        for content in _batches(_disturbed(reply, behaviour), 1 if is_slow else _WRITE_BYTES):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            if is_slow and self._wait(behaviour.number, self.owner.script.chunk_pause_s):
                return
        if behaviour.name == "broken-stream":
            self._hang_up()
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _wait(self, milliseconds: int | None, default_s: float) -> bool:
        """Waits, and says whether the server was closed meanwhile."""
        return self.owner.closing.wait(default_s if milliseconds is None else milliseconds / 1_000)

    def _hang_up(self) -> None:
        self.close_connection = True
        cut(self.connection)


def _disturbed(reply: Reply, behaviour: Behaviour) -> Iterator[bytes]:
    """The events of a stream with the trouble that the behaviour forces on it."""
    events = reply.events or iter(())
    if behaviour.name == "empty-stream":
        return iter(())
    if behaviour.name == "broken-stream":
        return itertools.islice(events, _STREAM_EVENTS_BEFORE_TROUBLE)
    if behaviour.name == "error-in-stream":
        return itertools.chain(itertools.islice(events, _STREAM_EVENTS_BEFORE_TROUBLE), (reply.stream_error,))
    return events


def _batches(events: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Joins events into writes of about `size` bytes, so that a fast stream costs few system calls."""
    batch: list[bytes] = []
    length = 0
    for content in events:
        batch.append(content)
        length += len(content)
        if length >= size:
            yield b"".join(batch)
            batch, length = [], 0
    if batch:
        yield b"".join(batch)
