"""What a target stands for."""

from __future__ import annotations

import enum
import time
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import spanback
from spanback import InvalidFeedback, SpanRef, signals
from spanback._spanref import RESPONSES, Handle, attach
from spanback.feedback import record_feedback, reference
from spanback.feedback._target import KIND_RULE, NOTHING_RULE, RESPONSE_ID_RULE
from spanback.testing import InMemoryTelemetry, fake_ref
from tests.feedback.hostile import Unbound

STARTED_NS = time.time_ns()
HANDLE: Handle = (0xA, 0xB, 1, STARTED_NS, "openai", "gpt-4o-mini", "greeting", "7", "conv-1", (), None, None, None)
ZEROS = f"00-{0:032x}-{0:016x}-00"


class Thing(SimpleNamespace):
    """Some object of a client."""

    __hash__ = object.__hash__


class Slotted:
    """An object that can carry nothing."""

    __slots__ = ("id",)


class Raising:
    """An object all of whose properties fail."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def handled(**fields: Any) -> Thing:
    """An object that the instrumentation has seen."""
    thing = Thing(**fields)
    assert attach(thing, HANDLE)
    return thing


def ref(response_id: str | None = None, response_model: str | None = None) -> SpanRef:
    """The reference that HANDLE stands for."""
    return SpanRef.from_handle(HANDLE, response_id, response_model)


RESPONSE = handled(id="chatcmpl-1", model="gpt-4o-mini-2024-07-18")
WHOLE = ref("chatcmpl-1", "gpt-4o-mini-2024-07-18")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (RESPONSE, WHOLE),
        (handled(response_id="r-1", model_version="gemini-2.5"), ref("r-1", "gemini-2.5")),
        (handled(), ref()),
        (handled(id=7, model=None), ref()),
        (handled(id=""), ref()),
        (handled(type="response.completed", response=Thing(id="resp_1", model="gpt-4o")), ref("resp_1", "gpt-4o")),
        (handled(_parsed_by_type={Thing: Thing(id="chatcmpl-1", model="gpt-4o")}), ref("chatcmpl-1", "gpt-4o")),
        (handled(_parsed_by_type={}, model="no id"), ref()),
        (Thing(_parsed_by_type={str: "text", Thing: RESPONSE}), WHOLE),
        (Thing(_parsed_by_type=None, _raw_stream=RESPONSE), WHOLE),
        (Thing(type="chunk", chunk=RESPONSE), WHOLE),
        (Thing(response=RESPONSE), WHOLE),
        (Thing(_response=Thing(_response=RESPONSE)), WHOLE),
        (Thing(id="unknown", _raw_stream=RESPONSE), WHOLE),
        (WHOLE, WHOLE),
        ({"id": "chatcmpl-indexed"}, ref("chatcmpl-indexed", "gpt-4o")),
        ({"id": None, "responseId": "chatcmpl-indexed"}, ref("chatcmpl-indexed", "gpt-4o")),
        ({"response_id": "chatcmpl-indexed"}, ref("chatcmpl-indexed", "gpt-4o")),
        ({"ResponseMetadata": {"RequestId": "chatcmpl-indexed"}}, ref("chatcmpl-indexed", "gpt-4o")),
        (Thing(id="chatcmpl-indexed"), ref("chatcmpl-indexed", "gpt-4o")),
        (Thing(response=Thing(id="chatcmpl-indexed")), ref("chatcmpl-indexed", "gpt-4o")),
        ("chatcmpl-indexed", ref("chatcmpl-indexed", "gpt-4o")),
        (fake_ref().traceparent, SpanRef(fake_ref().trace_id, fake_ref().span_id)),
        (f" {fake_ref(sampled=False).traceparent}\n", SpanRef(fake_ref().trace_id, fake_ref().span_id, sampled=False)),
        (trace.SpanContext(1, 2, is_remote=False), SpanRef(1, 2, sampled=False)),
        (trace.NonRecordingSpan(trace.SpanContext(1, 2, True, trace.TraceFlags(1))), SpanRef(1, 2)),
    ],
)
def test_a_reference_comes_from_whatever_the_app_holds(
    telemetry: InMemoryTelemetry, target: Any, expected: SpanRef
) -> None:
    """Each kind of target leads to its span, with what is known of the response; feedback is recorded on it."""
    RESPONSES.add("chatcmpl-indexed", HANDLE, "gpt-4o")
    assert reference(target) == expected
    receipt = record_feedback(target, signals.THUMBS_UP)
    assert (receipt.status, receipt.target) == ("recorded", expected)


@pytest.mark.parametrize(
    ("target", "response_id", "scope"),
    [
        ("chatcmpl-unknown", "chatcmpl-unknown", "response"),
        ({"id": "chatcmpl-unknown"}, "chatcmpl-unknown", "response"),
        (Thing(id="chatcmpl-unknown"), "chatcmpl-unknown", "response"),
        (fake_ref(trace_id=0), "chatcmpl-fake", "response"),
        (fake_ref(span_id=1 << 64), "chatcmpl-fake", "response"),
        (fake_ref(trace_id="0af7651916cd43dd8448eb211c80319c"), "chatcmpl-fake", "response"),
        (ZEROS, None, "span"),
        (trace.INVALID_SPAN, None, "span"),
        (trace.INVALID_SPAN_CONTEXT, None, "span"),
    ],
)
def test_a_target_whose_span_is_not_known_is_still_recorded(
    telemetry: InMemoryTelemetry, target: Any, response_id: str | None, scope: str
) -> None:
    """It has no link and says so, on the wire and in the receipt."""
    receipt = record_feedback(target, signals.THUMBS_UP, placement="child")
    assert reference(target) is None
    assert (receipt.status, receipt.placement, receipt.target) == ("unresolved", "linked", None)
    assert receipt.reason == "in a trace of its own: which span is rated is not known"
    (span,) = telemetry.spans
    (log,) = telemetry.logs
    assert (span.links, span.parent) == ((), None)
    assert (log.trace_id, log.span_id) == (0, 0)
    attributes = dict(span.attributes or {})
    assert attributes.get("gen_ai.response.id") == response_id
    assert (attributes["feedback.target.resolved"], attributes["feedback.target.scope"]) == (False, scope)
    assert not {"feedback.target.trace_id", "feedback.target.span_id", "feedback.target.sampled"} & set(attributes)


def test_an_unknown_target_is_not_taken_for_the_current_span(telemetry: InMemoryTelemetry) -> None:
    """A log event without a known span gets no identity from the span that happens to be current."""
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("request"):
        record_feedback("chatcmpl-unknown", signals.THUMBS_UP)
    carrier, _request = telemetry.spans
    assert carrier.parent is None
    assert telemetry.logs[0].trace_id == 0


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        *[(bad, KIND_RULE) for bad in (7, 1.5, True, b"id", [RESPONSE], (RESPONSE,), {"a", "b"}, Thing)],
        *[(bad, KIND_RULE) for bad in (Thing(), Thing(id=7), Slotted(), {}, {"id": 7}, lambda: None)],
        *[(bad, KIND_RULE) for bad in ({"ResponseMetadata": {}}, {"ResponseMetadata": 1}, signals.THUMBS_UP)],
        *[(bad, RESPONSE_ID_RULE) for bad in ("", " ", "a\n", "a" * 257, "\ud83d")],
        pytest.param(Raising(), KIND_RULE, id="raising"),
        pytest.param(Unbound(), KIND_RULE, id="unbound"),
        (None, NOTHING_RULE),
    ],
)
def test_what_cannot_be_rated_is_refused(telemetry: InMemoryTelemetry, target: Any, rule: str) -> None:
    """The error names the target and what it must be, and nothing is emitted; `reference` gives None."""
    with pytest.raises(InvalidFeedback) as refusal:
        record_feedback(target, signals.THUMBS_UP)
    assert (refusal.value.field, refusal.value.rule) == ("target", rule)
    assert refusal.value.value is target
    assert (telemetry.spans, telemetry.logs) == ((), ())
    assert reference(target) is None


class _Blind(trace.NonRecordingSpan):
    """A span of another tracer whose attributes are no mapping or fail."""

    def __init__(self, attributes: Any) -> None:
        super().__init__(trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(1)))
        self._given = attributes

    @property
    def attributes(self) -> Any:
        if self._given is None:
            raise RuntimeError
        return self._given


@pytest.mark.parametrize(("attributes", "model"), [(None, None), ([], None), ({"gen_ai.request.model": "m"}, "m")])
def test_a_span_of_another_tracer_tells_what_it_can(attributes: Any, model: str | None) -> None:
    """Foreign spans are rated by their context, whatever else they do."""
    assert reference(_Blind(attributes)) == SpanRef(1, 2, request_model=model)


@pytest.mark.parametrize("how", ["current", "open", "ended"])
def test_a_span_of_the_sdk_gives_its_dimensions_and_start(telemetry: InMemoryTelemetry, how: str) -> None:
    """Feedback on a span, open or ended, copies what the span says of itself."""
    tracer = telemetry.tracer_provider.get_tracer("app")
    started_ns = time.time_ns()
    attributes = {
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.prompt.name": "greeting",
        "gen_ai.prompt.version": "7",
        "gen_ai.conversation.id": "conv-1",
        "gen_ai.request.seed": 7,
    }
    span = tracer.start_span("chat", attributes=attributes, start_time=started_ns)
    if how == "ended":
        span.end()
    with trace.use_span(span, end_on_exit=how != "ended"):
        receipt = record_feedback(None if how == "current" else span, signals.THUMBS_UP)
    context = span.get_span_context()
    assert receipt.target == SpanRef(
        context.trace_id,
        context.span_id,
        sampled=True,
        start_time_ns=started_ns,
        response_id="chatcmpl-1",
        provider_name="openai",
        request_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
        prompt_name="greeting",
        prompt_version="7",
        conversation_id="conv-1",
        root_span_id=context.span_id,
    )
    assert receipt.placement == "child"
    (row,) = telemetry.feedback
    assert row.attributes["feedback.target.scope"] == "span"
    assert row.attributes["gen_ai.conversation.id"] == "conv-1"


class Id(str, enum.Enum):
    """An id of a class of the client's own."""

    ONE = "chatcmpl-1"


