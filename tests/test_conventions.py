"""The check of the wire: it finds each kind of mistake, and nothing in telemetry that is right."""

from __future__ import annotations

import json
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

import spanback.semconv
from spanback.testing import InMemoryTelemetry
from tests.conftest import Memory, checked
from tests.conventions import LIST, violations

OURS = InstrumentationScope("spanback")
RATED = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
ERROR = Status(StatusCode.ERROR, "429")
EVALUATION = "gen_ai.evaluation.result"
EXCEPTION = "gen_ai.client.operation.exception"
DETAILS = "gen_ai.client.inference.operation.details"

CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "m",
    "server.address": "localhost",
    "server.port": 443,
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.usage.cache_write.input_tokens": 6,
}
SIGNAL: dict[str, Any] = {"feedback.weight": 1.0, "feedback.source": "user", "feedback.type": "explicit"}
CARRIER: dict[str, Any] = {
    **SIGNAL,
    "feedback.id": "1",
    "feedback.action": "set",
    "feedback.name": "thumbs",
    "feedback.score": 1.0,
    "feedback.target.scope": "response",
    "feedback.target.resolved": True,
    "feedback.target.sampled": True,
    "feedback.target.trace_id": f"{1:032x}",
    "feedback.target.span_id": f"{2:016x}",
    "feedback.metadata.page": 3,
}
EVALUATED: dict[str, Any] = {**SIGNAL, "feedback.id": "1", "gen_ai.evaluation.name": "thumbs"}
MESSAGES: list[Any] = [
    {
        "role": "assistant",
        "finish_reason": "stop",
        "parts": [
            {"type": "text", "content": "Hi"},
            {"type": "tool_call", "id": None, "name": "f", "arguments": {"a": 1}},
            {"type": "blob", "mime_type": "image/png", "modality": "image", "content": "[9 bytes left out]"},
            {"type": "server_tool_call", "id": "1", "name": "search", "server_tool_call": {"type": "search", "q": 1}},
            {"type": "refusal", "content": "No"},
        ],
    }
]


