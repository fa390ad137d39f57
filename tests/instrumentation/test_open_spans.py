"""Open spans are known by their ids, and forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

import spanback
from spanback._open_spans import OPEN_SPANS, OpenSpans
from spanback.testing import capture
from tests.conftest import Memory
from tests.instrumentation.driving import MESSAGES, MODEL


def watched(limit: int = 10) -> tuple[OpenSpans, trace.Tracer]:
    """A keeper of spans, and a tracer."""
    kept = OpenSpans(limit)
    kept.install()
    provider = TracerProvider(shutdown_on_exit=False)
    kept.watch(provider)
    kept.watch(provider)
    assert len(provider._active_span_processor._span_processors) == 1
    assert provider.force_flush()
    return kept, provider.get_tracer("app")


def test_a_lineage_goes_from_inside_out() -> None:
    """Each span, its parent and so on, as long as they are open."""
    kept, tracer = watched()
    step = tracer.start_as_current_span
    with step("a") as a, step("b") as b, step("c") as c:
        assert list(kept.lineage(c)) == [c, b, a]
        assert kept.root_of(c) == a.get_span_context().span_id
        assert kept.find(b.get_span_context().span_id) is b
    assert kept.find(b.get_span_context().span_id) is None
    assert kept.root_of(c) is None
    assert kept.root_of(a) == a.get_span_context().span_id
    assert kept.root_of(None) is None


def test_a_span_whose_parent_is_elsewhere_is_the_root_here() -> None:
    """A trace that came over the network began, for this process, with the first span of its own."""
    kept, tracer = watched()
    remote = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1)))
    step, around = tracer.start_as_current_span, trace.set_span_in_context(remote)
    with step("server", around) as server, step("inner") as inner:
        assert kept.root_of(inner) == server.get_span_context().span_id


def test_spans_that_never_end_go_at_last() -> None:
    """What is kept is bounded, and nothing is kept once it is taken back."""
    kept, tracer = watched(limit=2)
    spans = [tracer.start_span(name) for name in "abc"]
    assert [kept.find(span.get_span_context().span_id) for span in spans] == [None, *spans[1:]]
    kept.remove()
    assert kept.find(spans[2].get_span_context().span_id) is None
    tracer.start_span("d")
    assert kept._spans == {}
    kept.shutdown()


class Same(RandomIdGenerator):
    """Gives the same ids each time, as generators of tests do."""

    def generate_span_id(self) -> int:
        """The one id."""
        return 7


def test_a_span_that_seems_to_be_inside_of_itself() -> None:
    """Where ids repeat themselves the search has an end, and finds nothing."""
    kept = OpenSpans(limit=3)
    kept.install()
    provider = TracerProvider(id_generator=Same(), shutdown_on_exit=False)
    kept.watch(provider)
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("a"), tracer.start_as_current_span("b") as b:
        assert kept.root_of(b) is None
        assert len(list(kept.lineage(b))) == 3


@pytest.mark.parametrize("parent", ["00-1-2-01", 7, object()])
def test_a_span_whose_parent_is_of_another_kind(parent: Any) -> None:
    """Other makes of spans have what they like under that name; a call inside of one, and its feedback, are recorded."""
    span: Any = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))
    span.parent = parent
    kept = OpenSpans()
    assert list(kept.lineage(span)) == [span]
    assert kept.root_of(span) == 2
    with capture(), trace.use_span(span):
        assert spanback.record_feedback("resp_1", score=1).status == "unresolved"


def test_a_provider_of_another_kind_is_left_alone() -> None:
    """It has no processors."""
    kept = OpenSpans()
    kept.watch(trace.NoOpTracerProvider())
    assert kept._watched == []


def test_a_response_knows_how_its_trace_began(client: Any, instrument: Any, memory: Memory) -> None:
    """Also the first one, whose trace began before anybody kept spans, and one that began with the call itself."""
    instrument()
    tracer = memory.tracer_provider.get_tracer("app")

    def call() -> Any:
        return spanback.reference(client.chat.completions.create(model=MODEL, messages=MESSAGES))

    with tracer.start_as_current_span("request") as request:
        assert call().root_span_id == request.get_span_context().span_id
    with tracer.start_as_current_span("request") as request, tracer.start_as_current_span("step"):
        ref = call()
    assert ref.root_span_id == request.get_span_context().span_id
    alone = call()
    assert alone.root_span_id == alone.span_id
    assert OPEN_SPANS._spans == {}
    receipt = spanback.record_feedback(ref, score=1, scope="trace")
    assert receipt.target is not None
    assert receipt.target.span_id == request.get_span_context().span_id
