"""From OTLP's JSON to rows. Rules: opentelemetry-proto 1.x, "JSON Protobuf Encoding".

Ids are hex digits there; the base64 of plain protobuf JSON is understood too. 64-bit integers are strings there, or
numbers. Every function here raises ValueError, TypeError, AttributeError or KeyError for a record that is no OTLP.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from spanback import semconv
from spanback.reading._json import loads
from spanback.reading._rows import MAX_TIME_NS, Call, Feedback

Record = Mapping[str, Any]

_OTHER_ERROR: Final = "_OTHER"
_TARGET_RELATIONS: Final = ("rates", "chosen")
_STATUS_ERROR: Final = (2, "STATUS_CODE_ERROR")
_DIMENSIONS: Final = (
    semconv.GEN_AI_PROVIDER_NAME,
    semconv.GEN_AI_REQUEST_MODEL,
    semconv.GEN_AI_RESPONSE_MODEL,
    semconv.GEN_AI_RESPONSE_ID,
    semconv.GEN_AI_PROMPT_NAME,
    semconv.GEN_AI_PROMPT_VERSION,
    semconv.GEN_AI_CONVERSATION_ID,
)


class Content(NamedTuple):
    """What a call was asked and what it answered, from a span or from its log event."""

    system_instructions: Any = None
    input_messages: Any = None
    output_messages: Any = None


NO_CONTENT: Final = Content()


def spans(batch: Record) -> Iterator[tuple[str | None, Record]]:
    """The spans of one line, each with its resource's `service.name`."""
    return _records(batch.get("resourceSpans"), "scopeSpans", "spans")


def logs(batch: Record) -> Iterator[tuple[str | None, Record]]:
    """The log records of one line, each with its resource's `service.name`."""
    return _records(batch.get("resourceLogs"), "scopeLogs", "logRecords")


def has(record: Record, key: str) -> bool:
    """Whether a record has an attribute. Decodes nothing, since most records are asked only this."""
    for attribute in record.get("attributes") or ():  # noqa: SIM110 - a generator takes twice as long
        if attribute["key"] == key:
            return True
    return False


def attributes_of(record: Record) -> dict[str, Any]:
    """The attributes of a span, a log record, a link or a resource, decoded."""
    return {attribute["key"]: _value(attribute.get("value") or {}) for attribute in record.get("attributes") or ()}


def ids_of(record: Record) -> tuple[str | None, str | None]:
    """Trace and span id of a span, a log record or a link, in lower-case hex; None for one that is absent or zero."""
    return _identifier(record.get("traceId"), 16), _identifier(record.get("spanId"), 8)


def call_from(span: Record, service_name: str | None, event: Content = NO_CONTENT) -> Call:
    """The call that a span is.

    Args:
        span: A span with `gen_ai.operation.name`, a trace id and a span id.
        service_name: `service.name` of its resource.
        event: Content from the call's log event, used for what the span itself does not hold.
    """
    attributes = attributes_of(span)
    trace_id, span_id = ids_of(span)
    if trace_id is None or span_id is None:
        raise ValueError("a span without ids")
    start_time_ns = _time_ns(span.get("startTimeUnixNano"))
    content = content_of(attributes)
    return Call(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=_identifier(span.get("parentSpanId"), 8),
        name=str(span.get("name", "")),
        operation=_required(attributes, semconv.GEN_AI_OPERATION_NAME),
        start_time_ns=start_time_ns,
        duration_ns=max(0, _time_ns(span.get("endTimeUnixNano")) - start_time_ns),
        provider=_text(attributes.get(semconv.GEN_AI_PROVIDER_NAME)),
        request_model=_text(attributes.get(semconv.GEN_AI_REQUEST_MODEL)),
        response_model=_text(attributes.get(semconv.GEN_AI_RESPONSE_MODEL)),
        response_id=_text(attributes.get(semconv.GEN_AI_RESPONSE_ID)),
        input_tokens=_integer(attributes.get(semconv.GEN_AI_USAGE_INPUT_TOKENS)),
        output_tokens=_integer(attributes.get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS)),
        finish_reasons=_texts(attributes.get(semconv.GEN_AI_RESPONSE_FINISH_REASONS)),
        error_type=_text(attributes.get(semconv.ERROR_TYPE)) or _failure(span),
        service_name=service_name,
        prompt_name=_text(attributes.get(semconv.GEN_AI_PROMPT_NAME)),
        prompt_version=_text(attributes.get(semconv.GEN_AI_PROMPT_VERSION)),
        conversation_id=_text(attributes.get(semconv.GEN_AI_CONVERSATION_ID)),
        user_hash=_text(attributes.get(semconv.USER_HASH)),
        experiment=_text(attributes.get(semconv.FEATURE_FLAG_KEY)),
        variant=_text(attributes.get(semconv.FEATURE_FLAG_RESULT_VARIANT)),
        tags=_texts(attributes.get(semconv.TAGS)),
        system_instructions=_first(content.system_instructions, event.system_instructions),
        input_messages=_first(content.input_messages, event.input_messages),
        output_messages=_first(content.output_messages, event.output_messages),
    )


