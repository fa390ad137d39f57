"""Watching a stream without standing in its way: one watch, and two generators that differ only in `async`."""

from __future__ import annotations

import atexit
import sys
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import chain
from time import perf_counter, time_ns
from typing import Any, Final

from spanback import semconv as sc
from spanback._never_raise import never_raise
from spanback._spanref import HANDLE_ATTRIBUTE, Handle
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import Accumulator, Received
from spanback.instrumentation._begin import Capture
from spanback.instrumentation._call import ABANDONED, Call, Moment, end_abandoned
from spanback.instrumentation._steps import watch_steps

_CLOSES: Final = ("close", "aclose")
_MOST_CHUNKS: Final = 16
_NOTHING: Final = object()
_put: Final = object.__setattr__  # as `attach` does
_at_exit: Final[list[Callable[[], None]]] = []


def watch(call: Call, received: Received, result: Any = None) -> Any:
    """Lets a stream, or a body that the app has yet to read, end its call.

    A stream that is an object stays the object that it is: only the iterator inside it is replaced, and until the call
    has ended the `close` of its body. One that makes its chunks itself is watched as it does. A stream that is nothing
    but a generator is replaced by a generator.

    Returns:
        What the app gets: the result, or the generator in its place.
    """
    watched = _begin_watch(call, received)
    if received.slot == "__next__":
        watch_steps(received.stream, watched)
    elif received.stream is not None:
        inner = received.stream if not received.slot else getattr(received.stream, received.slot)
        watched.inner = inner
        is_async = hasattr(inner, "__anext__")
        if received.slot:
            proxy = _async_chunks if is_async else _chunks
            setattr(received.stream, received.slot, proxy(inner, watched))
        elif is_async:
            result = _async_chunks(inner, watched, partial(_async_open, watched, inner))
        else:
            result = _chunks(inner, watched, partial(_open, watched))
    if received.subscribe is not None:
        received.subscribe(watched)
        return result
    watched.listen(received.body, watched.close)
    watched.listen(received.holder, watched.leave)
    return result


def read_late(start: Callable[[], Call | Capture | None], inner: Any) -> Any:
    """Takes the place of a generator whose first step makes the call. The call begins with that step.

    Args:
        start: Begins the call.
        inner: The generator, sync or async.
    """
    if hasattr(inner, "__anext__"):
        return _async_chunks(inner, None, partial(_async_open_late, start, inner))
    return _chunks(inner, None, partial(_open_late, start, inner))


def _begin_watch(call: Call, received: Received) -> Watch:
    make = received.accumulator or call.request.endpoint.accumulator
    TELEMETRY.before_flush.add(end_abandoned)
    if not _at_exit:
        _at_exit.append(atexit.register(end_abandoned))  # now, so that it runs before what a provider has registered
    return Watch(call, make(call.has_content) if make else None, received)


def _watch_late(call: Call | Capture, inner: Any) -> Watch:
    """The first step is made: the call is left, and its span known."""
    call.leave()
    if isinstance(call, Capture):
        call = call.settle()
    watched = _begin_watch(call, Received(stream=inner))
    watched.inner = inner
    return watched


