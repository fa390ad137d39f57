"""LiteLLM's own `otel` callbacks, which make a span of each call: with ours there, that takes its place."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytest.importorskip("litellm")

from litellm.integrations.custom_logger import CustomLogger
from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

import spanback
from spanback._telemetry import SCOPE_NAME
from spanback.instrumentation._adapter import StandIn
from spanback.instrumentation._noticing import NOTICING
from spanback.instrumentation._standing_in import _Tracer
from spanback.instrumentation._wrap import WRAPPING
from spanback.instrumentation.providers import litellm as adapter
from tests.clients.cases import MODEL_ERROR
from tests.clients.conftest import settled
from tests.clients.litellm import MESSAGES, RELEASE, Client, Sync, answers, litellm
from tests.clients.wire import WireServer
from tests.conftest import Memory

pytestmark = pytest.mark.filterwarnings(
    "ignore:Accessing the 'model_:DeprecationWarning", "ignore:Pydantic serializer:UserWarning"
)
either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
honours = pytest.mark.skipif(
    not hasattr(sys.modules[adapter._OTEL], "get_secret_bool"),
    reason="this release makes a span of its own whatever is around the call",
)
PATIENCE_S = 20
ASKED: dict[str, dict[str, Any]] = {
    "completion": {"messages": MESSAGES},
    "text_completion": {"prompt": "When should I visit Kyoto?"},
    "embedding": {"input": ["Kyoto"]},
    "responses": {"input": "When should I visit Kyoto?"},
    "message": {"messages": MESSAGES, "max_tokens": 50},
}
NAMES = {"embedding": "embeddings", "text_completion": "text_completion"}
OWN = (SCOPE_NAME, "chat model-1")
THEIRS = ("litellm", "litellm_request")


class Last(CustomLogger):
    """A callback that is called after the others."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()

    def _note(self, *_: Any, **__: Any) -> None:
        self.called.set()

    async def _note_async(self, *_: Any, **__: Any) -> None:
        self.called.set()

    log_success_event = log_failure_event = _note
    async_log_success_event = async_log_failure_event = _note_async


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WireServer]:
    """The server, an app without a peer, and no callbacks afterwards."""
    monkeypatch.setattr(NOTICING, "is_needed", False)  # pytest imports a plugin of langsmith
    monkeypatch.setattr(litellm, "disable_streaming_logging", False)
    with WireServer().running() as running:
        running.speak(answers)
        yield running
    for name in (
        "callbacks",
        "input_callback",
        "success_callback",
        "failure_callback",
        "_async_success_callback",
        "_async_failure_callback",
    ):
        getattr(litellm, name).clear()


def first_generation(provider: TracerProvider, meter_provider: MeterProvider | None = None) -> Any:
    """The callback, with the tracer of a provider, and metrics where there is a provider for them."""
    config = OpenTelemetryConfig(exporter=InMemorySpanExporter())
    if meter_provider is not None:
        config.enable_metrics = True
        return OpenTelemetry(config=config, tracer_provider=provider, meter_provider=meter_provider)
    if "tracer_provider" in inspect.signature(OpenTelemetry).parameters:
        return OpenTelemetry(config=config, tracer_provider=provider)
    with pytest.MonkeyPatch.context() as patch:  # the first releases know the global provider only, and want the proxy
        patch.setattr(trace, "set_tracer_provider", lambda provider: provider.shutdown())
        patch.setattr(OpenTelemetry, "_init_otel_logger_on_litellm_proxy", lambda _self: None)
        callback = OpenTelemetry(config=config)
    callback.tracer = provider.get_tracer(THEIRS[0])
    return callback


def second_generation(provider: TracerProvider) -> Any:
    """What `LITELLM_OTEL_V2` turns on."""
    logger = pytest.importorskip("litellm.integrations.otel.logger")
    from litellm.integrations.otel.model.config import OpenTelemetryV2Config

    return logger.OpenTelemetryV2(config=OpenTelemetryV2Config(exporter="in_memory"), tracer_provider=provider)


