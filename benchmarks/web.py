"""What feedback over HTTP costs, each beside its floor in the same run: `python -m benchmarks.web`.

* requests a second of `POST /`, served by uvicorn, beside a bare Starlette handler that verifies the same JWT and
  parses the same body: by the processor time of the server's process, with all that it exports; the median of five
  pairs of servers, and the least and the most
* the same without a server, which leaves nothing but the two apps
* issuing a token beside PyJWT's own encode of the same claims
* what the middleware adds to a request in which no model is called
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import spanback
from spanback import SpanRef
from spanback._token_keys import decoded, new_key
from spanback.web.asgi import FeedbackApp, FeedbackMiddleware

_PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
_PARSER.add_argument("--rounds", type=int, default=15)
_PARSER.add_argument("--processes", type=int, default=5, help="pairs of servers; where memory lies makes one slower")
_PARSER.add_argument("--count", type=int, default=300)
_PARSER.add_argument("--serve", choices=("floor", "feedback"), help=argparse.SUPPRESS)
_PARSER.add_argument("--key", help=argparse.SUPPRESS)
_ASKED = _PARSER.parse_args() if __name__ == "__main__" else _PARSER.parse_args([])

KEY = _ASKED.key or new_key()
SECRET = decoded(KEY.partition(":")[2].encode())
REF = SpanRef(
    0x0AF7651916CD43DD8448EB211C80319C,
    0xB7AD6B7169203331,
    True,
    time.time_ns(),
    "chatcmpl-BVnJq8kzH1cTnU3JYm1ZkXl2",
    "openai",
    "gpt-4o-mini",
    "gpt-4o-mini-2024-07-18",
    "museum-guide",
    "12",
    "conv_0123456789abcdef",
)
TOKEN = REF.token(keys=[KEY])
BODY = json.dumps({"score": 1, "name": "user_thumbs", "feedback_id": "3f6c1c7e-9d0a-4b3e-8a3e-0c8f7a6b5d4c"}).encode()
HEADERS = [
    (b"host", b"host"),
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"authorization", f"Bearer {TOKEN}".encode()),
]

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class _Nowhere(SpanExporter):
    """Takes spans and log records, and keeps none."""

    def export(self, _spans: Any) -> SpanExportResult:
        """Says that all is well."""
        return SpanExportResult.SUCCESS


async def bare(request: Request) -> JSONResponse:
    """The floor: the token is verified, the body parsed, nothing is recorded."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    jwt.decode(token, SECRET, algorithms=["HS256"], audience="spanback")
    signal = await request.json()
    return JSONResponse({"feedback_id": signal["feedback_id"], "status": "recorded"}, 202)


async def plain(_request: Request) -> PlainTextResponse:
    """A handler that calls no model."""
    return PlainTextResponse("hello")


async def ask(app: Asgi, scope: dict[str, Any], body: bytes) -> int:
    """One request, without a network."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(dict(scope), receive, send)
    return status


def scope_of(method: str) -> dict[str, Any]:
    """An ASGI scope."""
    return {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": HEADERS,
        "client": ("127.0.0.1", 1),
    }


async def per_request_us(app: Asgi, method: str, count: int) -> float:
    """Processor time of one request, in microseconds."""
    scope = scope_of(method)
    begun_s = time.process_time()
    for _ in range(count):
        status = await ask(app, scope, BODY)
    took_s = time.process_time() - begun_s
    assert status in {200, 202}, status
    return took_s / count * 1e6


def serve(name: str) -> None:
    """Serves one of the apps, in a process of its own; prints its port."""
    import uvicorn

    app: Any = floor_app() if name == "floor" else feedback_app()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    # While the other server is measured, the connection to this one idles.
    Server(uvicorn.Config(app, port=0, log_level="error", access_log=False, timeout_keep_alive=3_600)).run()


class Served:
    """A server in a process of its own, and one connection to it."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.web", "--serve", name, "--key", KEY]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._connection = socket.create_connection(("127.0.0.1", int(self._process.stdout.readline())))
        head = b"".join(b"%b: %b\r\n" % header for header in HEADERS)
        self._request = b"POST / HTTP/1.1\r\n" + head + b"\r\n" + BODY

    def per_request_us(self, count: int) -> float:
        """Processor time of one request in the server's process, in microseconds."""
        begun_s = self._processor_s()
        for _ in range(count):
            self._connection.sendall(self._request)
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come one after the other
                received = self._connection.recv(65_536)
                assert received, "the server has closed the connection"
                answer += received
            assert b" 202 " in answer[:20], answer
        return (self._processor_s() - begun_s) / count * 1e6

    def _processor_s(self) -> float:
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    def close(self) -> None:
        """Ends the server."""
        self._connection.close()
        self._process.terminate()
        self._process.wait()


