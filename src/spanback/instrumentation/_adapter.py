"""What a client's adapter tells the engine. Pure data and functions: no OpenTelemetry, no wrapt, no client.

A provider module fills an `Adapter` with a table of endpoints. An endpoint is three small functions: one reads a
request body, one reads a response, and one makes an accumulator whose product has the shape of a response, so that
the second function serves streams too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

Body = Mapping[str, Any]
Attributes = dict[str, Any]
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
"""OTLP can carry no int beyond: exporters drop the attribute with a stack trace, and metrics for good."""
EXTRA: Final = "__pydantic_extra__"
"""Where models of pydantic keep what is no field of theirs."""
_NONE: Final[Body] = {}
Clip = Callable[[Any], str]
"""Shortens one text to what is left of the size limit of its attribute."""


class Accumulator(Protocol):
    """Folds the chunks of one stream into an object of the shape of a response."""

    def add(self, chunks: list[Any]) -> None:
        """Takes the next chunks, at least one, in order. Called for every few chunks and at the end of the stream."""
        ...

    def response(self) -> Any:
        """What the chunks so far amount to."""
        ...


class Dimensions(NamedTuple):
    """Where a call belongs; copied onto its feedback. A request may say the first three, an app says all of them."""

    prompt_name: str | None = None
    prompt_version: str | None = None
    conversation_id: str | None = None
    tags: tuple[str, ...] = ()
    experiment: str | None = None
    variant: str | None = None


NO_DIMENSIONS = Dimensions()


def identity(thing: Any) -> tuple[str | None, str | None]:
    """Id and model of a response, or of a chunk that bears them itself or inside, as most APIs name them."""
    response_id = text(field_of(thing, "id"))
    if response_id is not None:
        return response_id, text(field_of(thing, "model"))
    whole = field_of(thing, "response") or thing
    return text(field_of(whole, "id")), text(field_of(whole, "model"))


def class_of(error: BaseException) -> str:
    """`error.type` of what a client raises: the name of its class, which most clients choose by status."""
    return type(error).__qualname__


class Retries(NamedTuple):
    """What is known of the attempts that a client makes by itself.

    Attributes:
        name: Gives from the keywords of an attempt the name of its call, which all of them share; None for no name.
        left: Gives from an error and the keywords how many attempts may follow the first one.
    """

    name: Callable[[Mapping[str, Any]], str | None]
    left: Callable[[BaseException, Mapping[str, Any]], int]


@dataclass(slots=True, eq=False, repr=False)
class Endpoint:
    """One operation of a provider's API. Set once, where its table is made.

    Attributes:
        operation: `gen_ai.operation.name`.
        read_request: Attributes of a request body. The engine drops values that are None.
        read_response: Attributes of a response, or of what an accumulator made.
        accumulator: Makes the accumulator of one stream, told whether message content is wanted.
        read_input: Content attributes of a request body, when content capture is on.
        read_output: Content attributes of a response, when content capture is on.
        read_dimensions: What feedback on the response copies from the request body.
        constants: Attributes that are the same for each call.
        has_chunk_ids: Whether each chunk of a stream bears the response's id, so that it needs no handle of its own.
        is_inference: Whether the call generates content; embeddings and fetches do not.
        encloses: Whether the calls that other clients make inside belong to this one, and have no span of their own.
        name_error: Gives `error.type` of what the client raised.
        identify: Gives `gen_ai.response.id` and `gen_ai.response.model` of a response or of one chunk; None for what
            it does not bear.
        silence: Keeps the client from making a span of its own for one call, given the object that is called, the
            arguments, and a function which tells whether it is asked within a call that is to be silent.
        take_place: Notes for the client's own callbacks that a call has a span of ours. It is given the keywords, and
            a function which gives a stand-in for the span, or None for a tracer whose spans may not be left out.
        retries: Of a client that makes new attempts through the wrapped function; they all go into one span.
    """

    operation: str
    read_request: Callable[[Body], Attributes]
    read_response: Callable[[Any], Attributes]
    accumulator: Callable[[bool], Accumulator] | None = None
    read_input: Callable[[Body, Clip], Attributes] | None = None
    read_output: Callable[[Any, Clip], Attributes] | None = None
    read_dimensions: Callable[[Body], Dimensions] | None = None
    constants: Mapping[str, str] = field(default_factory=dict[str, str])
    has_chunk_ids: bool = True
    is_inference: bool = True
    encloses: bool = False
    name_error: Callable[[BaseException], str] = class_of
    identify: Callable[[Any], tuple[str | None, str | None]] = identity
    silence: Callable[[Any, Sequence[Any], Mapping[str, Any], Callable[[], bool]], None] | None = None
    take_place: Callable[[Mapping[str, Any], Callable[[Any], Any]], None] | None = None
    retries: Retries | None = None


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """One call about to be made. Its fields are read often, and slots are read faster than a named tuple's."""

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
        slot: Name of that attribute, an iterator or async iterator; empty where the stream is one itself, and
            `__next__` where it is an object that makes the chunks in its own `__next__` or `__anext__`.
        pending: A dict that the app's parsing fills with the whole response, later or never.
        body: The object whose `close` or `aclose` closes the body of a stream or of a pending response.
        holder: The object whose `close` says that the app is done with a pending response.
        subscribe: In the place of listening to body and holder: takes the watch of a pending response, whose
            `end(error)`, `leave()` or `abandon()` it has called once the app has read the response, or will not.
        known_as: An id by which the app may name the call, besides the response's own: dicts can carry no handle.
        accumulator: Makes the accumulator of this stream, where the endpoint's would not do.
    """

    response: Any = None
    stream: Any = None
    slot: str = ""
    pending: Mapping[Any, Any] | None = None
    body: Any = None
    holder: Any = None
    subscribe: Callable[[Any], None] | None = None
    known_as: str | None = None
    accumulator: Callable[[bool], Accumulator] | None = None


class StandIn(NamedTuple):
    """A span of ours for one that a client would make.

    Attributes:
        span: The span.
        name: What the client would call its own; None where it makes no other in the same callback.
    """

    span: Any
    name: str | None


class Target(NamedTuple):
    """A function to wrap.

    Attributes:
        module: Full name of its module, or the names that it has in different releases, newest first. Where it is not
            imported with the client, it is wrapped once it is.
        path: Its path inside the module.
        is_async: Whether it is a coroutine function, or returns an awaitable.
        is_late: Tells from the keyword arguments whether what it returns is a generator that makes the call only when
            it is first read; None for never.
        shadowed_by: Name of a method of the same class, through which calls go that miss this one: other
            instrumentations may put a function of their own on a subclass. It is wrapped only where that has happened.
        endpoint: The endpoint that every call goes to; None where the adapter's `find_endpoint` tells.
        closure: Name of a variable in the function's closure that holds another, which is wrapped in its place: an app
            that has imported the outer one by name goes past whatever is put into its module.
        is_manager: Whether what it returns is a context manager made by `contextlib`, whose entry makes the call.
        says: The session of a connection whose method it is, sync or async, that sends the event it is given.
        hears: The session of a connection whose method it is that gives the event which has arrived.
        is_router: Whether it is a coroutine function inside which other targets are called, for attempts of one call.
        unless: A module of the client, in whose presence calls go through another target and this one is left alone.
        stands_in: Of a callback in which the client makes a span of a call that is over: gives from its object, its
            arguments and its keywords the span that is there already, or None where it is to make its own.
    """

    module: str | tuple[str, ...]
    path: str
    is_async: bool
    is_late: Callable[[Mapping[str, Any]], bool] | None = None
    shadowed_by: str | None = None
    endpoint: Endpoint | None = None
    closure: str | None = None
    is_manager: bool = False
    is_router: bool = False
    unless: str | None = None
    says: Session | None = None
    hears: Session | None = None
    stands_in: Callable[[Any, Sequence[Any], Mapping[str, Any]], StandIn | None] | None = None


class Heard(NamedTuple):
    """What an event of a connection says.

    Attributes:
        state: `begun`, `chunk` or `ended`, of a response; `session` of the connection as a whole.
        response_id: Of which response; None stands for the one that began last.
        response: The response as far as it is, where the event holds it.
        model: The connection's model, where the event says it.
    """

    state: Literal["begun", "chunk", "ended", "session"]
    response_id: str | None = None
    response: Any = None
    model: str | None = None


class Session(Protocol):
    """What the engine asks about a connection on which responses are made."""

    @property
    def endpoint(self) -> Endpoint:
        """Of each response."""
        ...

    def asks(self, event: Any) -> Body | None:
        """The parameters of the response that a sent event asks for; None for all other events."""
        ...

    def hears(self, event: Any) -> Heard | None:
        """What an event that has arrived says; None where that is nothing of interest."""
        ...

    def adapter(self, of: Adapter) -> Adapter:
        """The adapter of one response, whose arguments are its parameters and the connection's model."""
        ...


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

    @property
    def traces_itself(self) -> Callable[[Any], bool] | None:
        """Tells whether an object of the client makes spans of its own; None where none ever does."""
        ...

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:
        """The endpoint that a call goes to, or None for calls that are not model calls. Cheap."""
        ...

    def read(self, endpoint: Endpoint, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """What the call asks for. Consumes and changes nothing of it."""
        ...

    def sort(self, request: Request, result: Any) -> Received | None:
        """What the call returned; None where it is the whole response itself. Reads nothing from the network."""
        ...


def text(value: Any) -> str | None:
    """The value if it is a non-empty text, else None.

    It becomes plain where it is an enum's, and half of a surrogate pair, which no exporter can send, becomes a question
    mark.
    """
    if not isinstance(value, str) or not value:
        return None
    plain = str.__str__(value)
    return plain if plain.isascii() else plain.encode("utf-8", "replace").decode()


def whole(value: Any) -> int | None:
    """The value if it is a whole number of at most 64 bits, which some clients hold as a float, else None."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and INT_MIN <= value <= INT_MAX else None


def member(value: Any, name: str) -> Any:
    """An attribute of an object or an entry of a dict; None where there is neither."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def field_of(value: Any, name: str) -> Any:
    """As `member`, for what can only be a field.

    A model of pydantic is not asked for what it does not have: to say so takes it microseconds.
    """
    if isinstance(value, dict):
        return value.get(name)
    own = getattr(value, "__dict__", _NONE)
    if name in own:
        return own[name]
    extra = getattr(value, EXTRA, _NONE)
    return getattr(value, name, None) if extra is _NONE else (extra or _NONE).get(name)


def members(value: Any, name: str) -> Sequence[Any]:
    """As `member`, for a list; an empty one where there is none."""
    found = member(value, name)
    return found if isinstance(found, (list, tuple)) else ()