async def made(
    server: WireServer,
    callback: Any,
    is_async: bool,
    name: str = "completion",
    model: str = "model-1",
    provider: str = "openai",
    **more: Any,
) -> Any:
    """A call with LiteLLM's callback, that is done once the callback is; None where it has failed."""
    last = Last()
    litellm.callbacks[:] = [callback, last]
    client = Client(server, is_async)
    call = client.message if name == "message" else partial(client.call, name)
    got: Any = None
    try:
        got = await settled(call(model=f"{provider}/{model}", **ASKED[name], **more))
    except litellm.exceptions.RateLimitError:
        assert model == MODEL_ERROR
    if more.get("stream"):
        *_, got = got if isinstance(got, Sync) else [chunk async for chunk in got]
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
@pytest.mark.parametrize("name", ASKED)
async def test_one_span_with_the_callback(
    server: WireServer, instrument: Any, memory: Memory, is_async: bool, adopt: bool, name: str
) -> None:
    """Where its span would go where ours does, there is ours alone, and all that it adds stands below it."""
    if name == "message" and RELEASE < (1, 83):
        pytest.skip("this release has messages of Anthropic alone")
    instrument(adopt=adopt)
    got = await made(server, first_generation(memory.tracer_provider), is_async, name)
    (ours,) = [span for span in memory.spans if span.name != "raw_gen_ai_request"]
    assert (ours.instrumentation_scope.name, ours.name) == (SCOPE_NAME, f"{NAMES.get(name, 'chat')} model-1")
    assert spanback.reference(got).span_id == ours.context.span_id
    assert {span.parent.span_id for span in memory.spans if span is not ours} <= {ours.context.span_id}


@either
@pytest.mark.parametrize("name", ["completion", "responses"])
async def test_one_span_of_a_stream(
    server: WireServer, instrument: Any, memory: Memory, is_async: bool, name: str
) -> None:
    """So it is when the callback is called only at the end of a stream."""
    if name == "responses" and RELEASE < (1, 106):
        pytest.skip("this release tells its callbacks nothing of streamed responses")
    instrument()
    await made(server, first_generation(memory.tracer_provider), is_async, name, stream=True)
    assert calls(memory) == [OWN]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
async def test_one_span_of_a_message(
    server: WireServer, instrument: Any, memory: Memory, provider: str, is_stream: bool
) -> None:
    """So it is where the app and LiteLLM speak Anthropic's format."""
    if provider == "openai" and ((1, 106) if is_stream else (1, 83)) > RELEASE:
        pytest.skip("this release has no such messages, or tells its callbacks nothing of them")
    instrument()
    more = {"stream": True} if is_stream else {}
    await made(server, first_generation(memory.tracer_provider), True, "message", provider=provider, **more)
    assert calls(memory) == [OWN]


@either
@pytest.mark.parametrize("name", ["completion", "responses"])
async def test_one_span_of_a_call_that_fails(
    server: WireServer, instrument: Any, memory: Memory, is_async: bool, name: str
) -> None:
    """So it is where the call has failed."""
    instrument()
    await made(server, first_generation(memory.tracer_provider), is_async, name, MODEL_ERROR)
    assert calls(memory) == [(SCOPE_NAME, f"chat {MODEL_ERROR}")]


