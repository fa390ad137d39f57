"""LiteLLM's own `otel` callback, which makes a span after each call: with ours there, it takes that for its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytest.importorskip("litellm")

from litellm.integrations.custom_logger import CustomLogger
from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

import spanback
from spanback._telemetry import SCOPE_NAME
from spanback.instrumentation._noticing import NOTICING
from spanback.instrumentation.providers import litellm as adapter
from tests.clients.conftest import settled
from tests.clients.litellm import MESSAGES, Client, answers, litellm
from tests.clients.wire import WireServer
from tests.conftest import Memory

pytestmark = [
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning", "ignore:Pydantic seri:UserWarning"),
    pytest.mark.skipif(
        adapter._BOTH not in OpenTelemetry._handle_success.__code__.co_consts,
        reason="this release makes a span of its own in any case",
    ),
]
either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
PATIENCE_S = 20


class Last(CustomLogger):
    """A callback that is called after the others."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()

    def log_success_event(self, *_: Any, **__: Any) -> None:
        """A call has been made."""
        self.called.set()

    async def async_log_success_event(self, *_: Any, **__: Any) -> None:
        """A call has been made, asynchronously."""
        self.called.set()


@pytest.fixture
def server() -> Iterator[WireServer]:
    """The server, and no callbacks afterwards."""
    with WireServer().running() as running:
        running.speak(answers)
        yield running
    for name in (
        "callbacks",
        "success_callback",
        "failure_callback",
        "_async_success_callback",
        "_async_failure_callback",
    ):
        getattr(litellm, name).clear()


async def made(server: WireServer, provider: TracerProvider, is_async: bool, **more: Any) -> Any:
    """A call with LiteLLM's callback, that is done once the callback is."""
    last = Last()
    config = OpenTelemetryConfig(exporter=InMemorySpanExporter())
    litellm.callbacks[:] = [OpenTelemetry(config=config, tracer_provider=provider), last]
    client = Client(server, is_async)
    got = await settled(client.call("completion", model="openai/model-1", messages=MESSAGES, **more))
    for _ in range(PATIENCE_S * 100):
        if last.called.is_set():
            break
        await asyncio.sleep(0.01)
    assert last.called.is_set()
    await client.aclose()
    return got


def calls(memory: Memory) -> list[tuple[str, str]]:
    """The spans that are model calls, by what made them; LiteLLM may add one of the raw request below."""
    named = [(span.instrumentation_scope.name, span.name) for span in memory.spans]
    return [one for one in named if one[1] != "raw_gen_ai_request"]


@either
@pytest.mark.parametrize("adopt", [True, False])
async def test_one_span_with_the_callback(
    server: WireServer, instrument: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch, is_async: bool, adopt: bool
) -> None:
    """Where its span would go where ours does, there is ours alone, and all that it adds stands below it."""
    instrument(adopt=adopt)
    monkeypatch.setattr(NOTICING, "_is_needed", False)  # pytest imports a plugin of langsmith
    given = {"tags": ["one"]}
    got = await made(server, memory.tracer_provider, is_async, metadata=given)
    assert calls(memory) == [(SCOPE_NAME, "chat model-1")]
    assert given == {"tags": ["one"]}
    (ours,) = [span for span in memory.spans if span.name == "chat model-1"]
    assert spanback.reference(got).span_id == ours.context.span_id
    others = [span for span in memory.spans if span is not ours]
    assert {span.parent.span_id for span in others} <= {ours.context.span_id}


@either
async def test_the_callback_without_spanback(server: WireServer, memory: Memory, is_async: bool) -> None:
    """Without spanback it makes its span."""
    await made(server, memory.tracer_provider, is_async)
    assert calls(memory) == [("litellm", "litellm_request")]


@pytest.mark.parametrize("adopt", [True, False])
async def test_a_callback_that_sends_its_spans_elsewhere(
    server: WireServer, instrument: Any, memory: Memory, adopt: bool
) -> None:
    """It keeps them, unless adoption is off."""
    instrument(adopt=adopt)
    exporter = InMemorySpanExporter()
    elsewhere = TracerProvider(shutdown_on_exit=False)
    elsewhere.add_span_processor(SimpleSpanProcessor(exporter))
    await made(server, elsewhere, is_async=False)
    assert calls(memory) == [(SCOPE_NAME, "chat model-1")]
    names = [span.name for span in exporter.get_finished_spans() if span.name != "raw_gen_ai_request"]
    assert names == (["litellm_request"] if adopt else [])


def test_what_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without such a callback, where metadata may reach the provider, and in older releases, a call stays as it is."""

    def taken() -> dict[str, Any]:
        kwargs: dict[str, Any] = {}
        adapter._take_place(kwargs, "span", lambda _tracer: True)
        return kwargs

    assert taken() == {}
    made_of = OpenTelemetry(config=OpenTelemetryConfig(), tracer_provider=TracerProvider(shutdown_on_exit=False))
    monkeypatch.setattr(litellm, "callbacks", [made_of])
    assert taken() == {"metadata": {"litellm_parent_otel_span": "span"}}
    monkeypatch.setattr(litellm, "enable_preview_features", True)
    assert taken() == {}
    monkeypatch.setattr(litellm, "enable_preview_features", False)
    monkeypatch.setattr(OpenTelemetry, "_handle_success", lambda: None)
    assert taken() == {}
