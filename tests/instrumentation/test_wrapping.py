"""What is wrapped: whatever was made before, nothing that is missing, and not a trace of it afterwards."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import openai
import pytest
from openai._base_client import AsyncAPIClient, SyncAPIClient
from opentelemetry.instrumentation.utils import suppress_instrumentation

import spanback
from spanback import TargetStatus
from spanback.demo._loopback import LoopbackServer
from spanback.instrumentation import WRAPPING, _wrap
from spanback.instrumentation._adapter import Target
from spanback.instrumentation.providers import Client
from spanback.instrumentation.providers.openai import ADAPTER
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import ANSWER, MESSAGES, MODEL

CALL = {"model": MODEL, "messages": MESSAGES}
SYNC, ASYNC = "openai._base_client.SyncAPIClient.request", "openai._base_client.AsyncAPIClient.request"


def states() -> list[tuple[str, str]]:
    """Target and state of each line of `status()`."""
    return [(line.target, line.state) for line in spanback.status()]


def create(client: Any, **body: Any) -> Any:
    """Looks its resource up at the call."""
    return client.chat.completions.create(**body)


MADE_BEFORE: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "client": lambda client: partial(create, client),
    "resource": lambda client: client.chat.completions.create.__self__.create,
    "bound method": lambda client: client.chat.completions.create,
    "raw client": lambda client: client.chat.completions.with_raw_response.create,
    "copy": lambda client: client.with_options(timeout=9).chat.completions.create,
}


@driving.is_async
@pytest.mark.parametrize("kind", MADE_BEFORE)
async def test_what_was_made_before_is_seen(kind: str, is_async: bool, bench: Any) -> None:
    """Clients, resources and bound methods made before `instrument()` are traced like the others."""
    method = MADE_BEFORE[kind](bench.connect(is_async=is_async))
    bench.instrument()
    await driving.settled(method(**CALL))
    assert bench.memory.span.name == f"chat {MODEL}"


@driving.is_async
async def test_a_bound_request_method_made_between_passes_through(is_async: bool, bench: Any) -> None:
    """A bound wrapper that an app keeps beyond `uninstrument()` passes calls on and makes no span."""
    client = bench.connect(is_async=is_async)
    bench.instrument()
    client.request = client.request
    spanback.uninstrument()
    bench.instrument(clients=[])
    response = await driving.settled(client.chat.completions.create(**CALL))
    assert response.choices[0].message.content == ANSWER
    assert bench.memory.spans == []


@pytest.mark.parametrize("header", ["true", None])
@driving.is_async
async def test_direct_posts_are_seen(header: str | None, is_async: bool, bench: Any) -> None:
    """`client.post(...)`, which is LiteLLM's way in, has one span, and its parsed response carries the handle."""
    bench.instrument()
    result = await driving.settled(
        bench.connect(is_async=is_async).post(
            "/chat/completions",
            body=CALL,
            cast_to=openai.types.chat.ChatCompletion,
            options={"headers": {"X-Stainless-Raw-Response": header}} if header else {},
        )
    )
    response = result.parse() if header else result
    assert type(response) is openai.types.chat.ChatCompletion
    assert response._spanback[1] == bench.memory.span.context.span_id
    assert bench.memory.span.attributes["gen_ai.response.id"] == response.id


@driving.is_async
async def test_direct_streamed_posts_are_seen(is_async: bool, bench: Any) -> None:
    """A streamed `client.post(...)` in raw mode, as LiteLLM makes it, has one span with its chunks."""
    bench.instrument()
    chunk = openai.types.chat.ChatCompletionChunk
    raw = await driving.settled(
        bench.connect(is_async=is_async).post(
            "/chat/completions",
            body={**CALL, "stream": True},
            cast_to=chunk,
            options={"headers": {"X-Stainless-Raw-Response": "true"}},
            stream=True,
            stream_cls=(openai.AsyncStream if is_async else openai.Stream)[chunk],
        )
    )
    chunks = await driving.read(raw.parse())
    assert {spanback.reference(one).span_id for one in chunks} == {bench.memory.span.context.span_id}
    assert bench.memory.span.attributes["gen_ai.response.finish_reasons"] == ("stop",)


@pytest.mark.parametrize("kind", ["http", "api"])
@driving.is_async
async def test_posts_cast_to_other_kinds(kind: str, is_async: bool, bench: Any) -> None:
    """A call whose result is an HTTP response, or a response class of the client's, keeps that very type."""
    from openai._response import APIResponse, AsyncAPIResponse

    bench.instrument()
    completion = openai.types.chat.ChatCompletion
    api = AsyncAPIResponse[completion] if is_async else APIResponse[completion]
    cast_to = driving.httpx.Response if kind == "http" else api
    client = bench.connect(is_async=is_async)
    result = await driving.settled(client.post("/chat/completions", body=CALL, cast_to=cast_to))
    assert type(result) is (driving.httpx.Response if kind == "http" else api.__origin__)
    if kind == "api":
        assert (await driving.settled(result.parse())).choices[0].message.content == ANSWER
        await driving.settled(result.close())
        assert bench.memory.span.attributes["gen_ai.response.id"] == "chatcmpl-000001"
    assert bench.memory.span.name == f"chat {MODEL}"