def changed(attributes: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The attributes with others, and without those that are to be None."""
    return {name: value for name, value in (attributes | changes).items() if value is not None}


def call(changes: dict[str, Any] | None = None, **fields: Any) -> ReadableSpan:
    """A right span of a call, but for the changes."""
    attributes = changed(CALL, changes or {})
    fields = {"name": "chat m", "kind": SpanKind.CLIENT, "start_time": 1, "end_time": 2, **fields}
    return ReadableSpan(**{"attributes": attributes, "instrumentation_scope": OURS, **fields})


def carrier(changes: dict[str, Any] | None = None, **fields: Any) -> ReadableSpan:
    """A right carrier, but for the changes."""
    fields = {
        "name": "feedback thumbs",
        "kind": SpanKind.INTERNAL,
        "links": [Link(RATED, {"feedback.relation": "rates"})],
        "events": [Event(EVALUATION, EVALUATED)],
        **fields,
    }
    return call(attributes=changed(CARRIER, changes or {}), **fields)


def log(name: str, changes: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A right log record of an event, but for the changes."""
    attributes = {EVALUATION: CARRIER | EVALUATED, EXCEPTION: {"exception.type": "E"}, DETAILS: CALL}.get(name, {})
    severity = SeverityNumber[LIST["events"].get(name, {}).get("severity", "INFO")]
    record = {
        "event_name": name,
        "attributes": changed(attributes, changes or {}),
        "severity_number": severity,
        "severity_text": severity.name,
        "timestamp": 1,
        "span_id": 2,
        "body": None,
    }
    return SimpleNamespace(log_record=SimpleNamespace(**(record | fields)), instrumentation_scope=OURS)


def metric(name: str, changes: dict[str, Any] | None = None, **fields: Any) -> Any:
    """Metrics with a right one, but for the changes."""
    entry = LIST["metrics"].get(name, {"kind": "counter", "of": "call", "unit": "s"})
    values = {**CALL, "feedback.name": "thumbs", **SIGNAL, "gen_ai.token.modality": "unknown"}
    attributes = changed({one: values[one] for one in LIST["dimensions"][entry["of"]]["required"]}, changes or {})
    if entry["kind"] == "counter":
        data: Any = Sum(
            [NumberDataPoint(attributes, 1, 2, fields.get("value", 3))],
            AggregationTemporality.CUMULATIVE,
            fields.get("is_monotonic", True),
        )
    elif entry["kind"] == "gauge":
        data = Gauge([NumberDataPoint(attributes, 1, 2, fields.get("value", 3))])
    else:
        bounds = fields.get("bounds", LIST["buckets"][entry["buckets"]])
        data = Histogram(
            [HistogramDataPoint(attributes, 1, 2, 1, 1.0, [1], bounds, 1.0, 1.0)], AggregationTemporality.CUMULATIVE
        )
    one = SimpleNamespace(name=name, unit=fields.get("unit", entry["unit"]), data=fields.get("data", data))
    scope = SimpleNamespace(scope=fields.get("scope", OURS), metrics=[one])
    return SimpleNamespace(resource_metrics=[SimpleNamespace(scope_metrics=[scope])])


def test_what_is_right_passes() -> None:
    """Right telemetry of every kind, and whatever else of another scope, breaks no rule."""
    theirs = InstrumentationScope("theirs")
    spans = [
        call(),
        call({"error.type": "E"}, status=ERROR),
        call({"gen_ai.request.model": None}, name="chat"),
        call({"gen_ai.output.messages": json.dumps(MESSAGES)}),
        call({"gen_ai.odd": 1}, instrumentation_scope=theirs),
        carrier(),
        carrier(
            {"feedback.target.resolved": False}
            | dict.fromkeys(("feedback.target.trace_id", "feedback.target.span_id", "feedback.target.sampled")),
            links=[],
        ),
        carrier(
            {"feedback.rejected.span_ids": (f"{3:016x}", "")},
            links=[Link(RATED, {"feedback.relation": which}) for which in ("chosen", "rejected")],
        ),
    ]
    unresolved = log(EVALUATION, {"feedback.target.resolved": False}, span_id=0, body="Feedback thumbs")
    other = log("odd")
    other.instrumentation_scope = theirs
    logs = [
        log(EVALUATION),
        log(EXCEPTION),
        log(DETAILS, {"gen_ai.output.messages": tuple(MESSAGES)}),
        unresolved,
        other,
    ]
    assert violations(spans, logs) == []
    for name in LIST["metrics"]:
        assert violations(metrics=metric(name)) == []
    assert violations(metrics=metric("odd", scope=theirs)) == []


@pytest.mark.parametrize(
    ("span", "what"),
    [
        (call({"gen_ai.odd": 1}), "unknown name gen_ai.odd"),
        (call({"odd": 1}), "unknown name odd"),
        (carrier({"feedback.metadata.": 1}), "unknown name feedback.metadata."),
        (call({"gen_ai.embeddings.dimension.count": 1}), "gen_ai.embeddings.dimension.count has no place here"),
        (call({"gen_ai.request.top_k": True}), "gen_ai.request.top_k is no int: True"),
        (call({"gen_ai.request.top_k": 1.0}), "gen_ai.request.top_k is no int: 1.0"),
        (call({"gen_ai.request.seed": 1 << 63}), f"gen_ai.request.seed is no int: {1 << 63}"),
        (call({"gen_ai.request.top_p": 1}), "gen_ai.request.top_p is no double: 1"),
        (call({"gen_ai.response.finish_reasons": "stop"}), "gen_ai.response.finish_reasons is no string[]: 'stop'"),
        (call({"gen_ai.response.finish_reasons": (1,)}), "gen_ai.response.finish_reasons is no string[]: (1,)"),
        (carrier({"feedback.metadata.a": ("b",)}), "feedback.metadata.a is no primitive: ('b',)"),
        (call({"gen_ai.request.stream": False}), "gen_ai.request.stream must not be False"),
        (call({"gen_ai.output.type": "yaml"}), "gen_ai.output.type must not be 'yaml'"),
        (call({"gen_ai.request.choice.count": 1}), "gen_ai.request.choice.count must not be 1"),
        (call({"gen_ai.provider.name": None}), "without the required gen_ai.provider.name"),
        (call({"gen_ai.usage.input_tokens": 9}), "gen_ai.usage.input_tokens is 9, which does not include [4, 6]"),
        (call({"gen_ai.operation.name": "talk"}, name="talk m"), "no operation of the list: 'talk'"),
        (call({"gen_ai.operation.name": None}), "no operation of the list: None"),
        (call(name="chat"), "not named by operation 'chat' and model 'm'"),
        (call({"gen_ai.request.model": None}), "not named by operation 'chat' and model None"),
        (call(kind=SpanKind.INTERNAL), "kind INTERNAL instead of CLIENT"),
        (call(status=ERROR), "status ERROR with error.type None"),
        (call({"error.type": "E"}), "status UNSET with error.type 'E'"),
        (call({"error.type": "E"}, status=Status(StatusCode.ERROR)), "an error without a description"),
        (call(status=Status(StatusCode.OK)), "status OK, which only an app sets"),
        (call(events=[Event("exception")]), "span events or links, which no call has"),
        (call(links=[Link(RATED)]), "span events or links, which no call has"),
        (call(end_time=0), "ends before it starts"),
        (carrier(kind=SpanKind.CLIENT), "kind CLIENT instead of INTERNAL"),
        (carrier(name="feedback"), "not named by its signal"),
        (carrier(end_time=1), "lasts no time"),
        (carrier(events=[]), f"events [] instead of one {EVALUATION}"),
        (carrier(events=[Event(EVALUATION, CARRIER | EVALUATED)]), "feedback.name has no place here"),
        (carrier(links=[]), "links [] with feedback.target.resolved True"),
        (carrier(links=[Link(RATED)]), "without the required feedback.relation"),
        (carrier({"feedback.target.span_id": "0"}), f"links to {(f'{1:032x}', f'{2:016x}')} and not to its target"),
    ],
)
def test_wrong_spans(span: ReadableSpan, what: str) -> None:
    """Each kind of mistake in a span is found and named."""
    assert f"span {span.name!r}: {what}" in violations([span])


WRONG: dict[str, Any] = {
    "string": 1,
    "int": "1",
    "double": 1,
    "boolean": 1,
    "string[]": [1],
    "int[]": [True],
    "text or list": 1,
}


@pytest.mark.parametrize("name", LIST["attributes"])
def test_every_attribute_has_a_place_and_a_type(name: str) -> None:
    """A wrong type of any attribute is found, wherever the list lets it be."""
    entries = [*LIST["spans"].values(), LIST["link"], *LIST["events"].values(), *LIST["dimensions"].values()]
    places = [entry for entry in entries if name in [*entry.get("required", ()), *entry.get("allowed", ())]]
    places += [entry for entry in LIST["spans"].values() if name in entry.get("required_on_success", ())]
    assert places
    operations = [operation for entry in places for operation in entry.get("operations", ())]
    spans = [call({"gen_ai.operation.name": one, name: WRONG[LIST["attributes"][name]]}) for one in operations]
    if name.startswith("feedback.") and name != "feedback.relation":
        spans.append(carrier({name: WRONG[LIST["attributes"][name]]}))
    for span in spans:
        told = violations([span])
        assert any(
            f"{name} is no " in one or (name == "gen_ai.operation.name" and "no operation" in one) for one in told
        )


@pytest.mark.parametrize(("name", "needed"), LIST["needs"].items())
def test_attributes_that_need_another(name: str, needed: str) -> None:
    """An attribute without the other that belongs to it is found."""
    told = [one for make in (call, carrier) for one in violations([make({name: "x", needed: None})])]
    assert any(one.endswith(f"{name} without {needed}") for one in told)


@pytest.mark.parametrize("operation", [one for entry in LIST["spans"].values() for one in entry.get("operations", ())])
def test_every_required_attribute(operation: str) -> None:
    """Without attributes, each that an operation requires is missed; on an error those of success are not."""
    (entry,) = [entry for entry in LIST["spans"].values() if operation in entry.get("operations", ())]
    attributes = {"gen_ai.operation.name": operation}
    told = "\n".join(violations([call(name=operation, attributes=attributes)]))
    for name in {*entry["required"], *entry.get("required_on_success", ())} - attributes.keys():
        assert f"without the required {name}" in told
    failed = violations([call(name=operation, attributes=attributes | {"error.type": "E"}, status=ERROR)])
    assert len(failed) == len(entry["required"]) - 1


def test_a_stream_of_which_nothing_came() -> None:
    """What only a response tells is required once a part of it has come."""
    fetch = {"gen_ai.operation.name": "fetch_response", "gen_ai.response.id": "1", "gen_ai.request.stream": True}
    first = {"gen_ai.response.time_to_first_chunk": 0.1}
    spans = [
        call(name="fetch_response", attributes={**fetch, "gen_ai.provider.name": "p", **more}) for more in ({}, first)
    ]
    assert violations(spans[:1]) == []
    assert violations(spans[1:]) == ["span 'fetch_response': without the required gen_ai.response.status"]


TEXT = {"type": "text", "content": "Hi"}


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("gen_ai.output.messages", "{", " is no JSON: '{'"),
        ("gen_ai.output.messages", (), " is structured on a span"),
        ("gen_ai.output.messages", "[]", " is no list, or empty: []"),
        ("gen_ai.output.messages", {}, " is no list, or empty: {}"),
        ("gen_ai.output.messages", [1], "[0] is no object: 1"),
        ("gen_ai.output.messages", [{"role": "assistant", "parts": []}], "[0] lacks 'finish_reason'"),
        ("gen_ai.input.messages", [{"role": "user", "parts": [], "odd": 1}], "[0] has a field 'odd'"),
        ("gen_ai.input.messages", [{"role": "bot", "parts": []}], "[0].role must not be 'bot'"),
        ("gen_ai.input.messages", [{"role": None, "parts": []}], "[0].role is no string: None"),
        ("gen_ai.input.messages", [{"role": "user", "parts": "x"}], "[0].parts is no parts: 'x'"),
        ("gen_ai.input.messages", [{"role": "user", "parts": ["x"]}], "[0].parts[0] has no type: 'x'"),
        (
            "gen_ai.input.messages",
            [{"role": "user", "parts": [{"type": "text"}]}],
            "[0].parts[0] (text) lacks 'content'",
        ),
        (
            "gen_ai.input.messages",
            [{"role": "user", "parts": [{"type": "tool_cal", "id": "1"}]}],
            "[0].parts[0] (tool_cal) has a field 'id'",
        ),
        (
            "gen_ai.input.messages",
            [{"role": "user", "parts": [{"type": "tool_call_response", "id": 1, "response": 1}]}],
            "[0].parts[0] (tool_call_response).id is no id: 1",
        ),
        (
            "gen_ai.input.messages",
            [
                {
                    "role": "user",
                    "parts": [{"type": "server_tool_call_response", "id": "1", "server_tool_call_response": {}}],
                }
            ],
            "[0].parts[0] (server_tool_call_response).server_tool_call_response is no typed: {}",
        ),
        ("gen_ai.system_instructions", [{"type": "blob", "content": "x"}], "[0].type is 'blob': instructions are text"),
        ("gen_ai.tool.definitions", [{"type": "function"}], "[0] lacks 'name'"),
    ],
)
def test_wrong_content(name: str, value: Any, what: str) -> None:
    """Content that is not shaped as the conventions shape it is found."""
    given = json.dumps(value) if isinstance(value, (list, dict)) else value
    assert violations([call({name: given})]) == [f"span 'chat m': {name}{what}"]


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (log("gen_ai.odd"), "no event of the list"),
        (log(EXCEPTION, {"exception.type": None}), "without the required exception.type"),
        (log(EXCEPTION, {"gen_ai.request.model": "m"}), "gen_ai.request.model has no place here"),
        (log(EXCEPTION, severity_number=None), "severity None (WARN) instead of WARN"),
        (log(EXCEPTION, severity_text="ERROR"), "severity WARN (ERROR) instead of WARN"),
        (log(EXCEPTION, timestamp=None), "no timestamp"),
        (log(EXCEPTION, body={}), "a body that is no text"),
        (log(EXCEPTION, span_id=0), "no span that it belongs to"),
        (log(EVALUATION, span_id=0), "no span that it belongs to"),
        (log(EVALUATION, {"gen_ai.evaluation.name": None}), "without the required gen_ai.evaluation.name"),
        (log(EVALUATION, {"feedback.action": None}), "without the required feedback.action"),
        (log(DETAILS, {"gen_ai.operation.name": "embeddings"}), "of operation 'embeddings'"),
        (log(DETAILS, {"gen_ai.provider.name": None}), "without the required gen_ai.provider.name"),
        (log(DETAILS, {"gen_ai.input.messages": "[]"}), "gen_ai.input.messages is JSON text on an event"),
        (log(DETAILS, {"gen_ai.input.messages": ({},)}), "gen_ai.input.messages[0] lacks 'role'"),
    ],
)
def test_wrong_events(record: Any, what: str) -> None:
    """Each kind of mistake in a log event is found and named."""
    assert f"event {record.log_record.event_name!r}: {what}" in violations(logs=[record])


