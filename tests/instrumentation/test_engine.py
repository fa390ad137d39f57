"""Corners of the engine that clients reach seldom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import wrapt
from opentelemetry.trace import NoOpTracerProvider

from spanback._spanref import RESPONSES, Handle
from spanback.instrumentation import _sessions, _steps
from spanback.instrumentation._adapter import Received, Request, Target
from spanback.instrumentation._around import Patch, wrapper_of
from spanback.instrumentation._begin import Capture
from spanback.instrumentation._call import Call, Context, end_abandoned
from spanback.instrumentation._langchain import LANGCHAIN, note_run
from spanback.instrumentation._streams import Watch, read_late
from spanback.instrumentation._wrap import _cell
from spanback.instrumentation.providers import _openai_sessions, _stainless, litellm
from spanback.instrumentation.providers._openai_sessions import ConnectionAdapter, WebSocketSession
from spanback.instrumentation.providers.openai import ADAPTER, provider_of
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import MESSAGES, MODEL
from tests.instrumentation.test_content import clip

pytestmark = pytest.mark.odd_telemetry("")

HANDLE: Handle = (1, 2, 1, 3, "openai", None, None, None, None, (), None, None, None)
REALTIME: WebSocketSession = next(target.says for target in _openai_sessions.targets(provider_of) if target.says)
RESPONSES_API = [target.says for target in _openai_sessions.targets(provider_of) if target.says][-1]


def call_in(memory: Memory, *, stream: bool = True) -> Call:
    """A call that is open and left."""
    request = Request(ADAPTER.endpoints["post /embeddings"], "openai", None, {}, stream, None, None)
    span = memory.tracer_provider.get_tracer("spanback").start_span("embeddings")
    call = Call(request, span, Context(), 1, is_own=True)
    call.leave()
    return call


def test_a_wrapper_of_wrapts(instrument: Any, client: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that somebody has put on a subclass still knows its object when ours calls it."""
    seen: list[Any] = []

    def around(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append(instance)
        return wrapped(*args, **kwargs)

    around.__globals__["__name__"], before = "logfire._internal.x", around.__globals__["__name__"]
    try:
        monkeypatch.setattr(
            openai.OpenAI, "request", wrapt.FunctionWrapper(openai.OpenAI.request, around), raising=False
        )
        instrument()
    finally:
        around.__globals__["__name__"] = before
    client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert seen == [client]
    assert memory.span.name == f"chat {MODEL}"


class Connection:
    """A connection that gives what it is given."""

    def send(self, event: Any = None) -> Any:
        """What was sent."""
        return event

    def parse_event(self, event: Any) -> Any:
        """What has arrived."""
        return event


def connected(
    session: Any, is_live: Callable[[], bool] = lambda: True
) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """A connection, and its two methods as they are wrapped."""
    say = _sessions.saying(session, ADAPTER, Connection.send, is_live)
    hear = _sessions.hearing(session, ADAPTER, Connection.parse_event, is_live)
    return Connection(), say, hear


def created(number: int) -> dict[str, Any]:
    """The event that begins a response."""
    return {"type": "response.created", "response": {"id": f"resp_{number}"}}


def test_a_server_that_never_answers(instrument: Any, memory: Memory) -> None:
    """Of what is open on one connection so much is kept; the oldest ends."""
    instrument()
    connection, say, hear = connected(RESPONSES_API)
    for _ in range(70):
        say(connection, event={"type": "response.create", "model": "m"})
    assert memory.counted.ended == 6
    for number in range(140):
        hear(connection, created(number))
    assert memory.counted.started - memory.counted.ended == 64
    del connection
    end_abandoned()
    assert len(memory.spans) == 146


def test_events_of_no_interest(instrument: Any, memory: Memory) -> None:
    """Events of other kinds, of unknown responses and without an id begin and end nothing."""
    instrument()
    connection, say, hear = connected(REALTIME)
    say(connection, {"type": "session.update"})
    for event in (
        {"type": "rate_limits.updated"},
        {"type": "response.output_text.delta", "response_id": "resp_9"},
        {"type": "response.done", "response": {"id": "resp_9"}},
    ):
        assert hear(connection, event) is event
    assert memory.spans == []
    hear(connection, {"type": "response.created", "response": {}})
    assert memory.counted.started == 1


def test_a_connection_when_nobody_listens(instrument: Any, memory: Memory) -> None:
    """After `uninstrument()`, and without a provider, events pass."""
    connection, say, hear = connected(REALTIME, lambda: False)
    assert (say(connection, created(1)), hear(connection, created(1))) == (created(1), created(1))
    instrument(tracer_provider=NoOpTracerProvider())
    connection, say, hear = connected(REALTIME)
    say(connection, {"type": "response.create"})
    hear(connection, created(1))
    assert memory.spans == []


def test_what_the_realtime_api_says() -> None:
    """Calls of functions are parts of the message; nothing said is no message; a response of tomorrow has no reason."""
    call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}
    said = {"type": "message", "content": [{"type": "audio", "transcript": "Hi"}, {"type": "audio"}]}
    (message,) = _openai_sessions.read_output({"status": "completed", "output": [call, said]}, clip).popitem()[1]
    assert message == {
        "role": "assistant",
        "parts": [
            {"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"},
            {"type": "text", "content": "Hi"},
        ],
        "finish_reason": "stop",
    }
    assert _openai_sessions.read_output({"output": []}, clip) == {}
    assert _openai_sessions.read_response({"id": "r", "status": "tomorrow"}) == {"gen_ai.response.id": "r"}
    adapter = ConnectionAdapter("openai", provider_of)
    assert adapter.find_endpoint((), {}) is None
    assert adapter.sort(SimpleNamespace(), None) is None


