"""The one reducer: from all records of signals to the votes that count. Pure, and imports nothing but the errors.

Telemetry is only added to, may arrive in any order and more than once. So what stands is decided by what the records
say and never by the order in which they are read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Final, Literal, Protocol, TypeVar, get_args

from spanback.errors import InvalidFeedback

Policy = Literal["last", "first", "all"]

POLICY_RULE: Final = "must be 'last', 'first' or 'all'"


class Row(Protocol):
    """What a record of a signal has, be it read from files, from a backend or from `spanback.testing`.

    Times are in ns since the epoch. Ids of traces and spans are numbers or hex digits, alike in all rows.
    """

    @property
    def feedback_id(self) -> str:
        """`feedback.id`."""
        ...

    @property
    def action(self) -> str:
        """`set` or `retract`."""
        ...

    @property
    def time_ns(self) -> int:
        """When it was recorded."""
        ...

    @property
    def given_time_ns(self) -> int:
        """When it was given; when it was recorded, unless that is said."""
        ...

    @property
    def name(self) -> str:
        """`feedback.name`."""
        ...

    @property
    def criterion(self) -> str | None:
        """What was judged."""
        ...

    @property
    def source(self) -> str:
        """`user` or `system`."""
        ...

    @property
    def type(self) -> str:
        """`explicit` or `implicit`."""
        ...

    @property
    def user_hash(self) -> str | None:
        """Keyed hash of the user's id."""
        ...

    @property
    def rater_hash(self) -> str | None:
        """Keyed hash of the rater's id."""
        ...

    @property
    def scope(self) -> str:
        """What kind of thing it is about."""
        ...

    @property
    def trace_id(self) -> int | str | None:
        """Of the rated span."""
        ...

    @property
    def span_id(self) -> int | str | None:
        """Of the rated span."""
        ...

    @property
    def response_id(self) -> str | None:
        """Of the rated response."""
        ...

    @property
    def conversation_id(self) -> str | None:
        """Of the rated conversation."""
        ...

    @property
    def choice(self) -> int | None:
        """Which choice of the response."""
        ...

    @property
    def tool_call_id(self) -> str | None:
        """Which tool call of the response."""
        ...

    @property
    def document_id(self) -> str | None:
        """Which retrieved document."""
        ...

    @property
    def rejected_trace_ids(self) -> tuple[str, ...]:
        """Of a preference, the traces of the others; empty texts where not known."""
        ...

    @property
    def rejected_span_ids(self) -> tuple[str, ...]:
        """Of a preference, the spans of the others; empty texts where not known."""
        ...

    @property
    def rejected_response_ids(self) -> tuple[str, ...]:
        """Their responses, in the same order."""
        ...

    @property
    def rejected_choices(self) -> tuple[int, ...]:
        """Which of their choices, in the same order, with -1 for a whole response; empty where all are whole."""
        ...


R = TypeVar("R", bound=Row)
_Names = dict[str, str]


def reduce(signals: Iterable[R], policy: Policy = "last", per_user: bool = True) -> list[R]:
    """The signals that count, out of all records of them.

    First the records of one id become one: the latest stands, and is gone where it withdraws the signal; at the same
    time a withdrawal goes before, and two different signals are told apart by what they say. Then votes are counted:
    of what is said by one user and rater, about one target, name and criterion, by one source and in one type, the
    policy keeps one. So what is stated is never mixed with what is inferred. A signal of nobody in particular stands
    for itself.

    Args:
        signals: Rows of `spanback.testing` or of what has been read back, in any order, also repeated.
        policy: `last` keeps the vote that was given last, `first` the one that was given first, `all` all of them.
        per_user: False keeps one vote on each target, name, criterion, source and type, whoever gave it.

    Returns:
        The rows that count, in the order in which they were recorded: the same for any order and repetition of the
        rows given, and for rows that have been reduced already.

    Raises:
        InvalidFeedback: The policy is none.
    """
    if policy not in get_args(Policy):
        raise InvalidFeedback("policy", policy, POLICY_RULE)
    latest: dict[str, R] = {}
    for row in signals:
        known = latest.get(row.feedback_id)
        latest[row.feedback_id] = row if known is None else _later(known, row)
    standing = sorted((row for row in latest.values() if row.action != "retract"), key=_given)
    if policy == "all":
        return sorted(standing, key=_recorded)
    votes: dict[Hashable, R] = {}
    names = _names(latest.values())
    for row in standing if policy == "last" else reversed(standing):
        votes[_vote(row, names, per_user=per_user)] = row
    return sorted(votes.values(), key=_recorded)


def _recorded(row: Row) -> tuple[int, str]:
    return row.time_ns, row.feedback_id


def _given(row: Row) -> tuple[int, int, str]:
    return row.given_time_ns, row.time_ns, row.feedback_id


def _later(one: R, other: R) -> R:
    """Which of two records of one id stands."""
    ranks = [(row.time_ns, row.action == "retract") for row in (one, other)]
    if ranks[0] != ranks[1]:
        return max(one, other, key=lambda row: (row.time_ns, row.action == "retract"))
    return one if one == other else max(one, other, key=repr)


def _names(rows: Iterable[Row]) -> _Names:
    """The response id of each span, so that signals by the one and by the other meet."""
    names: _Names = {}
    for row in rows:
        for span, response_id in _sides(row):
            if span is not None and response_id:
                names[span] = min(response_id, names.get(span, response_id))
    return names


def _sides(row: Row) -> Iterator[tuple[str | None, str | None]]:
    """Span and response id of what was rated, then of what was rejected."""
    yield _span(row.trace_id, row.span_id), row.response_id
    rejected = zip(row.rejected_trace_ids, row.rejected_span_ids, row.rejected_response_ids, strict=False)
    for trace_id, span_id, response_id in rejected:
        yield _span(trace_id, span_id), response_id


def _span(trace_id: int | str | None, span_id: int | str | None) -> str | None:
    if not trace_id or not span_id:
        return None
    trace = f"{trace_id:032x}" if isinstance(trace_id, int) else trace_id
    return f"{trace} {span_id:016x}" if isinstance(span_id, int) else f"{trace} {span_id}"


def _vote(row: Row, names: _Names, *, per_user: bool) -> Hashable:
    """What two votes have in common of which only one counts."""
    subject = _subject(row, names)
    if subject is None:
        return row.feedback_id
    who: Hashable = None
    if per_user:
        nobody = row.user_hash is None and row.rater_hash is None
        who = row.feedback_id if nobody else (row.user_hash, row.rater_hash)
    return subject, row.name, row.criterion, row.source, row.type, who


def _subject(row: Row, names: _Names) -> Hashable:
    """What a signal is about; None where that is not known."""
    if row.scope == "conversation":
        return None if row.conversation_id is None else ("conversation", row.conversation_id)
    if row.scope == "trace":
        return None if row.trace_id is None else ("trace", row.trace_id)
    sides = [response_id or (span and names.get(span, span)) for span, response_id in _sides(row)]
    if len(sides) > 1:
        choices = (row.choice, *row.rejected_choices, *(-1,) * len(sides))
        return frozenset((side, None if one == -1 else one) for side, one in zip(sides, choices, strict=False))
    return None if sides[0] is None else (sides[0], row.choice, row.tool_call_id, row.document_id)
