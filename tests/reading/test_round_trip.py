"""Rows written as OTLP-JSON lines come back as they were."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spanback.reading import Call, Feedback, TelemetryFiles
from tests.reading.writing import (
    CARRIER_SPAN_ID,
    CARRIER_TRACE_ID,
    call_span,
    carrier_span,
    log_event,
    logs_line,
    spans_line,
)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_NAME = st.text("abcdefghijklmnopqrstuvwxyz._-", min_size=1, max_size=12)
_TIME_NS = st.integers(0, 2**62)
_TRACE_ID = st.integers(1, 2**128 - 1).map("{:032x}".format)
_SPAN_ID = st.integers(1, 2**64 - 1).map("{:016x}".format)
_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _NUMBER | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_MESSAGES = st.none() | st.lists(
    st.fixed_dictionaries({"role": _TEXT, "parts": st.lists(_JSON, max_size=2)}), max_size=2
)

_CALLS = st.builds(
    Call,
    trace_id=_TRACE_ID,
    span_id=_SPAN_ID,
    parent_span_id=st.none() | _SPAN_ID,
    name=_TEXT,
    operation=_NAME,
    start_time_ns=_TIME_NS,
    duration_ns=st.integers(0, 2**60),
    provider=st.none() | _TEXT,
    request_model=st.none() | _TEXT,
    response_model=st.none() | _TEXT,
    response_id=st.none() | _TEXT,
    input_tokens=st.none() | st.integers(0, 2**40),
    output_tokens=st.none() | st.integers(0, 2**40),
    finish_reasons=st.lists(_TEXT, max_size=3).map(tuple),
    error_type=st.none() | _NAME,
    service_name=st.none() | _TEXT,
    prompt_name=st.none() | _TEXT,
    prompt_version=st.none() | _TEXT,
    conversation_id=st.none() | _TEXT,
    user_hash=st.none() | _TEXT,
    experiment=st.none() | _TEXT,
    variant=st.none() | _TEXT,
    tags=st.lists(_TEXT, max_size=3).map(tuple),
    system_instructions=_MESSAGES,
    input_messages=_MESSAGES,
    output_messages=_MESSAGES,
)
_DIMENSIONS = st.dictionaries(
    st.sampled_from(["gen_ai.provider.name", "gen_ai.request.model", "gen_ai.prompt.version", "gen_ai.response.id"]),
    _TEXT,
)


@st.composite
def _feedback(draw: st.DrawFn) -> Feedback:
    ids = draw(st.tuples(_TRACE_ID, _SPAN_ID) | st.just((None, None)))
    return draw(
        st.builds(
            Feedback,
            feedback_id=_TEXT,
            time_ns=st.integers(1, 2**62),
            action=st.just("set"),
            name=_NAME,
            score=st.none() | st.floats(-1, 1),
            weight=st.floats(0, 1),
            source=st.sampled_from(["user", "system"]),
            type=st.sampled_from(["explicit", "implicit"]),
            trace_id=st.just(ids[0]),
            span_id=st.just(ids[1]),
            score_raw=st.none() | _NUMBER,
            score_min=st.none() | _NUMBER,
            score_max=st.none() | _NUMBER,
            label=st.none() | _TEXT,
            comment=st.none() | _TEXT,
            improvement=_JSON,
            metadata=st.dictionaries(
                _TEXT, _TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _NUMBER, max_size=3
            ),
            user_hash=st.none() | _TEXT,
            rater_hash=st.none() | _TEXT,
            criterion=st.none() | _TEXT,
            observed_at=st.none() | _TEXT,
            sampled=st.none() | st.booleans(),
            resolved=st.booleans(),
            scope=st.sampled_from(["response", "span", "conversation"]),
            choice=st.none() | st.integers(0, 9),
            document_id=st.none() | _TEXT,
            tool_call_id=st.none() | _TEXT,
            experiment=st.none() | _TEXT,
            variant=st.none() | _TEXT,
            tags=st.lists(_TEXT, max_size=3).map(tuple),
            dimensions=_DIMENSIONS,
            service_name=st.none() | _TEXT,
        )
    )


@given(call=_CALLS)
@settings(max_examples=50)
def test_a_call_comes_back_as_it_was(tmp_path_factory: Any, call: Call) -> None:
    """Every field of a call survives the way through a file, content structured."""
    file = tmp_path_factory.mktemp("calls") / "traces.jsonl"
    file.write_text(spans_line(call_span(call), service_name=call.service_name))
    with TelemetryFiles([file]) as files:
        assert list(files.calls()) == [call]
        assert list(files.damaged()) == []


@given(signal=_feedback(), as_log=st.booleans(), twice=st.booleans())
@settings(max_examples=50)
def test_a_signal_comes_back_as_it_was(tmp_path_factory: Any, signal: Feedback, as_log: bool, twice: bool) -> None:
    """Every field of a signal survives, in either form alone and in both together."""
    file: Path = tmp_path_factory.mktemp("feedback") / "all.jsonl"
    span = spans_line(carrier_span(signal), service_name=signal.service_name)
    log = logs_line(log_event(signal), service_name=signal.service_name)
    file.write_text(span + log if twice else log if as_log else span)
    if twice or not as_log:
        signal = replace(signal, carrier_trace_id=CARRIER_TRACE_ID, carrier_span_id=CARRIER_SPAN_ID)
    with TelemetryFiles([file]) as files:
        assert list(files.feedback()) == [signal]
        (rated,) = files.rated()
        assert rated.feedback == (signal,)
        assert list(files.damaged()) == []


def test_a_preference_has_the_chosen_response_as_its_target(tmp_path: Path) -> None:
    """In whatever order the links stand; what was not chosen is known by its place in four lists."""
    signal = Feedback(
        "fb",
        1,
        score=1.0,
        trace_id="1" * 32,
        span_id="2" * 16,
        relation="chosen",
        rejected_trace_ids=("3" * 32, ""),
        rejected_span_ids=("4" * 16, ""),
        rejected_response_ids=("r-3", "r-4"),
        rejected_models=("gpt-5", ""),
        rejected_choices=(2, -1),
        carrier_trace_id=CARRIER_TRACE_ID,
        carrier_span_id=CARRIER_SPAN_ID,
    )
    span = carrier_span(signal)
    span["links"].reverse()
    (tmp_path / "traces.jsonl").write_text(spans_line(span))
    with TelemetryFiles([tmp_path]) as files:
        assert list(files.feedback()) == [signal]