@pytest.mark.parametrize("target", [Thing(id=Id.ONE), {"id": Id.ONE}, handled(id=Id.ONE, model=Id.ONE)])
def test_ids_become_plain_text(telemetry: InMemoryTelemetry, target: Any) -> None:
    """What is set on a span is of the exact type that the SDK asks for."""
    record_feedback(target, score=1)
    attributes = dict(telemetry.spans[0].attributes or {})
    assert {type(value) for name, value in attributes.items() if name.startswith("gen_ai.")} == {str}
    assert attributes["gen_ai.response.id"] == "chatcmpl-1"


class Proxy:
    """What web frameworks have for what belongs to the request at hand: it says that it is that."""

    def __init__(self, held: list[Any]) -> None:
        self._held = held

    @property
    def __class__(self) -> Any:
        return type(self._held[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held[0], name)


def test_a_proxy_of_a_reference_is_not_kept(telemetry: InMemoryTelemetry) -> None:
    """What it stands for may be gone when the signal is withdrawn."""
    held = [fake_ref()]
    receipt = record_feedback(Proxy(held), signals.THUMBS_UP, feedback_id="f-1")
    assert type(receipt.target) is SpanRef
    assert receipt.target == held.pop()
    assert spanback.retract_feedback("f-1").target == receipt.target


def test_without_telemetry_a_missing_target_is_no_mistake() -> None:
    """An app that switches telemetry off has no current span and no handles; its code does not fail then."""
    for target in (None, Thing()):
        receipt = record_feedback(target, signals.THUMBS_UP)
        assert (receipt.status, receipt.target) == ("disabled", None)
    with pytest.raises(InvalidFeedback):
        record_feedback(7, signals.THUMBS_UP)


def test_text_that_utf8_cannot_carry_is_made_safe(telemetry: InMemoryTelemetry) -> None:
    """A lone surrogate in what a response says of itself would make an exporter drop its whole batch."""
    response = handled(id="chatcmpl-\ud83d", model="modèle")
    record_feedback(response, signals.THUMBS_UP)
    record_feedback(fake_ref(request_model=7), signals.THUMBS_UP)
    first, second = telemetry.feedback
    assert first.response_id == "chatcmpl-?"
    assert first.attributes["gen_ai.response.model"] == "modèle"
    assert second.attributes["gen_ai.request.model"] == "7"


def test_a_span_of_an_app_without_spanback_can_be_rated() -> None:
    """A provider that spanback does not know is enough to have a span to rate."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("app").start_span("work")
    found = reference(span)
    assert found is not None
    assert found.span_id == span.get_span_context().span_id
    span.end()
