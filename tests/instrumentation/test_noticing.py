"""The span processor that notices the model calls of others, and the watch for spans that are made inside a call."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import openai
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import spanback
from spanback._spanref import RESPONSES
from spanback._telemetry import TELEMETRY
from spanback.instrumentation import NOTICING, WRAPPING
from spanback.instrumentation._adopt import CAPTURE, peer_in
from spanback.instrumentation.providers.openai import ADAPTER
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import MESSAGES, MODEL

CHAT = {"gen_ai.operation.name": "chat"}
SCOPE = "opentelemetry.instrumentation.openai.v1"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if a package were imported that makes spans of model calls."""
    monkeypatch.setattr(NOTICING, "is_needed", True)
    monkeypatch.setattr(NOTICING, "_watched", [])
    yield
    NOTICING.remove()


def made_by(module: str, code: Any) -> Any:
    """A function that looks as if a module had defined it."""
    return FunctionType(code.__code__, {**globals(), "__name__": module}, closure=code.__closure__)


def test_ids_on_ended_spans(peers: Any, instrument: Any, memory: Memory) -> None:
    """The innermost span that notes a response's id is the one that feedback finds by it."""
    instrument()
    tracer = memory.tracer_provider.get_tracer(SCOPE)
    model = {"gen_ai.request.model": "m", "gen_ai.response.model": "m-1", "gen_ai.system": "OpenAI"}
    outer = tracer.start_span("workflow", attributes={"gen_ai.response.id": "resp_1"})
    inner = tracer.start_span("chat", attributes={**CHAT, **model, "gen_ai.response.id": "resp_1"})
    inner.end()
    outer.end()
    tracer.start_span("chat", attributes=CHAT).end()
    reference = RESPONSES.find("resp_1")
    assert reference is not None
    assert reference.span_id == inner.get_span_context().span_id
    assert (reference.provider_name, reference.request_model, reference.response_model) == ("OpenAI", "m", "m-1")
    assert len(RESPONSES) == 1
    spanback.uninstrument()
    tracer.start_span("chat", attributes={**CHAT, "gen_ai.response.id": "resp_2"}).end()
    assert RESPONSES.find("resp_2") is None


def test_odd_spans_of_others_raise_nothing(peers: Any, instrument: Any, memory: Memory, complaints: Any) -> None:
    """Whatever an app puts on its own spans, it can begin and end them, and their responses are known."""
    instrument()
    tracer: Any = memory.tracer_provider.get_tracer(SCOPE)
    for number, tags in enumerate([5, "beta", ["beta", "new"]]):
        said = {**CHAT, "gen_ai.response.id": f"resp_{number}", "spanback.tags": tags, "gen_ai.prompt.name": 3}
        tracer.start_span("chat", attributes=said).end()
    tracer.start_span(None).end()
    found = [RESPONSES.find(f"resp_{number}") for number in range(3)]
    assert [one and (one.tags, one.prompt_name) for one in found] == [((), None), ((), None), (("beta", "new"), None)]
    assert complaints.take() == []


def test_a_task_that_outlives_its_call_keeps_no_spans(peers: Any, instrument: Any, memory: Memory) -> None:
    """Of the spans that are begun in the context of a call only the first is kept for it."""
    instrument()
    tracer = memory.tracer_provider.get_tracer(SCOPE)
    found: list[Any] = []
    within = otel_context.set_value(CAPTURE, found)
    spans = [tracer.start_span("chat", within, attributes=CHAT) for _ in range(3)]
    for span in spans:
        span.end()
    assert found == spans[:1]


@pytest.mark.parametrize(
    ("output", "kind", "found"),
    [
        ('{"id":"chatcmpl-9","object":"chat.completion"}', "LLM", "chatcmpl-9"),
        ('{"object":"chat.completion"}', "LLM", None),
        ('{"id":"chatcmpl-9"}', "CHAIN", None),
    ],
)
def test_ids_in_outputs(output: str, kind: str, found: str | None, peers: Any, instrument: Any, memory: Memory) -> None:
    """OpenInference notes no id of its own, but keeps the response as JSON."""
    instrument()
    tracer = memory.tracer_provider.get_tracer("openinference.instrumentation.openai")
    attributes = {"openinference.span.kind": kind, "output.value": output}
    tracer.start_span("ChatCompletion", attributes=attributes).end()
    assert (RESPONSES.find("chatcmpl-9") is not None) is (found is not None)


