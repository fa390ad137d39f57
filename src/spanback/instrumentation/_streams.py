"""Watching a stream without standing in its way: one watch, and two generators that differ only in `async`."""

from __future__ import annotations

import atexit
import sys
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter, time_ns
from typing import Any, Final

from spanback._never_raise import never_raise
from spanback._spanref import attach
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import Accumulator, Received, member, text
from spanback.instrumentation._call import ABANDONED, Call, Moment, end_abandoned

_CLOSES: Final = ("close", "aclose")
_MOST_CHUNKS: Final = 16
_at_exit: Final[list[Callable[[], None]]] = []


def watch(call: Call, received: Received) -> None:
    """Lets a stream, or a body that the app has yet to read, end its call.

    The stream stays the object that it is: only the iterator inside it is replaced, and until the call has ended the
    `close` of its body.
    """
    make = call.request.endpoint.accumulator
    watched = Watch(call, make(call.has_content) if make else None, received)
    if received.stream is not None:
        inner = getattr(received.stream, received.slot)
        watched.inner = inner
        proxy = _async_chunks if hasattr(inner, "__anext__") else _chunks
        setattr(received.stream, received.slot, proxy(inner, watched))
    TELEMETRY.before_flush.add(end_abandoned)
    if not _at_exit:
        _at_exit.append(atexit.register(end_abandoned))  # now, so that it runs before what a provider has registered
    watched.listen(received.body, watched.close)
    watched.listen(received.holder, watched.leave)


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
        self._first_chunk_s: float | None = None
        self._ended: Moment | None = None

    def fold(self) -> None:
        """Makes room for more chunks: kept ones cost memory, and the garbage collector time. The first is looked at."""
        chunks = self.chunks[:]
        self.chunks.clear()
        if self._first_chunk_s is None:
            self._first_chunk_s = perf_counter() - self.call.start_s
            self.room = _MOST_CHUNKS
            never_raise(self._note_first, chunks[0])
        if self._accumulator is not None and chunks:
            never_raise(self._accumulator.add, chunks)

    def end(self, error: BaseException | None = None) -> None:
        """The stream is over. An app that cancels its task or stops reading has chosen so: that is no error."""
        if self.call.is_open:
            never_raise(self._end, None if isinstance(error, (CancelledError, GeneratorExit)) else error)

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
        if sys.exc_info()[0] is GeneratorExit and not hasattr(self.inner, "ag_running"):
            self.abandon()
        else:
            self.end()

    def abandon(self) -> None:
        """The garbage collector may be at work: the end is noted, and told when it is safe."""
        if self.call.is_open:
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
        whole = member(chunk, "response") or chunk
        response_id = text(member(whole, "id"))
        self.call.index(response_id, text(member(whole, "model")))
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
            first_chunk_s=self._first_chunk_s,
            chunk_times_s=self.times_s or (),
        )

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


def _chunks(inner: Iterator[Any], watched: Watch) -> Iterator[Any]:
    chunks, times_s, handle, needs_handles = watched.chunks, watched.times_s, watched.call.handle, watched.needs_handles
    try:
        for chunk in inner:
            chunks.append(chunk)
            if times_s is not None:
                times_s.append(perf_counter())
            if needs_handles:
                attach(chunk, handle)
            if len(chunks) >= watched.room:
                watched.fold()
                handle, needs_handles = watched.call.handle, watched.needs_handles
            yield chunk
    except GeneratorExit:
        watched.leave()
        raise
    except BaseException as error:
        watched.end(error)
        raise
    watched.end()


async def _async_chunks(inner: AsyncIterator[Any], watched: Watch) -> AsyncIterator[Any]:
    chunks, times_s, handle, needs_handles = watched.chunks, watched.times_s, watched.call.handle, watched.needs_handles
    try:
        async for chunk in inner:
            chunks.append(chunk)
            if times_s is not None:
                times_s.append(perf_counter())
            if needs_handles:
                attach(chunk, handle)
            if len(chunks) >= watched.room:
                watched.fold()
                handle, needs_handles = watched.call.handle, watched.needs_handles
            yield chunk
    except BaseException as error:
        watched.end(error)
        raise
    watched.end()


def _telling(close: Callable[..., Any], tell: Callable[[], None]) -> Callable[..., Any]:
    """A `close` that tells first. An async one is passed through as the coroutine that it returns."""

    def telling(*args: Any, **kwargs: Any) -> Any:
        tell()
        return close(*args, **kwargs)

    return telling
