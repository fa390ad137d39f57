"""Times, sentiments and the JSON form of rows."""

import pytest

from spanback.reading import Call, Feedback, RatedCall
from spanback.reading._rows import iso, nanoseconds


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:05Z", 5_000_000_000),
        ("1970-01-01T01:00:05+01:00", 5_000_000_000),
        ("1970-01-01T00:00:05.000000001z", 5_000_000_001),
        ("1970-01-01T01:00:05.25+01:00", 5_250_000_000),
        ("1970-01-01 00:00:05.1234567891", 5_123_456_789),
        (" 1970-01-02 ", 86_400_000_000_000),
        ("1969-12-31", None),
        ("2300-01-01", None),
        ("soon", None),
        ("", None),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, time_ns: int | None) -> None:
    """ISO 8601 with a Z, an offset or none, with any number of digits."""
    assert nanoseconds(text) == time_ns


def test_times_are_written_with_all_digits() -> None:
    """What is written is read back the same."""
    assert iso(1_763_712_000_123_456_789) == "2025-11-21T08:00:00.123456789Z"
    assert nanoseconds(iso(2**63 - 1)) == 2**63 - 1


@pytest.mark.parametrize(
    ("score", "sentiment"), [(0.1, "positive"), (0.0, "neutral"), (-0.1, "negative"), (None, None)]
)
def test_the_sentiment_is_the_sign_of_the_score(score: float | None, sentiment: str | None) -> None:
    """Without a score there is none."""
    assert Feedback("id", 0, score=score).sentiment == sentiment


def test_a_wrong_observed_at_falls_back_to_the_record() -> None:
    """A time that cannot be read does not lose the signal."""
    assert Feedback("id", 7, observed_at="yesterday").given_time_ns == 7
    assert Feedback("id", 7).given_time_ns == 7


def test_a_signal_names_its_response_and_its_conversation() -> None:
    """They are among the dimensions, as they are on the wire."""
    signal = Feedback("id", 0, dimensions={"gen_ai.response.id": "r-1", "gen_ai.conversation.id": "c-1"})
    assert (signal.response_id, signal.conversation_id) == ("r-1", "c-1")
    assert (Feedback("id", 0).response_id, Feedback("id", 0).conversation_id) == (None, None)


def test_the_json_form_has_stable_fields() -> None:
    """Programs read these names; times are ISO 8601, durations are in seconds."""
    call = Call("1" * 32, "2" * 16, None, "chat gpt-5", "chat", 0, 1_500_000_000, finish_reasons=("stop",))
    signal = Feedback("id", 1, score=0.5, trace_id="1" * 32, span_id="2" * 16)
    rated = RatedCall(call, (signal,)).to_json()
    assert rated == {
        "trace_id": "1" * 32,
        "span_id": "2" * 16,
        "call": {
            "trace_id": "1" * 32,
            "span_id": "2" * 16,
            "parent_span_id": None,
            "name": "chat gpt-5",
            "operation": "chat",
            "start_time": "1970-01-01T00:00:00.000000000Z",
            "duration_s": 1.5,
            "provider": None,
            "request_model": None,
            "response_model": None,
            "response_id": None,
            "input_tokens": None,
            "output_tokens": None,
            "finish_reasons": ["stop"],
            "error_type": None,
            "service_name": None,
            "prompt_name": None,
            "prompt_version": None,
            "conversation_id": None,
            "user_hash": None,
            "experiment": None,
            "variant": None,
            "tags": [],
            "system_instructions": None,
            "input_messages": None,
            "output_messages": None,
        },
        "feedback": [
            {
                "feedback_id": "id",
                "time": "1970-01-01T00:00:00.000000001Z",
                "observed_at": None,
                "name": "user_feedback",
                "score": 0.5,
                "score_raw": None,
                "score_min": None,
                "score_max": None,
                "sentiment": "positive",
                "weight": 1.0,
                "source": "user",
                "type": "explicit",
                "label": None,
                "comment": None,
                "improvement": None,
                "metadata": {},
                "user_hash": None,
                "rater_hash": None,
                "criterion": None,
                "relation": "rates",
                "rejected_trace_ids": [],
                "rejected_span_ids": [],
                "rejected_response_ids": [],
                "rejected_models": [],
                "rejected_choices": [],
                "scope": "response",
                "choice": None,
                "document_id": None,
                "tool_call_id": None,
                "experiment": None,
                "variant": None,
                "tags": [],
                "resolved": True,
                "sampled": None,
                "dimensions": {},
                "service_name": None,
                "carrier_trace_id": None,
                "carrier_span_id": None,
            }
        ],
    }
    absent = RatedCall(None, (signal,)).to_json()
    assert (absent["call"], absent["trace_id"], absent["span_id"]) == (None, "1" * 32, "2" * 16)