class Watch:
    """One open stream or unread body. Ends its call once: read to its end, failed, closed, or dropped."""

    def __init__(self, call: Call, accumulator: Accumulator | None, received: Received) -> None:
        self.call = call
        self.inner: Any = None
        self._accumulator = accumulator
        self._pending = received.pending
        self._listening: list[tuple[dict[str, Any], str, Any, Any]] = []
        self.chunks: list[Any] = []
        self.room = 1
        self.times_s: list[float] | None = [] if call.settings.chunk_metrics else None
        self.needs_handles = not call.request.endpoint.has_chunk_ids
        self.first_chunk_s: float | None = None
        self._ended: Moment | None = None
        self._is_stream = received.stream is not None
        self._is_left = False

    def fold(self) -> None:
        """Makes room for more chunks: kept ones cost memory, and the garbage collector time. The first is looked at.

        There is room for only one where the time of each is measured.
        """
        chunks = self.chunks[:]
        self.chunks.clear()
        if self.times_s is not None:
            self.times_s.append(perf_counter())
        if self.first_chunk_s is None:
            self.first_chunk_s = perf_counter() - self.call.start_s
            self.room = _MOST_CHUNKS if self.times_s is None else 1
            never_raise(self._note_first, chunks[0])
        if self._accumulator is not None and chunks:
            never_raise(self._accumulator.add, chunks)

    def take_first(self, chunk: Any) -> tuple[Handle, bool, int]:
        """Takes a first chunk that was fetched ahead; gives the handle, whether others need it, and the room now."""
        self.chunks.append(chunk)
        self.fold()
        return self.call.handle, self.needs_handles, self.room

    def end(self, error: BaseException | None = None) -> None:
        """The stream is over. An app that cancels its task or stops reading has chosen so: that is no error."""
        if self.call.is_open:
            if isinstance(error, (CancelledError, GeneratorExit)):
                self._is_left, error = True, None
            never_raise(self._end, error)

    def close(self) -> None:
        """The body is being closed.

        The client closes it, too, once it is read: then the iterator is running and will tell how it ended. A pending
        response is parsed only after that, so what is noted is the time.
        """
        if self._pending is not None:
            self._ended = self._ended or (time_ns(), perf_counter())
            return
        if not getattr(self.inner, "gi_running", False) and not getattr(self.inner, "ag_running", False):
            self.leave()

    def leave(self) -> None:
        """Nobody reads on: the app has closed what it read from, or the garbage collector has found it.

        The collector closes a generator by GeneratorExit, which is then being handled here, and so does an app that
        closes one of its own around the stream: the two cannot be told apart. Async ones are closed by their loop.
        """
        self._is_left = True
        if sys.exc_info()[0] is GeneratorExit and not hasattr(self.inner, "ag_running"):
            self.abandon()
        else:
            self.end()

    def abandon(self) -> None:
        """The garbage collector may be at work: the end is noted, and told when it is safe."""
        if self.call.is_open:
            self._is_left = True
            self._ended = self._ended or (time_ns(), perf_counter())
            ABANDONED.append(self.end)

    def listen(self, thing: Any, tell: Callable[[], None]) -> None:
        """Has `tell` called before each `close` of a thing, until the call has ended."""
        own: dict[str, Any] | None = getattr(thing, "__dict__", None)
        for name in _CLOSES:
            close = getattr(thing, name, None)
            if own is not None and close is not None:
                telling = _telling(close, tell)
                self._listening.append((own, name, own.get(name), telling))
                own[name] = telling

    def _note_first(self, chunk: Any) -> None:
        """Makes the response known by the id that its first chunk bears, itself or inside.

        Azure's first chunk of a chat bears none; then each chunk gets a handle of its own.
        """
        response_id, response_model = self.call.request.endpoint.identify(chunk)
        self.call.index(response_id, response_model)
        self.call.mark(chunk)
        self.needs_handles = self.needs_handles or response_id is None

    def _end(self, error: BaseException | None) -> None:
        ended = self._ended or (time_ns(), perf_counter())
        self._give_back()
        self.inner = None
        response = None
        if self._pending is not None:
            response = next(iter(self._pending.values()), None)
            self.call.mark(response)
        elif self._accumulator is not None:
            if self.chunks:
                self.fold()
            response = never_raise(self._accumulator.response)
        self.call.end(
            response,
            error=error,
            ended=ended,
            first_chunk_s=self.first_chunk_s,
            chunk_times_s=self.times_s or (),
        )
        if self._is_left and self._is_stream and TELEMETRY.on_abandoned is not None:
            self._tell_left(response, TELEMETRY.on_abandoned)

    def _tell_left(self, response: Any, tell: Callable[[Handle, str | None, str | None], None]) -> None:
        """Tells of a stream that the app has left, unless it had all of the answer by then."""
        endpoint = self.call.request.endpoint
        known = {} if response is None else never_raise(endpoint.read_response, response) or {}
        if not known.get(sc.GEN_AI_RESPONSE_FINISH_REASONS):
            tell(self.call.handle, known.get(sc.GEN_AI_RESPONSE_ID), known.get(sc.GEN_AI_RESPONSE_MODEL))

    def _give_back(self) -> None:
        """Takes every telling `close` away again, but for those that somebody has put theirs around."""
        for own, name, before, telling in self._listening:
            if own.get(name) is telling:
                if before is None:
                    del own[name]
                else:
                    own[name] = before
        self._listening.clear()

    def __del__(self) -> None:
        self.abandon()


# The two generators enter no function for a chunk: whatever they do, they do for each. They stand where the stream had
# its iterator; or, with an opening, in the place of a generator, which the app can no longer reach and they close.


