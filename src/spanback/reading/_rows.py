"""The rows that reading gives: a model call, a feedback signal, and a call with its signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal

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
        trace_id: Trace id of the rated span, 32 hex digits; None where it is not known.
        span_id: Span id of the rated span, 16 hex digits; None where it is not known.
        score_raw: The rating as given, where a scale was given.
        score_min: The scale's worst value.
        score_max: The scale's best value.
        label: A category.
        comment: Free text.
        improvement: The corrected response: any JSON value, or the text where it is no JSON.
        metadata: Context, by key.
        user_hash: Keyed hash of the user id.
        observed_at: When the signal was given, as it was written (ISO 8601), where that is not when it was recorded.
        sampled: Whether the rated span was sampled; None where it is not said.
        resolved: Whether the rated span was found when the signal was recorded.
        scope: `response`, `span` or `conversation`.
        dimensions: What was copied from the rated call, by attribute name (`gen_ai.request.model` and others).
        service_name: `service.name` of the resource that recorded the signal.
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
    score_raw: float | None = None
    score_min: float | None = None
    score_max: float | None = None
    label: str | None = None
    comment: str | None = None
    improvement: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    user_hash: str | None = None
    observed_at: str | None = None
    sampled: bool | None = None
    resolved: bool = True
    scope: str = "response"
    dimensions: Mapping[str, str] = field(default_factory=dict[str, str])
    service_name: str | None = None

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
            "scope": self.scope,
            "resolved": self.resolved,
            "sampled": self.sampled,
            "dimensions": dict(self.dimensions),
            "service_name": self.service_name,
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
    """What the signals say about one model.

    Attributes:
        model: The response's model, else the requested one; None where neither is known.
        calls: How many calls were rated.
        signals: How many signals there are.
        negative: How many of them have a score below 0.
        mean_score: Mean of the scores; None without one.
        weighted_mean_score: Sum of score times weight over the sum of the weights of scored signals; None where that
            sum is 0.
    """

    model: str | None
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
