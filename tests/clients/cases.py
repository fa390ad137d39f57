"""What a client's file tells the matrix: how to make the client, what its server says, and every way of calling it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.clients.wire import Answers, WireServer

MODEL_ERROR = "error-429"
"""The model for which every server answers with HTTP 429 and the provider's own error body."""

ODD = ("no-choices", "null-usage", "content-null", "html", "not-json", "empty-stream", "cut-stream")
"""Models for which the server answers nonsense: an answer without choices (candidates, content, ...), with a usage of
null, with contents of null; a page of HTML with status 200; half a JSON text; a stream without an event; a stream whose
connection breaks after the first half of its events. A case may name fewer, or more."""


@dataclass(frozen=True)
class Style:
    """One way of calling a client.

    Attributes:
        name: Such as `messages.create` or `messages.stream helper`; unique within its client.
        call: Makes the call with a client and a model name, sync or async; what it returns is awaited where that is to
            be done. A streamed one returns an iterator or async iterator of chunks, or a context manager that gives
            one, or an object with `__iter__` or `__aiter__`.
        span_name: Name of the span for the model `MODEL` of the case.
        attributes: All attributes of the span but `server.address`, `server.port`, `gen_ai.request.stream` and
            `gen_ai.response.time_to_first_chunk`, which the matrix adds itself.
        content: Content attributes with capture on, parsed from their JSON; None leaves them unchecked.
        is_async: Whether it is for the client's async kind.
        is_stream: Whether it gives chunks.
        rated: What an app gives feedback on, from what it got: the response as a rule. For a stream it is given the
            list of chunks read, and the stream.
        reads: Reads what a raw or lazy response holds, so that it ends; gives what the app then holds.
        error_type: `error.type` of the span for `MODEL_ERROR`.
        odd: The models of `ODD` that make sense for it.
        from_version: The client's first release that has this style, as a tuple; older ones skip it.
    """

    name: str
    call: Callable[[Any, str], Any]
    span_name: str
    attributes: Mapping[str, Any]
    content: Mapping[str, Any] | None = None
    is_async: bool = False
    is_stream: bool = False
    rated: Callable[..., Any] | None = None
    reads: Callable[[Any], Any] | None = None
    error_type: str = "RateLimitError"
    odd: Sequence[str] = ODD
    from_version: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class ClientCase:
    """One client.

    Attributes:
        client: Its name in `instrument(clients=[...])`.
        distribution: Its name on PyPI.
        module: What an app imports.
        connect: Makes a client that talks to the server and does not try again; sync or async.
        answers: What the server says.
        styles: Every way of calling it.
        has_server_address: Whether its spans have `server.address` and `server.port`.
        note: What the README's table says of it besides.
    """

    client: str
    distribution: str
    module: str
    connect: Callable[[WireServer, bool], Any]
    answers: Answers
    styles: Sequence[Style] = field(default=())
    has_server_address: bool = True
    note: str = ""
