"""Over all clients and call styles: one span a call, as exact as can be said, and an app that notices nothing."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

import spanback
from tests.clients.cases import MODEL_ERROR, ClientCase, Style
from tests.clients.conftest import settled
from tests.clients.wire import WireServer

MODULES = (
    "anthropic",
    "bedrock",
    "bedrock_async",
    "cohere",
    "google_genai",
    "groq",
    "litellm",
    "mistralai",
    "ollama",
    "together",
)
"""The files of this folder that hold a `CASE`."""

MODEL = "model-1"
LOOP_TURNS = 20
"""How often a loop turns at most until it has closed async generators that stand one inside the other."""

ENDS: dict[str, Callable[[Any], Any]] = {}


def cases() -> list[tuple[ClientCase, Style]]:
    """Every client that is installed, in every style that its release has."""
    found: list[tuple[ClientCase, Style]] = []
    for name in MODULES:
        try:
            case = importlib.import_module(f"tests.clients.{name}").CASE
            installed = tuple(int(part) for part in version(case.distribution).split(".")[:3] if part.isdigit())
        except (ImportError, PackageNotFoundError):
            continue
        found += [(case, style) for style in case.styles if style.from_version <= installed]
    return found


CASES = cases()
over_all = pytest.mark.parametrize(
    ("case", "style"), CASES, ids=[f"{case.client}-{style.name}" for case, style in CASES]
)
over_streams = pytest.mark.parametrize(
    ("case", "style"),
    [(case, style) for case, style in CASES if style.is_stream],
    ids=[f"{case.client}-{style.name}" for case, style in CASES if style.is_stream],
)


async def entered(stack: AsyncExitStack, thing: Any) -> Any:
    """What a context manager of either kind gives, until the stack is left; anything else as it is."""
    if hasattr(thing, "__aenter__"):
        return await stack.enter_async_context(thing)
    return stack.enter_context(thing) if hasattr(thing, "__enter__") else thing


async def steps(stream: Any) -> AsyncIterator[Any]:
    """The chunks of a stream of either kind."""
    if hasattr(stream, "__aiter__"):
        async for chunk in stream:
            yield chunk
    else:
        for chunk in stream:
            yield chunk


async def made(style: Style, client: Any, model: str = MODEL) -> Any:
    """Makes the call, and reads all that it gives; what an app could rate."""
    got = await settled(style.call(client, model))
    if style.is_stream:
        async with AsyncExitStack() as stack:
            stream = await entered(stack, got)
            chunks = [chunk async for chunk in steps(stream)]
        return style.rated(chunks, stream) if style.rated else chunks[-1]
    if style.reads is not None:
        got = await settled(style.reads(got))
    return style.rated(got) if style.rated else got


async def outcome(style: Style, client: Any, model: str) -> Any:
    """What an app sees of a call: what it gives, or the exception's type and text."""
    try:
        got = await made(style, client, model)
    except Exception as error:  # noqa: BLE001 - any of them is what the app would see
        return type(error), str(error)
    return type(got), timeless(got.model_dump() if hasattr(got, "model_dump") else got)