@pytest.mark.parametrize("name", LIST["metrics"])
def test_wrong_metrics(name: str) -> None:
    """Of every metric a wrong kind, unit, bucket, value or attribute is found."""
    entry = LIST["metrics"][name]
    wrong = [
        (metric(name, unit="ms"), f"unit 'ms' instead of {entry['unit']!r}"),
        (metric(name, data=SimpleNamespace()), f"no {entry['kind']}: SimpleNamespace"),
        (metric(name, {"gen_ai.token.type": "input"}), "unknown name gen_ai.token.type"),
        (metric(name, {"gen_ai.response.id": "1"}), "gen_ai.response.id has no place here"),
        *(
            (metric(name, {required: None}), f"without the required {required}")
            for required in LIST["dimensions"][entry["of"]]["required"]
        ),
    ]
    if entry["kind"] == "counter":
        wrong += [
            (metric(name, is_monotonic=False), "no counter: Sum"),
            (metric(name, value=1.0), "counts 1.0"),
        ]
    elif entry["kind"] == "gauge":
        wrong += [(metric(name, value=1.0), "counts 1.0")]
    else:
        wrong += [(metric(name, bounds=[1.0]), "buckets [1.0]")]
    for metrics, what in wrong:
        assert violations(metrics=metrics) == [f"metric {name!r}: {what}"]