def test_subclasses_are_seen(instrument: Any, connect: Any, memory: Memory) -> None:
    """A user's subclass that overrides `request` and calls the client's has one span."""

    class Mine(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            return super().request(*args, **kwargs)

    instrument()
    connect(make=Mine).chat.completions.create(**CALL)
    assert memory.span.name == f"chat {MODEL}"


def test_an_unbound_call_is_seen(instrument: Any, client: Any, memory: Memory) -> None:
    """A call through the class has a span, too."""
    instrument()
    options = client._options = []
    request = SyncAPIClient.request
    client.request = lambda *args, **kwargs: options.append(args) or request(client, *args, **kwargs)
    client.chat.completions.create(**CALL)
    assert len(options) == 1
    assert memory.span.name == f"chat {MODEL}"


def test_suppressed_calls_have_no_span(instrument: Any, client: Any, memory: Memory) -> None:
    """`suppress_instrumentation()` is honoured."""
    instrument()
    with suppress_instrumentation():
        client.chat.completions.create(**CALL)
    assert memory.spans == []


def test_instrumenting_twice_and_taking_back(instrument: Any, client: Any, memory: Memory) -> None:
    """Twice is once; afterwards the classes hold the very same functions, in the same order, with nothing added."""
    before = [dict(vars(owner)) for owner in (SyncAPIClient, AsyncAPIClient, openai.OpenAI, openai.AsyncOpenAI)]
    instrument()
    instrument()
    spanback.uninstrument()
    spanback.uninstrument()
    instrument()
    client.chat.completions.create(**CALL)
    assert memory.span.name == f"chat {MODEL}"
    spanback.uninstrument()
    after = [dict(vars(owner)) for owner in (SyncAPIClient, AsyncAPIClient, openai.OpenAI, openai.AsyncOpenAI)]
    assert [list(names) for names in after] == [list(names) for names in before]
    assert all(now[name] is then[name] for now, then in zip(after, before, strict=True) for name in then)
    client.chat.completions.create(**CALL)
    assert len(memory.spans) == 1


def test_wrapped_functions_look_as_before(instrument: Any) -> None:
    """Signature, name and kind of the wrapped functions are the client's."""
    before = [(inspect.signature(owner.request), owner.request.__name__) for owner in (SyncAPIClient, AsyncAPIClient)]
    instrument()
    after = [(inspect.signature(owner.request), owner.request.__name__) for owner in (SyncAPIClient, AsyncAPIClient)]
    assert after == before
    assert inspect.iscoroutinefunction(AsyncAPIClient.request)
    assert not inspect.iscoroutinefunction(SyncAPIClient.request)


def test_a_wrapper_around_ours_stays(instrument: Any, client: Any, memory: Memory) -> None:
    """Where somebody has wrapped ours, theirs stays, ours falls silent, and a new one may come on top."""
    original = vars(SyncAPIClient)["request"]
    instrument()
    ours = vars(SyncAPIClient)["request"]
    theirs_saw = []

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        theirs_saw.append(args[1].url)
        return ours.__get__(self, type(self))(*args, **kwargs)

    try:
        SyncAPIClient.request = theirs
        spanback.uninstrument()
        assert vars(SyncAPIClient)["request"] is theirs
        instrument(clients=[])
        client.chat.completions.create(**CALL)
        assert memory.spans == []
        instrument(clients=["openai"])
        client.chat.completions.create(**CALL)
        assert memory.span.name == f"chat {MODEL}"
        assert theirs_saw == ["/chat/completions"] * 2
        spanback.uninstrument()
        assert vars(SyncAPIClient)["request"] is theirs
    finally:
        SyncAPIClient.request = original


def test_clients_that_are_no_longer_named_are_given_back(instrument: Any, client: Any, memory: Memory) -> None:
    """A later call that names other clients takes back those that it does not name."""
    original = vars(SyncAPIClient)["request"]
    instrument()
    instrument(clients=[])
    assert vars(SyncAPIClient)["request"] is original
    client.chat.completions.create(**CALL)
    assert memory.spans == []
    assert states() == [(SYNC, "not instrumented"), (ASYNC, "not instrumented")]


def test_status(instrument: Any) -> None:
    """`status()` says of each function what became of it, with the client's version."""
    assert states() == [(SYNC, "not instrumented"), (ASYNC, "not instrumented")]
    instrument()
    assert spanback.status() == [
        TargetStatus("openai", SYNC, "patched", openai.__version__),
        TargetStatus("openai", ASYNC, "patched", openai.__version__),
    ]


@pytest.fixture
def changed_adapter(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the targets of the adapter."""

    def change(*targets: Target) -> None:
        monkeypatch.setattr(type(ADAPTER), "targets", property(lambda _self: targets))

    return change


@pytest.mark.parametrize(
    "missing", [("openai._base_client", "SyncAPIClient.send"), ("openai._tomorrow", "Client.request")]
)
def test_a_missing_target_disables_nothing_else(missing: tuple[str, str], changed_adapter: Any, bench: Any) -> None:
    """A function that this version of the client lacks is named, and the other is wrapped."""
    changed_adapter(
        Target(*missing, is_async=True), Target("openai._base_client", "SyncAPIClient.request", is_async=False)
    )
    bench.instrument()
    assert states() == [(".".join(missing), "missing attribute"), (SYNC, "patched")]
    bench.connect().chat.completions.create(**CALL)
    assert bench.memory.span.name == f"chat {MODEL}"


def test_a_client_that_cannot_be_wrapped(monkeypatch: pytest.MonkeyPatch, instrument: Any, complaints: Any) -> None:
    """`instrument()` goes on with the other clients."""

    def broken(_name: str) -> Any:
        raise LookupError("tomorrow")

    monkeypatch.setattr(_wrap, "_adapter_of", broken)
    instrument()
    assert set(complaints.take()) == {"Wrapping._patch_client raised; the app goes on"}


def test_a_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is not installed has one line, by its package's name."""
    monkeypatch.setitem(_wrap.CLIENTS, "no_such_client", Client("no_such_module", "no_such", "no_such_client"))
    assert spanback.status()[-1] == TargetStatus("no_such_client", "no_such_client", "not installed", None)


def test_a_client_that_is_imported_later(instrument: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is wrapped when it is imported, if it is still asked for by then, and hooked only once."""
    hooks: list[Any] = []
    monkeypatch.setattr(_wrap.wrapt, "register_post_import_hook", lambda hook, name: hooks.append((name, hook)))
    module = sys.modules["openai._base_client"]
    monkeypatch.delitem(sys.modules, "openai._base_client")
    instrument()
    instrument()
    assert states() == [(SYNC, "not imported"), (ASYNC, "not imported")]
    monkeypatch.setitem(sys.modules, "openai._base_client", module)
    ((name, hook),) = hooks
    assert name == "openai._base_client"
    spanback.uninstrument()
    hook(module)
    assert states() == [(SYNC, "not instrumented"), (ASYNC, "not instrumented")]
    WRAPPING._clients = frozenset({"openai"})
    hook(module)
    assert states() == [(SYNC, "patched"), (ASYNC, "patched")]


@driving.is_async
async def test_methods_stay_what_they_were(is_async: bool, bench: Any, server: LoopbackServer) -> None:
    """What a streaming raw response gives as lines or bytes is what the server sent."""
    bench.instrument()
    client = bench.connect(is_async=is_async)
    for name in ("iter_lines", "iter_bytes"):
        async with driving.entered(
            client.chat.completions.with_streaming_response.create(**CALL, stream=True)
        ) as response:
            assert response.headers["x-request-id"].startswith("req_")
            pieces = [piece async for piece in response_pieces(getattr(response, name)())]
        assert str(pieces[-1]).find("DONE") != -1 or "DONE" in str(pieces[-2:])
    assert [span.name for span in bench.memory.spans] == [f"chat {MODEL}"] * 2
    assert {span.status.description for span in bench.memory.spans} == {None}


async def response_pieces(pieces: Any) -> Any:
    """The pieces of either kind of iterator."""
    if hasattr(pieces, "__anext__"):
        async for piece in pieces:
            yield piece
    else:
        for piece in pieces:
            yield piece


@driving.is_async
async def test_a_raw_response_that_is_read_before_it_is_parsed(is_async: bool, bench: Any) -> None:
    """The span of a response that the app reads, parses, and keeps open ends when its last byte came."""
    bench.instrument()
    manager = bench.connect(is_async=is_async).chat.completions.with_streaming_response.create(**CALL)
    async with driving.entered(manager) as response:
        parsed = await driving.settled(response.parse())
        assert bench.memory.counted.ended == 0
    assert bench.memory.span.attributes["gen_ai.response.id"] == parsed.id
    assert parsed._spanback[1] == bench.memory.span.context.span_id
    (duration,) = bench.memory.metrics()["gen_ai.client.inference.duration"].data.data_points
    assert duration.sum == pytest.approx((bench.memory.span.end_time - bench.memory.span.start_time) / 1e9, abs=0.02)
