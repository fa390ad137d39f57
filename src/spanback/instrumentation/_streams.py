"""Watching a stream without standing in its way: one watch, and two generators that differ only in `async`."""

from __future__ import annotations

import atexit
import sys
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter, time_ns
from typing import Any, Final

from spanback._never_raise import never_raise
from spanback._spanref import HANDLE_ATTRIBUTE
from spanback._telemetry import TELEMETRY
from spanback.instrumentation._adapter import Accumulator, Received, member
from spanback.instrumentation._call import ABANDONED, Call, Moment, end_abandoned

_CLOSES: Final = ("close", "aclose")
_MOST_CHUNKS: Final = 256
_at_exit: Final[list[Callable[[], None]]] = []
_put: Final = object.__setattr__


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
        self._chunks: list[Any] = []
        self._times_s: list[float] | None = [] if call.settings.chunk_metrics else None
        self._first_chunk_s: float | None = None
        self._ended: Moment | None = None

    def keep(self, chunk: Any) -> None:
        """Notes one chunk that is about to be handed on. The one function that runs for every chunk."""
        chunks = self._chunks
        if self._first_chunk_s is None:
            self._first_chunk_s = perf_counter() - self.call.start_s
            never_raise(self._note_id, chunk)
        chunks.append(chunk)
        if self._times_s is not None:
            self._times_s.append(perf_counter())
        try:  # noqa: SIM105 - `suppress` costs a call for every chunk
            _put(chunk, HANDLE_ATTRIBUTE, self.call.handle)
        except (AttributeError, TypeError):
            pass  # a slotted chunk is known by its id
        if len(chunks) >= _MOST_CHUNKS:
            never_raise(self._fold)

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

    def _note_id(self, chunk: Any) -> None:
        """Makes the response known by the id that its first chunk bears, itself or inside."""
        whole = member(chunk, "response") or chunk
        self.call.index(member(whole, "id"), member(whole, "model"))

    def _fold(self) -> None:
        """Makes room for more chunks, so that an endless stream takes no endless memory."""
        chunks = self._chunks[:]
        self._chunks.clear()
        if self._accumulator is not None and chunks:
            self._accumulator.add(chunks)

    def _end(self, error: BaseException | None) -> None:
        ended = self._ended or (time_ns(), perf_counter())
        self._give_back()
        self.inner = None
        response = None
        if self._pending is not None:
            response = next(iter(self._pending.values()), None)
            self.call.mark(response)
        elif self._accumulator is not None:
            never_raise(self._fold)
            response = never_raise(self._accumulator.response)
        self.call.end(
            response,
            error=error,
            ended=ended,
            first_chunk_s=self._first_chunk_s,
            chunk_times_s=self._times_s or (),
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
    try:
        for chunk in inner:
            watched.keep(chunk)
            yield chunk
    except GeneratorExit:
        watched.leave()
        raise
    except BaseException as error:
        watched.end(error)
        raise
    watched.end()


async def _async_chunks(inner: AsyncIterator[Any], watched: Watch) -> AsyncIterator[Any]:
    try:
        async for chunk in inner:
            watched.keep(chunk)
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
