"""The exceptions that spanback raises, and the only ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

_SHOWN_CHARACTERS: Final = 80
_SHOWN_BITS: Final = 10_000
_SHOWN_PROBLEMS: Final = 20
_PEOPLE: Final = frozenset({"user_id", "rater_id"})


class SpanbackError(Exception):
    """The base of every error of spanback."""


class InvalidArgument(SpanbackError, ValueError):  # noqa: N818 - reads as a sentence at the raise, as other validators' do
    """An argument breaks its rule; the base of the errors that say so.

    Attributes:
        field: Name of the argument.
        value: What was given, unchanged.
        rule: The rule it breaks, as a sentence fragment that starts with "must".
    """

    def __init__(self, field: str, value: object, rule: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        super().__init__(f"{field}={_shown(field, value)} {rule}")

    def __reduce__(self) -> tuple[type[InvalidArgument], tuple[str, object, str]]:
        return type(self), (self.field, self.value, self.rule)


class InvalidFeedback(InvalidArgument):
    """A field of a feedback signal breaks its rule. Raised before anything is emitted."""


class InvalidBatch(SpanbackError, ValueError):  # noqa: N818 - as above
    """Items of a batch break rules. Raised before anything of the batch is emitted.

    Attributes:
        problems: Number of the item, from 0, and what is wrong with it; an item may have several.
        count: How many items the batch has.
    """

    def __init__(self, problems: Iterable[tuple[int, InvalidFeedback]], count: int) -> None:
        self.problems = tuple(problems)
        self.count = count
        lines = [f"item {number}: {problem}" for number, problem in self.problems[:_SHOWN_PROBLEMS]]
        if len(self.problems) > _SHOWN_PROBLEMS:
            lines.append(f"and {len(self.problems) - _SHOWN_PROBLEMS} more")
        wrong = len({number for number, _ in self.problems})
        said = f"{wrong} of {count} items cannot be recorded, so none was:"
        super().__init__("\n  ".join([said, *lines]))

    def __reduce__(self) -> tuple[type[InvalidBatch], tuple[tuple[tuple[int, InvalidFeedback], ...], int]]:
        return InvalidBatch, (self.problems, self.count)


class InvalidSetting(InvalidArgument):
    """An argument of `instrument()`, or of what else sets something up, breaks its rule."""

    @property
    def setting(self) -> str:
        """Name of the argument."""
        return self.field


class InvalidContext(InvalidArgument):
    """An argument of `context()` or `annotate_context()` breaks its rule."""


class TokenError(SpanbackError):
    """A feedback token cannot be used. No message of these errors has the token, or a part of it, in it."""


class MissingTokenKey(TokenError):  # noqa: N818 - as above
    """There is no key to sign or verify feedback tokens with; the message says what to do."""


class TokenInvalid(TokenError):  # noqa: N818 - as above
    """It is no feedback token of these keys: forged, changed, of an unknown key, or oversized."""


class TokenExpired(TokenInvalid):
    """Its time is over."""


class TokenNotYetValid(TokenInvalid):
    """It was issued in the future."""


class TokenForeign(TokenInvalid):
    """It is for another audience."""


class TokenNotAllowed(TokenError):  # noqa: N818 - as above
    """It is good, but not for this: another user, another signal, another response, or used up."""


class SourceError(SpanbackError, OSError):
    """A place that telemetry is read from does not answer, or answers what cannot be read.

    Attributes:
        source: Its address, without user name, password and query.
        reason: What is wrong, and where it is known what to do.
    """

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(f"{source}: {reason}")

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, str]]:
        return SourceError, (self.source, self.reason)


class SpoolUnavailable(SpanbackError):  # noqa: N818 - as above
    """A signal could not be committed to the spool, and the app asked to be told. Nothing was emitted.

    Attributes:
        path: The spool's file.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the spool {path} takes no signal: {reason}")

    def __reduce__(self) -> tuple[type[SpoolUnavailable], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class SpoolFull(SpoolUnavailable):
    """The spool has reached its limit, or its disk is full."""


def _shown(field: str, value: object) -> str:
    """A primitive's repr, short enough for one line; anything else by its type, since a foreign repr may raise.

    Ids of people are shown by their type as well: a message ends up in logs.
    """
    kind = type(value)  # an object's own word for its class may raise, too
    plain: Any = next((read(value) for base, read in _READERS.items() if issubclass(kind, base)), kind)
    is_endless = type(plain) is int and plain.bit_length() > _SHOWN_BITS  # Python writes no int of so many digits
    if plain is kind or is_endless or (plain and field in _PEOPLE):
        return f"<{kind.__qualname__}>"
    text = repr(plain)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


_READERS: Final[dict[type, Callable[[Any], Any]]] = {
    str: lambda value: str.__str__(value)[: _SHOWN_CHARACTERS + 1],
    bytes: lambda value: bytes.__getitem__(value, slice(_SHOWN_CHARACTERS + 1)),
    float: float.__float__,
    bool: bool,
    int: int.__int__,
    type(None): lambda value: value,
}
"""What is shown by its value, also where an app has a class of its own for it; a bool is an int, so it comes first."""
