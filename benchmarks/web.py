"""What feedback over HTTP costs, each beside its floor in the same run: `python -m benchmarks.web`.

* requests a second of `POST /` beside a bare Starlette handler that verifies the same JWT and parses the same body
* issuing a token beside PyJWT's own encode of the same claims
* what the middleware adds to a request in which no model is called
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
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

KEY = new_key()
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


def per_call_us(function: Callable[[], Any], count: int) -> float:
    """Processor time of one call, in microseconds."""
    begun_s = time.process_time()
    for _ in range(count):
        function()
    return (time.process_time() - begun_s) / count * 1e6


def alternately(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each, measured in turns so that what else the machine does meets all of them."""
    found: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for row, measure in zip(found, measures, strict=True):
            row.append(measure())
    return [statistics.median(row) for row in found]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    tracer_provider, logger_provider = TracerProvider(), LoggerProvider()
    nowhere: Any = _Nowhere()
    tracer_provider.add_span_processor(BatchSpanProcessor(nowhere))
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(nowhere))
    spanback.instrument(tracer_provider=tracer_provider, logger_provider=logger_provider, clients=[], set_up=False)

    rates = {"rate_per_token": "100000000/minute", "rate_per_address": "100000000/minute"}
    floor = Starlette(routes=[Route("/", bare, methods=["POST"])])
    ours = FeedbackApp(keys=[KEY], **rates)
    app = Starlette(routes=[Route("/", plain)])
    wrapped = FeedbackMiddleware(app, keys=[KEY])
    claims = jwt.decode(TOKEN, SECRET, algorithms=["HS256"], audience="spanback")
    key_id = jwt.get_unverified_header(TOKEN)["kid"]
    count = arguments.count

    with asyncio.Runner() as runner:

        def timed(asked: Asgi, method: str) -> Callable[[], float]:
            return lambda: runner.run(per_request_us(asked, method, count))

        bare_us, ours_us = alternately(arguments.rounds, timed(floor, "POST"), timed(ours, "POST"))
        without_us, with_us = alternately(arguments.rounds, timed(app, "GET"), timed(wrapped, "GET"))
    encode_us, issue_us = alternately(
        arguments.rounds,
        lambda: per_call_us(lambda: jwt.encode(claims, SECRET, headers={"kid": key_id}), count),
        lambda: per_call_us(lambda: REF.token(keys=[KEY]), count),
    )
    rows = (
        ("POST /", ours_us, "bare Starlette", bare_us, f"{bare_us / ours_us:.2f}x requests a second"),
        ("issuing a token", issue_us, "PyJWT's encode", encode_us, f"{issue_us / encode_us:.2f}x"),
        ("middleware, no model call", with_us, "without it", without_us, f"{with_us - without_us:+.1f} us"),
    )
    for name, mine_us, other, floor_us, verdict in rows:
        print(f"{name:<26} {mine_us:7.1f} us   {other:<15} {floor_us:7.1f} us   {verdict}")


if __name__ == "__main__":
    main()
