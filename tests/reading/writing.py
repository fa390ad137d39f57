"""Writes rows as OTLP-JSON lines, the way back of what `spanback.reading` does."""

import json
from typing import Any

from spanback.reading import Call, Feedback

Json = dict[str, Any]

CARRIER_TRACE_ID = "f" * 32
CARRIER_SPAN_ID = "f" * 16


def any_value(value: Any) -> Json:
    """A Python value as an AnyValue."""
    if value is None:
        return {}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": any_value(item)} for key, item in value.items()]}}
    # bool before int, of which it is a kind.
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return {kinds[type(value)]: str(value) if type(value) is int else value}


def attributes(values: Json) -> list[Json]:
    """Attributes; those that are None are left out, as the SDK leaves them out."""
    return [{"key": key, "value": any_value(value)} for key, value in values.items() if value is not None]


def call_span(call: Call) -> Json:
    """The span of a call."""
    span = {
        "traceId": call.trace_id,
        "spanId": call.span_id,
        "name": call.name,
        "kind": 3,
        "startTimeUnixNano": str(call.start_time_ns),
        "endTimeUnixNano": str(call.start_time_ns + call.duration_ns),
        "attributes": attributes(
            {
                "gen_ai.operation.name": call.operation,
                "gen_ai.provider.name": call.provider,
                "gen_ai.request.model": call.request_model,
                "gen_ai.response.model": call.response_model,
                "gen_ai.response.id": call.response_id,
                "gen_ai.usage.input_tokens": call.input_tokens,
                "gen_ai.usage.output_tokens": call.output_tokens,
                "gen_ai.response.finish_reasons": list(call.finish_reasons) or None,
                "error.type": call.error_type,
                "gen_ai.prompt.name": call.prompt_name,
                "gen_ai.prompt.version": call.prompt_version,
                "gen_ai.conversation.id": call.conversation_id,
                "user.hash": call.user_hash,
                "feature_flag.key": call.experiment,
                "feature_flag.result.variant": call.variant,
                "spanback.tags": list(call.tags) or None,
                "gen_ai.system_instructions": call.system_instructions,
                "gen_ai.input.messages": call.input_messages,
                "gen_ai.output.messages": call.output_messages,
            }
        ),
    }
    return span | ({"parentSpanId": call.parent_span_id} if call.parent_span_id else {})


def feedback_attributes(signal: Feedback) -> list[Json]:
    """The attributes that a signal has in both forms."""
    return attributes(
        {
            "feedback.id": signal.feedback_id,
            "feedback.action": signal.action,
            "feedback.name": signal.name,
            "feedback.score": signal.score,
            "feedback.weight": signal.weight,
            "feedback.source": signal.source,
            "feedback.type": signal.type,
            "feedback.score.raw": signal.score_raw,
            "feedback.score.min": signal.score_min,
            "feedback.score.max": signal.score_max,
            "feedback.label": signal.label,
            "feedback.comment": signal.comment,
            "feedback.improvement": None if signal.improvement is None else json.dumps(signal.improvement),
            "feedback.user.hash": signal.user_hash,
            "feedback.rater.hash": signal.rater_hash,
            "feedback.criterion": signal.criterion,
            "feedback.observed_at": signal.observed_at,
            "feedback.target.sampled": signal.sampled,
            "feedback.target.resolved": signal.resolved,
            "feedback.target.scope": signal.scope,
            "feedback.target.choice": signal.choice,
            "feedback.target.document.id": signal.document_id,
            "gen_ai.tool.call.id": signal.tool_call_id,
            "feedback.rejected.trace_ids": list(signal.rejected_trace_ids) or None,
            "feedback.rejected.span_ids": list(signal.rejected_span_ids) or None,
            "feedback.rejected.response_ids": list(signal.rejected_response_ids) or None,
            "feedback.rejected.models": list(signal.rejected_models) or None,
            "feedback.rejected.choices": list(signal.rejected_choices) or None,
            "feature_flag.key": signal.experiment,
            "feature_flag.result.variant": signal.variant,
            "spanback.tags": list(signal.tags) or None,
        }
        | dict(signal.dimensions)
        | {f"feedback.metadata.{key}": value for key, value in signal.metadata.items()}
    )


def _link(trace_id: str | None, span_id: str | None, relation: str) -> Json:
    return {"traceId": trace_id, "spanId": span_id, "attributes": attributes({"feedback.relation": relation})}


def carrier_span(signal: Feedback) -> Json:
    """The span form of a signal."""
    links = [_link(signal.trace_id, signal.span_id, signal.relation)]
    rejected = zip(signal.rejected_trace_ids, signal.rejected_span_ids, strict=True)
    links += [_link(*ids, "rejected") for ids in rejected if all(ids)]
    return {
        "traceId": CARRIER_TRACE_ID,
        "spanId": CARRIER_SPAN_ID,
        "name": f"feedback {signal.name}",
        "startTimeUnixNano": str(signal.time_ns),
        "endTimeUnixNano": str(signal.time_ns + 1_000),
        "attributes": feedback_attributes(signal),
        "links": links if signal.span_id else [],
    }


def log_event(signal: Feedback) -> Json:
    """The log form of a signal."""
    ids = {"traceId": signal.trace_id, "spanId": signal.span_id} if signal.span_id else {}
    return {
        "timeUnixNano": str(signal.time_ns),
        "attributes": feedback_attributes(signal),
        "eventName": "gen_ai.evaluation.result",
    } | ids


def spans_line(*spans: Json, service_name: str | None = None) -> str:
    """One line with a batch of spans."""
    resource = {"attributes": attributes({"service.name": service_name})}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}) + "\n"


def logs_line(*records: Json, service_name: str | None = None) -> str:
    """One line with a batch of log records."""
    resource = {"attributes": attributes({"service.name": service_name})}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}) + "\n"