def test_unknown_metrics() -> None:
    """A metric that the list does not have, as one of the conventions' older names, is found."""
    name = "gen_ai.client.token.usage"
    assert violations(metrics=metric(name)) == [f"metric {name!r}: no metric of the list"]


def test_every_name_that_spanback_knows_is_listed() -> None:
    """The list, which is written from the conventions, has each name of spanback.semconv."""
    listed = {*LIST["attributes"], *LIST["prefixes"], *LIST["events"], *LIST["metrics"], "gen_ai.usage."}
    names = {value for key, value in vars(spanback.semconv).items() if key.isupper()}
    assert names - listed == set()


def test_the_list_names_only_what_it_types() -> None:
    """Whatever a rule names is an attribute with a type."""
    entries = [*LIST["spans"].values(), LIST["link"], *LIST["events"].values(), *LIST["dimensions"].values()]
    fields = ("required", "required_on_success", "allowed")
    named = {name for entry in entries for field in fields for name in entry.get(field, ())}
    named |= {*LIST["values"], *LIST["never"], *LIST["shapes"], *LIST["totals"], *chain(*LIST["totals"].values())}
    named |= {*LIST["needs"], *LIST["needs"].values()}
    assert named - LIST["attributes"].keys() - LIST["prefixes"].keys() == set()
    assert LIST["attributes"].keys() - named == set()


