"""The rows that reading gives: a model call, a feedback signal, and a call with its signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal

from spanback import semconv

Sentiment = Literal["positive", "neutral", "negative"]

MAX_TIME_NS: Final = 2**63
"""The first time too late for 64 bits, in the year 2262."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Call:
    """One model call: a span that carries `gen_ai.operation.name`, whoever made it.

    Attributes:
        trace_id: 32 lower-case hex digits.
        span_id: 16 lower-case hex digits.
        parent_span_id: The parent's span id; None for a root span.
        name: The span's name.
        operation: `gen_ai.operation.name`, such as `chat`.
        start_time_ns: When it started, ns since the epoch.
        duration_ns: How long it took, in ns.
        provider: `gen_ai.provider.name`.
        request_model: `gen_ai.request.model`.
        response_model: `gen_ai.response.model`.
        response_id: `gen_ai.response.id`.
        input_tokens: `gen_ai.usage.input_tokens`.
        output_tokens: `gen_ai.usage.output_tokens`.
        finish_reasons: `gen_ai.response.finish_reasons`.
        error_type: `error.type`; `_OTHER` for a span that failed and does not say how.
        service_name: `service.name` of the resource.
        prompt_name: `gen_ai.prompt.name`.
        prompt_version: `gen_ai.prompt.version`.
        conversation_id: `gen_ai.conversation.id`.
        user_hash: `user.hash`.
        experiment: `feature_flag.key`: the experiment that the call was part of.
        variant: `feature_flag.result.variant`.
        tags: `spanback.tags`.
        system_instructions: Message parts, where content was captured.
        input_messages: Messages given to the model, where content was captured.
        output_messages: Messages that the model gave, where content was captured.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    operation: str
    start_time_ns: int
    duration_ns: int
    provider: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reasons: tuple[str, ...] = ()
    error_type: str | None = None
    service_name: str | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    conversation_id: str | None = None
    user_hash: str | None = None
    experiment: str | None = None
    variant: str | None = None
    tags: tuple[str, ...] = ()
    system_instructions: Any = None
    input_messages: Any = None
    output_messages: Any = None

    def to_json(self) -> dict[str, Any]:
        """The call as `spanback show --json` prints it: times in ISO 8601, durations in seconds."""
        return {
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent_span_id": self.parent_span_id,
            "name": self.name,
            "operation": self.operation,
            "start_time": iso(self.start_time_ns),
            "duration_s": self.duration_ns / 1e9,
            "provider": self.provider,
            "request_model": self.request_model,
            "response_model": self.response_model,
            "response_id": self.response_id,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "finish_reasons": list(self.finish_reasons),
            "error_type": self.error_type,
            "service_name": self.service_name,
            "prompt_name": self.prompt_name,
            "prompt_version": self.prompt_version,
            "conversation_id": self.conversation_id,
            "user_hash": self.user_hash,
            "experiment": self.experiment,
            "variant": self.variant,
            "tags": list(self.tags),
            "system_instructions": self.system_instructions,
            "input_messages": self.input_messages,
            "output_messages": self.output_messages,
        }


@dataclass(frozen=True, slots=True)
class Feedback:
    """One feedback signal as it stands: the latest record of its id.

    Attributes:
        feedback_id: `feedback.id`.
        time_ns: When it was recorded, ns since the epoch.
        action: `set` or `retract`.
        name: Which signal it is, such as `user_thumbs`.
        score: From -1 (worst) to 1 (best); None where only a label, comment or improvement was given.
        weight: Importance from 0 to 1.
        source: `user` or `system`.
        type: `explicit` or `implicit`.
        trace_id: Trace id of the rated span, of a preference the chosen one: 32 hex digits; None where not known.
        span_id: Span id of the rated span, of a preference the chosen one: 16 hex digits; None where not known.
        relation: How the signal links to that span: `rates`, or `chosen` for a preference.
        rejected_trace_ids: Of a preference, the trace ids of the responses that were not chosen; empty texts where
            not known.
        rejected_span_ids: Their span ids, in the same order.
        rejected_response_ids: Their `gen_ai.response.id`.
        rejected_models: Their models.
        rejected_choices: Which of their choices, from 0, or -1 for a whole response; empty where all are whole.
        score_raw: The rating as given, where a scale was given.
        score_min: The scale's worst value.
        score_max: The scale's best value.
        label: A category.
        comment: Free text.
        improvement: The corrected response: any JSON value, or the text where it is no JSON.
        metadata: Context, by key.
        user_hash: Keyed hash of the id of the user who asked.
        rater_hash: Keyed hash of the id of who rated, where that is somebody else.
        criterion: What was judged, such as `factual_accuracy`.
        observed_at: When the signal was given, as it was written (ISO 8601), where that is not when it was recorded.
        sampled: Whether the rated span was sampled; None where it is not said.
        resolved: Whether the rated span was found when the signal was recorded.
        scope: `response`, `span`, `trace`, `conversation`, `tool_call`, `choice` or `document`.
        choice: Which of the response's choices, from 0.
        document_id: Which retrieved document.
        tool_call_id: Which tool call.
        experiment: `feature_flag.key` of the rated call.
        variant: `feature_flag.result.variant` of the rated call.
        tags: `spanback.tags` of the rated call.
        dimensions: What was copied from the rated call, by attribute name (`gen_ai.request.model` and others).
        service_name: `service.name` of the resource that recorded the signal.
        carrier_trace_id: Trace id of the signal's own span; None where only its log event was read.
        carrier_span_id: Span id of the signal's own span; None where only its log event was read.
    """

    feedback_id: str
    time_ns: int
    action: str = "set"
    name: str = "user_feedback"
    score: float | None = None
    weight: float = 1.0
    source: str = "user"
    type: str = "explicit"
    trace_id: str | None = None
    span_id: str | None = None
    relation: str = "rates"
    rejected_trace_ids: tuple[str, ...] = ()
    rejected_span_ids: tuple[str, ...] = ()
    rejected_response_ids: tuple[str, ...] = ()
    rejected_models: tuple[str, ...] = ()
    rejected_choices: tuple[int, ...] = ()
    score_raw: float | None = None
    score_min: float | None = None
    score_max: float | None = None
    label: str | None = None
    comment: str | None = None
    improvement: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    user_hash: str | None = None
    rater_hash: str | None = None
    criterion: str | None = None
    observed_at: str | None = None
    sampled: bool | None = None
    resolved: bool = True
    scope: str = "response"
    choice: int | None = None
    document_id: str | None = None
    tool_call_id: str | None = None
    experiment: str | None = None
    variant: str | None = None
    tags: tuple[str, ...] = ()
    dimensions: Mapping[str, str] = field(default_factory=dict[str, str])
    service_name: str | None = None
    carrier_trace_id: str | None = None
    carrier_span_id: str | None = None

    @property
    def response_id(self) -> str | None:
        """`gen_ai.response.id` of the rated response, where it is known."""
        return self.dimensions.get(semconv.GEN_AI_RESPONSE_ID)

    @property
    def conversation_id(self) -> str | None:
        """`gen_ai.conversation.id` of the rated response or conversation, where it is known."""
        return self.dimensions.get(semconv.GEN_AI_CONVERSATION_ID)

    @property
    def sentiment(self) -> Sentiment | None:
        """The sign of the score in words, or None without a score."""
        if self.score is None:
            return None
        return "negative" if self.score < 0 else "positive" if self.score > 0 else "neutral"

    @property
    def given_time_ns(self) -> int:
        """When the signal was given, ns since the epoch: `observed_at` where that can be read, else `time_ns`."""
        return (self.observed_at and nanoseconds(self.observed_at)) or self.time_ns

    def to_json(self) -> dict[str, Any]:
        """The signal as `spanback show --json` prints it: times in ISO 8601."""
        return {
            "feedback_id": self.feedback_id,
            "time": iso(self.time_ns),
            "observed_at": self.observed_at,
            "name": self.name,
            "score": self.score,
            "score_raw": self.score_raw,
            "score_min": self.score_min,
            "score_max": self.score_max,
            "sentiment": self.sentiment,
            "weight": self.weight,
            "source": self.source,
            "type": self.type,
            "label": self.label,
            "comment": self.comment,
            "improvement": self.improvement,
            "metadata": dict(self.metadata),
            "user_hash": self.user_hash,
            "rater_hash": self.rater_hash,
            "criterion": self.criterion,
            "relation": self.relation,
            "rejected_trace_ids": list(self.rejected_trace_ids),
            "rejected_span_ids": list(self.rejected_span_ids),
            "rejected_response_ids": list(self.rejected_response_ids),
            "rejected_models": list(self.rejected_models),
            "rejected_choices": list(self.rejected_choices),
            "scope": self.scope,
            "choice": self.choice,
            "document_id": self.document_id,
            "tool_call_id": self.tool_call_id,
            "experiment": self.experiment,
            "variant": self.variant,
            "tags": list(self.tags),
            "resolved": self.resolved,
            "sampled": self.sampled,
            "dimensions": dict(self.dimensions),
            "service_name": self.service_name,
            "carrier_trace_id": self.carrier_trace_id,
            "carrier_span_id": self.carrier_span_id,
        }


@dataclass(frozen=True, slots=True)
class RatedCall:
    """A call and the signals on it.

    Attributes:
        call: The call; None where its span is not in what was read.
        feedback: Its signals, at least one, in the order in which they were recorded.
    """

    call: Call | None
    feedback: tuple[Feedback, ...]

    @property
    def trace_id(self) -> str | None:
        """Trace id of the rated span, or None where it is not known."""
        return self.call.trace_id if self.call else self.feedback[0].trace_id

    @property
    def span_id(self) -> str | None:
        """Span id of the rated span, or None where it is not known."""
        return self.call.span_id if self.call else self.feedback[0].span_id

    def to_json(self) -> dict[str, Any]:
        """The object that `spanback show --json` prints on one line."""
        return {
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "call": self.call.to_json() if self.call else None,
            "feedback": [signal.to_json() for signal in self.feedback],
        }


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What the signals of one type say about one model. What was stated is never averaged with what was inferred.

    Attributes:
        model: The response's model, else the requested one; None where neither is known.
        type: `explicit` or `implicit`.
        calls: How many calls were rated.
        signals: How many signals there are.
        negative: How many of them have a score below 0.
        mean_score: Mean of the scores; None without one.
        weighted_mean_score: Sum of score times weight over the sum of the weights of scored signals; None where that
            sum is 0.
    """

    model: str | None
    type: str
    calls: int
    signals: int
    negative: int
    mean_score: float | None
    weighted_mean_score: float | None


def iso(time_ns: int) -> str:
    """A time in ISO 8601, UTC, with all nine digits: `2026-11-21T07:24:00.123456789Z`.

    Args:
        time_ns: ns since the epoch, not negative and below `MAX_TIME_NS`.
    """
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def nanoseconds(text: str) -> int | None:
    """The time that an ISO 8601 text names; a text without an offset is in UTC.

    Returns:
        ns since the epoch, or None for a text that is no time from 1970 to 2262. Never raises.
    """
    # Python 3.10 reads neither the letter Z nor fractions of other than 3 or 6 digits.
    whole, _, rest = text.strip().upper().replace("Z", "+00:00").partition(".")
    offset = rest.lstrip("0123456789")
    try:
        when = datetime.fromisoformat(whole + offset)
    except ValueError:
        return None
    since = (when if when.tzinfo else when.replace(tzinfo=timezone.utc)) - _EPOCH
    fraction = int(f"{rest[: len(rest) - len(offset)][:9]:0<9}")
    time_ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + fraction
    return time_ns if 0 <= time_ns < MAX_TIME_NS else None
