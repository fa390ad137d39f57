"""References to spans: traceparents, handles on objects of any kind, and the index of response ids."""

from __future__ import annotations

import copy
import pickle
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanback import _messages, errors, semconv
from spanback._spanref import ResponseIndex, SpanRef, attach, attached
from spanback.errors import InvalidFeedback, InvalidSetting, SpanbackError
from tests.feedback.hostile import HostileFloat, HostileInt, HostileText

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_traceparents_round_trip(trace_id: int, span_id: int, sampled: bool) -> None:
    """A reference's traceparent is read back as the same reference."""
    reference = SpanRef(trace_id, span_id, sampled)
    assert SpanRef.from_traceparent(reference.traceparent) == reference
    assert len(reference.traceparent) == 55


@given(st.text(max_size=60))
def test_any_text_is_a_traceparent_or_none(text: str) -> None:
    """No text raises."""
    assert SpanRef.from_traceparent(text) is None or text.strip()[2] == "-"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", True),
        (f" 00-{TRACE_ID}-{SPAN_ID}-00\n", False),
        (f"00-{TRACE_ID}-{SPAN_ID}-03", True),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like", True),
        (f"00-{TRACE_ID}-{SPAN_ID}-01-more", None),
        (f"ff-{TRACE_ID}-{SPAN_ID}-01", None),
        (f"00-{TRACE_ID.upper()}-{SPAN_ID}-01", None),
        (f"00-{'0' * 32}-{SPAN_ID}-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (f"00-{TRACE_ID}-{SPAN_ID}", None),
        (f"00-{TRACE_ID}-{SPAN_ID}-0\u0661", None),
        ("", None),
    ],
)
def test_traceparents(text: str, sampled: bool | None) -> None:
    """Texts are read as W3C Trace Context says."""
    expected = None if sampled is None else SpanRef(int(TRACE_ID, 16), int(SPAN_ID, 16), sampled)
    assert SpanRef.from_traceparent(text) == expected


@pytest.mark.parametrize("odd", [None, b"00-1-2-01", 7])
def test_what_is_no_text_is_no_traceparent(odd: Any) -> None:
    """A header that is not there is None."""
    assert SpanRef.from_traceparent(odd) is None


def test_a_reference_is_a_value() -> None:
    """References compare, hash and pickle, and tell their dimensions under the conventions' names."""
    handle = (1, 2, 1, 3, "openai", "m", "p", "4", "c", ("t",), "e", "v", 4)
    reference = SpanRef.from_handle(handle, "resp_1", "m-2")
    assert pickle.loads(pickle.dumps(reference)) == copy.deepcopy(reference) == reference
    kind, values = reference.__reduce__()
    assert kind(*values[:9]) == SpanRef(*values[:9])  # as an earlier release, which knew less, has pickled it
    assert len({reference, SpanRef.from_handle(handle, "resp_1", "m-2")}) == 1
    assert dict(reference.dimensions()) == {
        semconv.GEN_AI_PROVIDER_NAME: "openai",
        semconv.GEN_AI_REQUEST_MODEL: "m",
        semconv.GEN_AI_RESPONSE_MODEL: "m-2",
        semconv.GEN_AI_RESPONSE_ID: "resp_1",
        semconv.GEN_AI_PROMPT_NAME: "p",
        semconv.GEN_AI_PROMPT_VERSION: "4",
        semconv.GEN_AI_CONVERSATION_ID: "c",
        semconv.TAGS: ("t",),
        semconv.FEATURE_FLAG_KEY: "e",
        semconv.FEATURE_FLAG_RESULT_VARIANT: "v",
    }
    assert reference.root_span_id == 4
    assert dict(SpanRef(1, 2).dimensions()) == {}


class Slotted:
    """An object without a dict."""

    __slots__ = ()


