"""The client metrics and the log events of a call, whole."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import openai
import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.metrics import NoOpMeterProvider

from spanback import _series
from spanback._settings import Settings
from spanback.instrumentation import _events
from spanback.instrumentation.providers.openai import ADAPTER
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.conftest import Complaints
from tests.instrumentation.driving import BODIES, MODEL

DURATION_S = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
INFERENCE = "gen_ai.client.inference."
USAGE = f"{INFERENCE}usage."


@pytest.fixture
def dimensions(server: Any) -> dict[str, Any]:
    """The attributes of each measurement of a chat call."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "server.address": "127.0.0.1",
        "server.port": server._server.server_port,
    }


def point(memory: Memory, name: str) -> Any:
    """The one data point of a metric."""
    (found,) = memory.metrics()[name].data.data_points
    return found


def test_a_chat_call(instrument: Any, client: Any, memory: Memory, dimensions: dict[str, Any]) -> None:
    """A call is measured in the conventions' instruments, units and buckets, with their attributes."""
    instrument()
    client.chat.completions.create(model="o3", **BODIES["chat"])
    dimensions |= {"gen_ai.request.model": "o3", "gen_ai.response.model": "o3-2025-01-01"}
    assert {name: metric.unit for name, metric in memory.metrics().items()} == {
        f"{INFERENCE}duration": "s",
        f"{INFERENCE}operation.input_tokens": "{token}",
        f"{INFERENCE}operation.output_tokens": "{token}",
        f"{USAGE}input_tokens": "{token}",
        f"{USAGE}output_tokens": "{token}",
        f"{USAGE}cache_read.input_tokens": "{token}",
        f"{USAGE}reasoning.output_tokens": "{token}",
    }
    duration = point(memory, f"{INFERENCE}duration")
    assert (dict(duration.attributes), list(duration.explicit_bounds)) == (dimensions, DURATION_S)
    assert 0 < duration.sum == pytest.approx((memory.span.end_time - memory.span.start_time) / 1e9, abs=0.5)
    for name, tokens in (("input_tokens", 10), ("output_tokens", 31)):
        histogram = point(memory, f"{INFERENCE}operation.{name}")
        assert (dict(histogram.attributes), list(histogram.explicit_bounds)) == (dimensions, TOKENS)
        assert (histogram.sum, histogram.count) == (tokens, 1)
    counted = {"input_tokens": 10, "output_tokens": 31, "cache_read.input_tokens": 5, "reasoning.output_tokens": 16}
    for name, tokens in counted.items():
        counter = point(memory, f"{USAGE}{name}")
        assert dict(counter.attributes) == {**dimensions, "gen_ai.token.modality": "unknown"}
        assert counter.value == tokens


def test_exemplars_lead_to_the_span(instrument: Any, client: Any, memory: Memory) -> None:
    """Each exemplar names the call's span, and no attribute that its data point has not."""
    instrument()
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    points = {name: metric.data.data_points[0] for name, metric in memory.metrics().items()}
    exemplars = [exemplar for found in points.values() for exemplar in found.exemplars]
    assert {exemplar.span_id for exemplar in exemplars} == {memory.span.context.span_id}
    assert [exemplar.filtered_attributes for exemplar in exemplars if exemplar.filtered_attributes] == []
    assert len(exemplars) >= len(points)


def test_a_failed_call(instrument: Any, client: Any, memory: Memory, dimensions: dict[str, Any]) -> None:
    """A failed call has a duration with its error, and zero tokens without it."""
    instrument()
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="error-429", **BODIES["chat"])
    del dimensions["gen_ai.response.model"]
    dimensions["gen_ai.request.model"] = "error-429"
    assert memory.metrics().keys() == {f"{INFERENCE}duration", f"{USAGE}input_tokens", f"{USAGE}output_tokens"}
    duration = point(memory, f"{INFERENCE}duration")
    assert dict(duration.attributes) == {**dimensions, "error.type": "RateLimitError"}
    tokens = point(memory, f"{USAGE}input_tokens")
    assert (tokens.value, dict(tokens.attributes)) == (0, {**dimensions, "gen_ai.token.modality": "unknown"})


def test_embeddings_are_an_operation(instrument: Any, client: Any, memory: Memory, dimensions: Any) -> None:
    """A call that generates nothing has a duration of its own and no tokens."""
    instrument()
    client.embeddings.create(model=MODEL, **BODIES["embeddings"])
    assert memory.metrics().keys() == {"gen_ai.client.operation.duration"}
    duration = point(memory, "gen_ai.client.operation.duration")
    of_embeddings = {"gen_ai.operation.name": "embeddings", "gen_ai.response.model": MODEL}
    assert dict(duration.attributes) == {**dimensions, **of_embeddings}
    assert list(duration.explicit_bounds) == DURATION_S


