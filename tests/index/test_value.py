"""What stands in a shared index for one response is read back, and nothing else is believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanback import SpanRef
from spanback._index._value import packed, unpacked

TEXTS = st.none() | st.text(max_size=5)
REFS = st.builds(
    SpanRef,
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
    st.booleans(),
    st.none() | st.integers(1, (1 << 63) - 1),
    *[TEXTS] * 7,
    st.lists(st.text(max_size=3), max_size=2).map(tuple),
    TEXTS,
    TEXTS,
    st.none() | st.integers(1, (1 << 64) - 1),
)


@given(REFS)
def test_a_value_is_read_back_as_it_was(ref: SpanRef) -> None:
    """Whatever a reference holds."""
    assert unpacked(packed(ref)) == ref


@pytest.mark.parametrize(
    "text",
    ["", "{}", "null", "[]", "[1]", "[2,10,11]", "[1,10]", "[1,0,11]", '[1,"a",11]', "[1,true,11]", "[1,10,11,1]",
     '[1,10,11,true,"x"]', "[1,10,11,true,null,7]", "[1" + ",1" * 20 + "]", "[1,10,11,true,null,null,null,null,null,null,null,null,[7]]",
     "[1,10,11,true,null,null,null,null,null,null,null,null,7]", " " * 20_000],
)  # fmt: skip
def test_a_value_that_is_none_is_not_believed(text: str) -> None:
    """Whoever may write to the store may write anything; a later version's values are not guessed at."""
    assert unpacked(text) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_value_raises(text: str) -> None:
    """It is a reference or nothing."""
    found = unpacked(text)
    assert found is None or isinstance(found, SpanRef)
