"""What of a target is rated, on the wire; and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

import spanback
from spanback import InvalidBatch, InvalidFeedback, signals
from spanback._open_spans import OPEN_SPANS
from spanback.feedback import _scope, record_feedback
from spanback.feedback._target import NOTHING_RULE
from spanback.testing import InMemoryTelemetry, fake_ref
from tests.feedback.test_wire import DIMENSIONS, SPAN_ID, TARGET, THUMB, TRACE_ID

UNTARGETED = ("feedback.target.trace_id", "feedback.target.span_id", "feedback.target.sampled")
ROOT_ID = 0x00F067AA0BA902B7


@pytest.mark.parametrize(
    ("arguments", "added"),
    [
        ({}, {}),
        ({"scope": "response"}, {}),
        ({"scope": "span"}, {"feedback.target.scope": "span"}),
        ({"choice": 1}, {"feedback.target.scope": "choice", "feedback.target.choice": 1}),
        ({"choice": 0, "scope": "choice"}, {"feedback.target.scope": "choice", "feedback.target.choice": 0}),
        ({"tool_call_id": "call_1"}, {"feedback.target.scope": "tool_call", "gen_ai.tool.call.id": "call_1"}),
        ({"document_id": "kb-7"}, {"feedback.target.scope": "document", "feedback.target.document.id": "kb-7"}),
    ],
)
def test_a_part_of_a_response_is_linked_to_its_span(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any], added: dict[str, Any]
) -> None:
    """The whole span of a signal on a part is that of one on the response, with what tells the part from others."""
    receipt = record_feedback(fake_ref(), signals.THUMBS_UP, feedback_id="f-1", **arguments)
    (span,) = telemetry.spans
    (link,) = span.links
    assert dict(span.attributes or {}) == DIMENSIONS | TARGET | THUMB | added
    assert (link.context.trace_id, link.context.span_id) == (TRACE_ID, SPAN_ID)
    assert dict(telemetry.logs[0].attributes).items() >= added.items()
    assert receipt.status == "recorded"


@pytest.mark.parametrize("arguments", [{"choice": 1}, {"tool_call_id": "call_1"}, {"document_id": "kb-7"}])
def test_a_part_of_an_unknown_response_is_recorded_and_marked(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any]
) -> None:
    """The receipt says that it is not resolved."""
    receipt = record_feedback("chatcmpl-unknown", signals.THUMBS_UP, **arguments)
    (span,) = telemetry.spans
    attributes = dict(span.attributes or {})
    assert (receipt.status, span.links) == ("unresolved", ())
    assert (attributes["feedback.target.resolved"], attributes["gen_ai.response.id"]) == (False, "chatcmpl-unknown")
    assert attributes["feedback.target.scope"] == _scope.PARTS[next(iter(arguments))]


def of_conversation(telemetry: InMemoryTelemetry, *args: Any, **kwargs: Any) -> None:
    """Records a signal on conversation c-1, and looks at all that leaves."""
    telemetry.clear()
    receipt = record_feedback(*args, signal=signals.THUMBS_UP, feedback_id="f-1", **kwargs)
    (span,) = telemetry.spans
    assert dict(span.attributes or {}) == THUMB | {
        "feedback.target.scope": "conversation",
        "feedback.target.resolved": True,
        "gen_ai.conversation.id": "c-1",
    }
    assert (span.links, span.parent) == ((), None)
    assert (telemetry.logs[0].trace_id, telemetry.logs[0].span_id) == (0, 0)
    assert (receipt.status, receipt.placement, receipt.target) == ("recorded", "linked", None)
    assert receipt.reason == "in a trace of its own: a conversation has no span"


def test_a_conversation_needs_no_span(telemetry: InMemoryTelemetry) -> None:
    """It is named by the call, by the target, or by the block around; the span is the same each time."""
    of_conversation(telemetry, conversation_id="c-1")
    of_conversation(telemetry, conversation_id="c-1", scope="conversation")
    of_conversation(telemetry, fake_ref(conversation_id="c-1"), scope="conversation")
    with spanback.context(conversation_id="c-1"):
        of_conversation(telemetry, scope="conversation")
        of_conversation(telemetry, fake_ref(), scope="conversation")
    span = telemetry.tracer_provider.get_tracer("app").start_span("x", attributes={"gen_ai.conversation.id": "c-1"})
    with trace.use_span(span):
        of_conversation(telemetry, scope="conversation")
        of_conversation(telemetry, conversation_id="c-1")
    span.end()


def test_a_trace_is_rated_by_the_span_it_began_with(telemetry: InMemoryTelemetry) -> None:
    """A reference knows it; a trace is none of its responses, so that joins by response id do not find it there."""
    receipt = record_feedback(fake_ref(root_span_id=ROOT_ID), signals.THUMBS_UP, scope="trace", feedback_id="f-1")
    (span,) = telemetry.spans
    (link,) = span.links
    expected = DIMENSIONS | TARGET | THUMB | {"feedback.target.scope": "trace"}
    expected["feedback.target.span_id"] = f"{ROOT_ID:016x}"
    del expected["gen_ai.response.id"]
    assert dict(span.attributes or {}) == expected
    assert (link.context.trace_id, link.context.span_id) == (TRACE_ID, ROOT_ID)
    assert receipt.reason == "in the rated span's trace"


@pytest.mark.parametrize("target", [fake_ref(), fake_ref().traceparent])
def test_a_trace_whose_begin_is_not_known_is_rated_by_the_given_span(
    telemetry: InMemoryTelemetry, target: object
) -> None:
    """The trace is known all the same, and the receipt says on which span the signal is."""
    receipt = record_feedback(target, signals.THUMBS_UP, scope="trace")
    assert receipt.status == "recorded"
    assert receipt.reason.endswith("; on the given span, since which one its trace began with is not known")
    (row,) = telemetry.feedback
    assert (row.trace_id, row.span_id, row.attributes["feedback.target.scope"]) == (TRACE_ID, SPAN_ID, "trace")


def test_a_trace_that_is_not_known_is_recorded_and_marked(telemetry: InMemoryTelemetry) -> None:
    """Its response may still be found by its id, elsewhere."""
    receipt = record_feedback("chatcmpl-unknown", signals.THUMBS_UP, scope="trace")
    assert receipt.status == "unresolved"
    (row,) = telemetry.feedback
    assert (row.response_id, row.attributes["feedback.target.scope"]) == ("chatcmpl-unknown", "trace")


@pytest.fixture
def kept(telemetry: InMemoryTelemetry) -> Iterator[trace.Tracer]:
    """A tracer whose open spans are kept."""
    OPEN_SPANS.install()
    OPEN_SPANS.watch(telemetry.tracer_provider)
    yield telemetry.tracer_provider.get_tracer("app")
    OPEN_SPANS.remove()


@pytest.mark.parametrize("how", ["current", "span", "context", "traceparent"])
def test_an_open_trace_knows_how_it_began(telemetry: InMemoryTelemetry, kept: trace.Tracer, how: str) -> None:
    """From any span inside of it, however deep."""
    step = kept.start_as_current_span
    with step("request") as root, step("step"), step("inner") as inner:
        ref = spanback.reference(inner)
        assert ref is not None
        targets = {
            "current": None,
            "span": inner,
            "context": inner.get_span_context(),
            "traceparent": ref.traceparent,
        }
        record_feedback(targets[how], signals.THUMBS_UP, scope="trace")
    (row,) = telemetry.feedback
    assert row.span_id == root.get_span_context().span_id


def test_a_context_of_opentelemetry_is_a_target(telemetry: InMemoryTelemetry) -> None:
    """It stands for the span that is current in it, which may be open: then the signal is in its trace."""
    span = telemetry.tracer_provider.get_tracer("app").start_span("work")
    receipt = record_feedback(trace.set_span_in_context(span), signals.THUMBS_UP)
    assert receipt.target == spanback.reference(span)
    assert receipt.placement == "child"
    span.end()
    empty = record_feedback(otel_context.Context(), signals.THUMBS_UP)
    assert empty.status == "unresolved"


@pytest.mark.parametrize("call_id", ["call_1", None])
def test_a_span_that_executes_a_tool_is_a_tool_call(telemetry: InMemoryTelemetry, call_id: str | None) -> None:
    """Its id comes from the span, where it says it."""
    attributes = {"gen_ai.operation.name": "execute_tool", **({"gen_ai.tool.call.id": call_id} if call_id else {})}
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span(
        "execute_tool search", attributes=attributes
    ):
        record_feedback(score=1, source="system")
    (row,) = telemetry.feedback
    assert row.attributes["feedback.target.scope"] == "tool_call"
    assert row.attributes.get("gen_ai.tool.call.id") == call_id


PART_RULE, LONG = _scope.PART_RULE, "x" * 257


@pytest.mark.parametrize(
    ("arguments", "field", "value", "rule"),
    [
        *[({"scope": bad}, "scope", bad, _scope.SCOPE_RULE) for bad in ("", "Response", "answer", 1, b"span")],
        *[({"choice": bad}, "choice", bad, _scope.CHOICE_RULE) for bad in (-1, 10_000, True, 1.0, "1")],
        *[({name: bad}, name, bad, PART_RULE) for name in ("tool_call_id", "document_id") for bad in ("", " ", LONG, 7, "a\n")],
        *[({"scope": scope}, name, None, f"must be given with scope={scope!r}") for name, scope in _scope.PARTS.items() if scope != "conversation"],
        ({"scope": "conversation"}, "conversation_id", None, _scope.CONVERSATION_RULE),
        ({"conversation_id": "c-1"}, "conversation_id", "c-1", _scope.NO_TARGET_RULE),
        ({"choice": 1, "document_id": "d"}, "document_id", "d", _scope.ONE_PART_RULE),
        ({"choice": 1, "scope": "trace"}, "scope", "trace", "must be 'choice' where choice is given"),
        ({"tool_call_id": "c", "scope": "document"}, "scope", "document", "must be 'tool_call' where tool_call_id is given"),
    ],
)  # fmt: skip
def test_what_goes_together_is_exact(
    telemetry: InMemoryTelemetry, arguments: dict[str, Any], field: str, value: object, rule: str
) -> None:
    """Bad parts and bad combinations are refused, alone and in a batch, and nothing is emitted."""
    with pytest.raises(InvalidFeedback) as refusal:
        record_feedback(fake_ref(), signals.THUMBS_UP, **arguments)
    assert (refusal.value.field, refusal.value.value, refusal.value.rule) == (field, value, rule)
    with pytest.raises(InvalidBatch) as batch:
        spanback.record_many([{"target": fake_ref(), "score": 1, **arguments}])
    assert [(number, problem.field, problem.rule) for number, problem in batch.value.problems] == [(0, field, rule)]
    assert telemetry.spans == ()


@pytest.mark.parametrize("arguments", [{"choice": 1}, {"scope": "conversation"}, {"scope": "trace"}])
def test_without_a_target_there_must_be_a_span(telemetry: InMemoryTelemetry, arguments: dict[str, Any]) -> None:
    """A part of nothing is not rated."""
    with pytest.raises(InvalidFeedback) as refusal:
        record_feedback(score=1, **arguments)
    named = arguments.get("scope") == "conversation"
    assert refusal.value.rule == (_scope.CONVERSATION_RULE if named else NOTHING_RULE)


def test_votes_on_parts_are_votes_of_their_own(telemetry: InMemoryTelemetry) -> None:
    """One user has one vote on each response, choice, tool call, document, trace and conversation."""
    ref = fake_ref(conversation_id="c-1", root_span_id=ROOT_ID)

    def vote(target: object = ref, **aim: Any) -> str:
        return record_feedback(target, signals.THUMBS_UP, user_id="anna", **aim).feedback_id

    aims: list[dict[str, Any]] = [
        {},
        {"choice": 0},
        {"choice": 1},
        {"tool_call_id": "1"},
        {"document_id": "1"},
        {"scope": "trace"},
        {"scope": "conversation"},
    ]
    ids = [vote(**aim) for aim in aims]
    assert len(set(ids)) == len(aims)
    assert [vote(**aim) for aim in aims] == ids
    assert vote(None, conversation_id="c-1") == ids[-1]
    assert vote(fake_ref(span_id=7), scope="trace") == ids[-2]
    assert vote("chatcmpl-fake", choice=1) == ids[2]
    assert vote(scope="span") == ids[0]


def test_a_batch_may_rate_parts(telemetry: InMemoryTelemetry) -> None:
    """Items have the arguments of `record_feedback`."""
    spanback.record_many([{"target": fake_ref(), "score": 1, "choice": 2}, {"conversation_id": "c-1", "score": 1}])
    assert [row.attributes["feedback.target.scope"] for row in telemetry.feedback] == ["choice", "conversation"]