def timeless(value: Any) -> Any:
    """A response without the second in which its client made it; what is neither a dict nor a list as text."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name != "created"}
    return [timeless(one) for one in value] if isinstance(value, list) else str(value)


def expected(case: ClientCase, style: Style, wire: WireServer) -> dict[str, Any]:
    """The attributes of the span of a call in a style."""
    attributes = dict(style.attributes)
    if case.has_server_address:
        attributes |= {"server.address": "127.0.0.1", "server.port": wire.port}
    return attributes | ({"gen_ai.request.stream": True} if style.is_stream else {})


@over_all
async def test_a_call_is_one_span(case: ClientCase, style: Style, bench: Any) -> None:
    """A call has one CLIENT span with exactly these attributes, and what the app holds refers to it."""
    bench.instrument()
    got = await made(style, bench.connect(case, style))
    span = bench.memory.span
    attributes = dict(span.attributes)
    first_chunk_s = attributes.pop("gen_ai.response.time_to_first_chunk", None)
    assert attributes == expected(case, style, bench.wire)
    assert (first_chunk_s is not None) is style.is_stream
    assert (span.name, span.kind, span.status.status_code) == (style.span_name, SpanKind.CLIENT, StatusCode.UNSET)
    assert spanback.reference(got).span_id == span.context.span_id
    assert bench.memory.logs == []


@over_all
async def test_content_only_when_asked_for(case: ClientCase, style: Style, bench: Any) -> None:
    """With capture on, the span has what was said, in the shape of the conventions."""
    bench.instrument(capture_content=True)
    await made(style, bench.connect(case, style))
    names = ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions")
    found = {name: json.loads(value) for name, value in bench.memory.span.attributes.items() if name in names}
    assert style.content is None or found == style.content


@over_all
async def test_an_error_is_the_clients_own(case: ClientCase, style: Style, bench: Any) -> None:
    """An error is the very exception that the app would get, and the span names it."""
    client = bench.connect(case, style)
    before = await outcome(style, client, MODEL_ERROR)
    assert isinstance(before[0], type), before
    assert issubclass(before[0], Exception), before
    bench.instrument()
    assert await outcome(style, client, MODEL_ERROR) == before
    span = bench.memory.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == style.error_type


@pytest.mark.parametrize(
    ("case", "style", "model"),
    [(case, style, model) for case, style in CASES for model in style.odd],
    ids=[f"{case.client}-{style.name}-{model}" for case, style in CASES for model in style.odd],
)
async def test_odd_answers(case: ClientCase, style: Style, model: str, bench: Any) -> None:
    """An app sees of an odd answer exactly what it sees without spanback, and one span ends."""
    client = bench.connect(case, style)
    before = await outcome(style, client, model)
    bench.wire.speak(case.answers)
    bench.instrument(capture_content="span_and_event")
    assert await outcome(style, client, model) == before
    assert bench.memory.span.name == style.span_name.replace(MODEL, model)


@over_streams
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what the app leaves open is its own
@pytest.mark.parametrize("how", ["close", "leave", "drop", "never read", "raise", "cancel"])
async def test_a_stream_that_is_not_read_to_its_end(case: ClientCase, style: Style, how: str, bench: Any) -> None:
    """However an app stops reading, one span ends, and to stop is no error."""
    bench.instrument(capture_content=True)
    client = bench.connect(case, style)
    stopped = RuntimeError("the app's own")

    async def part() -> None:
        got = await settled(style.call(client, MODEL))
        async with AsyncExitStack() as stack:
            stream = await entered(stack, got)
            if how == "never read":
                return
            iterator = steps(stream)
            await anext(iterator)
            if how == "raise":
                raise stopped
            if how == "cancel":
                asyncio.current_task().cancel()
                await asyncio.sleep(1)
            await iterator.aclose()
            close = getattr(stream, "close", None) or getattr(stream, "aclose", None)
            if how == "close" and close is not None:
                await settled(close())

    task = asyncio.ensure_future(part())
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert result is (stopped if how == "raise" else result)
    del task, result
    stopped.__traceback__ = None
    gc.collect()
    for _ in range(LOOP_TURNS):
        await asyncio.sleep(0)
    gc.collect()  # the loop has closed the generators; a client's streams may refer to themselves
    spanback.flush()
    span = bench.memory.span if how != "never read" or bench.memory.counted.started else None
    if span is not None:
        assert (span.name, span.status.status_code) == (style.span_name, StatusCode.UNSET)


@over_streams
async def test_feedback_from_the_first_chunk(case: ClientCase, style: Style, bench: Any) -> None:
    """While a stream is open its span can be referred to, by a chunk or by the stream."""
    bench.instrument()
    got = await settled(style.call(bench.connect(case, style), MODEL))
    async with AsyncExitStack() as stack:
        stream = await entered(stack, got)
        iterator = steps(stream)
        chunk = await anext(iterator)
        held = style.rated([chunk], stream) if style.rated else chunk
        reference = spanback.reference(held)
        assert bench.memory.counted.ended == 0
        async for _ in iterator:
            pass
    assert reference is not None
    assert reference.span_id == bench.memory.span.context.span_id