@driving.is_async
@pytest.mark.parametrize("chunks", [False, True], ids=["by default", "with chunk metrics"])
async def test_streams(chunks: bool, is_async: bool, bench: Any, dimensions: Any, monkeypatch: Any) -> None:
    """A stream has the time to its first chunk, and between chunks when that is asked for."""
    if chunks:
        monkeypatch.setenv("SPANBACK_CHUNK_METRICS", "true")
    bench.instrument()
    stream = await driving.settled(
        bench.connect(is_async=is_async).chat.completions.create(model=MODEL, **BODIES["chat"], stream=True)
    )
    assert len(await driving.read(stream)) == 17
    first = point(bench.memory, f"{INFERENCE}time_to_first_chunk")
    assert (dict(first.attributes), list(first.explicit_bounds)) == (dimensions, DURATION_S)
    assert first.sum == bench.memory.span.attributes["gen_ai.response.time_to_first_chunk"]
    assert (f"{INFERENCE}time_per_output_chunk" in bench.memory.metrics()) is chunks
    if chunks:
        between = point(bench.memory, f"{INFERENCE}time_per_output_chunk")
        assert (between.count, dict(between.attributes)) == (16, dimensions)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit of series that is reached soon."""
    monkeypatch.setattr(_series, "SERIES_LIMIT", 3)
    return 3


def test_the_number_of_series_is_capped(
    instrument: Any, client: Any, memory: Memory, few: int, complaints: Complaints
) -> None:
    """Beyond the limit calls are told apart by operation, provider and failure alone; that is logged once."""
    instrument()
    for number in (*range(10), 0):
        client.chat.completions.create(model=f"model-{number}", **BODIES["chat"])
    client.embeddings.create(model="model-new", **BODIES["embeddings"])
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="error-429", **BODIES["chat"])

    points = {name: metric.data.data_points for name, metric in memory.metrics().items()}
    beyond = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "otel.metric.overflow": True}
    durations = [
        (point.attributes.get("gen_ai.request.model"), point.count) for point in points[f"{INFERENCE}duration"]
    ]
    assert durations == [("model-0", 2), ("model-1", 1), ("model-2", 1), (None, 7), (None, 1)]
    overflow = [dict(point.attributes) for point in points[f"{INFERENCE}duration"][few:]]
    assert overflow == [beyond, {**beyond, "error.type": "_OTHER"}]
    counted = points[f"{USAGE}input_tokens"]
    assert [point.value for point in counted] == [20, 10, 10, 70]
    assert dict(counted[few].attributes) == {**beyond, "gen_ai.token.modality": "unknown"}
    (embedding,) = points["gen_ai.client.operation.duration"]
    assert dict(embedding.attributes) == {**beyond, "gen_ai.operation.name": "embeddings"}
    (told,) = complaints.take()
    assert told.startswith("Calls came in more than 3 combinations of model, server address and error.")
    assert all(len(found) <= few + 2 for found in points.values())


def test_series_may_be_asked_for_while_one_is_made() -> None:
    """The garbage collector may run at any step, and end the call of a stream in the same thread."""
    made: list[Any] = []

    def make(values: Any) -> Any:
        if values == ("outer",):
            made.append(series.get(("inner",)))
        return values

    series = _series.BoundedSeries(make, logging.getLogger("app"), "%d")
    asking = threading.Thread(target=series.get, args=(("outer",),), daemon=True)
    asking.start()
    asking.join(5)
    assert made == [("inner",)]
    assert series.get(("outer",)) == ("outer",)


@pytest.mark.parametrize("tokens", [-1, 2**41, 2**63 - 1])
def test_counts_of_tokens_that_cannot_be_true(
    tokens: int, instrument: Any, client: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them in a sum would keep all metrics from being exported, for good."""
    endpoint = ADAPTER.endpoints["post /chat/completions"]
    fields = {field: getattr(endpoint, field) for field in endpoint.__dataclass_fields__}
    usage = {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.cache_read.input_tokens": tokens}
    changed = type(endpoint)(**{**fields, "read_response": lambda _response: usage})
    monkeypatch.setitem(ADAPTER.endpoints, "post /chat/completions", changed)
    instrument()
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    metrics = memory.metrics()
    assert (memory.span.attributes or {})["gen_ai.usage.input_tokens"] == tokens
    assert f"{INFERENCE}duration" in metrics
    assert not {f"{INFERENCE}operation.input_tokens", f"{USAGE}input_tokens", f"{USAGE}cache_read.input_tokens"} & {
        *metrics
    }


def test_threads_do_not_exceed_the_cap(
    instrument: Any, client: Any, memory: Memory, few: int, complaints: Complaints
) -> None:
    """Calls of many threads at once are all counted, in no more series than the limit and those beyond it."""
    instrument()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.chat.completions.create(model=f"model-{n % 20}", **BODIES["chat"]), range(80)))
    points = memory.metrics()[f"{INFERENCE}duration"].data.data_points
    assert (len(points), sum(point.count for point in points)) == (few + 1, 80)
    assert len(complaints.take()) == 1