def has_content(record: Record) -> bool:
    """Whether a span or an event holds what a call was asked or what it answered."""
    return has(record, semconv.GEN_AI_INPUT_MESSAGES) or has(record, semconv.GEN_AI_OUTPUT_MESSAGES)


def content_of(attributes: Mapping[str, Any]) -> Content:
    """The content that decoded attributes hold, be it structured or a JSON string."""
    return Content(
        _json_or_text(attributes.get(semconv.GEN_AI_SYSTEM_INSTRUCTIONS)),
        _json_or_text(attributes.get(semconv.GEN_AI_INPUT_MESSAGES)),
        _json_or_text(attributes.get(semconv.GEN_AI_OUTPUT_MESSAGES)),
    )


def feedback_from_span(span: Record, service_name: str | None) -> Feedback:
    """The signal that a carrier span holds. Its target is what it links to, never its parent."""
    links = span.get("links") or ()
    targets = [link for link in links if attributes_of(link).get(semconv.FEEDBACK_RELATION) in _TARGET_RELATIONS]
    target = next(iter(targets or links), {})
    signal = _feedback(attributes_of(span), _time_ns(span.get("startTimeUnixNano")), ids_of(target), service_name)
    carrier_trace_id, carrier_span_id = ids_of(span)
    return replace(signal, carrier_trace_id=carrier_trace_id, carrier_span_id=carrier_span_id)


def feedback_from_log(record: Record, service_name: str | None) -> Feedback:
    """The signal that a log event holds. Its target is the span in whose context it was written."""
    time_ns = _time_ns(record.get("timeUnixNano")) or _time_ns(record.get("observedTimeUnixNano"))
    return _feedback(attributes_of(record), time_ns, ids_of(record), service_name)


