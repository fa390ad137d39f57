"""A stream ends its span once, however it ends, and stays what it was for the app."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import pickle
from collections.abc import AsyncGenerator, Callable
from typing import Any

import openai
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from spanback.demo._loopback import LoopbackServer
from spanback.instrumentation._call import end_abandoned
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import MESSAGES, MODEL, httpx

STREAM = {"model": MODEL, "messages": MESSAGES, "stream": True}


def outcome(memory: Memory) -> tuple[StatusCode, str | None, str]:
    """Status and error type of the one span, and the text that came until it ended."""
    attributes = memory.span.attributes or {}
    (message,) = json.loads(str(attributes["gen_ai.output.messages"]))
    text = "".join(part["content"] for part in message["parts"])
    return memory.span.status.status_code, attributes.get("error.type"), text


PARTIAL = (StatusCode.UNSET, None, "Visit Kyoto ")


def break_and_close(stream: Any) -> None:
    """A loop that ends early, and `close()`."""
    driving_read(stream)
    stream.close()


def break_in_with(stream: Any) -> None:
    """A loop that ends early inside `with`."""
    with stream:
        driving_read(stream)


def close_response(stream: Any) -> None:
    """The response behind the stream is closed."""
    driving_read(stream)
    stream.response.close()


def drop(stream: Any) -> None:
    """The app forgets the stream, once its caller has."""
    driving_read(stream)


def raise_in_loop(stream: Any) -> None:
    """The body of the loop raises, inside `with`."""

    def loop() -> None:
        with stream:
            for number, _chunk in enumerate(stream):
                1 / (2 - number)

    with pytest.raises(ZeroDivisionError):
        loop()


def close_twice(stream: Any) -> None:
    """The stream is closed twice, and read once more after that."""
    driving_read(stream)
    stream.close()
    stream.close()
    stream._iterator.close()


def driving_read(stream: Any) -> None:
    """Reads the role and two words."""
    for _ in range(3):
        next(stream)


@pytest.mark.parametrize("how", [break_and_close, break_in_with, close_response, drop, raise_in_loop, close_twice])
def test_an_early_end_keeps_what_came(
    how: Callable[[Any], None], instrument: Callable[..., None], client: Any, memory: Memory
) -> None:
    """However the app stops reading: one ended span, the text so far, and no error."""
    instrument(capture_content=True)
    how(client.chat.completions.create(**STREAM))
    gc.collect()
    end_abandoned()
    assert outcome(memory) == PARTIAL


async def async_close(stream: Any) -> None:
    """`close()`."""
    await driving.read(stream, 3)
    await stream.close()


async def async_break_in_with(stream: Any) -> None:
    """A loop that ends early inside `async with`."""
    async with stream:
        await driving.read(stream, 3)


async def async_close_response(stream: Any) -> None:
    """The response behind the stream is closed."""
    await driving.read(stream, 3)
    await stream.response.aclose()


async def async_close_iterator(stream: Any) -> None:
    """The generator inside the stream is closed from another task."""
    await driving.read(stream, 3)
    await asyncio.create_task(stream._iterator.aclose())
    await stream.close()


async def async_raise_in_loop(stream: Any) -> None:
    """The body of the loop raises, inside `async with`."""

    async def loop() -> None:
        async with stream:
            async for chunk in stream:
                1 / (chunk.choices[0].delta.content != "Kyoto ")

    with pytest.raises(ZeroDivisionError):
        await loop()


@pytest.mark.parametrize(
    "how", [async_close, async_break_in_with, async_close_response, async_close_iterator, async_raise_in_loop]
)
async def test_an_early_async_end_keeps_what_came(
    how: Callable[[Any], Any], instrument: Callable[..., None], connect: Any, memory: Memory
) -> None:
    """However the app stops reading an async stream: one ended span, the text so far, and no error."""
    instrument(capture_content=True)
    await how(await connect(is_async=True).chat.completions.create(**STREAM))
    assert outcome(memory) == PARTIAL


async def test_a_cancelled_task_ends_its_stream(
    instrument: Callable[..., None], connect: Any, memory: Memory, server: LoopbackServer
) -> None:
    """A task that is cancelled while it waits for a chunk ends its span without an error, and gets the very exception."""
    instrument(capture_content=True)
    stream = await connect(is_async=True).chat.completions.create(**{**STREAM, "model": "slow-stream-60000"})
    first = asyncio.Event()
    caught: list[BaseException] = []

    async def consume() -> None:
        try:
            async for _chunk in stream:
                first.set()
        except asyncio.CancelledError as error:
            caught.append(error)
            raise

    task = asyncio.create_task(consume())
    await first.wait()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [error.args for error in caught] == [("enough",)]
    assert outcome(memory) == (StatusCode.UNSET, None, "")


@driving.is_async
@pytest.mark.parametrize("model", ["broken-stream", "error-in-stream"])
async def test_a_stream_that_fails_says_so(
    model: str, is_async: bool, instrument: Callable[..., None], connect: Any, memory: Memory
) -> None:
    """A stream that breaks ends its span with the error that the app gets, and with what came before."""
    instrument(capture_content=True)
    stream = await driving.settled(connect(is_async=is_async).chat.completions.create(**{**STREAM, "model": model}))
    # The client's own error, but for a broken connection in release 1, which lets its HTTP library's through.
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)) as raised:
        await driving.read(stream)
    assert outcome(memory) == (StatusCode.ERROR, type(raised.value).__qualname__, "Visit Kyoto ")


@driving.is_async
async def test_an_empty_stream(is_async: bool, instrument: Any, connect: Any, memory: Memory) -> None:
    """A stream without any event ends its span."""
    instrument(capture_content=True)
    stream = await driving.settled(
        connect(is_async=is_async).chat.completions.create(**{**STREAM, "model": "empty-stream"})
    )
    assert await driving.read(stream) == []
    assert "gen_ai.response.id" not in (memory.span.attributes or {})
    assert memory.span.status.status_code is StatusCode.UNSET


@driving.is_async
async def test_a_stream_stays_what_it_was(is_async: bool, instrument: Any, connect: Any) -> None:
    """Type, response, headers, iteration and context manager of a stream are the client's own."""
    client = connect(is_async=is_async)
    before = await driving.settled(client.chat.completions.create(**STREAM))
    plain = [chunk.model_dump(exclude={"id"}) for chunk in await driving.read(before)]
    instrument()
    stream = await driving.settled(client.chat.completions.create(**STREAM))
    assert type(stream) is (openai.AsyncStream if is_async else openai.Stream)
    assert stream.response.headers["content-type"] == "text/event-stream"
    assert (hasattr(stream, "__anext__"), hasattr(stream, "__next__")) == (is_async, not is_async)
    assert inspect.isasyncgen(stream._iterator) is is_async
    assert inspect.isgenerator(stream._iterator) is not is_async
    assert vars(stream).keys() - {"_spanback"} == vars(before).keys()
    async with driving.entered(stream) as entered:
        assert entered is stream
        assert [chunk.model_dump(exclude={"id"}) for chunk in await driving.read(stream)] == plain
    assert not {"close", "aclose"} & vars(stream.response).keys()


