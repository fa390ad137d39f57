"""The real clients of the tests' matrix, answered inside the process, so that no network drowns what is measured."""

from __future__ import annotations

import importlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch
from urllib.parse import urlsplit

from tests.clients.wire import WireAnswer, WireRequest

if TYPE_CHECKING:
    from tests.clients.cases import Style
    from tests.clients.wire import Answers

MODEL: Final = "model-1"
_HTTP_CLIENTS: Final = ("httpx", "httpx2")
_FEWEST_PIECES: Final = 3  # an answer of fewer is no stream of text
_LITELLMS_WORD: Final = b" April"  # LiteLLM takes a long text that comes a hundred times for a model that has run wild


class InsideServer:
    """What `tests.clients.wire.WireServer` is to a client's case, without a socket."""

    port: Final = 9
    base_url: Final = f"http://127.0.0.1:{port}"

    def __init__(self) -> None:
        self.more_pieces = 0
        """How many times the middle piece of each streamed answer is said again, for a stream as long as one likes."""
        self._answers: Answers | None = None
        self._numbers = 0

    def speak(self, answers: Answers) -> None:
        """Answers as a provider does."""
        self._answers = answers
        self._numbers = 0

    def answer(self, method: str, url: str, headers: Any, content: bytes) -> tuple[WireAnswer, list[bytes] | None]:
        """The answer to a request, and the pieces of its body if it is streamed."""
        assert self._answers is not None, "it does not speak yet"
        self._numbers += 1
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        answer = self._answers(WireRequest(method, path, headers, content, self._numbers))
        if isinstance(answer.body, bytes):
            return answer, None
        pieces = list(answer.body)
        if self.more_pieces and len(pieces) >= _FEWEST_PIECES:
            middle = len(pieces) // 2
            again = pieces[middle].replace(_LITELLMS_WORD, b"In") if pieces[middle].startswith(b"data") else None
            pieces[middle:middle] = [again or pieces[middle]] * self.more_pieces
        return answer, pieces

    @contextmanager
    def answering(self) -> Iterator[InsideServer]:
        """While it is open, what httpx, httpx2 and botocore send comes here."""
        with ExitStack() as stack:
            for name in _HTTP_CLIENTS:
                with suppress(ImportError):
                    self._take_over_httpx(importlib.import_module(name), stack)
            with suppress(ImportError):
                self._take_over_botocore(stack)
            yield self

    def _take_over_httpx(self, module: Any, stack: ExitStack) -> None:
        stream_of = _stream_type(module)

        def respond(request: Any) -> Any:
            answer, pieces = self.answer(request.method, str(request.url), request.headers, request.content)
            if pieces is None:
                return module.Response(answer.status, headers=answer.headers, content=answer.body)
            return module.Response(answer.status, headers=answer.headers, stream=stream_of(pieces))

        def handle(_transport: Any, request: Any) -> Any:
            request.read()
            return respond(request)

        async def handle_async(_transport: Any, request: Any) -> Any:
            await request.aread()
            return respond(request)

        def init(_transport: Any, *_args: Any, **_kwargs: Any) -> None:
            """Makes no pool of connections, for which it would load certificates."""

        for kind, base, own in (
            (module.HTTPTransport, module.BaseTransport, {"handle_request": handle}),
            (module.AsyncHTTPTransport, module.AsyncBaseTransport, {"handle_async_request": handle_async}),
        ):
            names = ("__enter__", "__exit__", "close", "__aenter__", "__aexit__", "aclose")
            inherited = {name: getattr(base, name) for name in names if hasattr(base, name)}
            stack.enter_context(patch.multiple(kind, __init__=init, **inherited, **own))

    def _take_over_botocore(self, stack: ExitStack) -> None:
        httpsession, awsrequest = (
            importlib.import_module(f"botocore.{name}") for name in ("httpsession", "awsrequest")
        )
        response_type = importlib.import_module("urllib3").HTTPResponse

        def send(_session: Any, request: Any) -> Any:
            content = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
            answer, pieces = self.answer(request.method, request.url, request.headers, content)
            body = io.BytesIO(answer.body if pieces is None else b"".join(pieces))
            raw = response_type(body, answer.headers, answer.status, preload_content=False)
            response = awsrequest.AWSResponse(request.url, answer.status, raw.headers, raw)
            if not request.stream_output:
                _ = response.content
            return response

        stack.enter_context(patch.object(httpsession.URLLib3Session, "send", send))


def _stream_type(module: Any) -> Any:
    """The type of a body that arrives in pieces, of httpx or httpx2."""

    class Pieces(module.SyncByteStream, module.AsyncByteStream):
        def __init__(self, pieces: list[bytes]) -> None:
            self._pieces = pieces

        def __iter__(self) -> Iterator[bytes]:
            return iter(self._pieces)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self._pieces:
                yield piece

    return Pieces


def call_of(style: Style, client: Any, model: str = MODEL) -> Callable[[], Any]:
    """A call in a style, with all that it gives read to its end; a coroutine function for an async style."""
    return _async_call(style, client, model) if style.is_async else _call(style, client, model)


def _call(style: Style, client: Any, model: str) -> Callable[[], Any]:
    def call() -> Any:
        got = style.call(client, model)
        if style.is_stream:
            with ExitStack() as stack:
                for _chunk in stack.enter_context(got) if hasattr(got, "__enter__") else got:
                    pass
        elif style.reads is not None:
            got = style.reads(got)
        return got

    return call


def _async_call(style: Style, client: Any, model: str) -> Callable[[], Any]:
    async def call() -> Any:
        got = await settled(style.call(client, model))
        if style.is_stream:
            async with AsyncExitStack() as stack:
                async for _chunk in (await stack.enter_async_context(got)) if hasattr(got, "__aenter__") else got:
                    pass
        elif style.reads is not None:
            got = await settled(style.reads(got))
        return got

    return call


async def settled(value: Any) -> Any:
    """The value, awaited where that is to be done."""
    return await value if isawaitable(value) else value
