"""All that is wrong with the arguments of one signal, where a single call names only the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from spanback.errors import InvalidFeedback
from spanback.feedback import _rules
from spanback.feedback._model import checked

_CONTENT: Final = frozenset({"signal", "score", "rating", "scale", "label", "comment", "improvement"})
"""Where one of them is wrong, it is not said as well that there is none."""


def problems_of(arguments: Mapping[str, Any], *, is_strict: bool = False) -> list[InvalidFeedback]:
    """What is wrong with the arguments of a signal.

    Each mistake that is found is taken away, and the rest is checked again. So the rules are only in one place.

    Args:
        arguments: As `checked` takes them, by name.
        is_strict: Whether names must be known.

    Returns:
        The mistakes; none where there is none. Never raises.
    """
    rest = dict(arguments)
    problems: list[InvalidFeedback] = []
    is_bare = False
    while (problem := refusal_of(checked, **rest, is_bare=is_bare, is_strict=is_strict)) is not None:
        problems.append(problem)
        field = problem.field.partition("[")[0]
        if field == "score" and rest.get("score") is None and problem.rule != _rules.GIVEN_RULE:
            break  # a score that follows from a rating or a preset, and goes beyond what is declared
        is_bare = is_bare or field in _CONTENT
        if field == "metadata":
            rest["metadata"] = _without(rest["metadata"], problem)
        elif field in ("scale", "rating"):
            number, scale = rest.pop("rating", None), rest.pop("scale", None)
            if field == "scale" and scale is not None and number is not None:
                # Only the number can be judged where the scale is wrong.
                problems += filter(None, [refusal_of(_rules.checked_number, number)])
        else:
            rest.pop(field, None)
    return problems


def refusal_of(check: Callable[..., object], *args: Any, **kwargs: Any) -> InvalidFeedback | None:
    """How a check refuses what it is given, or None where it does not. What else it raises passes."""
    try:
        check(*args, **kwargs)
    except InvalidFeedback as problem:
        return problem
    return None


def _without(metadata: object, problem: InvalidFeedback) -> object:
    """Metadata without the key that is wrong; nothing where metadata is wrong as a whole."""
    if problem.rule == _rules.METADATA_RULE:
        return None
    pairs = _rules.pairs_of(metadata) or []
    rest = [
        (key, value)
        for key, value in pairs
        if not (key is problem.value or problem.field == f"metadata[{_plain(key)!r}]")
    ]
    return dict(rest) if len(rest) < len(pairs) else None


def _plain(key: object) -> object:
    return str.__str__(key) if isinstance(key, str) else None