def test_a_close_of_somebody_else_is_given_back(instrument: Any, client: Any) -> None:
    """A `close` that was put on the response's very object is there again after the stream, and theirs around ours stays."""
    instrument()
    calls: list[str] = []

    def created(prepare: Callable[[Any], None]) -> Any:
        http = client._client
        send = http.send

        def sending(*args: Any, **kwargs: Any) -> Any:
            response = send(*args, **kwargs)
            prepare(response)
            return response

        http.send = sending
        try:
            return client.chat.completions.create(**STREAM)
        finally:
            http.send = send

    def theirs(response: Any) -> None:
        close = response.close
        response.close = lambda: (calls.append("theirs"), close())

    stream = created(theirs)
    own = vars(stream.response)["close"]
    stream.close()
    assert calls == ["theirs"]
    assert vars(stream.response)["close"] is not own

    stream = created(lambda _response: None)
    theirs(stream.response)
    around = stream.response.close
    stream.close()
    assert stream.response.close is around
    stream.close()
    assert calls == ["theirs"] * 3


def test_chunks_are_picklable_while_the_stream_is_open(instrument: Any, client: Any) -> None:
    """What a chunk carries is primitive."""
    instrument()
    stream = client.chat.completions.create(**STREAM)
    chunk = next(stream)
    assert pickle.loads(pickle.dumps(chunk))._spanback == chunk._spanback
    stream.close()


@driving.is_async
async def test_the_current_span_stays_the_callers(
    is_async: bool, instrument: Any, connect: Any, memory: Memory
) -> None:
    """Between chunks and after the stream the current span is the caller's; what starts there is the call's sibling."""
    instrument()
    tracer = memory.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("request") as request:
        stream = await driving.settled(connect(is_async=is_async).chat.completions.create(**STREAM))
        for _ in range(2):
            await driving.read(stream, 1)
            assert trace.get_current_span() is request
            with tracer.start_as_current_span("tool"):
                pass
        await driving.settled(stream.close())
        assert trace.get_current_span() is request
    tools, (call,), (request_span,) = memory.spans[:2], memory.spans[2:3], memory.spans[3:]
    assert [span.name for span in tools] == ["tool", "tool"]
    assert call.name == f"chat {MODEL}"
    assert {span.parent.span_id for span in (*tools, call)} == {request_span.context.span_id}


async def test_a_generator_closed_from_another_task(
    instrument: Any, connect: Any, memory: Memory, complaints: Any
) -> None:
    """An app's async generator around a stream may be closed by any task; OpenTelemetry's context has nothing to say."""
    instrument()
    client = connect(is_async=True)

    async def words() -> AsyncGenerator[Any, None]:
        async with await client.chat.completions.create(**STREAM) as stream:
            async for chunk in stream:
                yield chunk

    generator = words()
    await anext(generator)
    await asyncio.create_task(generator.aclose())
    assert complaints.messages == []
    assert memory.span.name == f"chat {MODEL}"


def test_an_endless_stream_takes_no_endless_memory(instrument: Any, client: Any, memory: Memory) -> None:
    """Of the chunks read so far no more than a few are kept."""
    instrument(capture_content=True)
    stream = client.chat.completions.create(**{**STREAM, "model": "many-chunks-2000"})
    most = 0
    for _chunk in stream:
        if inspect.isgenerator(stream._iterator) and stream._iterator.gi_frame is not None:
            most = max(most, len(stream._iterator.gi_frame.f_locals["watched"].chunks))
    assert most == 15
    assert outcome(memory)[2] == "word " * 2000
    assert (memory.span.attributes or {})["gen_ai.response.finish_reasons"] == ("stop",)
