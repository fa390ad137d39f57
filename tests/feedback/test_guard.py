"""A model or an agent does not give users' feedback on itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace

import spanback
from spanback import InvalidBatch, signals
from spanback._open_spans import OPEN_SPANS
from spanback.feedback._guard import SELF_RULE
from spanback.feedback._problems import refusal_of
from spanback.testing import InMemoryTelemetry, fake_ref

CHAT = {"gen_ai.operation.name": "chat"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}


@pytest.fixture
def tracer(telemetry: InMemoryTelemetry) -> Iterator[trace.Tracer]:
    """A tracer whose open spans are kept."""
    OPEN_SPANS.install()
    OPEN_SPANS.watch(telemetry.tracer_provider)
    yield telemetry.tracer_provider.get_tracer("app")
    OPEN_SPANS.remove()


def refused(record: Callable[[], Any]) -> bool:
    """Whether a signal is refused as a self-rating."""
    problem = refusal_of(record)
    assert problem is None or (problem.field, problem.value, problem.rule) == ("source", "user", SELF_RULE)
    return problem is not None


@pytest.mark.parametrize(
    ("attributes", "is_refused"),
    [(CHAT, True), (AGENT, True), ({"openinference.span.kind": "AGENT"}, True), ({"openinference.span.kind": "CHAIN"}, False), ({}, False)],
)  # fmt: skip
def test_inside_of_a_model_call_or_an_agent(tracer: trace.Tracer, attributes: Any, is_refused: bool) -> None:
    """However deep the code runs inside of it; a request that is being answered may be rated."""
    with tracer.start_as_current_span("rated", attributes=attributes) as rated:
        ref = spanback.reference(rated)
        assert refused(lambda: spanback.record_feedback(score=1)) is is_refused
        with tracer.start_as_current_span("tool"), tracer.start_as_current_span("inner"):
            for target in (rated, ref, rated.get_span_context()):
                assert refused(lambda target=target: spanback.record_feedback(target, score=1)) is is_refused
                spanback.record_feedback(target, score=1, source="system")
    assert not refused(lambda: spanback.record_feedback(ref, score=1))


def test_a_response_beside_is_no_self(tracer: trace.Tracer) -> None:
    """An agent's user may rate an earlier response while the next is made."""
    with tracer.start_as_current_span("before", attributes=CHAT) as before:
        pass
    with tracer.start_as_current_span("now", attributes=CHAT):
        assert not refused(lambda: spanback.record_feedback(before, score=1))
        assert not refused(lambda: spanback.record_feedback("chatcmpl-unknown", score=1))


def test_the_trace_of_an_agent(tracer: trace.Tracer) -> None:
    """The agent that a trace began with does not rate all of it."""
    with tracer.start_as_current_span("agent", attributes=AGENT), tracer.start_as_current_span("chat") as chat:
        assert refused(lambda: spanback.record_feedback(chat, score=1, scope="trace"))
    with tracer.start_as_current_span("POST /chat"), tracer.start_as_current_span("chat") as chat:
        assert not refused(lambda: spanback.record_feedback(chat, score=1, scope="trace"))


def test_without_kept_spans_the_parent_is_known_by_its_id(telemetry: InMemoryTelemetry) -> None:
    """Where spanback does not instrument, a response's own span and what is right inside of it are known."""
    ref = fake_ref()
    parent = trace.NonRecordingSpan(trace.SpanContext(ref.trace_id, ref.span_id, is_remote=False))
    with trace.use_span(parent):
        assert refused(lambda: spanback.record_feedback(ref, score=1))
        with telemetry.tracer_provider.get_tracer("app").start_as_current_span("tool"):
            assert refused(lambda: spanback.record_feedback(ref, score=1))
            assert not refused(lambda: spanback.record_feedback(ref.traceparent, score=1))


def test_all_ways_in_are_guarded(tracer: trace.Tracer) -> None:
    """Preferences and batches are refused, too, before anything is emitted."""
    with tracer.start_as_current_span("rated", attributes=CHAT) as rated:
        assert refused(lambda: spanback.record_preference(rated, fake_ref()))
        with pytest.raises(InvalidBatch) as batch:
            spanback.record_many([{"target": rated, "score": 1}, {"target": fake_ref(), "score": 1}])
    assert [(number, problem.rule) for number, problem in batch.value.problems] == [(0, SELF_RULE)]


def test_no_agent_withdraws_a_users_signal(tracer: trace.Tracer, telemetry: InMemoryTelemetry) -> None:
    """Not by its receipt, its id or its target, nor by saying that it was the system's; its own signals it may."""
    chat = tracer.start_span("chat", attributes=CHAT)
    theirs = spanback.record_feedback(chat, signals.THUMBS_DOWN, feedback_id="theirs")
    preferred = spanback.record_preference(fake_ref(), chat, feedback_id="preferred")
    recorded = len(telemetry.feedback)
    with trace.use_span(chat), tracer.start_as_current_span("tool"):
        own = spanback.record_feedback(chat, score=1, source="system", feedback_id="own")
        assert refused(lambda: spanback.retract_feedback(theirs))
        assert refused(lambda: spanback.retract_feedback("theirs", source="system"))
        assert refused(lambda: spanback.retract_feedback("forgotten", chat))
        assert refused(lambda: spanback.retract_feedback(target=chat, signal=signals.THUMBS_DOWN, user_id="anna"))
        assert refused(lambda: spanback.retract_feedback(preferred))
        assert len(telemetry.feedback) == recorded + 1
        assert not refused(lambda: spanback.retract_feedback(own))
        assert not refused(lambda: spanback.retract_feedback("of an earlier process"))
    chat.end()
    assert spanback.retract_feedback(theirs).status == "recorded"


def test_no_agent_replaces_a_users_signal(
    tracer: trace.Tracer, telemetry: InMemoryTelemetry, configure: Callable[..., Any]
) -> None:
    """Not by its id, on whatever target, nor by the id that the user's vote has."""
    configure(user_hash_key=b"key")
    chat = tracer.start_span("chat", attributes=CHAT)
    spanback.record_feedback(chat, score=-1, feedback_id="theirs")
    spanback.record_feedback(chat, score=-1, user_id="anna")
    spanback.record_feedback(chat, score=0, source="system", feedback_id="ours")
    recorded = len(telemetry.feedback)
    system: Any = {"score": 1, "source": "system"}
    with trace.use_span(chat), tracer.start_as_current_span("tool"):
        assert refused(lambda: spanback.record_feedback(chat, **system, feedback_id="theirs"))
        assert refused(lambda: spanback.record_feedback(fake_ref(), **system, feedback_id="theirs"))
        assert refused(lambda: spanback.record_feedback(chat, **system, user_id="anna"))
        assert refused(lambda: spanback.retract_feedback(target=chat, user_id="anna", source="system"))
        with pytest.raises(InvalidBatch):
            spanback.record_many([{"target": chat, **system, "feedback_id": "theirs"}])
        assert len(telemetry.feedback) == recorded
        for ours in ({"feedback_id": "ours"}, {"user_id": "bert"}, {}):
            assert not refused(lambda ours=ours: spanback.record_feedback(chat, **system, **ours))
    chat.end()


def test_an_app_may_allow_it(tracer: trace.Tracer, configure: Callable[..., Any]) -> None:
    """`instrument(self_rating=True)` is an app's own decision."""
    configure(self_rating=True)
    with tracer.start_as_current_span("rated", attributes=CHAT):
        receipt = spanback.record_feedback(signal=signals.THUMBS_UP)
        assert (receipt.status, spanback.retract_feedback(receipt).status) == ("recorded", "recorded")
