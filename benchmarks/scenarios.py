"""The calls that are measured: each as an app makes it, and by hand with a span around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON

from benchmarks import floor, wire

Telemetry = Literal["spans", "content", "metrics", "unsampled", "none"]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Scenario:
    """One kind of call.

    Attributes:
        label: What the table calls it.
        kind: Which of the calls of `_CALLS` and of floors.
        telemetry: What is set up and asked for.
        most_times_floor: The target for the added time, as a multiple of the floor's; None where there is none.
        most_calls: The target for Python calls added.
    """

    label: str
    kind: str
    telemetry: Telemetry = "spans"
    most_times_floor: float | None = 1.0
    most_calls: int | None = None

    @property
    def is_async(self) -> bool:
        """Whether its calls are awaited."""
        return self.kind.startswith("async")


SCENARIOS: Final[dict[str, Scenario]] = {
    "chat": Scenario("chat", "chat", most_calls=240),
    "alone": Scenario("chat, without the client", "alone chat"),
    "responses": Scenario("responses", "responses"),
    "async-chat": Scenario("chat, async", "async chat"),
    "async-responses": Scenario("responses, async", "async responses"),
    "content": Scenario("chat with content", "chat", "content", most_calls=290),
    "responses-content": Scenario("responses with content", "responses", "content"),
    "metrics": Scenario("chat with metrics", "chat", "metrics"),
    "unsampled": Scenario("chat, not sampled", "chat", "unsampled"),
    "none": Scenario("chat, no provider", "chat", "none", 0.5, 25),
    "stream-none": Scenario("stream of 200, no provider", "stream 200", "none", 0.5),
    "stream-10": Scenario("stream of 10 chunks", "stream 10", most_times_floor=None),
    "stream-200": Scenario("stream of 200 chunks", "stream 200", most_times_floor=None),
    "light-stream-10": Scenario("stream of 10, light client", "light stream 10", most_times_floor=None),
    "light-stream-200": Scenario("stream of 200, light client", "light stream 200", most_times_floor=None),
    "async-stream-10": Scenario("stream of 10, async", "async stream 10", most_times_floor=None),
    "async-stream-200": Scenario("stream of 200, async", "async stream 200", most_times_floor=None),
}
MOST_US_A_CHUNK: Final = 0.5
MOST_CALLS_A_CHUNK: Final = 2


class NullExporter(SpanExporter):
    """Takes spans nowhere."""

    def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Forgets them."""
        return SpanExportResult.SUCCESS


@dataclass(frozen=True)
class Providers:
    """What an app would have set up."""

    tracer_provider: TracerProvider | None
    meter_provider: MeterProvider | NoOpMeterProvider | None

    @property
    def tracer(self) -> trace.Tracer:
        """The tracer of code written by hand, the API's own where nothing is set up."""
        return (self.tracer_provider or trace.get_tracer_provider()).get_tracer("app")


def providers_for(telemetry: Telemetry) -> Providers:
    """Spans go through a batch processor to an exporter that does nothing, the same for every variant."""
    if telemetry == "none":
        return Providers(None, None)
    tracer_provider = TracerProvider(ALWAYS_OFF if telemetry == "unsampled" else DEFAULT_ON)
    tracer_provider.add_span_processor(BatchSpanProcessor(NullExporter()))
    meter_provider = MeterProvider([InMemoryMetricReader()]) if telemetry == "metrics" else NoOpMeterProvider()
    return Providers(tracer_provider, meter_provider)


def calls_of(scenario: Scenario, providers: Providers) -> tuple[Call, Call]:
    """The call as an app makes it, and the same with a span written by hand. Each has a client of its own."""
    create, arguments = _client_call(scenario.kind), _arguments(scenario.kind)
    by_hand = partial(_by_hand(scenario, providers), providers.tracer, _client_call(scenario.kind), arguments)
    if "stream" not in scenario.kind:
        return partial(create, **arguments), by_hand
    if scenario.is_async:
        return _read_async(partial(create, **arguments), is_awaited=True), _read_async(by_hand, is_awaited=False)
    return _read(partial(create, **arguments)), _read(by_hand)


def one_by_one(scenario: Scenario, providers: Providers) -> Call | None:
    """The call with a span by hand that gets one attribute at a time; None where that is not measured."""
    if scenario.kind not in {"chat", "alone chat"} or scenario.telemetry != "spans":
        return None
    return partial(floor.chat_one_by_one, providers.tracer, _client_call(scenario.kind), wire.chat_arguments())


def _client_call(kind: str) -> Call:
    if kind.startswith("alone"):
        return wire.alone()
    make = wire.async_client if kind.startswith("async") else wire.client
    if "responses" in kind:
        resource = make(wire.RESPONSE).responses
    else:
        chunks = kind.rpartition("stream ")[2]
        if kind.startswith("light"):
            wire.lighten(int(chunks))
        resource = make(wire.chat_events(int(chunks)) if chunks.isdigit() else wire.CHAT).chat.completions

    def create(**arguments: Any) -> Any:
        return resource.create(**arguments)  # looked up for each call, as whoever wraps it expects

    return create


def _arguments(kind: str) -> dict[str, Any]:
    if "responses" in kind:
        return wire.response_arguments()
    return wire.stream_arguments() if "stream" in kind else wire.chat_arguments()


def _by_hand(scenario: Scenario, providers: Providers) -> Callable[..., Any]:
    if scenario.telemetry == "content":
        return floor.responses_with_content if scenario.kind == "responses" else floor.chat_with_content
    if scenario.telemetry == "metrics" and providers.meter_provider is not None:
        return floor.ChatWithMetrics(providers.meter_provider.get_meter("app")).chat
    words = scenario.kind.rstrip("0123456789 ").split()
    if "stream" in words:
        return floor.chat_stream_async if scenario.is_async else floor.chat_stream
    written: dict[tuple[str, bool], Callable[..., Any]] = {
        ("chat", False): floor.chat,
        ("chat", True): floor.chat_async,
        ("responses", False): floor.responses,
        ("responses", True): floor.responses_async,
    }
    return written[words[-1], scenario.is_async]


def _read(open_stream: Call) -> Call:
    def call() -> None:
        for _chunk in open_stream():
            pass

    return call


def _read_async(open_stream: Call, *, is_awaited: bool) -> Call:
    async def call() -> None:
        stream = open_stream()
        async for _chunk in await stream if is_awaited else stream:
            pass

    return call


def pin_to_one_cpu() -> None:
    """Keeps this process on one processor, where the system can; that spares the caches."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
