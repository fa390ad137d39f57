"""Between the process and its shared index: nothing of it is ever waited for by a model call."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol
from weakref import WeakSet

from spanback._never_raise import never_raise
from spanback._spanref import Handle, SpanRef

QUEUE_LIMIT: Final = 10_000
BATCH_LIMIT: Final = 500
WARN_EVERY_S: Final = 60.0
PAUSE_S: Final = 5.0
"""For how long an index that has failed to answer is not asked again: each question costs up to its time limit."""

_logger: Final = logging.getLogger("spanback.index")


class Index(Protocol):
    """What knows responses of other processes. Both methods may be called by any thread, and may raise."""

    def put(self, response_id: str, ref: SpanRef) -> None:
        """Notes where a response came from; a known id is overwritten. Called by a thread of spanback's own."""
        ...

    def find(self, response_id: str) -> SpanRef | None:
        """Where a response came from, or None. It holds up `record_feedback`, so it is to have a time limit."""
        ...


class SharedIndex:
    """Writes to an index in the background, and asks it within limits.

    Args:
        index: The index. Where it has a `put_all`, which takes a mapping, that is called in the place of `put`.
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self._lock = threading.Lock()
        self._warned_s = self._failed_s = float("-inf")
        self._begin()
        _all.add(self)

    def offer(self, response_id: str, handle: Handle, response_model: str | None) -> None:
        """Has a response noted soon. Never waits, never raises; what is too much is dropped with a WARNING."""
        if self._queue.qsize() >= QUEUE_LIMIT:
            self._warn("takes responses more slowly than they are made; some are not noted in it")
            return
        self._queue.put((response_id, handle, response_model))
        if self._thread is None:
            self._start()

    def find(self, response_id: str) -> SpanRef | None:
        """Where a response came from; None where the index does not know, fails, or has just failed. Never raises."""
        if time.monotonic() - self._failed_s < PAUSE_S:
            return None
        answer = never_raise(self._ask, response_id)
        if answer is None:
            self._failed_s = time.monotonic()
            self._warn("does not answer; feedback by response id alone stays unresolved")
            return None
        return answer[0]

    def flush(self, timeout_s: float) -> bool:
        """Waits until what has been offered is noted, and no longer than that.

        Returns:
            Whether it is.
        """
        if self._thread is None:
            return True
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Flushes, ends the thread, and has an index of ours let go of what it holds open."""
        is_flushed = self.flush(timeout_s)
        if self._thread is None:
            never_raise(self._disconnect)
        else:
            self._queue.put(None)  # the thread, which may still be writing, disconnects at its end
            self._thread = None
        return is_flushed

    def forget(self) -> None:
        """In a process that was forked off: what waits is the parent's to write, and connections are its own."""
        self._begin()
        forget: Callable[[], None] | None = getattr(self.index, "forget", None)
        if forget is not None:
            forget()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, args=(self._queue,), name="spanback-index", daemon=True
                )
                self._thread.start()

    def _work(self, queue: SimpleQueue[Any]) -> None:
        while True:
            batch: dict[str, SpanRef] = {}
            one = queue.get()
            while isinstance(one, tuple):
                response_id, handle, response_model = one
                batch[response_id] = SpanRef.from_handle(handle, response_id, response_model)
                try:
                    one = queue.get_nowait() if len(batch) < BATCH_LIMIT else False
                except Empty:
                    one = False
            if batch and never_raise(self._write, batch) is None:
                self._warn("does not take responses; other processes will not find them by their ids")
            if isinstance(one, threading.Event):
                one.set()
            elif one is None:
                never_raise(self._disconnect)
                return

    def _write(self, batch: Mapping[str, SpanRef]) -> bool:
        """What it returns tells it from one that raised."""
        put_all: Callable[[Mapping[str, SpanRef]], None] | None = getattr(self.index, "put_all", None)
        if put_all is not None:
            put_all(batch)
        else:
            for response_id, ref in batch.items():
                self.index.put(response_id, ref)
        return True

    def _disconnect(self) -> None:
        disconnect: Callable[[], None] | None = getattr(self.index, "disconnect", None)
        if disconnect is not None:
            disconnect()

    def _ask(self, response_id: str) -> tuple[SpanRef | None]:
        found: object = self.index.find(response_id)
        return (found if isinstance(found, SpanRef) else None,)

    def _warn(self, what: str) -> None:
        now_s = time.monotonic()
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            _logger.warning("The shared index %s. Said once a minute; DEBUG says why.", what)


_all: Final[WeakSet[SharedIndex]] = WeakSet()


def _forget_all() -> None:
    for one in tuple(_all):
        one.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_forget_all)
