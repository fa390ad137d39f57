"""Calls for the memory benchmark: by real clients, or by one so light that a million take minutes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Final, Protocol

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from tests.clients.cases import MODEL_ERROR

import spanback
from benchmarks import wire
from benchmarks.clients import STYLES, case_of
from benchmarks.inside import MODEL, InsideServer

_CHUNKS: Final = 12


class Calls(Protocol):
    """One call of each kind."""

    def whole(self) -> Any:
        """A chat completion."""
        ...

    def stream(self) -> Any:
        """An open stream."""
        ...

    def background(self) -> Any:
        """A response whose work has not begun."""
        ...

    def never_parsed(self) -> Any:
        """A raw response that nobody parses."""
        ...

    def failed(self) -> None:
        """A call that raises."""
        ...

    def rated(self, chunks: list[Any], stream: Any) -> Any:
        """What an app gives feedback on, from the chunks that it has read."""
        ...


class RealCalls:
    """The real client over a transport inside the process."""

    def __init__(self) -> None:
        queued = wire.RESPONSE.replace(b'"completed"', b'"queued"', 1).replace(
            b'"background":false', b'"background":true'
        )
        self._chat = wire.client(wire.CHAT).chat.completions
        self._stream = wire.client(wire.chat_events(_CHUNKS)).chat.completions
        self._queued = wire.client(queued).responses
        self._broken = wire.client(b"no JSON").chat.completions

    def whole(self) -> Any:
        """A chat completion."""
        return self._chat.create(**wire.chat_arguments())

    def stream(self) -> Any:
        """An open stream."""
        return self._stream.create(**wire.stream_arguments())

    def background(self) -> Any:
        """A response whose work has not begun."""
        return self._queued.create(**wire.response_arguments(), background=True)

    def never_parsed(self) -> Any:
        """A raw response that nobody parses."""
        with self._chat.with_streaming_response.create(**wire.chat_arguments()) as raw:
            return raw

    def failed(self) -> None:
        """A call whose answer is no JSON."""
        with suppress(ValueError, openai.OpenAIError):
            self._broken.create(**wire.chat_arguments())

    def rated(self, chunks: list[Any], stream: Any) -> Any:
        """The last chunk; the stream itself where none was read."""
        return chunks[-1] if chunks else stream


class LightCalls:
    """The client's `request` as spanback wraps it, but for what lies below: that returns without a request.

    Objects are of the client's own types, new each time, with an id of their own. Must be made before `instrument()`.
    """

    def __init__(self) -> None:
        real = RealCalls()
        self._response_of = {
            ChatCompletion: real.whole(),
            Response: real.background(),
        }
        self._chunks = list(real.stream())
        self._numbers = itertools.count(1)
        self._error = openai.APIConnectionError(request=wire.httpx.Request("POST", "https://api.openai.com/v1"))
        self._options = {
            "chat": _options("/chat/completions", wire.chat_arguments()),
            "stream": _options("/chat/completions", wire.stream_arguments()),
            "response": _options("/responses", {**wire.response_arguments(), "background": True}),
            "fail": _options("/chat/completions", {**wire.chat_arguments(), "model": "failing"}),
        }
        self._client = wire.client(wire.CHAT)

        def request(_client: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
            del stream_cls
            return self._answer(cast_to, options, stream=stream)

        openai._base_client.SyncAPIClient.request = request

    def whole(self) -> Any:
        """A chat completion."""
        return self._client.request(ChatCompletion, self._options["chat"], stream=False, stream_cls=None)

    def stream(self) -> Any:
        """An open stream."""
        chunks = openai.Stream[ChatCompletionChunk]
        return self._client.request(ChatCompletion, self._options["stream"], stream=True, stream_cls=chunks)

    def background(self) -> Any:
        """A response whose work has not begun."""
        return self._client.request(Response, self._options["response"], stream=False, stream_cls=None)

    def never_parsed(self) -> Any:
        """A raw response that nobody parses: an object that only looks like one."""
        return self._client.request(None, self._options["chat"], stream=False, stream_cls=None)

    def failed(self) -> None:
        """A call that raises."""
        with suppress(openai.APIConnectionError):
            self._client.request(ChatCompletion, self._options["fail"], stream=False, stream_cls=None)

    def rated(self, chunks: list[Any], stream: Any) -> Any:
        """The last chunk; the stream itself where none was read."""
        return chunks[-1] if chunks else stream

    def _answer(self, cast_to: Any, options: Any, *, stream: bool) -> Any:
        number = next(self._numbers)
        if options is self._options["fail"]:
            raise self._error.with_traceback(None)
        if stream:
            opened = openai.Stream.__new__(openai.Stream)
            opened.response = SimpleNamespace(close=_close)
            opened._iterator = self._iterate(f"chatcmpl-{number}")
            return opened
        if cast_to is None:
            return _raw()
        whole = self._response_of[cast_to]
        return whole.model_copy(update={"id": f"{whole.id}-{number}"})

    def _iterate(self, response_id: str) -> Iterator[Any]:
        for chunk in self._chunks:
            yield chunk.model_copy(update={"id": response_id})


class CaseCalls:
    """A client of the tests' matrix, answered inside the process. What a client lacks is a whole call instead.

    Args:
        client: Its name.
        server: Where its calls go, which must be answering.
    """

    def __init__(self, client: str, server: InsideServer) -> None:
        case = case_of(client)
        styles = {style.name: style for style in case.styles}
        whole, streamed = STYLES[client]
        server.speak(case.answers)
        self._client = case.connect(server, False)
        self._whole, self._streamed = styles[whole], styles[streamed]
        self._raw = next(
            (style for name, style in styles.items() if "raw" in name and not style.is_stream), self._whole
        )

    def whole(self) -> Any:
        """A chat."""
        got = self._whole.call(self._client, MODEL)
        return self._whole.rated(got) if self._whole.rated else got

    def stream(self) -> Any:
        """An open stream."""
        return self._streamed.call(self._client, MODEL)

    def background(self) -> Any:
        """A chat."""
        return self.whole()

    def never_parsed(self) -> Any:
        """A raw response that nobody parses."""
        got = self._raw.call(self._client, MODEL)
        return self.whole() if hasattr(got, "__enter__") else got

    def failed(self) -> None:
        """A call that the server refuses."""
        with suppress(Exception):
            self._whole.call(self._client, MODEL_ERROR)

    def rated(self, chunks: list[Any], stream: Any) -> Any:
        """What the case says of chunks; the stream itself where none was read, if it can be rated."""
        if self._streamed.rated is not None:
            return self._streamed.rated(chunks, stream)
        if chunks:
            return chunks[-1]
        return stream if spanback.reference(stream) is not None else None


def _options(url: str, body: dict[str, Any]) -> Any:
    return openai._models.FinalRequestOptions.construct(method="post", url=url, json_data=body)


def _raw() -> Any:
    headers = {"X-Stainless-Raw-Response": "stream"}
    raw = SimpleNamespace(http_request=SimpleNamespace(headers=headers), http_response=SimpleNamespace(close=_close))
    raw._parsed_by_type = {}
    return raw


def _close() -> None:
    return None
