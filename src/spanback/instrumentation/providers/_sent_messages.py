"""Messages in Anthropic's format as they go over the wire: dicts, and streams of server-sent events in bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final

from spanback.instrumentation.providers import anthropic

_DATA: Final = b"data:"
_LINE_LIMIT_BYTES: Final = 1 << 20
_ENDS: Final = (b'"message_start"', b'"message_delta"')
"""What is looked for in an event where no content is wanted: all else is in its events in between."""


class SentEvents(anthropic.MessageEvents):
    """Folds the events of a streamed message out of chunks of bytes, which may end anywhere, or out of dicts."""

    def __init__(self, with_content: bool) -> None:
        super().__init__(with_content)
        self._wanted = (b'"message_', b'"content_block_') if with_content else _ENDS
        self._rest = b""

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks."""
        super().add([event for chunk in chunks for event in self._events_in(chunk)])

    def _events_in(self, chunk: Any) -> Iterator[Any]:
        sent = _bytes_of(chunk)
        if sent is None:
            yield _as_event(chunk)
            return
        *lines, self._rest = (self._rest + sent).split(b"\n")
        if len(self._rest) > _LINE_LIMIT_BYTES:
            self._rest = b""
        for line in lines:
            if any(word in line for word in self._wanted):
                yield from _events(line)


def identify(thing: Any) -> tuple[str | None, str | None]:
    """Id and model of a message, or of a chunk of bytes that holds the event which begins one."""
    sent = _bytes_of(thing)
    if sent is not None:
        thing = next((event for line in sent.split(b"\n") if _ENDS[0] in line for event in _events(line)), None)
    return anthropic.identify(thing)


def _bytes_of(chunk: Any) -> bytes | None:
    if isinstance(chunk, str):
        return chunk.encode("utf-8", "replace")
    return chunk if isinstance(chunk, bytes) else None


def _events(line: bytes) -> Iterator[Any]:
    """The event in a line of data; none in another line, or in half of one."""
    try:
        event: Any = json.loads(line.removeprefix(_DATA)) if line.startswith(_DATA) else None
    except ValueError:
        return
    if isinstance(event, dict):
        yield _as_event(event)


def _as_event(event: Any) -> Any:
    """An event with attributes, as Anthropic's own client has them."""
    if not isinstance(event, dict):
        return event
    fields = {
        name: SimpleNamespace(**value) if name == "delta" and isinstance(value, dict) else value
        for name, value in event.items()
    }
    return SimpleNamespace(**fields)
