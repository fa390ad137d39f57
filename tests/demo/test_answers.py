"""What follows from a text or a schema alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanback.demo._answers import DEFAULT_ANSWER, count_tokens, example_of, find_answer, pieces, text_of


@given(st.text().filter(lambda text: text == text.lstrip()))
def test_pieces_add_up_to_the_text(text):
    """A stream of the pieces gives the text back, from its first word on."""
    assert "".join(pieces(text)) == text


def test_the_first_fitting_answer_is_given():
    """Words are looked for in any case; a question that fits none has the default answer."""
    assert find_answer("Plan two days in LISBON").text.startswith("Two days in Lisbon")
    assert find_answer("Hello").text == DEFAULT_ANSWER
    assert find_answer("And at Easter?").behaviour == "error-429"


def test_a_seed_chooses_among_the_answers():
    """Seed 1 gets the first of the other answers, whatever is no seed the usual one."""
    kyoto = find_answer("When should I visit Kyoto?")
    assert [kyoto.said(seed) for seed in (None, 0, 2, "x")] == [kyoto.text] * 4
    assert kyoto.said(1) == kyoto.others[0]


@pytest.mark.parametrize(
    ("content", "text"),
    [("a", "a"), (None, ""), ([{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}, "x"], "a b"), (3, "")],
)
def test_the_text_of_content(content, text):
    """Content is a text, a list of parts, or something without text."""
    assert text_of(content) == text


def test_tokens_are_counted_by_length():
    """Four characters a token, and three more for each message."""
    assert count_tokens(["", "abcd", "abcde"]) == 3 + 4 + 5


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"city": {"type": "string"}}}, {"city": "Lisbon"}),
        ({}, {}),
        ({"type": "array"}, []),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "integer"}, 2),
        ({"type": "number", "minimum": 7}, 7),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "text"),
        ({"const": 5}, 5),
        ({"enum": ["a", "b"]}, "a"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 2),
        ({"$ref": "#/$defs/City", "$defs": {"City": {"enum": ["Kyoto"]}}}, "Kyoto"),
        ({"type": "object", "properties": {"street": {"type": "string"}}}, {"street": "street"}),
    ],
)
def test_an_example_fits_its_schema(schema, value):
    """Each kind of schema has its example."""
    assert example_of(schema) == value


def test_a_schema_that_holds_itself_ends():
    """Recursion by a list or by a union ends in the empty one."""
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert str(example_of(node)).endswith("{'children': []}]}]}]}")
    chain = {"anyOf": [{"type": "object", "properties": {"next": {"$ref": "#"}}}, {"type": "null"}]}
    assert "{'next': None}" in str(example_of(chain))
