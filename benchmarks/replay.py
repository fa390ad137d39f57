"""Streams that give recorded chunks: what stands around a chunk is measured, and not what the client takes for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any, Final
from unittest.mock import patch

from spanback.instrumentation import _streams

_AROUND: Final = "_chunks"
"""The function of spanback that stands around a client's own iterator, whatever the client."""
_PLAYED: Final = "played"


def record(call: Callable[[], Any]) -> list[Any]:
    """Makes a streamed call, with spanback in force, and gives the chunks that the client's own iterator gave."""
    recorded: list[Any] = []
    around = getattr(_streams, _AROUND)

    def recording(inner: Iterator[Any], *watched: Any) -> Iterator[Any]:
        return around(_kept(inner, recorded), *watched)

    with patch.object(_streams, _AROUND, recording):
        call()
    return recorded


@contextmanager
def playing(chunks: Sequence[Any], *, is_watched: bool) -> Iterator[None]:
    """While it is open, streams of calls that spanback sees give these chunks.

    Args:
        chunks: The chunks.
        is_watched: Whether spanback stands around them; else it sees the begin and the end of the stream alone.
    """
    around = getattr(_streams, _AROUND)

    def watched_ones(inner: Any, *watched: Any) -> Iterator[Any]:
        return around(_played(inner, chunks), *watched)

    def bare_ones(inner: Any, watched: Any, opening: Callable[[], Any] | None = None) -> Iterator[Any]:
        if opening is not None:
            watched, _first = opening()
        yield from chunks
        _close(inner)
        watched.end()

    with patch.object(_streams, _AROUND, watched_ones if is_watched else bare_ones):
        yield


@contextmanager
def stepping(kind: type, chunks: Sequence[Any]) -> Iterator[None]:
    """While it is open, streams of a class that makes its chunks in `__next__` give these, whoever is around them."""

    def step(stream: Any) -> Any:
        played = stream.__dict__.get(_PLAYED)
        if played is None:
            played = stream.__dict__[_PLAYED] = iter(chunks)
        return next(played)

    with patch.object(kind, "__next__", step):
        yield


def lengthened(chunks: Sequence[Any], more: int) -> list[Any]:
    """A stream with so many more chunks: those of its middle half, again and again."""
    quarter = len(chunks) // 4
    middle = chunks[quarter : 3 * quarter]
    return [*chunks[: 2 * quarter], *islice(cycle(middle), more), *chunks[2 * quarter :]]


def _kept(inner: Iterator[Any], into: list[Any]) -> Iterator[Any]:
    for chunk in inner:
        into.append(chunk)
        yield chunk


def _played(inner: Any, chunks: Sequence[Any]) -> Iterator[Any]:
    yield from chunks
    _close(inner)


def _close(inner: Any) -> None:
    if hasattr(inner, "close"):
        inner.close()
