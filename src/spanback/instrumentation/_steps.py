"""Streams that make their chunks in `__next__` itself: the method of their class is watched, and tells of theirs alone.

The objects stay what they are. Whether a stream is watched stands in its own dict, so that all others of the class pay
one look-up a chunk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import Any, Final

from spanback._never_raise import never_raise
from spanback._spanref import attach

_STEPS: Final = {"__next__": StopIteration, "__anext__": StopAsyncIteration}
_lock: Final = Lock()


class _Patched:
    """A method that is watched.

    Attributes:
        original: What was there.
        wrapper: What is there now.
        key: Where a stream keeps its watch. It is for this wrapper alone: a method may call that of its base class, and
            a wrapper that could not be given back stays inside of the next one.
    """

    def __init__(self, original: Any, wrapper: Any, key: str) -> None:
        self.original = original
        self.wrapper = wrapper
        self.key = key


_patched: Final[dict[tuple[type, str], _Patched]] = {}
_numbers: Final = count()


def watch_steps(stream: Any, watched: Any) -> None:
    """Has the steps of a stream end its call.

    Args:
        stream: An iterator or async iterator, or both, of a class written in Python.
        watched: The watch of the stream.
    """
    for name in _STEPS:
        owner = next((one for one in type(stream).__mro__ if name in vars(one)), None)
        if owner is not None:
            with _lock:
                patched = _patched.get((owner, name)) or _patch(owner, name)
            object.__getattribute__(stream, "__dict__")[patched.key] = watched


def give_back_steps() -> None:
    """Puts the methods back that were there, but for those that somebody has put theirs around."""
    with _lock:
        for (owner, name), patched in _patched.items():
            if vars(owner).get(name) is patched.wrapper:
                setattr(owner, name, patched.original)
        _patched.clear()


def _patch(owner: type, name: str) -> _Patched:
    original, key = vars(owner)[name], f"_spanback{name}{next(_numbers)}"
    make = _async_step if name == "__anext__" else _step
    wrapper = functools.wraps(original)(make(original, key))
    setattr(owner, name, wrapper)
    found = _patched[owner, name] = _Patched(original, wrapper, key)
    return found


def _take(watched: Any, chunk: Any) -> None:
    """Looks at the chunk that the app is about to get, or makes room for more."""
    if watched.needs_handles:
        attach(chunk, watched.call.handle)
    if len(watched.chunks) >= watched.room:
        watched.fold()


def _step(original: Callable[[Any], Any], key: str) -> Callable[[Any], Any]:
    def step(stream: Any) -> Any:
        watched = stream.__dict__.get(key)
        if watched is None:
            return original(stream)
        try:
            chunk = _first(original, stream, watched.call) if watched.first_chunk_s is None else original(stream)
        except BaseException as error:
            _finish(stream, key, watched, error)
            raise
        chunks = watched.chunks
        chunks.append(chunk)
        if watched.needs_handles or len(chunks) >= watched.room:
            never_raise(_take, watched, chunk)
        return chunk

    return step


def _async_step(original: Callable[[Any], Any], key: str) -> Callable[[Any], Any]:
    async def step(stream: Any) -> Any:
        watched = stream.__dict__.get(key)
        if watched is None:
            return await original(stream)
        try:
            chunk = await (
                _async_first(original, stream, watched.call) if watched.first_chunk_s is None else original(stream)
            )
        except BaseException as error:
            _finish(stream, key, watched, error)
            raise
        chunks = watched.chunks
        chunks.append(chunk)
        if watched.needs_handles or len(chunks) >= watched.room:
            never_raise(_take, watched, chunk)
        return chunk

    return step


def _first(original: Callable[[Any], Any], stream: Any, call: Any) -> Any:
    """The first chunk, made inside the call: some streams send the request only then."""
    call.enter()
    try:
        return original(stream)
    finally:
        call.leave()


async def _async_first(original: Callable[[Any], Any], stream: Any, call: Any) -> Any:
    call.enter()
    try:
        return await original(stream)
    finally:
        call.leave()


def _finish(stream: Any, key: str, watched: Any, error: BaseException) -> None:
    """The stream is over, or has broken."""
    stream.__dict__.pop(key, None)
    watched.end(None if isinstance(error, tuple(_STEPS.values())) else error)
