"""How far one text is from another, bounded in time, without a library."""

from __future__ import annotations

from collections import Counter
from typing import Final

from spanback.errors import InvalidFeedback

TEXT_LIMIT_CHARACTERS: Final = 262_144
TEXT_RULE: Final = f"must be text of at most {TEXT_LIMIT_CHARACTERS} characters"

EXACT_LIMIT_CHARACTERS: Final = 8_192
"""What differs is compared exactly up to this size, which takes some 50 ms where nothing is in common; beyond it is
estimated, since the time grows with the square."""


def normalised_distance(original: object, final: object) -> float:
    """The Levenshtein distance of two texts over the length of the longer: 0 for the same, 1 for nothing in common.

    Where more than 8,192 characters lie between what both have in common at start and end, it is estimated: by how many
    of the runs of five characters there are not in both.

    Args:
        original: The text before it was edited.
        final: The text afterwards.

    Raises:
        InvalidFeedback: One of them is no text, or too long.
    """
    one, other = _checked("original", original), _checked("final", final)
    longer = max(len(one), len(other))
    start = _common(one, other)
    one, other = one[start:][::-1], other[start:][::-1]
    end = _common(one, other)
    one, other = one[end:], other[end:]
    if not one or not other:
        return (len(one) + len(other)) / (longer or 1)
    exact = max(len(one), len(other)) <= EXACT_LIMIT_CHARACTERS
    return (_distance(one, other) if exact else _estimate(one, other)) / longer


def _distance(one: str, other: str) -> int:
    """How many characters must be put in, taken out or replaced to come from one text to the other; none is empty.

    Hyyro's bit-parallel algorithm ("A bit-vector algorithm for computing Levenshtein and Damerau edit distances",
    2003): each step advances a whole column of the table, since Python's integers are as wide as needed.
    """
    places: dict[str, int] = {}
    for place, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << place
    last, every = 1 << len(one) - 1, (1 << len(one)) - 1
    rising, falling, found = every, 0, len(one)
    for character in other:
        equal = places.get(character, 0)
        diagonal = (((equal & rising) + rising) ^ rising) | equal | falling
        up, down = falling | (every & ~(diagonal | rising)), rising & diagonal
        found += bool(up & last) - bool(down & last)
        up, down = up << 1 | 1, down << 1
        vertical = equal | falling
        rising, falling = (down | ~(vertical | up)) & every, up & vertical & every
    return found


def _estimate(one: str, other: str) -> float:
    """About the same, in a time that grows with the length alone."""
    runs = [Counter(text[at : at + 5] for at in range(len(text))) for text in (one, other)]
    return max(len(one), len(other)) - (runs[0] & runs[1]).total()


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _checked(field: str, value: object) -> str:
    text = str.__str__(value) if isinstance(value, str) else None  # an app's own kind of text may fail in any method
    if text is None or len(text) > TEXT_LIMIT_CHARACTERS:
        raise InvalidFeedback(field, value, TEXT_RULE)
    return text