class Frozen:
    """An object that forbids assignments."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(name)


@pytest.mark.parametrize(
    ("thing", "can"), [({}, False), (Slotted(), False), (None, False), (Frozen(), True), ("x", False)]
)
def test_attaching(thing: Any, can: bool) -> None:
    """A handle is put on whatever has a dict, and other objects stay as they are."""
    handle = (1, 2, 1, 3, "openai", None, None, None, None, (), None, None, None)
    assert attach(thing, handle) is can
    assert attached(thing) == (handle if can else None)


@pytest.mark.parametrize("odd", ["text", (1, 2), None])
def test_an_attribute_of_somebody_else_is_no_handle(odd: Any) -> None:
    """What is not shaped like a handle is none."""
    thing = Frozen()
    object.__setattr__(thing, "_spanback", odd)
    assert attached(thing) is None


def test_the_index_forgets() -> None:
    """The index keeps the newest entries, believes them for a day, and can be emptied."""
    now = time.time_ns()
    index = ResponseIndex(limit=2)
    for number, age_s in ((1, 0), (2, 100_000), (3, 0)):
        index.add(
            f"resp_{number}",
            (1, number, 1, now - age_s * 10**9, "openai", None, None, None, None, (), None, None, None),
            "m",
        )
    assert len(index) == 2
    assert (index.find("resp_1"), index.handle("resp_1")) == (None, None)
    assert index.handle("resp_2")[1] == 2
    assert index.find("resp_2") is None
    assert index.handle("resp_2") is None
    assert index.find("resp_3") == SpanRef(1, 3, True, now, "resp_3", "openai", None, "m")
    index.clear()
    assert len(index) == 0


def test_an_id_that_no_server_should_make_is_not_kept() -> None:
    """The index is bounded in bytes as well as in entries."""
    index = ResponseIndex()
    handle = (1, 2, 1, time.time_ns(), "openai", *[None] * 4, (), None, None, None)
    index.add("r" * 1_024, handle)
    index.add("r" * 1_025, handle)
    assert len(index) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        (None, "None"),
        (1.5, "1.5"),
        ("x", "'x'"),
        (b"x", "b'x'"),
        ("y" * 100, "'" + "y" * 79 + "..."),
        (10**100, "1" + "0" * 79 + "..."),
        (10**5_000, "<int>"),
        (True, "True"),
        (HostileText("x"), "'x'"),
        (HostileInt(3), "3"),
        (HostileFloat(1.5), "1.5"),
        ({"a": 1}, "<dict>"),
        (Slotted(), "<Slotted>"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("kind", [InvalidFeedback, InvalidSetting])
def test_errors_name_field_value_and_rule(kind: Any, value: Any, shown: str) -> None:
    """An error says in one line what was wrong, however long or odd the value."""
    error = kind("field", value, "must be otherwise")
    assert str(error) == f"field={shown} must be otherwise"
    assert isinstance(error, SpanbackError)
    assert isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error)) if not isinstance(value, Slotted) else error
    assert (type(again), str(again), again.rule) == (kind, str(error), "must be otherwise")
    assert getattr(error, "field" if kind is InvalidFeedback else "setting") == "field"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("anna@example.com\n", "<str>"), (4711, "<int>"), (b"anna", "<bytes>"), ("", "''"), (None, "None")],
)
@pytest.mark.parametrize("field", ["user_id", "rater_id"])
def test_an_id_of_a_person_is_in_no_message(field: str, value: Any, shown: str) -> None:
    """The message ends up in logs; the error's own attribute has what was given."""
    error = InvalidFeedback(field, value, "must be otherwise")
    assert str(error) == f"{field}={shown} must be otherwise"
    assert error.value == value


def test_names_are_unique_and_in_their_namespaces() -> None:
    """No two attributes share a name, and spanback's own are under `feedback.`."""
    names = {name: value for name, value in vars(semconv).items() if name.isupper()}
    metrics_and_events = [value for name, value in names.items() if name.startswith(("METRIC_", "EVENT_"))]
    attributes = [value for name, value in names.items() if not name.startswith(("METRIC_", "EVENT_"))]
    assert len(set(attributes)) == len(attributes)
    assert len(set(metrics_and_events)) == len(metrics_and_events)
    spaces = {value.partition(".")[0] for value in attributes}
    assert spaces == {
        "aws",
        "error",
        "exception",
        "feature_flag",
        "feedback",
        "gen_ai",
        "openai",
        "otel",
        "server",
        "spanback",
        "user",
    }


def test_the_errors_have_one_base() -> None:
    """Who catches `SpanbackError` catches all that spanback raises."""
    made = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]
    assert len(made) > 1
    assert all(issubclass(kind, errors.SpanbackError) for kind in made)
    assert _messages.Message.__total__ is True
