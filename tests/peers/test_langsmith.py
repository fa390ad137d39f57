"""LangSmith makes its spans after the call, so that ours is there, too: how to have one, and which feedback binds to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import spanback
from spanback._telemetry import SCOPE_NAME
from spanback.demo._loopback import LoopbackServer
from tests.clients.wire import WireServer, as_json
from tests.conftest import Memory
from tests.instrumentation.driving import MESSAGES, MODEL, make_client

langsmith = pytest.importorskip("langsmith")
run_helpers = pytest.importorskip("langsmith.run_helpers")
wrappers = pytest.importorskip("langsmith.wrappers")

THEIRS = "langsmith"


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LangSmith traces what it wraps, whatever the environment says."""
    for name in ("LANGSMITH_OTEL_ENABLED", "LANGSMITH_OTEL_ONLY", "LANGSMITH_TRACING_MODE"):
        monkeypatch.delenv(name, raising=False)
    langsmith.utils.get_env_var.cache_clear()
    with run_helpers.tracing_context(enabled=True):
        yield
    langsmith.utils.get_env_var.cache_clear()


def rated(server: LoopbackServer, **choices: Any) -> Any:
    """What feedback binds to after a call of a client that LangSmith wraps, once LangSmith has made its spans."""
    with WireServer().running() as taking, make_client(server) as inner:
        taking.speak(lambda _request: as_json({}))
        client = langsmith.Client(api_key="test", api_url=taking.base_url, info={}, **choices)
        wrapped = wrappers.wrap_openai(inner, tracing_extra={"client": client})
        response = wrapped.chat.completions.create(model=MODEL, messages=MESSAGES)
        client.flush()
        client.cleanup()
    return spanback.reference(response.id)


def calls(memory: Memory) -> dict[str, tuple[Any, Any]]:
    """By scope: the kind that LangSmith gives a span, and the tokens on it."""
    return {
        span.instrumentation_scope.name: (
            span.attributes.get("langsmith.span.kind"),
            span.attributes.get("gen_ai.usage.input_tokens"),
        )
        for span in memory.spans
    }


def test_both_spans_can_be_told_apart(server: LoopbackServer, instrument: Any, memory: Memory) -> None:
    """With its export by OpenTelemetry there are two, of which theirs has a scope and a kind to leave it out by.

    What runs inside is in a trace that LangSmith numbers; feedback and metrics know our span alone.
    """
    instrument()
    with memory.tracer_provider.get_tracer("app").start_as_current_span("request"):
        found = rated(server, tracing_mode="otel", otel_tracer_provider=memory.tracer_provider)
    assert calls(memory) == {"app": (None, None), SCOPE_NAME: (None, 10), THEIRS: ("llm", 10)}
    contexts = {span.instrumentation_scope.name: span.context for span in memory.spans}
    assert found.span_id == contexts[SCOPE_NAME].span_id
    assert contexts[THEIRS].trace_id == contexts["app"].trace_id != contexts[SCOPE_NAME].trace_id
    points = memory.metrics()["gen_ai.client.inference.duration"].data.data_points
    assert sum(point.count for point in points) == 1


def test_a_provider_of_its_own(server: LoopbackServer, instrument: Any, memory: Memory) -> None:
    """With a provider of its own LangSmith's spans go there alone."""
    instrument()
    own = Memory()
    found = rated(server, tracing_mode="otel", otel_tracer_provider=own.tracer_provider)
    assert list(calls(own)) == [THEIRS]
    assert found.span_id == memory.span.context.span_id


@pytest.mark.filterwarnings("ignore:Both LANGSMITH_TRACING_MODE and the legacy:UserWarning")
@pytest.mark.parametrize("mode", [None, "langsmith"])
def test_the_variable(
    mode: str | None, server: LoopbackServer, instrument: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LANGSMITH_TRACING_MODE=langsmith` keeps its spans out of OpenTelemetry, whatever else is set."""
    monkeypatch.setenv("LANGSMITH_OTEL_ENABLED", "true")
    if mode is not None:
        monkeypatch.setenv("LANGSMITH_TRACING_MODE", mode)
    instrument()
    rated(server, otel_tracer_provider=memory.tracer_provider)
    assert set(calls(memory)) == ({SCOPE_NAME, THEIRS} if mode is None else {SCOPE_NAME})
