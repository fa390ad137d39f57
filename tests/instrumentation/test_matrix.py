"""Every way of calling, each with its whole span."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import openai
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from spanback.demo._loopback import LoopbackServer
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import BODIES, Row

FORMS = {
    "chat": ("unary", "streamed", "helper", "parse"),
    "responses": ("unary", "streamed", "helper", "parse"),
    "beta.responses": ("unary", "streamed"),
    "completions": ("unary", "streamed"),
    "embeddings": ("unary",),
}
MODES = {"helper": ("plain",)}
ROWS = [
    Row(endpoint, form, mode)
    for endpoint, forms in FORMS.items()
    for form in forms
    for mode in MODES.get(form, ("plain", "raw", "open"))
    if (endpoint, form, mode) != ("responses", "parse", "open")  # no release has it
]

CHAT_RESPONSE: dict[str, Any] = {
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "openai.response.service_tier": "default",
    "openai.response.system_fingerprint": "fp_5pan6ac501",
    "gen_ai.response.id": "chatcmpl-000001",
}
RESPONSE: dict[str, dict[str, Any]] = {
    "chat": CHAT_RESPONSE,
    "responses": {
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "openai.response.service_tier": "default",
        "gen_ai.response.id": "resp_000001",
    },
    "completions": {
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "openai.response.system_fingerprint": "fp_5pan6ac501",
        "gen_ai.response.id": "cmpl-000001",
    },
    "embeddings": {"gen_ai.response.model": "gpt-4o-mini"},
}
USAGE: dict[str, dict[str, Any]] = {
    "chat": {
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 15,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 0,
    },
    "completions": {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 15},
    "embeddings": {"gen_ai.usage.input_tokens": 10},
}
# The server counts an empty text of instructions, too.
USAGE["responses"] = USAGE["chat"] | {"gen_ai.usage.input_tokens": 13, "gen_ai.usage.cache_read.input_tokens": 6}
OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
API_TYPES = {"chat": "chat_completions", "responses": "responses"}


def request_attributes(row: Row, server: LoopbackServer, model: str) -> dict[str, Any]:
    """What the span of a row says of its request."""
    endpoint = row.endpoint.removeprefix("beta.")
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS.get(endpoint, "chat"),
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "server.address": "127.0.0.1",
        "server.port": server._server.server_port,
    }
    if endpoint in API_TYPES:
        attributes["openai.api.type"] = API_TYPES[endpoint]
    body = server.requests[-1].body or {}
    if endpoint == "embeddings" and "encoding_format" in body:  # newer clients ask for base64 by themselves
        attributes["gen_ai.request.encoding_formats"] = (body["encoding_format"],)
    if row.form in {"streamed", "helper"}:
        attributes["gen_ai.request.stream"] = True
    if row.form == "parse":
        attributes["gen_ai.output.type"] = "json"
    return attributes


def response_attributes(row: Row, *, is_whole: bool) -> dict[str, Any]:
    """What the span of a row says of the response, or of the first chunks of it."""
    endpoint = row.endpoint.removeprefix("beta.")
    attributes = dict(RESPONSE[endpoint])
    if not is_whole:
        return attributes
    if endpoint != "embeddings":
        attributes["gen_ai.response.finish_reasons"] = ("stop",)
    if endpoint == "responses" or row.form in {"unary", "parse"}:
        attributes |= USAGE[endpoint]
    if row.form == "parse":
        attributes["gen_ai.usage.output_tokens"] = 1
    return attributes


def check(memory: Memory, name: str, expected: dict[str, Any], status: tuple[StatusCode, str | None]) -> None:
    """The one span has this name, these attributes of these very types, and this status."""
    span = memory.span
    attributes = dict(span.attributes or {})
    if "gen_ai.request.stream" in expected and "gen_ai.response.id" in expected:
        first_chunk_s = attributes.pop("gen_ai.response.time_to_first_chunk")
        assert type(first_chunk_s) is float
        assert 0 < first_chunk_s < (span.end_time - span.start_time) / 1e9
    assert attributes == expected
    assert {key: type(value) for key, value in attributes.items()} == {k: type(v) for k, v in expected.items()}
    assert (span.name, span.kind, span.parent, span.events, span.links) == (name, SpanKind.CLIENT, None, (), ())
    assert (span.status.status_code, span.status.description) == status
    assert span.instrumentation_scope.name == "spanback"


@pytest.fixture
def start(instrument: Callable[..., None], connect: Callable[..., Any]) -> Callable[[Row, bool], Any]:
    """An instrumented client that has the method of a row."""

    def make(row: Row, is_async: bool) -> Any:
        instrument()
        client = connect(is_async=is_async)
        if driving.method_of(client, row) is None:
            pytest.skip(f"this release of openai has no {row}")
        return client

    return make


@driving.is_async
@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_success(row: Row, is_async: bool, start: Any, memory: Memory, server: LoopbackServer) -> None:
    """A call that is read to its end has one whole span."""
    await driving.drive(start(row, is_async), row)
    expected = request_attributes(row, server, driving.MODEL) | response_attributes(row, is_whole=True)
    check(memory, f"{expected['gen_ai.operation.name']} gpt-4o-mini", expected, (StatusCode.UNSET, None))


@driving.is_async
@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_error(row: Row, is_async: bool, start: Any, memory: Memory, server: LoopbackServer) -> None:
    """A call that the server refuses has one span that says so, and no message of the server."""
    with pytest.raises(openai.RateLimitError):
        await driving.drive(start(row, is_async), row, model="error-429")
    expected = request_attributes(row, server, "error-429") | {"error.type": "RateLimitError"}
    status = (StatusCode.ERROR, "429 rate_limit_exceeded")
    check(memory, f"{expected['gen_ai.operation.name']} error-429", expected, status)


EARLY = [
    pytest.param((row, chunks), id=f"{row}-{chunks}")
    for row, chunks in itertools.product(ROWS, (0, 2))
    if row.form in {"streamed", "helper"} or (row.mode != "plain" and chunks == 0)
]


@driving.is_async
@pytest.mark.parametrize("case", EARLY)
async def test_early_close(case: tuple[Row, int], is_async: bool, start: Any, memory: Memory, server: Any) -> None:
    """An app that has seen enough ends the span of its call, with what came until then and no error."""
    row, chunks = case
    found = await driving.drive(start(row, is_async), row, chunks=chunks)
    expected = request_attributes(row, server, driving.MODEL)
    if row.mode == "raw" and row.form not in {"streamed", "helper"}:
        expected |= response_attributes(row, is_whole=True)
    elif chunks:
        expected |= response_attributes(row, is_whole=False)
    if row.mode == "raw" and chunks == 0 and row.form == "streamed":
        await driving.settled((found.http_response.aclose if is_async else found.http_response.close)())
    check(memory, f"{expected['gen_ai.operation.name']} gpt-4o-mini", expected, (StatusCode.UNSET, None))


def test_the_matrix_is_whole() -> None:
    """The matrix has every endpoint, in every form and mode that a release has."""
    assert {row.endpoint for row in ROWS} == set(BODIES)
    assert len(ROWS) == (3 * 3 + 1) * 2 - 1 + 3 * (2 + 2 + 1)