def test_no_metrics_without_a_meter(instrument: Any, client: Any, memory: Memory) -> None:
    """A meter provider that records nothing costs nothing."""
    instrument(meter_provider=NoOpMeterProvider())
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    assert memory.metrics() == {}
    assert memory.span.name == f"chat {MODEL}"


def test_another_meter_has_other_instruments(instrument: Callable[..., None], client: Any) -> None:
    """Metrics go to the provider that is in force at the call."""
    for _ in range(2):
        memory = Memory()
        instrument(**memory.providers)
        client.chat.completions.create(model=MODEL, **BODIES["chat"])
        assert point(memory, f"{INFERENCE}duration").count == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_exception_event(stream: bool, instrument: Any, client: Any, memory: Memory) -> None:
    """What the app is raised is an event of the span, with its frames and without its message."""
    instrument()
    before_ns = time.time_ns()
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model="error-in-stream" if stream else "error-503", **BODIES["chat"], stream=stream
            )
        )
    (log,) = memory.logs
    assert (log.event_name, log.severity_number, log.severity_text) == (
        "gen_ai.client.operation.exception",
        SeverityNumber.WARN,
        "WARN",
    )
    assert (log.trace_id, log.span_id) == (memory.span.context.trace_id, memory.span.context.span_id)
    assert before_ns < log.timestamp <= memory.span.end_time + 1_000_000_000
    attributes = dict(log.attributes)
    frames = attributes.pop("exception.stacktrace")
    assert '_base_client.py", line' in frames or '_streaming.py", line' in frames
    assert log.body is None
    assert attributes == {
        "exception.type": "openai.APIError" if stream else "openai.InternalServerError",
        "exception.message": "server_error" if stream else "503",
    }


def test_what_an_exception_says_is_cut() -> None:
    """Its words by bytes of UTF-8 and between characters, its frames to the last ones."""

    def ping(left: int) -> None:
        if not left:
            raise ValueError("\u00e4" * 100)
        pong(left)

    def pong(left: int) -> None:  # Python itself folds the frames of a function that only calls itself
        ping(left - 1)

    with pytest.raises(ValueError, match="\u00e4") as raised:
        ping(300)
    settings = Settings(content="event_only", content_limit_bytes=9)
    attributes = _events._exception(raised.value, settings)
    assert attributes["exception.message"] == "\u00e4" * 4
    assert attributes["exception.stacktrace"].count('", line') == 64
    assert attributes["exception.stacktrace"].rstrip().endswith('raise ValueError("\\u00e4" * 100)')


def test_the_details_event(instrument: Any, client: Any, memory: Memory) -> None:
    """Content on events is a DEBUG event of the span, structured and not JSON."""
    instrument(capture_content="event_only")
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    (log,) = memory.logs
    assert (log.event_name, log.severity_number, log.severity_text) == (
        "gen_ai.client.inference.operation.details",
        SeverityNumber.DEBUG,
        "DEBUG",
    )
    assert (log.trace_id, log.span_id) == (memory.span.context.trace_id, memory.span.context.span_id)
    assert not isinstance(log.attributes["gen_ai.input.messages"], str)


@pytest.mark.parametrize("capture_content", ["", "span_only"])
def test_the_details_event_without_content(
    capture_content: str, instrument: Any, client: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment may ask for the event alone; it has what the span says, and no messages."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", capture_content)
    instrument()
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    (log,) = memory.logs
    assert log.event_name == "gen_ai.client.inference.operation.details"
    content = {"gen_ai.input.messages", "gen_ai.output.messages"}
    assert set(log.attributes) == set(memory.span.attributes) - content
    assert bool(content & set(memory.span.attributes)) is (capture_content == "span_only")


@pytest.mark.parametrize("model", [MODEL, "error-429"])
def test_a_span_without_a_meter(model: str, instrument: Any, client: Any, memory: Memory) -> None:
    """Without metrics the span and the event of an exception are what they are with them."""
    instrument(meter_provider=NoOpMeterProvider())
    with suppress(openai.RateLimitError):
        client.chat.completions.create(model=model, **BODIES["chat"])
    assert memory.span.name == f"chat {model}"
    failed = ["gen_ai.client.operation.exception"] if model == "error-429" else []
    assert [log.event_name for log in memory.logs] == failed
    assert memory.metrics() == {}


def test_no_events_without_a_logger(instrument: Any, client: Any, memory: Memory) -> None:
    """A logger provider that records nothing costs nothing."""
    from opentelemetry._logs import NoOpLoggerProvider

    instrument(logger_provider=NoOpLoggerProvider(), capture_content="event_only")
    client.chat.completions.create(model=MODEL, **BODIES["chat"])
    assert memory.logs == []
    assert memory.span.name == f"chat {MODEL}"
