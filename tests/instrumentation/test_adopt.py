"""A span that somebody else has made for the same call is kept, and feedback binds to it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, suppress_instrumentation
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import spanback
from spanback._spanref import RESPONSES
from spanback._telemetry import SCOPE_NAME
from spanback.instrumentation._adopt import peer_of
from spanback.instrumentation._noticing import NOTICING
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import MESSAGES, MODEL

CHAT = {"gen_ai.operation.name": "chat"}


@pytest.mark.parametrize(
    ("scope", "attributes", "peer"),
    [
        ("opentelemetry.instrumentation.openai.v1", CHAT, True),
        ("opentelemetry.util.genai", {"gen_ai.operation.name": "embeddings"}, True),
        ("my.own", CHAT, True),
        ("openinference.instrumentation.openai", {"openinference.span.kind": "LLM"}, True),
        ("openinference.instrumentation.langchain", {"openinference.span.kind": "CHAIN"}, False),
        ("opentelemetry.instrumentation.openai.v1", {"llm.request.type": "chat"}, True),
        ("my.own", {"llm.request.type": "chat"}, False),
        ("opentelemetry.instrumentation.fastapi", {"http.route": "/chat"}, False),
        ("opentelemetry.instrumentation.openai.v1", {}, False),
        ("my.own", {"gen_ai.operation.name": "invoke_agent"}, False),
        ("my.own", {"gen_ai.operation.name": "execute_tool"}, False),
        ("spanback", CHAT, False),
    ],
)
def test_who_counts_as_a_peer(scope: str, attributes: dict[str, str], peer: bool) -> None:
    """A span counts when it says that it is a model call; agents, tools and web requests do not."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer(scope).start_span("x", attributes=attributes)
    assert peer_of(span) == (scope if peer else None)
    span.end()
    assert peer_of(span) is None


@pytest.mark.parametrize(("name", "peer"), [("chat model-1", "litellm"), ("redis.get llm_response", None)])
def test_which_spans_of_litellm_are_calls(name: str, peer: str | None) -> None:
    """LiteLLM's own spans say it in their names alone; some are of what it does besides."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("litellm").start_span(name)
    assert peer_of(span, is_inside=True) == peer
    span.end()


def test_spans_that_do_not_record_are_no_peers() -> None:
    """A remote parent, or no span at all, is nobody's model call."""
    context = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    assert peer_of(NonRecordingSpan(context)) is None
    assert peer_of(trace.INVALID_SPAN) is None


@driving.is_async
@pytest.mark.parametrize("stream", [False, True])
async def test_a_peers_span_is_kept(stream: bool, is_async: bool, bench: Any) -> None:
    """Around a call that a peer traces there is no second span, no metric and no event; the response refers to theirs."""
    bench.instrument(capture_content="span_and_event")
    client = bench.connect(is_async=is_async)
    tracer = bench.memory.tracer_provider.get_tracer("opentelemetry.instrumentation.openai.v1")
    with tracer.start_as_current_span("openai.chat", attributes=CHAT) as theirs:
        found = await driving.settled(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream))
        if stream:
            found = (await driving.read(found))[0]
        assert trace.get_current_span() is theirs
    assert bench.memory.span.name == "openai.chat"
    assert dict(bench.memory.span.attributes) == CHAT
    assert (bench.memory.metrics(), bench.memory.logs) == ({}, [])
    reference = spanback.reference(found)
    assert reference.span_id == RESPONSES.find("chatcmpl-000001").span_id == bench.memory.span.context.span_id
    assert (reference.start_time_ns, reference.request_model) == (bench.memory.span.start_time, MODEL)
    assert {(line.state, line.detail) for line in spanback.status() if line.client == "openai"} == {
        ("adopted", "spans are made by opentelemetry.instrumentation.openai.v1")
    }


class Suppressible(SpanProcessor):
    """Notes which spans start and end where instrumentation is suppressed: some providers drop those."""

    def __init__(self) -> None:
        self.started: list[tuple[str, bool]] = []
        self.ended: list[tuple[str, bool]] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """A span starts."""
        self.started.append((span.instrumentation_scope.name, is_instrumentation_enabled()))

    def on_end(self, span: Any) -> None:
        """A span ends."""
        self.ended.append((span.instrumentation_scope.name, is_instrumentation_enabled()))


@driving.is_async
async def test_ours_inside_a_peer_that_suppresses_others(
    is_async: bool, instrument: Any, server: Any, memory: Memory
) -> None:
    """With adoption off our span starts and ends outside of what a peer around it suppresses; all else stays inside."""
    processor = Suppressible()
    memory.tracer_provider.add_span_processor(processor)
    instrument(adopt=False)
    tracer = memory.tracer_provider.get_tracer("logfire.openai")
    client = driving.make_client(server, is_async=is_async)
    with tracer.start_as_current_span("Chat Completion", attributes=CHAT) as theirs, suppress_instrumentation():
        inside = otel_context.get_current()
        got = client.chat.completions.create(model=MODEL, messages=MESSAGES)
        got = await got if is_async else got
        assert otel_context.get_current() == inside
        assert not is_instrumentation_enabled()
    ours, _ = memory.spans
    assert processor.started == [("logfire.openai", True), (SCOPE_NAME, True)]
    assert processor.ended == [(SCOPE_NAME, True), ("logfire.openai", True)]
    assert ours.parent.span_id == theirs.get_span_context().span_id
    assert spanback.reference(got).span_id == ours.context.span_id
    await client.close() if is_async else client.close()


def test_an_agents_span_is_the_parent(instrument: Any, client: Any, memory: Memory) -> None:
    """The span of an agent is the parent of the model call's."""
    instrument()
    tracer = memory.tracer_provider.get_tracer("agents")
    with tracer.start_as_current_span("run", attributes={"gen_ai.operation.name": "invoke_agent"}):
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    call, agent = memory.spans
    assert call.parent.span_id == agent.context.span_id
    assert {line.state for line in spanback.status() if line.client == "openai"} == {"patched"}


def test_a_peers_span_says_what_the_app_says(bench: Any) -> None:
    """What the app says of its calls stands on the span that is kept."""
    bench.instrument()
    tracer = bench.memory.tracer_provider.get_tracer("opentelemetry.instrumentation.openai.v1")
    with spanback.context(prompt_name="greeting", tags=["beta"]), tracer.start_as_current_span("x", attributes=CHAT):
        found = bench.connect().chat.completions.create(model=MODEL, messages=MESSAGES)
    said = {"gen_ai.prompt.name": "greeting", "spanback.tags": ("beta",)}
    assert dict(bench.memory.span.attributes) == {**CHAT, **said}
    assert spanback.reference(found).prompt_name == "greeting"


def test_a_call_that_is_not_sampled_says_nothing(bench: Any) -> None:
    """What the app says is still copied onto the feedback on a call that nobody records."""
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    bench.instrument(tracer_provider=provider, meter_provider=NoOpMeterProvider())
    with spanback.context(prompt_name="greeting"):
        found = bench.connect().chat.completions.create(model=MODEL, messages=MESSAGES)
    reference = spanback.reference(found)
    assert (reference.sampled, reference.prompt_name) == (False, "greeting")
    assert bench.memory.spans == []


def test_nothing_is_watched_after_uninstrument(instrument: Any) -> None:
    """A provider that is set later gets no processor of ours."""
    instrument()
    spanback.uninstrument()
    provider = TracerProvider(shutdown_on_exit=False)
    NOTICING.watch(provider)
    assert provider._active_span_processor._span_processors == ()
