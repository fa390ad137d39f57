"""What `record_feedback` costs beside the same span, link, event and log written by hand with the SDK, in one run.

    python benchmarks/feedback.py [rounds]

Rounds alternate and medians are compared, since a shared machine jitters; Python calls do not, so they are counted.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from spanback import signals
from spanback._spanref import SpanRef, attach
from spanback._telemetry import TELEMETRY
from spanback.feedback import record_feedback
from spanback.testing import fake_ref

SIGNALS_A_ROUND = 200
ROUNDS = 150


class Response:
    """Stands for a client's response."""

    id = "chatcmpl-fake"
    model = "gpt-4o-mini-2024-07-18"


def floor(tracer: trace.Tracer, logger: Logger, ref: SpanRef) -> None:
    """One signal by hand, with the same attributes."""
    now_ns = time.time_ns()
    rated = trace.SpanContext(ref.trace_id, ref.span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(rated))
    feedback_id = str(uuid.uuid4())
    attributes = {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-fake",
        "feedback.target.trace_id": f"{ref.trace_id:032x}",
        "feedback.target.span_id": f"{ref.span_id:016x}",
        "feedback.target.sampled": True,
        "feedback.target.scope": "response",
        "feedback.target.resolved": True,
        "feedback.score": 1.0,
        "feedback.weighted_score": 0.8,
        "feedback.sentiment": "positive",
        "feedback.weight": 0.8,
        "feedback.source": "user",
        "feedback.type": "explicit",
        "feedback.name": "user_thumbs",
        "feedback.action": "set",
        "feedback.id": feedback_id,
    }
    event = {
        "gen_ai.evaluation.name": "user_thumbs",
        "feedback.id": feedback_id,
        "feedback.weight": 0.8,
        "feedback.source": "user",
        "feedback.type": "explicit",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "positive",
        "gen_ai.response.id": "chatcmpl-fake",
    }
    links = [trace.Link(rated, {"feedback.relation": "rates"})]
    span = tracer.start_span("feedback user_thumbs", context, attributes=attributes, links=links, start_time=now_ns)
    span.add_event("gen_ai.evaluation.result", event, now_ns)
    span.end(now_ns + 1_000)
    logger.emit(
        LogRecord(
            timestamp=now_ns,
            context=context,
            severity_text="INFO",
            severity_number=SeverityNumber.INFO,
            body="Feedback user_thumbs: positive",
            attributes={**attributes, **event},
            event_name="gen_ai.evaluation.result",
        )
    )


def calls(function: Callable[[], object]) -> int:
    """How many Python functions one call of a function enters, itself not counted."""
    entered = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    function()
    sys.setprofile(count)
    function()
    sys.setprofile(None)
    return entered - 1


def round_us(function: Callable[[], object]) -> float:
    """The processor time of one call in microseconds, as the mean over a round."""
    start = time.thread_time()
    for _ in range(SIGNALS_A_ROUND):
        function()
    return (time.thread_time() - start) / SIGNALS_A_ROUND * 1e6


def main() -> None:
    """Measures and prints one JSON object a line."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    tracer_provider, logger_provider = TracerProvider(), LoggerProvider()
    tracer, logger, ref = tracer_provider.get_tracer("floor"), logger_provider.get_logger("floor"), fake_ref()
    response = Response()
    said = ("openai", "gpt-4o-mini", None, None, None, (), None, None, None)
    attach(response, (ref.trace_id, ref.span_id, 1, time.time_ns(), *said))
    TELEMETRY.configure(tracer_provider=tracer_provider, logger_provider=logger_provider)
    contestants: dict[str, Callable[[], object]] = {
        "floor": lambda: floor(tracer, logger, ref),
        "reference": lambda: record_feedback(ref, signals.THUMBS_UP),
        "response": lambda: record_feedback(response, signals.THUMBS_UP),
        "arguments": lambda: record_feedback(
            response, score=1.0, name="user_thumbs", weight=0.8, source="user", type="explicit"
        ),
    }
    compare(contestants, rounds)
    meter_provider = MeterProvider([InMemoryMetricReader()])
    meter = meter_provider.get_meter("floor")
    signals_counter, scores = meter.create_counter("feedback.count"), meter.create_histogram("feedback.score")

    def floor_with_metrics() -> None:
        floor(tracer, logger, ref)
        dimensions = {
            "feedback.name": "user_thumbs",
            "feedback.source": "user",
            "feedback.type": "explicit",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
        }
        rated = trace.SpanContext(ref.trace_id, ref.span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
        context = trace.set_span_in_context(trace.NonRecordingSpan(rated))
        signals_counter.add(1, dimensions, context)
        scores.record(1.0, dimensions, context)

    TELEMETRY.configure(tracer_provider=tracer_provider, logger_provider=logger_provider, meter_provider=meter_provider)
    compare({"floor with metrics": floor_with_metrics, "response with metrics": contestants["response"]}, rounds)
    TELEMETRY.configure()
    compare({"floor": contestants["floor"], "no provider": contestants["response"]}, rounds)


def compare(contestants: dict[str, Callable[[], object]], rounds: int) -> None:
    """Prints the median time, the median of the ratios to the first of the same round, and the Python calls."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            times[name].append(round_us(function))
    base_times = next(iter(times.values()))
    for name, function in contestants.items():
        ratios = [own / base for own, base in zip(times[name], base_times, strict=True)]
        row = {
            "what": name,
            "us": round(statistics.median(times[name]), 1),
            "ratio": round(statistics.median(ratios), 2),
            "calls": calls(function),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
