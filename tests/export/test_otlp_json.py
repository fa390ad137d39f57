"""OTLP-JSON, with protobuf's own JSON mapping as the oracle."""

from __future__ import annotations

import json
from base64 import b64decode
from enum import Enum, IntEnum
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Status, StatusCode

from spanback.export._otlp_json import logs_line, metrics_line, spans_line
from tests.export.telemetry import INSIDE_REMOTE, REMOTE, log, metrics, span

IDS = ("traceId", "spanId", "parentSpanId")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = texts.filter(bool)  # the SDK drops attributes without a name, with a line each
int64s = st.integers(-(2**63), 2**63 - 1)
scalars = texts | st.booleans() | int64s | st.floats()
homogeneous = st.one_of(
    *(st.lists(kind, min_size=1, max_size=3) for kind in (texts, st.booleans(), int64s, st.floats()))
)
span_attributes = st.dictionaries(keys, scalars | homogeneous, max_size=5)
any_values = st.recursive(
    scalars | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def official(message: Any) -> Any:
    """What protobuf's own JSON mapping gives, with the ids in hex as OTLP wants them."""
    return official_form(MessageToDict(message, use_integers_for_enums=True))


def official_form(tree: Any) -> Any:
    """Ids in hex; and no value where it is empty, since the encoders of some releases leave that out."""
    if isinstance(tree, list):
        return [official_form(item) for item in tree]
    if isinstance(tree, dict):
        kept = {key: value for key, value in tree.items() if key != "value" or value != {}}
        return {key: _hex(value) if key in IDS else official_form(value) for key, value in kept.items()}
    return tree


def _hex(value: str) -> str:
    return value if len(value) in {16, 32} else b64decode(value).hex()


@settings(max_examples=60)
@given(name=texts, attributes=span_attributes, event=span_attributes, link=span_attributes, remote=st.booleans())
def test_spans_are_written_as_the_official_encoder_writes_them(
    name: str, attributes: dict[str, Any], event: dict[str, Any], link: dict[str, Any], remote: bool
) -> None:
    """Whatever the attributes, the line equals protobuf's JSON of the official message."""
    made = span(name, attributes, events=[("e", event, 1_500_000_000)], links=[link], remote=remote)

    assert json.loads(spans_line([made])) == official(encode_spans([made]))


@settings(max_examples=60)
@given(body=any_values, attributes=st.dictionaries(keys, any_values, max_size=3), event_name=texts)
def test_logs_are_written_as_the_official_encoder_writes_them(
    body: Any, attributes: dict[str, Any], event_name: str
) -> None:
    """Whatever the body and the attributes, nested or not, the line equals protobuf's JSON of the official message."""
    made = log(attributes, body=body, event_name=event_name)

    assert official_form(json.loads(logs_line([made]))) == official(encode_logs([made]))


def test_metrics_are_written_as_the_official_encoder_writes_them() -> None:
    """Ids of exemplars are hex, everything else is protobuf's JSON of the official message."""
    data = metrics()
    line = json.loads(metrics_line(data))

    assert line == official(encode_metrics(data))
    points = [
        m["histogram"]["dataPoints"][0]
        for m in line["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
        if "histogram" in m
    ]
    assert points[0]["exemplars"][0]["traceId"] == f"{REMOTE.trace_id:032x}"
    assert points[0]["exemplars"][0]["spanId"] == f"{REMOTE.span_id:016x}"


def test_a_span_has_the_form_that_the_collector_writes() -> None:
    """Ids are hex, 64-bit integers are strings, enums are integers, names are camelCase."""
    made = span(
        "chat m",
        {"n": 1, "ratio": 0.5, "ok": True, "names": ["a", "b"], "dropped": 1},
        events=[("said", {"text": "hi"}, 1_500_000_000), ("said", {}, 1_600_000_000)],
        links=[{"feedback.relation": "rates"}, {}],
        status=Status(StatusCode.ERROR, "boom"),
        remote=True,
        limits=SpanLimits(max_attributes=4, max_events=1, max_links=1),
    )
    context = made.get_span_context()
    assert context is not None

    line = spans_line([made])

    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    kept = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert kept == {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": f"{context.span_id:016x}",
        "traceState": "a=1",
        "parentSpanId": "00f067aa0ba902b7",
        "flags": 0x300,
        "name": "chat m",
        "kind": 1,
        "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "2000000000",
        "attributes": [
            {"key": "ratio", "value": {"doubleValue": 0.5}},
            {"key": "ok", "value": {"boolValue": True}},
            {"key": "names", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}},
            {"key": "dropped", "value": {"intValue": "1"}},
        ],
        "droppedAttributesCount": 1,
        "events": [{"timeUnixNano": "1600000000", "name": "said"}],
        "droppedEventsCount": 1,
        "links": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7", "flags": 0x300}],
        "droppedLinksCount": 1,
        "status": {"code": 2, "message": "boom"},
    }


def test_a_log_record_has_the_form_that_the_collector_writes() -> None:
    """The rated span's ids, the event's name and a nested body are kept with their types."""
    made = log(
        {"feedback.score": -1.0},
        event_name="gen_ai.evaluation.result",
        severity_text="INFO",
        context=INSIDE_REMOTE,
        body={"raw": b"\x00\xff", "big": 2**63 - 1, "none": [], "empty": {}},
    )

    kept = json.loads(logs_line([made]))["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]

    assert kept == {
        "timeUnixNano": "3",
        "observedTimeUnixNano": "4",
        "severityNumber": 9,
        "severityText": "INFO",
        "body": {
            "kvlistValue": {
                "values": [
                    {"key": "raw", "value": {"bytesValue": "AP8="}},
                    {"key": "big", "value": {"intValue": "9223372036854775807"}},
                    {"key": "none", "value": {"arrayValue": {}}},
                    {"key": "empty", "value": {"kvlistValue": {}}},
                ]
            }
        },
        "attributes": [{"key": "feedback.score", "value": {"doubleValue": -1.0}}],
        "flags": 1,
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "00f067aa0ba902b7",
        "eventName": "gen_ai.evaluation.result",
    }


def test_a_log_record_without_body_severity_or_span_leaves_the_fields_out() -> None:
    """What is not there has no field."""
    made = log(body=None, severity_number=None)

    kept = json.loads(logs_line([made]))["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]

    assert kept == {"timeUnixNano": "3", "observedTimeUnixNano": "4"}


class Colour(str, Enum):
    """Text that is no plain str."""

    RED = "red"


class Number(IntEnum):
    """An integer that is no plain int."""

    TWO = 2


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**63, {"stringValue": "0x8000000000000000"}),
        (-(2**63) - 1, {"stringValue": "-0x8000000000000001"}),
        (-(2**63), {"intValue": "-9223372036854775808"}),
        (float("nan"), {"doubleValue": "NaN"}),
        (float("inf"), {"doubleValue": "Infinity"}),
        (float("-inf"), {"doubleValue": "-Infinity"}),
        (Colour.RED, {"stringValue": "red"}),
        (Number.TWO, {"intValue": "2"}),
        ("half \ud800", {"stringValue": "half ?"}),
        (("a", 1, None), {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}, {}]}}),
        (object(), {}),
    ],
)
def test_values_that_otlp_has_no_plain_form_for_never_spoil_a_line(value: object, written: object) -> None:
    """Each value has a form that every reader of OTLP-JSON takes, or an empty one."""
    made = log(body="x")
    made.log_record.body = value

    kept = json.loads(logs_line([made]))["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]

    assert kept.get("body") == written


def test_spans_of_one_resource_and_scope_share_their_envelope() -> None:
    """Resource and scope are written once a batch, whatever the number of spans."""
    first, other, apart = span("a"), span("b"), span("c", scope="another")

    groups = json.loads(spans_line([first, apart, other]))["resourceSpans"]

    assert [[s["name"] for s in scope["spans"]] for group in groups for scope in group["scopeSpans"]] == [
        ["a", "b"],
        ["c"],
    ]
    assert groups[0]["resource"] == {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    assert groups[0]["schemaUrl"] == "https://opentelemetry.io/schemas/1.37.0"
    assert groups[0]["scopeSpans"][0]["scope"] == {
        "name": "maker",
        "version": "1.2",
        "attributes": [{"key": "scope.kind", "value": {"stringValue": "test"}}],
    }
    assert groups[0]["scopeSpans"][0]["schemaUrl"] == "https://example.org/scope"


def test_a_span_without_context_scope_or_times_is_still_a_span() -> None:
    """A span that another library builds by hand is written with what it has."""
    from opentelemetry.sdk.trace import ReadableSpan

    line = json.loads(spans_line([ReadableSpan("bare")]))

    assert line["resourceSpans"][0]["scopeSpans"] == [
        {"scope": {}, "spans": [{"flags": 0x100, "name": "bare", "kind": 1, "status": {}}]}
    ]