class Steps:
    """A stream that makes its chunks itself."""

    def __init__(self) -> None:
        self.left = 2

    def __next__(self) -> int:
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return self.left

    async def __anext__(self) -> int:
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self.left


async def test_steps_of_a_stream(instrument: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another stream of the class is left alone, times are noted where asked for, and methods are given back."""
    monkeypatch.setenv("SPANBACK_CHUNK_METRICS", "true")
    instrument()
    before = dict(vars(Steps))
    stream, other = Steps(), Steps()
    watched = Watch(call_in(memory), None, Received(stream=stream, slot="__next__"))
    _steps.watch_steps(stream, watched)
    assert [next(stream), next(stream)] == [1, 0]
    with pytest.raises(StopIteration):
        next(stream)
    assert await other.__anext__() == 1
    assert next(other) == 0
    assert memory.span.name == "embeddings"
    mine = vars(Steps)["__next__"]
    Steps.__next__ = lambda self: mine(self)  # noqa: PLW0108 - somebody else's wrapper
    theirs = vars(Steps)["__next__"]
    _steps.give_back_steps()
    assert vars(Steps)["__next__"] is theirs
    assert vars(Steps)["__anext__"] is before["__anext__"]
    Steps.__next__ = before["__next__"]


def test_a_wrapper_that_could_not_be_given_back(instrument: Any, memory: Memory) -> None:
    """It stays inside of somebody else's and of the next one of ours, which takes each chunk once."""
    before = vars(Steps)["__next__"]
    instrument()
    _steps.watch_steps(Steps(), None)
    mine = vars(Steps)["__next__"]
    Steps.__next__ = lambda self: mine(self)  # noqa: PLW0108 - somebody else's wrapper
    _steps.give_back_steps()
    stream = Steps()
    watched = Watch(call_in(memory), None, Received(stream=stream, slot="__next__"))
    taken: list[int] = []
    watched.fold = lambda: (taken.extend(watched.chunks), watched.chunks.clear())
    _steps.watch_steps(stream, watched)
    assert [next(stream), next(stream), *taken] == [1, 0, 1, 0]
    with pytest.raises(StopIteration):
        next(stream)
    assert memory.span.name == "embeddings"
    _steps.give_back_steps()
    Steps.__next__ = before


def test_a_connection_that_two_threads_use_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find the same conversation, whichever of them makes it."""
    connection = SimpleNamespace()
    theirs = _sessions._Conversation()

    def overtaken() -> Any:
        vars(connection)[_sessions._ATTRIBUTE] = theirs
        return SimpleNamespace()

    monkeypatch.setattr(_sessions, "_Conversation", overtaken)
    assert _sessions._conversation(connection) is theirs


class Numbers:
    """Iterators that cannot be closed."""

    def __init__(self) -> None:
        self.left = 2

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return self.left


class AsyncNumbers(Numbers):
    """As above."""

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self.left


@pytest.mark.parametrize("make", [Numbers, AsyncNumbers, lambda: (one for one in (1, 0))])
async def test_streams_that_are_nothing_but_iterators(make: Any, instrument: Any, memory: Memory) -> None:
    """A stream without an attribute to swap is replaced by a generator, whether it can be closed or not."""
    instrument()
    call = call_in(memory)
    adapter: Any = SimpleNamespace(sort=lambda _request, result: Received(stream=result))
    from spanback.instrumentation._around import end_or_watch

    call.enter()
    stream = end_or_watch(adapter, call, make())
    assert await driving.read(stream) == [1, 0]
    assert memory.span.name == "embeddings"


def test_a_late_call_that_others_trace(instrument: Any, memory: Memory) -> None:
    """A generator whose first step makes the call has our span where the peer that was expected makes none."""
    instrument()
    request = call_in(memory).request
    tracer = memory.tracer_provider.get_tracer("spanback")
    stream = read_late(lambda: Capture(ADAPTER, request, tracer, Context(), {}), (one for one in (1, 0)))
    assert list(stream) == [1, 0]
    assert memory.counted.ended == 1


def test_managers_that_cannot_be_sorted(instrument: Any, memory: Memory, complaints: Any) -> None:
    """What a context manager gives is the app's, whatever our reading of it does."""
    from contextlib import contextmanager

    @contextmanager
    def opened(_self: Any) -> Iterator[str]:
        yield "given"

    instrument()
    endpoint = ADAPTER.endpoints["post /embeddings"]
    target = Target("m", "Owner.opened", is_async=False, endpoint=endpoint, is_manager=True)

    class Owner:
        """Has a method that opens something."""

    adapter: Any = SimpleNamespace(
        client="openai",
        traces_itself=None,
        read=lambda *_: Request(endpoint, "openai", None, {}, True, None, None),
        sort=None,
    )
    patch = Patch("openai", target, Owner, "opened", original=opened, peer=None)
    Owner.opened = wrapper_of(adapter, patch)
    with Owner().opened() as given:
        assert given == "given"
    assert memory.counted.ended == 1
    assert complaints.take() == ["end_or_watch raised; the app goes on"]


def test_runs_that_are_no_runs() -> None:
    """An argument of LangChain's name without a run of its form links nothing."""
    manager = type("Manager", (), {"__module__": LANGCHAIN, "run_id": "x"})()

    def generate(run_manager: Any) -> None:
        note_run(HANDLE)

    generate(manager)
    generate(None)
    assert len(RESPONSES) == 0


def test_the_cell_of_a_variable() -> None:
    """A variable may stand in the closure of what a function wraps."""
    secret = "found"

    def inner() -> str:
        return secret

    def outer() -> None:
        """Holds no variable."""

    outer.__wrapped__ = inner
    assert _cell(outer, "secret").cell_contents == "found"


async def test_raw_responses_whose_parsing_waits() -> None:
    """A parse() that would wait for something is not waited for."""
    import asyncio

    async def parse() -> None:
        await asyncio.sleep(0)

    assert _stainless._parsed(SimpleNamespace(parse=parse)) is None


def test_events_and_streams_of_litellm() -> None:
    """Events whose type is plain text are taken as they are, and generators are replaced by generators."""
    event = SimpleNamespace(type="response.created", response=SimpleNamespace(id="r"))
    assert litellm._plain(event) is event
    generator = (one for one in (1,))
    assert litellm.ADAPTER.sort(SimpleNamespace(), generator) == Received(stream=generator)
