"""How async bodies and streams are watched, as aiobotocore has them; it cannot be installed beside today's botocore."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from spanback.instrumentation.providers import bedrock
from spanback.instrumentation.providers._bedrock_body import Reading


class Body:
    """An async body."""

    def __init__(self, content: bytes, length: int | None = None) -> None:
        self._content = content
        self._content_length = length
        self.is_closed = False

    async def read(self, amt: int | None = None) -> bytes:
        """Reads."""
        if self.is_closed:
            raise ValueError("closed")
        amount = len(self._content) if amt is None else amt
        data, self._content = self._content[:amount], self._content[amount:]
        return data

    def close(self) -> None:
        """Closes."""
        self.is_closed = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise NotImplementedError


class Watch:
    """What the engine is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def end(self, error: BaseException | None = None) -> None:
        """The body is read, or has failed."""
        self.told.append(error)

    def leave(self) -> None:
        """The body is closed."""
        self.told.append("left")

    def abandon(self) -> None:
        """The body is collected."""
        self.told.append("abandoned")


def watched(body: Any) -> tuple[Reading, Watch]:
    """A body that is looked at."""
    watch = Watch()
    reading = Reading(body, json.loads)
    reading.begin(watch)
    return reading, watch


async def test_an_async_body_is_read() -> None:
    """The last piece ends the call, and what was read is understood."""
    body = Body(b'{"a": 1}', 8)
    reading, watch = watched(body)
    assert await body.read(4) + await body.read(amt=4) == b'{"a": 1}'
    assert (reading.pending, watch.told) == ({"body": {"a": 1}}, [None])
    assert "read" not in vars(body)


async def test_an_async_body_fails() -> None:
    """What the body raises is the call's error; an app's wrapper around ours stays."""
    body = Body(b"")
    _, watch = watched(body)
    body.is_closed = True
    mine: Any = body.close
    body.close = partial(mine)
    with pytest.raises(ValueError, match="closed") as caught:
        await body.read()
    assert watch.told == [caught.value]
    assert "close" in vars(body)


def test_an_async_body_is_closed() -> None:
    """To close is to leave; what the garbage collector closes is abandoned."""
    body = Body(b"")
    _, watch = watched(body)
    body.close()
    other: Any = Body(b"")
    other._finalizing = True
    _, abandoned = watched(other)
    other.close()
    assert (watch.told, abandoned.told, body.is_closed, other.is_closed) == (["left"], ["abandoned"], True, True)


def test_what_is_no_bytes_or_too_long() -> None:
    """A body of a kind that nobody knows is not understood, and none that is longer than answers are."""
    content: list[Any] = ["text", b"x" * (1 << 23)]
    body = SimpleNamespace(_raw_stream=None, read=lambda _amt=None: content.pop(0), close=lambda: None)
    reading, watch = watched(body)
    body.read()
    assert watch.told == []
    body.read()
    assert (reading.pending, watch.told) == ({}, [None])


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_an_async_stream_is_parsed_as_it_arrives(is_awaited: bool) -> None:
    """Each message is parsed once, and the stream's own iteration gets what it would have made."""

    async def messages() -> AsyncIterator[Any]:
        yield SimpleNamespace(payload=1)

    def parse(message: Any) -> Any:
        return {"chunk": message.payload}

    async def async_parse(message: Any) -> Any:
        return parse(message)

    stream = SimpleNamespace(_event_generator=messages(), _parse_event=async_parse if is_awaited else parse)
    bedrock._watchable(stream)
    found = [stream._parse_event(message) async for message in stream._event_generator]
    assert [await one if is_awaited else one for one in found] == [{"chunk": 1}]


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_first_message_of_a_stream(is_async: bool) -> None:
    """Who asks a stream for its first message gets the message itself, and the rest is parsed as before."""

    class Stream:
        """As far as the client's own class matters here."""

        def __init__(self) -> None:
            messages = [SimpleNamespace(payload=number) for number in range(3)]
            self._event_generator: Any = given(messages) if is_async else iter(messages)

        def _parse_event(self, message: Any) -> Any:
            return {"chunk": message.payload}

        def get_initial_response(self) -> Any:
            return self._first() if is_async else next(self._event_generator)

        async def _first(self) -> Any:
            return await anext(self._event_generator)

    async def given(messages: list[Any]) -> AsyncIterator[Any]:
        for message in messages:
            yield message

    stream = Stream()
    bedrock._watchable(stream)
    first = stream.get_initial_response()
    assert (await first if is_async else first).payload == 0
    rest = stream._event_generator
    pairs = [pair async for pair in rest] if is_async else list(rest)
    assert [stream._parse_event(pair) for pair in pairs] == [{"chunk": 1}, {"chunk": 2}]