def test_the_provider_of_later(peers: Any, monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    """A provider that the app sets after `instrument()` is watched from its first span on; then the API is as it was."""
    before = trace._set_tracer_provider
    found: list[Any] = []
    monkeypatch.setattr(trace, "_set_tracer_provider", lambda provider, log: found.append((provider, log)))
    stand_in = trace._set_tracer_provider
    NOTICING.install()
    NOTICING.install()
    trace.set_tracer_provider(memory.tracer_provider)
    assert found == [(memory.tracer_provider, True)]
    assert memory.tracer_provider in NOTICING._watched
    memory.tracer_provider.get_tracer(SCOPE).start_span("x", attributes={"gen_ai.response.id": "resp_3"}).end()
    assert RESPONSES.find("resp_3") is not None
    NOTICING.remove()
    NOTICING.remove()
    assert trace._set_tracer_provider is stand_in
    monkeypatch.undo()
    assert trace._set_tracer_provider is before
    RESPONSES.clear()
    assert NOTICING.force_flush() is True
    assert NOTICING.shutdown() is None


def test_an_api_without_that_function(peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that sets its provider otherwise is left alone, and so is one that somebody else has wrapped since."""
    before = trace._set_tracer_provider
    monkeypatch.delattr(trace, "_set_tracer_provider")
    NOTICING.install()
    NOTICING.remove()
    assert not hasattr(trace, "_set_tracer_provider")
    monkeypatch.undo()
    monkeypatch.setattr(NOTICING, "is_needed", True)
    NOTICING.install()
    monkeypatch.setattr(trace, "_set_tracer_provider", before)
    NOTICING.remove()
    assert trace._set_tracer_provider is before
    assert TELEMETRY.on_tracer_provider is None


def test_what_is_imported_later(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    """The processor is put on the provider when the first package is imported that may need it, if still wanted."""
    monkeypatch.setattr(NOTICING, "is_needed", False)
    monkeypatch.setattr(NOTICING, "_watched", [])
    NOTICING._on_import(None)
    assert NOTICING.is_needed
    monkeypatch.setattr(NOTICING, "is_needed", False)
    TELEMETRY.configure(tracer_provider=memory.tracer_provider)
    NOTICING.install()
    assert NOTICING._watched == []
    NOTICING._on_import(None)
    assert NOTICING._watched == [memory.tracer_provider]
    NOTICING.remove()
    TELEMETRY.configure()


def peers_wrapper(tracer: Any, more: dict[str, str]) -> Any:
    """A wrapper of a peer's, which makes its span inside ours where it was installed before us."""

    def wrap(wrapped: Any) -> Any:
        def around(instance: Any, *args: Any, **kwargs: Any) -> Any:
            if tracer is None:
                return wrapped(instance, *args, **kwargs)
            with tracer.start_as_current_span("openai.chat", attributes={**CHAT, **more}):
                return wrapped(instance, *args, **kwargs)

        made = made_by(f"{SCOPE}.chat_wrappers", around)
        made.__wrapped__ = wrapped
        return made

    return wrap


@pytest.fixture
def shadow(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> Any:
    """Puts a peer's wrapper on the subclass that apps use, past the class that we wrap."""

    def put(tracer: Any, **more: str) -> None:
        around = peers_wrapper(tracer, more)(openai.OpenAI.request)
        monkeypatch.setattr(openai.OpenAI, "request", around, raising=False)

    return put


@pytest.mark.parametrize("model", [MODEL, "error-429"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_peer_that_came_first(
    stream: bool, model: str, peers: Any, shadow: Any, instrument: Any, client: Any, memory: Memory
) -> None:
    """A peer's wrapper below ours makes the span; ours is not made, and feedback binds to theirs."""
    shadow(memory.tracer_provider.get_tracer(SCOPE))
    instrument()
    try:
        found = client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
    except openai.RateLimitError:
        found = None
    assert [span.name for span in memory.spans] == ["openai.chat"]
    if found is not None:
        assert spanback.reference(found).span_id == memory.span.context.span_id
        assert {line.detail for line in spanback.status() if line.state == "adopted"} == {f"spans are made by {SCOPE}"}


@pytest.mark.parametrize("model", [MODEL, "error-429"])
@pytest.mark.parametrize("can_be_sorted", [True, False])
def test_a_peer_that_came_first_and_makes_nothing(
    can_be_sorted: bool,
    model: str,
    peers: Any,
    shadow: Any,
    instrument: Any,
    client: Any,
    memory: Memory,
    complaints: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a peer is there but makes no span, ours is made afterwards, with the times of the call."""
    shadow(None)
    instrument()
    if not can_be_sorted:
        monkeypatch.setattr(type(ADAPTER), "sort", None)
    try:
        client.chat.completions.create(model=model, messages=MESSAGES)
    except openai.RateLimitError:
        assert memory.span.attributes["error.type"] == "RateLimitError"
    assert memory.span.name == f"chat {model}"
    assert memory.span.end_time - memory.span.start_time > 100_000
    expected = ["end_or_watch raised; the app goes on"] if model == MODEL and not can_be_sorted else []
    assert complaints.take() == expected


IDS = [
    {"gen_ai.response.id": "resp_said", "gen_ai.response.model": "m-1"},
    {"output.value": '{"id": "resp_said"}', "openinference.span.kind": "LLM", "gen_ai.response.model": "m-1"},
]


@pytest.mark.parametrize("said", IDS)
@pytest.mark.parametrize("is_read", [True, False])
def test_a_response_of_a_peers_span_is_known_by_its_id(
    is_read: bool, said: dict[str, str], peers: Any, shadow: Any, instrument: Any, client: Any, memory: Memory
) -> None:
    """As the response says it; where the app does not read that, as the span does."""
    shadow(memory.tracer_provider.get_tracer(SCOPE), **said)
    instrument()
    with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as raw:
        response_id = raw.parse().id if is_read else "resp_said"
    reference = RESPONSES.find(response_id)
    assert reference is not None
    assert reference.span_id == memory.span.context.span_id
    assert (reference.provider_name, reference.request_model) == ("openai", MODEL)
    assert (reference.response_model == "m-1") == (not is_read)
    assert len(RESPONSES) == 1


def test_a_peer_that_goes_away(peers: Any, shadow: Any, instrument: Any, client: Any, memory: Memory) -> None:
    """A peer that puts the client's own function back on the subclass hides no call from us, not even one."""
    original = openai.OpenAI.request
    shadow(memory.tracer_provider.get_tracer(SCOPE))
    instrument()
    openai.OpenAI.request = original
    for _ in range(2):
        response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert spanback.reference(response).span_id == memory.spans[-1].context.span_id
    assert [span.name for span in memory.spans] == [f"chat {MODEL}"] * 2
    assert any(patch.owner is openai.OpenAI and patch.wrapper is openai.OpenAI.request for patch in WRAPPING._patches)


@pytest.mark.parametrize("peer", ["openinference.instrumentation", "openlit"])
def test_ours_in_any_case(
    peer: str, peers: Any, instrument: Any, client: Any, memory: Memory, monkeypatch: Any
) -> None:
    """With `adopt=False` a span of ours is made inside a peer's, and peers are asked to make none inside ours."""
    monkeypatch.setitem(sys.modules, peer, ModuleType(peer))
    instrument(adopt=False)
    tracer = memory.tracer_provider.get_tracer(SCOPE)
    with tracer.start_as_current_span("openai.chat", attributes=CHAT):
        response = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    ours, theirs = memory.spans
    assert (ours.name, theirs.name) == (f"chat {MODEL}", "openai.chat")
    assert spanback.reference(response).span_id == ours.context.span_id
    assert NOTICING.has_peers()


def test_a_peer_whose_span_is_not_the_current_one(
    peers: Any, instrument: Any, client: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that is on the stack makes its span beside the context, or after the call; either way ours is not made."""
    monkeypatch.setitem(sys.modules, "langfuse.openai", ModuleType("langfuse.openai"))
    instrument()
    tracer = memory.tracer_provider.get_tracer("langfuse-sdk")

    def call() -> Any:
        return client.chat.completions.create(model=MODEL, messages=MESSAGES)

    beside = made_by("langfuse.openai", lambda: call())  # noqa: PLW0108 - its frame is what is looked for
    assert spanback.reference(beside()) is None
    assert memory.spans == []
    span = tracer.start_span("OpenAI-generation")
    response = beside()
    span.end()
    assert spanback.reference(response).span_id == span.get_span_context().span_id
    assert spanback.reference(call()).span_id == memory.spans[-1].context.span_id
    assert [one.name for one in memory.spans] == ["OpenAI-generation", f"chat {MODEL}"]


def test_wrappers_of_every_make() -> None:
    """A peer is known by the module of its function, its bound method, or its callable object, however deep."""

    class Wrapper:
        def __call__(self) -> None:
            """Does nothing."""

    def plain() -> None:
        """Nobody's."""

    theirs = made_by("logfire._internal.integrations.openai", plain)
    proxy = SimpleNamespace(_self_wrapper=theirs, __wrapped__=plain)
    outer = SimpleNamespace(__func__=plain, __wrapped__=proxy)
    assert peer_in(plain) is None
    assert peer_in(proxy) == peer_in(outer) == "logfire._internal.integrations.openai"
    assert peer_in(SimpleNamespace(_self_wrapper=Wrapper(), __wrapped__=None)) is None
    endless = SimpleNamespace()
    endless.__wrapped__ = endless
    assert peer_in(endless) is None


def test_spans_of_others_that_are_no_model_calls() -> None:
    """Inside a call a peer's span counts unless it says that it is something else."""
    from spanback.instrumentation._adopt import peer_of

    def span(name: str, scope: str = SCOPE, **attributes: str) -> Any:
        given = {key.replace("_", "."): value for key, value in attributes.items()}
        return TracerProvider(shutdown_on_exit=False).get_tracer(scope).start_span(name, attributes=given)

    assert peer_of(span("openai.chat"), is_inside=True) == SCOPE
    assert peer_of(span("openai.chat")) is None
    assert peer_of(span("chat gpt-4o")) == SCOPE
    assert peer_of(span("execute_tool x"), is_inside=True) is None
    assert peer_of(span("POST", "opentelemetry.instrumentation.httpx"), is_inside=True) is None


@driving.is_async
async def test_no_span_where_peers_are_expected_and_nobody_records(is_async: bool, bench: Any) -> None:
    """Noticing changes nothing for an app without a provider."""
    from opentelemetry.trace import NoOpTracerProvider

    bench.instrument(tracer_provider=NoOpTracerProvider())
    client = bench.connect(is_async=is_async)
    found = await driving.settled(client.chat.completions.create(model=MODEL, messages=MESSAGES))
    assert spanback.reference(found) is None