def per_call_us(function: Callable[[], Any], count: int) -> float:
    """Processor time of one call, in microseconds."""
    begun_s = time.process_time()
    for _ in range(count):
        function()
    return (time.process_time() - begun_s) / count * 1e6


def alternately(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The least of each, measured in turns: what else the machine does adds to it, and meets all of them."""
    found: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for row, measure in zip(found, measures, strict=True):
            row.append(measure())
    return [min(row) for row in found]


def floor_app() -> Starlette:
    """The floor."""
    return Starlette(routes=[Route("/", bare, methods=["POST"])])


def feedback_app() -> FeedbackApp:
    """The endpoint, with spans and log records that go through batch processors."""
    tracer_provider, logger_provider = TracerProvider(), LoggerProvider()
    nowhere: Any = _Nowhere()
    tracer_provider.add_span_processor(BatchSpanProcessor(nowhere))
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(nowhere))
    spanback.instrument(tracer_provider=tracer_provider, logger_provider=logger_provider, clients=[], set_up=False)
    return FeedbackApp(keys=[KEY], rate_per_token="100000000/minute", rate_per_address="100000000/minute")


def served(rounds: int, count: int) -> tuple[float, float]:
    """Processor time of one request to the floor and to the endpoint, by two servers, in microseconds."""
    floor, ours = Served("floor"), Served("feedback")
    floor_us, ours_us = alternately(
        rounds, lambda: floor.per_request_us(5 * count), lambda: ours.per_request_us(5 * count)
    )
    floor.close()
    ours.close()
    return floor_us, ours_us


def main(rounds: int, count: int, processes: int) -> None:
    """Measures and prints."""
    pairs = sorted((served(rounds, count) for _ in range(processes)), key=lambda pair: pair[0] / pair[1])
    floor_us, feedback_us = pairs[len(pairs) // 2]
    (least_floor_us, least_us), (most_floor_us, most_us) = pairs[0], pairs[-1]
    spread = f"{least_floor_us / least_us:.2f} to {most_floor_us / most_us:.2f}"
    floor, ours = floor_app(), feedback_app()
    app = Starlette(routes=[Route("/", plain)])
    wrapped = FeedbackMiddleware(app, keys=[KEY])
    claims = jwt.decode(TOKEN, SECRET, algorithms=["HS256"], audience="spanback")
    key_id = jwt.get_unverified_header(TOKEN)["kid"]
    with asyncio.Runner() as runner:

        def timed(asked: Asgi, method: str) -> Callable[[], float]:
            return lambda: runner.run(per_request_us(asked, method, count))

        bare_us, ours_us = alternately(rounds, timed(floor, "POST"), timed(ours, "POST"))
        without_us, with_us = alternately(rounds, timed(app, "GET"), timed(wrapped, "GET"))
    encode_us, issue_us = alternately(
        rounds,
        lambda: per_call_us(lambda: jwt.encode(claims, SECRET, headers={"kid": key_id}), count),
        lambda: per_call_us(lambda: REF.token(keys=[KEY]), count),
    )
    rows = (
        (
            "POST /, served",
            feedback_us,
            "bare Starlette",
            floor_us,
            f"{floor_us / feedback_us:.2f}x requests a second ({spread})",
        ),
        ("POST /, without a server", ours_us, "bare Starlette", bare_us, f"{bare_us / ours_us:.2f}x requests a second"),
        ("issuing a token", issue_us, "PyJWT's encode", encode_us, f"{issue_us / encode_us:.2f}x"),
        ("middleware, no model call", with_us, "without it", without_us, f"{with_us - without_us:+.1f} us"),
    )
    for name, mine_us, other, floor_of_it_us, verdict in rows:
        print(f"{name:<26} {mine_us:7.1f} us   {other:<15} {floor_of_it_us:7.1f} us   {verdict}")


if __name__ == "__main__":
    if _ASKED.serve:
        serve(_ASKED.serve)
    else:
        main(_ASKED.rounds, _ASKED.count, _ASKED.processes)
