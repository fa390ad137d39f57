"""What a client's adapter tells the engine. Pure data and functions: no OpenTelemetry, no wrapt, no client.

A provider module fills an `Adapter` with a table of endpoints. An endpoint is three small functions: one reads a
request body, one reads a response, and one makes an accumulator whose product has the shape of a response, so that
the second function serves streams too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Body = Mapping[str, Any]
Attributes = dict[str, Any]
Clip = Callable[[Any], str]
"""Shortens one text to what is left of the size limit of its attribute."""


class Accumulator(Protocol):
    """Folds the chunks of one stream into an object of the shape of a response."""

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks, in order. Called once per some hundred chunks and at the end of the stream."""
        ...

    def response(self) -> Any:
        """What the chunks so far amount to."""
        ...


class Dimensions(NamedTuple):
    """What a request says about where it belongs; copied onto its feedback."""

    prompt_name: str | None = None
    prompt_version: str | None = None
    conversation_id: str | None = None


NO_DIMENSIONS = Dimensions()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of a provider's API.

    Attributes:
        operation: `gen_ai.operation.name`.
        read_request: Attributes of a request body. Values that are None are dropped by the engine.
        read_response: Attributes of a response, or of what an accumulator made.
        accumulator: Makes the accumulator of one stream, told whether message content is wanted.
        read_input: Content attributes of a request body, when content capture is on.
        read_output: Content attributes of a response, when content capture is on.
        read_dimensions: What feedback on the response copies from the request body.
        is_inference: Whether the call generates content; embeddings and fetches do not.
    """

    operation: str
    read_request: Callable[[Body], Attributes]
    read_response: Callable[[Any], Attributes]
    accumulator: Callable[[bool], Accumulator] | None = None
    read_input: Callable[[Body, Clip], Attributes] | None = None
    read_output: Callable[[Any, Clip], Attributes] | None = None
    read_dimensions: Callable[[Body], Dimensions] | None = None
    is_inference: bool = True


class Request(NamedTuple):
    """One call about to be made."""

    endpoint: Endpoint
    provider: str
    model: str | None
    body: Body
    is_stream: bool
    server_address: str | None
    server_port: int | None


class Received(NamedTuple):
    """What came back, sorted by what is left to happen.

    Exactly one of response, stream and pending is set.

    Attributes:
        response: A whole response.
        stream: An object that yields chunks from its attribute named `slot`.
        slot: Name of that attribute, an iterator or async iterator.
        pending: A dict that the app's parsing fills with the whole response, later or never.
        body: The object whose `close` or `aclose` closes the body of a stream or of a pending response.
        holder: The object whose `close` says that the app is done with a pending response.
    """

    response: Any = None
    stream: Any = None
    slot: str = ""
    pending: Mapping[Any, Any] | None = None
    body: Any = None
    holder: Any = None


class Target(NamedTuple):
    """A function to wrap: its module, its path inside the module, and whether it is a coroutine function."""

    module: str
    path: str
    is_async: bool


class Adapter(Protocol):
    """What the engine asks about one client."""

    @property
    def client(self) -> str:
        """The name users know it by, and its entry in the lazy table."""
        ...

    @property
    def targets(self) -> Sequence[Target]:
        """What to wrap."""
        ...

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:
        """The endpoint that a call goes to, or None for calls that are not model calls. Cheap."""
        ...

    def read(self, endpoint: Endpoint, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """What the call asks for. Consumes and changes nothing of it."""
        ...

    def sort(self, request: Request, result: Any) -> Received:
        """What the call returned. Reads nothing from the network."""
        ...


class Field(NamedTuple):
    """A row of a table: the key in the body, the attribute, and the type that the attribute takes."""

    key: str
    attribute: str
    type: type


def pick(body: Body, table: Iterable[Field]) -> Attributes:
    """Reads the rows of a table from a body; a value of another type sets nothing.

    An int counts as a float where the attribute is one, a bool never counts as a number, and a text of a subclass of
    str (an enum) becomes plain.
    """
    attributes: Attributes = {}
    for key, attribute, kind in table:
        value = body.get(key)
        if value is None:
            continue
        given = type(value)
        if kind is str:
            attributes[attribute] = text(value)
        elif given is kind:
            attributes[attribute] = value
        elif kind is float and given is int:
            attributes[attribute] = float(value)
    return attributes


def text(value: Any) -> str | None:
    """The value if it is a non-empty text, else None.

    It becomes plain where it is an enum's, and half of a surrogate pair, which no exporter can send, becomes a question
    mark.
    """
    if not isinstance(value, str) or not value:
        return None
    plain = str.__str__(value)
    return plain if plain.isascii() else plain.encode("utf-8", "replace").decode()


def count(value: Any) -> int | None:
    """The value if it is a whole number, else None."""
    return value if type(value) is int else None


def member(value: Any, name: str) -> Any:
    """An attribute of an object or an entry of a dict; None where there is neither."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def members(value: Any, name: str) -> Sequence[Any]:
    """As `member`, for a list; an empty one where there is none."""
    found = member(value, name)
    return found if isinstance(found, (list, tuple)) else ()