Opening = Callable[[], "tuple[Watch | None, Any]"]
AsyncOpening = Callable[[], Awaitable["tuple[Watch | None, Any]"]]
"""What is done at the first step, and gives the watch and the first chunk."""


def _chunks(  # noqa: C901 - a function for a part of it would be entered for each chunk
    inner: Iterator[Any], watched: Watch | None, opening: Opening | None = None
) -> Iterator[Any]:
    first = _NOTHING
    if opening is not None:
        watched, first = opening()
    if watched is None:
        yield from inner if first is _NOTHING else chain((first,), inner)
        return
    chunks, handle, needs_handles, room = watched.chunks, watched.call.handle, watched.needs_handles, watched.room
    try:
        if first is not _NOTHING:
            handle, needs_handles, room = watched.take_first(first)
            yield first
        for chunk in inner:
            chunks.append(chunk)
            if needs_handles:
                try:
                    _put(chunk, HANDLE_ATTRIBUTE, handle)
                except (AttributeError, TypeError):
                    needs_handles = False
            if len(chunks) >= room:
                watched.fold()
                handle, needs_handles, room = watched.call.handle, watched.needs_handles, watched.room
            yield chunk
    except GeneratorExit:
        watched.leave()
        raise
    except BaseException as error:
        watched.end(error)
        raise
    else:
        watched.end()
    finally:
        if opening is not None:
            _close(inner)


async def _async_chunks(  # noqa: C901, PLR0912 - as above
    inner: AsyncIterator[Any], watched: Watch | None, opening: AsyncOpening | None = None
) -> AsyncIterator[Any]:
    first = _NOTHING
    if opening is not None:
        watched, first = await opening()
    if watched is None:
        if first is not _NOTHING:
            yield first
        async for chunk in inner:
            yield chunk
        return
    chunks, handle, needs_handles, room = watched.chunks, watched.call.handle, watched.needs_handles, watched.room
    try:
        if first is not _NOTHING:
            handle, needs_handles, room = watched.take_first(first)
            yield first
        async for chunk in inner:
            chunks.append(chunk)
            if needs_handles:
                try:
                    _put(chunk, HANDLE_ATTRIBUTE, handle)
                except (AttributeError, TypeError):
                    needs_handles = False
            if len(chunks) >= room:
                watched.fold()
                handle, needs_handles, room = watched.call.handle, watched.needs_handles, watched.room
            yield chunk
    except BaseException as error:
        watched.end(error)
        raise
    else:
        watched.end()
    finally:
        if opening is not None:
            await _async_close(inner)


def _open_late(start: Callable[[], Call | Capture | None], inner: Iterator[Any]) -> tuple[Watch | None, Any]:
    """Makes the call by the first step of a generator; gives its watch, None for no call, and the first chunk."""
    call = never_raise(start)
    if call is None:
        return None, _NOTHING
    try:
        first = next(inner, _NOTHING)
    except BaseException as error:
        never_raise(call.fail, error)
        raise
    return never_raise(_watch_late, call, inner), first


async def _async_open_late(
    start: Callable[[], Call | Capture | None], inner: AsyncIterator[Any]
) -> tuple[Watch | None, Any]:
    call = never_raise(start)
    if call is None:
        return None, _NOTHING
    try:
        first = await anext(inner, _NOTHING)
    except BaseException as error:
        never_raise(call.fail, error)
        raise
    return never_raise(_watch_late, call, inner), first


def _open(watched: Watch) -> tuple[Watch, Any]:
    return watched, _NOTHING


async def _async_open(watched: Watch, inner: AsyncIterator[Any]) -> tuple[Watch, Any]:
    """Fetches the first chunk inside the call: some clients make the request only then."""
    watched.call.enter()
    try:
        return watched, await anext(inner, _NOTHING)
    except BaseException as error:
        watched.end(error)
        raise
    finally:
        watched.call.leave()


def _close(iterator: Any) -> None:
    """Closes what the app can no longer reach: it holds the generator that stands in its place."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


async def _async_close(iterator: Any) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


def _telling(close: Callable[..., Any], tell: Callable[[], None]) -> Callable[..., Any]:
    """A `close` that tells first. An async one is passed through as the coroutine that it returns."""

    def telling(*args: Any, **kwargs: Any) -> Any:
        tell()
        return close(*args, **kwargs)

    return telling
