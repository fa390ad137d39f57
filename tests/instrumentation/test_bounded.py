"""Attributes that are set at once are those that the SDK would have set one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext

from spanback import _bounded
from spanback._bounded import set_attributes

NAMES = st.sampled_from(["a", "b", "c", "d"])
PLAIN = st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers() | st.floats(allow_nan=False)
VALUES = PLAIN | st.lists(st.text(st.characters(exclude_categories=["Cs"])))
ATTRIBUTES = st.dictionaries(NAMES, VALUES)


def span_with(limits: SpanLimits | None = None) -> Any:
    """A span that is open, with two attributes."""
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    return provider.get_tracer("test").start_span("call", attributes={"a": "first", "z": 1})


@given(ATTRIBUTES)
def test_the_same_as_the_sdks_own(attributes: dict[str, Any]) -> None:
    """Names, values and types are those that the SDK's own way gives."""
    ours, theirs = span_with(), span_with()
    set_attributes(ours, attributes)
    theirs.set_attributes(attributes)
    assert [(name, value, type(value)) for name, value in sorted(ours.attributes.items())] == [
        (name, value, type(value)) for name, value in sorted(theirs.attributes.items())
    ]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (SpanLimits(max_span_attributes=3), {"z": 1, "b": "long text", "c": 2}),
        (SpanLimits(max_span_attributes=4), {"a": "first", "z": 1, "b": "long text", "c": 2}),
        (SpanLimits(max_span_attributes=SpanLimits.UNSET), {"a": "first", "z": 1, "b": "long text", "c": 2}),
        (SpanLimits(max_span_attribute_length=4), {"a": "firs", "z": 1, "b": "long", "c": 2}),
    ],
    ids=["too many", "just enough", "no limit", "too long"],
)
def test_limits_of_the_sdk(limits: SpanLimits, kept: dict[str, Any], complaints: Any) -> None:
    """A limit that the app has set on number or length holds; some releases of the SDK say so."""
    span = span_with(limits)
    set_attributes(span, {"b": "long text", "c": 2})
    complaints.take()
    assert dict(span.attributes) == kept


def test_another_layout(monkeypatch: Any) -> None:
    """Where the SDK keeps attributes in another way they are set in the public one."""
    monkeypatch.setattr(_bounded, "_KNOWN", False)
    span = span_with()
    set_attributes(span, {"b": ["x"]})
    assert dict(span.attributes) == {"a": "first", "z": 1, "b": ("x",)}


def test_a_span_that_has_ended(complaints: Any) -> None:
    """What has ended is not changed any more, which the SDK says."""
    span = span_with()
    span.end()
    set_attributes(span, {"b": 1})
    assert complaints.take() == ["Setting attribute on ended span."]
    assert dict(span.attributes) == {"a": "first", "z": 1}


def test_a_span_of_another_make() -> None:
    """A span that keeps nothing takes the attributes and forgets them."""
    span = NonRecordingSpan(SpanContext(1, 2, is_remote=False))
    set_attributes(span, {"b": 1})
    assert not hasattr(span, "attributes")