@pytest.mark.odd_telemetry("unknown name gen_ai.odd")
@pytest.mark.parametrize("kind", [Memory, InMemoryTelemetry])
def test_the_check_sees_what_a_test_makes(kind: type[Memory | InMemoryTelemetry]) -> None:
    """A test fails for a span, even one that it forgets; a marker that says so excuses it."""

    def make() -> None:
        telemetry = kind()
        tracer = telemetry.tracer_provider.get_tracer("spanback")
        tracer.start_span("chat m", kind=SpanKind.CLIENT, attributes=CALL | {"gen_ai.odd": 1}).end()
        telemetry.clear()

    with pytest.raises(pytest.fail.Exception, match=r"unknown name gen_ai\.odd"), checked():
        make()
    with checked(["gen_ai.odd"]):
        make()


@pytest.mark.odd_telemetry("gen_ai.odd")
def test_the_check_sees_log_events_and_metrics() -> None:
    """Log events and metrics of spanback are checked like spans."""

    def make() -> None:
        made = Memory()
        made.logger_provider.get_logger("spanback").emit(LogRecord(event_name="gen_ai.odd"))
        made.meter_provider.get_meter("spanback").create_counter("gen_ai.odd.metric").add(1)

    with pytest.raises(pytest.fail.Exception) as failed, checked():
        make()
    told = str(failed.value)
    assert "event 'gen_ai.odd': no event of the list" in told
    assert "metric 'gen_ai.odd.metric': no metric of the list" in told