@either
@pytest.mark.parametrize("name", ["completion", "responses"])
async def test_beside_a_peer(
    server: WireServer,
    instrument: Any,
    memory: Memory,
    is_async: bool,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So it is where another instrumentation is imported that makes no span of this call."""
    instrument()
    monkeypatch.setattr(NOTICING, "is_needed", True)
    monkeypatch.setitem(sys.modules, "openlit", ModuleType("openlit"))
    assert NOTICING.has_peers()
    await made(server, first_generation(memory.tracer_provider), is_async, name)
    assert calls(memory) == [OWN]


@honours
async def test_metrics_of_the_callback(server: WireServer, instrument: Any, memory: Memory) -> None:
    """The callback's own metrics of a call are there as ever."""
    instrument()
    reader = InMemoryMetricReader()
    callback = first_generation(memory.tracer_provider, MeterProvider([reader], shutdown_on_exit=False))
    await made(server, callback, is_async=False)
    assert calls(memory) == [OWN]
    (of_resource,) = reader.get_metrics_data().resource_metrics
    names = {metric.name for of_scope in of_resource.scope_metrics for metric in of_scope.metrics}
    assert "gen_ai.client.operation.duration" in names


async def test_around_the_call(server: WireServer, instrument: Any, memory: Memory) -> None:
    """LiteLLM writes nothing of the call onto the span that the app has made around it."""
    instrument()
    callback = first_generation(memory.tracer_provider)
    with memory.tracer_provider.get_tracer("app").start_as_current_span("request") as request:
        await made(server, callback, is_async=True)
    assert dict(request.attributes) == {}
    assert calls(memory) == [OWN, ("app", "request")]


async def test_a_parent_that_the_app_names(server: WireServer, instrument: Any, memory: Memory) -> None:
    """A parent which the app names itself for LiteLLM's span is left to it, and makes no second one."""
    instrument()
    request = memory.tracer_provider.get_tracer("app").start_span("request")
    given = {"litellm_parent_otel_span": request}
    await made(server, first_generation(memory.tracer_provider), is_async=False, metadata=given)
    request.end()
    assert calls(memory) == [OWN, ("app", "request")]
    assert given["litellm_parent_otel_span"] is request


@either
@pytest.mark.parametrize("name", ["completion", "responses"])
async def test_the_callback_without_spanback(server: WireServer, memory: Memory, is_async: bool, name: str) -> None:
    """Without spanback it makes its span."""
    await made(server, first_generation(memory.tracer_provider), is_async, name)
    assert calls(memory) == [THEIRS]


async def test_the_callback_after_uninstrument(server: WireServer, instrument: Any, memory: Memory) -> None:
    """It is the class's own again, and makes its span."""
    instrument()
    assert hasattr(OpenTelemetry.log_success_event, "__wrapped__")
    spanback.uninstrument()
    assert not hasattr(OpenTelemetry.log_success_event, "__wrapped__")
    await made(server, first_generation(memory.tracer_provider), is_async=False)
    assert calls(memory) == [THEIRS]


async def test_a_callback_that_is_held(
    server: WireServer, instrument: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that somebody holds beyond `uninstrument()` changes nothing."""
    instrument()
    wrapped = OpenTelemetry.log_success_event
    spanback.uninstrument()
    monkeypatch.setattr(OpenTelemetry, "log_success_event", wrapped)
    await made(server, first_generation(memory.tracer_provider), is_async=False)
    assert calls(memory) == [THEIRS]


@honours
@pytest.mark.parametrize("name", ["completion", "responses"])
async def test_an_app_that_wants_both(
    server: WireServer, instrument: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where LiteLLM is told to make its span whatever is there, both are."""
    monkeypatch.setenv(adapter._BOTH, "true")
    instrument()
    await made(server, first_generation(memory.tracer_provider), is_async=False, name=name)
    assert calls(memory) == [OWN, THEIRS]


@pytest.mark.parametrize("adopt", [True, False])
@pytest.mark.parametrize("name", ["completion", "responses"])
async def test_a_callback_that_sends_its_spans_elsewhere(
    server: WireServer, instrument: Any, memory: Memory, adopt: bool, name: str
) -> None:
    """It keeps them, unless adoption is off."""
    instrument(adopt=adopt)
    exporter = InMemorySpanExporter()
    elsewhere = TracerProvider(shutdown_on_exit=False)
    elsewhere.add_span_processor(SimpleSpanProcessor(exporter))
    await made(server, first_generation(elsewhere), is_async=False, name=name)
    assert calls(memory) == [OWN]
    names = [span.name for span in exporter.get_finished_spans() if span.name != "raw_gen_ai_request"]
    assert names == ([THEIRS[1]] if adopt else [])


@pytest.mark.parametrize("name", ["completion", "responses"])
@pytest.mark.parametrize("model", ["model-1", MODEL_ERROR])
async def test_the_second_generation(
    server: WireServer, instrument: Any, memory: Memory, name: str, model: str
) -> None:
    """The callback that begins its span before the call makes none either."""
    instrument()
    callback = second_generation(memory.tracer_provider)
    with memory.tracer_provider.get_tracer("app").start_as_current_span("request"):
        await made(server, callback, is_async=True, name=name, model=model)
    assert calls(memory) == [(SCOPE_NAME, f"chat {model}"), ("app", "request")]


@pytest.mark.parametrize("name", ["completion", "responses"])
@pytest.mark.parametrize("is_within", [True, False], ids=["within", "alone"])
async def test_the_second_generation_beside_a_peer(
    server: WireServer,
    instrument: Any,
    memory: Memory,
    name: str,
    is_within: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where another instrumentation may make the span, that of the callback is kept; where it has none, ours is."""
    callback = second_generation(memory.tracer_provider)
    instrument()
    monkeypatch.setattr(NOTICING, "is_needed", True)
    monkeypatch.setitem(sys.modules, "openlit", ModuleType("openlit"))
    NOTICING.watch(memory.tracer_provider)
    request = memory.tracer_provider.get_tracer("app").start_span("request")
    with trace.use_span(request if is_within else trace.INVALID_SPAN):
        got = await made(server, callback, is_async=True, name=name)
    request.end()
    (span,) = [span for span in memory.spans if span.name == OWN[1]]
    assert span.instrumentation_scope.name == ("litellm" if is_within else SCOPE_NAME)
    assert spanback.reference(got).span_id == span.context.span_id


async def test_the_second_generation_without_spanback(server: WireServer, memory: Memory) -> None:
    """Without spanback it makes its span."""
    callback = second_generation(memory.tracer_provider)
    with memory.tracer_provider.get_tracer("app").start_as_current_span("request"):
        await made(server, callback, is_async=True)
    assert sorted(calls(memory)) == [("app", "request"), ("litellm", OWN[1])]


def test_what_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without such a callback nothing is noted, and a call that nothing was noted of has no span of ours."""
    record = SimpleNamespace(litellm_call_id="call-1")
    callback = SimpleNamespace(tracer="tracer")
    asked = {"litellm_call_id": "call-1"}
    monkeypatch.delitem(sys.modules, adapter._OTEL)
    monkeypatch.delitem(sys.modules, adapter._OTEL_2, raising=False)
    adapter._take_place({"litellm_logging_obj": record}, lambda _tracer: "span")
    adapter._take_place({}, lambda _tracer: "span")
    assert adapter._stands_in(callback, (asked,), {}) is None
    monkeypatch.setitem(sys.modules, adapter._OTEL_2, ModuleType(adapter._OTEL_2))
    adapter._take_place({"litellm_logging_obj": record}, lambda _tracer: "span")
    assert adapter._stands_in(callback, (asked,), {}).span == "span"
    del record
    assert adapter._stands_in(callback, (), {"kwargs": asked}) is None


def test_other_spans_of_the_callback(memory: Memory) -> None:
    """What the callback makes besides is made by its own tracer."""
    tracer = _Tracer(memory.tracer_provider.get_tracer("litellm"), StandIn("ours", "litellm_request"))
    assert tracer.start_span("litellm_request", start_time=1) == "ours"
    tracer.start_span("guardrail", start_time=1).end()
    with tracer.start_as_current_span("batch"):
        pass
    assert calls(memory) == [("litellm", "guardrail"), ("litellm", "batch")]


def test_status_is_silent_about_callbacks_that_a_release_lacks(
    instrument: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call goes through them."""
    instrument()
    targets = {target for target in adapter.ADAPTER.targets if target.stands_in is not None}
    monkeypatch.setattr(WRAPPING, "_missing", WRAPPING._missing | targets)
    assert not [line for line in spanback.status() if "OpenTelemetry" in line.target]
