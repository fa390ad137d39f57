"""What the scripted model says: a small table of a travel assistant's answers, and what follows from a text alone.

Everything here is a pure function of the request, so the same request gets the same answer in every run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Json = dict[str, Any]


class Answer(NamedTuple):
    """What is said to a question that contains `words`, and the behaviour that the question brings about.

    `others` are said instead where the request has a `seed`: 1 stands for the first of them.
    """

    words: str
    text: str
    behaviour: str = ""
    others: tuple[str, ...] = ()

    def said(self, seed: object) -> str:
        """The text for a request's seed."""
        texts = (self.text, *self.others)
        return texts[seed % len(texts)] if isinstance(seed, int) else self.text


ANSWERS: Final = (
    Answer(
        "lisbon",
        "Two days in Lisbon: day one Alfama and the castle, day two Belém and a pastel de nata.",
        others=("Start in Alfama, ride tram 28 to the castle, and keep the second day for Belém and the river.",),
    ),
    Answer("capital of australia", "The capital of Australia is Sydney.", others=("It is Canberra, not Sydney.",)),
    Answer(
        "kyoto",
        "Visit Kyoto in the first week of April, when the cherry trees are in bloom.",
        others=("Late November: the maples are red, the temples are lit in the evening, and spring's crowds are far.",),
    ),
    Answer(
        "vegetarian",
        "Three vegetarian places near the station: Greens, The Sage and Café Mirabel.",
        others=("Try Greens, two streets north of the station; it is open until ten.",),
    ),
    Answer("night train", "Yes. The night train leaves Vienna at 21:39 and reaches Venice at 08:34."),
    Answer("pack", "Pack light: two shirts, a rain jacket, good shoes, a charger and your passport."),
    Answer("visa", "You need no visa for stays of up to 90 days."),
    Answer("refund", "Refunds take five working days once the airline has confirmed the cancellation."),
    Answer("year of travel", "Twelve months, twelve trips: one city in each month, all of them by train.", "slow"),
    Answer("easter", "", "error-429"),
)
DEFAULT_ANSWER: Final = "I can help you plan a trip: tell me where you want to go, and for how many days."
_DEFAULT: Final = Answer("", DEFAULT_ANSWER, others=("Gladly! Which city shall it be, and when?",))
REFUSAL: Final = "I'm sorry, I can't help with that."

_PIECE: Final = re.compile(r"\S+\s*")
_EXAMPLES: Final[Mapping[str, str]] = {
    "city": "Lisbon",
    "location": "Lisbon",
    "country": "Portugal",
    "name": "Alfama",
    "date": "2026-04-01",
    "unit": "celsius",
    "query": "Lisbon in April",
}
_MAX_DEPTH: Final = 8


def find_answer(question: str) -> Answer:
    """The first entry of the table whose words the question contains, else the default answer."""
    question = question.lower()
    return next((answer for answer in ANSWERS if answer.words in question), _DEFAULT)


def pieces(text: str) -> list[str]:
    """The text word by word, which is how the scripted model streams and counts tokens. Joined they give the text."""
    return _PIECE.findall(text)


def count_tokens(texts: Iterable[str]) -> int:
    """A stand-in for a tokenizer: four characters a token, and three more a text for its role."""
    return sum(3 + -(-len(text) // 4) for text in texts)


def text_of(content: object) -> str:
    """The text of a message's content, which is a text, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        return " ".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)
    return ""


def last_question(messages: Iterable[Json]) -> str:
    """The text of the last message of a user, empty when the last word is not the user's (a tool has answered)."""
    last: Json = {}
    for message in messages:
        last = message
    return text_of(last.get("content")) if last.get("role", "user") == "user" else ""


def example_of(schema: Json, name: str = "", root: Json | None = None, depth: int = 0) -> Any:
    """A value that a JSON schema accepts, of the kinds that structured outputs and tools use.

    Args:
        schema: The schema, or a part of it.
        name: The property it belongs to, which chooses a fitting word for texts.
        root: The whole schema, for `$ref` into `$defs`; the schema itself when None.
        depth: How deep the value is nested already; recursive schemas end in empty arrays.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return example_of(_referenced(root, str(schema["$ref"])), name, root, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            options = cast("list[Json]", schema[key])
            return example_of(options[-1 if depth > _MAX_DEPTH else 0], name, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind: Any = schema.get("type", "object")
    return _example_of_type(kind[0] if isinstance(kind, list) else kind, schema, name, root, depth)


def _example_of_type(kind: str, schema: Json, name: str, root: Json, depth: int) -> Any:
    if kind == "object":
        properties = cast("Mapping[str, Json]", schema.get("properties", {}))
        return {key: example_of(value, key, root, depth + 1) for key, value in properties.items()}
    if kind == "array":
        items = cast("Json | None", schema.get("items"))
        return [] if items is None or depth > _MAX_DEPTH else [example_of(items, name, root, depth + 1)]
    plain = {"integer": schema.get("minimum", 2), "number": schema.get("minimum", 2.5), "boolean": True, "null": None}
    return plain[kind] if kind in plain else _EXAMPLES.get(name, name or "text")


def _referenced(root: Json, reference: str) -> Json:
    found: Any = root
    for key in reference.removeprefix("#").strip("/").split("/"):
        found = found[key] if key else found
    return cast("Json", found)