def _feedback(
    attributes: Mapping[str, Any], time_ns: int, target: tuple[str | None, str | None], service_name: str | None
) -> Feedback:
    get = attributes.get
    trace_id, span_id = target
    if trace_id is None or span_id is None:
        trace_id = _identifier(get(semconv.FEEDBACK_TARGET_TRACE_ID), 16)
        span_id = _identifier(get(semconv.FEEDBACK_TARGET_SPAN_ID), 8)
    weight = _number(get(semconv.FEEDBACK_WEIGHT))
    resolved = get(semconv.FEEDBACK_TARGET_RESOLVED)
    sampled = get(semconv.FEEDBACK_TARGET_SAMPLED)
    prefix = semconv.FEEDBACK_METADATA
    return Feedback(
        feedback_id=_required(attributes, semconv.FEEDBACK_ID),
        time_ns=time_ns,
        action=str(get(semconv.FEEDBACK_ACTION, "set")),
        name=str(get(semconv.FEEDBACK_NAME, get(semconv.GEN_AI_EVALUATION_NAME, "user_feedback"))),
        score=_number(get(semconv.FEEDBACK_SCORE, get(semconv.GEN_AI_EVALUATION_SCORE_VALUE))),
        weight=1.0 if weight is None else weight,
        source=str(get(semconv.FEEDBACK_SOURCE, "user")),
        type=str(get(semconv.FEEDBACK_TYPE, "explicit")),
        trace_id=trace_id,
        span_id=span_id,
        relation="chosen" if semconv.FEEDBACK_REJECTED_SPAN_IDS in attributes else "rates",
        rejected_trace_ids=_texts(get(semconv.FEEDBACK_REJECTED_TRACE_IDS)),
        rejected_span_ids=_texts(get(semconv.FEEDBACK_REJECTED_SPAN_IDS)),
        rejected_response_ids=_texts(get(semconv.FEEDBACK_REJECTED_RESPONSE_IDS)),
        rejected_models=_texts(get(semconv.FEEDBACK_REJECTED_MODELS)),
        rejected_choices=_integers(get(semconv.FEEDBACK_REJECTED_CHOICES)),
        score_raw=_number(get(semconv.FEEDBACK_SCORE_RAW)),
        score_min=_number(get(semconv.FEEDBACK_SCORE_MIN)),
        score_max=_number(get(semconv.FEEDBACK_SCORE_MAX)),
        label=_text(get(semconv.FEEDBACK_LABEL, get(semconv.GEN_AI_EVALUATION_SCORE_LABEL))),
        comment=_text(get(semconv.FEEDBACK_COMMENT, get(semconv.GEN_AI_EVALUATION_EXPLANATION))),
        improvement=_json_or_text(get(semconv.FEEDBACK_IMPROVEMENT)),
        metadata={key[len(prefix) :]: value for key, value in attributes.items() if key.startswith(prefix)},
        user_hash=_text(get(semconv.FEEDBACK_USER_HASH)),
        rater_hash=_text(get(semconv.FEEDBACK_RATER_HASH)),
        criterion=_text(get(semconv.FEEDBACK_CRITERION)),
        observed_at=_text(get(semconv.FEEDBACK_OBSERVED_AT)),
        sampled=sampled if isinstance(sampled, bool) else None,
        resolved=resolved if isinstance(resolved, bool) else span_id is not None,
        scope=str(get(semconv.FEEDBACK_TARGET_SCOPE, "response")),
        choice=_integer(get(semconv.FEEDBACK_TARGET_CHOICE)),
        document_id=_text(get(semconv.FEEDBACK_TARGET_DOCUMENT_ID)),
        tool_call_id=_text(get(semconv.GEN_AI_TOOL_CALL_ID)),
        experiment=_text(get(semconv.FEATURE_FLAG_KEY)),
        variant=_text(get(semconv.FEATURE_FLAG_RESULT_VARIANT)),
        tags=_texts(get(semconv.TAGS)),
        dimensions={name: str(attributes[name]) for name in _DIMENSIONS if attributes.get(name) is not None},
        service_name=service_name,
    )


def _records(resources: Any, scopes: str, records: str) -> Iterator[tuple[str | None, Record]]:
    for resource in resources or ():
        service_name = _text(attributes_of(resource.get("resource") or {}).get("service.name"))
        for scope in resource.get(scopes) or ():
            for record in scope.get(records) or ():
                yield service_name, record


def _value(value: Record) -> Any:
    """An AnyValue as a Python value; an empty one is None."""
    for kind, given in value.items():
        if kind == "intValue":
            return int(given)
        if kind == "doubleValue":
            # What JSON has no number for stays text, here and in what is printed.
            return number if math.isfinite(number := float(given)) else str(given)
        if kind == "arrayValue":
            return [_value(item) for item in given.get("values") or ()]
        if kind == "kvlistValue":
            return {item["key"]: _value(item.get("value") or {}) for item in given.get("values") or ()}
        # A string, a boolean, or bytes, which stay the base64 text that they are.
        return given
    return None


def _identifier(value: Any, size_bytes: int) -> str | None:
    if not value:
        return None
    text = str(value)
    if len(text) != 2 * size_bytes:
        text = base64.b64decode(text, validate=True).hex()
        if len(text) != 2 * size_bytes:
            raise ValueError(f"an id that is not of {size_bytes} bytes")
    return f"{number:0{2 * size_bytes}x}" if (number := int(text, 16)) else None


def _time_ns(value: Any) -> int:
    time_ns = int(value or 0)
    if not 0 <= time_ns < MAX_TIME_NS:
        raise ValueError("a time that is not from 1970 to 2262")
    return time_ns


def _failure(span: Record) -> str | None:
    return _OTHER_ERROR if (span.get("status") or {}).get("code") in _STATUS_ERROR else None


def _number(value: Any) -> float | None:
    number = float(value) if isinstance(value, (int, float)) else math.nan
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _integers(value: Any) -> tuple[int, ...]:
    """Whole numbers in their order, with -1 for what is none."""
    numbers = map(_integer, value) if isinstance(value, (list, tuple)) else ()
    return tuple(-1 if number is None else number for number in numbers)


def _required(attributes: Mapping[str, Any], key: str) -> str:
    value = attributes[key]
    if value is None:
        raise ValueError(f"{key} has no value")
    return str(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, [value] if isinstance(value, str) else value or ()))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _json_or_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return loads(value.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return value
