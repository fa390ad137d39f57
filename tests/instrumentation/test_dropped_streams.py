"""Streams that nobody ends: what came of them, and that the garbage collector hurts nobody."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

import spanback
from spanback.demo._loopback import LoopbackServer
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import MODEL
from tests.instrumentation.test_processes import run
from tests.instrumentation.test_streams import PARTIAL, STREAM, outcome


async def test_a_dropped_async_stream_ends(instrument: Callable[..., None], connect: Any, memory: Memory) -> None:
    """An async stream that the app forgets ends its span as soon as the loop closes its generators."""
    instrument(capture_content=True)

    async def begin() -> None:
        stream = await connect(is_async=True).chat.completions.create(**STREAM)
        await driving.read(stream, 3)
        await stream.response.aclose()  # the connection; what is dropped is the generator

    await begin()
    gc.collect()
    await asyncio.sleep(0)
    assert outcome(memory) == PARTIAL


@driving.is_async
async def test_a_stream_never_iterated_ends(
    is_async: bool, instrument: Callable[..., None], connect: Any, memory: Memory
) -> None:
    """A stream that nobody reads ends its span when it is collected, without a chunk and without an error; a flush tells of it."""
    instrument()
    stream = await driving.settled(connect(is_async=is_async).chat.completions.create(**STREAM))
    response = stream.response
    del stream
    gc.collect()
    await driving.settled(response.aclose() if is_async else response.close())
    del response
    gc.collect()
    assert spanback.flush(60.0)
    assert memory.span.status.status_code is StatusCode.UNSET
    assert "gen_ai.response.time_to_first_chunk" not in (memory.span.attributes or {})


@driving.needs_responses
@pytest.mark.parametrize(
    ("model", "chunks", "parts"),
    [
        (MODEL, 3, None),
        (MODEL, 6, [{"type": "text", "content": "Visit Kyoto "}]),
        ("broken-stream", None, None),
        ("failed-response", None, None),
        ("o3", 5, None),
        ("o3", 8, [{"type": "text", "content": "Visit Kyoto "}]),
    ],
)
def test_partial_responses(model: str, chunks: int | None, parts: Any, bench: Any) -> None:
    """A response that breaks off, or that the app stops reading, keeps the items and the text that came."""
    bench.instrument(capture_content=True)
    stream = bench.connect().responses.create(model=model, input=driving.QUESTION, stream=True)
    try:
        while chunks is None or chunks > 0:
            next(stream)
            chunks = None if chunks is None else chunks - 1
    except (StopIteration, openai.APIError):
        pass
    stream.close()
    attributes = bench.memory.span.attributes
    messages = json.loads(attributes.get("gen_ai.output.messages", "null"))
    assert messages == (parts and [{"role": "assistant", "parts": parts, "finish_reason": "error"}])
    assert attributes["gen_ai.response.id"] == "resp_000001"


@driving.needs_responses
def test_a_tool_call_that_came_before_the_break(instrument: Any, client: Any, memory: Memory) -> None:
    """An item that was done before the app stopped reading is kept."""
    instrument(capture_content=True)
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": False}
    with client.responses.create(model=MODEL, input="weather?", tools=[tool], stream=True) as stream:
        for event in stream:
            if event.type == "response.output_item.done":
                break
    ((message,),) = [json.loads(memory.span.attributes["gen_ai.output.messages"])]
    assert [part["type"] for part in message["parts"]] == ["tool_call"]


class Locked(SpanProcessor):
    """A processor that takes a lock at every span's end, as exporters and metric readers of the SDK do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.in_lock: Callable[[], object] = list
        self.waited: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Holds the lock while something happens."""
        if not self.lock.acquire(timeout=0.2):
            self.waited.append(span.name)
            return
        try:
            self.in_lock()
        finally:
            self.lock.release()


@pytest.mark.parametrize("chunks", [0, 3])
def test_the_collector_may_run_anywhere(chunks: int, instrument: Any, client: Any, memory: Memory) -> None:
    """A dropped stream that is collected while its thread holds a lock of the SDK does not ask for that lock."""
    instrument()
    locked = Locked()
    memory.tracer_provider.add_span_processor(locked)
    stream = client.chat.completions.create(**STREAM)
    for _ in range(chunks):
        next(stream)
    locked.in_lock = gc.collect
    del stream
    memory.tracer_provider.get_tracer("app").start_span("other").end()
    assert locked.waited == []
    ended_ns = time.time_ns()
    client.embeddings.create(model=MODEL, input="x")
    assert [span.name for span in memory.spans] == ["other", f"chat {MODEL}", f"embeddings {MODEL}"]
    assert memory.spans[1].end_time <= ended_ns


def test_an_apps_generator_around_a_stream(instrument: Any, client: Any, memory: Memory) -> None:
    """A stream inside a generator that the app closes ends its span by the next call, as of the moment it was closed."""
    instrument(capture_content=True)

    def words() -> Iterator[Any]:
        with client.chat.completions.create(**STREAM) as stream:
            yield from stream

    generator = words()
    for _ in range(3):
        next(generator)
    generator.close()
    closed_ns = time.time_ns()
    spanback.uninstrument()
    assert outcome(memory) == PARTIAL
    assert memory.span.end_time <= closed_ns


def test_a_dropped_stream_ends_with_the_process(server: LoopbackServer) -> None:
    """A process that ends after it has dropped a stream still tells of it."""
    code = """
import gc
import spanback
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name)))
spanback.instrument(tracer_provider=provider, set_up=False)
import openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="test")
stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
next(stream)
del stream
gc.collect()
print("dropped")
"""
    assert run(code, server) == "dropped\nchat m"
