"""The stream helper of Anthropic's client before release 0.77, which makes a second stream of the first one's response.

What it would decode and parse anew is handed over to it: the events of the first stream, which is the one that is
watched. The second stream gets its client from the first, so a stand-in for the client does it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

_HELPER: Final = "X-Stainless-Stream-Helper"


def hand_over(stream: Any) -> None:
    """Lets a helper that makes a second stream read the events of this one. Changes nothing for those that do not."""
    if _HELPER in stream.response.request.headers:
        stream._client = _StandIn(stream._client, stream)  # noqa: SLF001 - where the helper takes the client from


class _StandIn:
    """Stands for a client, and is it in all but what a second stream asks for."""

    def __init__(self, client: Any, stream: Any) -> None:
        self._own_client = client
        self._own_stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own_client, name)

    def _make_sse_decoder(self) -> Any:
        stream, self._own_stream = self._own_stream, None  # the two would hold each other
        return _Decoder(stream)

    def _process_response_data(self, *, data: Any, **more: Any) -> Any:
        if type(data) is _Decoded:
            return data.parsed
        return self._own_client._process_response_data(data=data, **more)  # noqa: SLF001 - as its stream does


class _Decoder:
    """Gives the events of a stream in the place of those in the bytes of its response."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def iter_bytes(self, _unread: Any) -> Iterator[_Decoded]:
        for event in self._stream:
            yield _Decoded(event)

    async def aiter_bytes(self, _unread: Any) -> AsyncIterator[_Decoded]:
        async for event in self._stream:
            yield _Decoded(event)


class _Decoded:
    """An event that is parsed already. Streams pass this kind on, whatever it is."""

    event: Final = "message_start"
    data: Final = "parsed"

    def __init__(self, parsed: Any) -> None:
        self.parsed = parsed

    def json(self) -> _Decoded:
        return self
