"""What every source of telemetry answers: the same questions, the same rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from spanback import semconv
from spanback.errors import SourceError
from spanback.reading._join import Join
from spanback.reading._lines import DamagedLine
from spanback.reading._otlp import Record, attributes_of, call_from, has, has_content, ids_of
from spanback.reading._rows import Call, Feedback, ModelSummary, RatedCall

if TYPE_CHECKING:
    from typing_extensions import Self

Progress = Callable[[int, int], object]
"""Called now and then with how much has been read so far and how much there is to read: bytes of files, else traces."""

NO_OTLP: Final = (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError)
"""What reading a record raises that is no OTLP."""

T = TypeVar("T")


class Reader(ABC):
    """The calls and the feedback of one source. Use it as a context manager, or call `close`.

    Nothing is read before the first question. Feedback is read first, then the calls that it is about; both are joined
    on disk, so memory stays flat. What cannot be read is passed over and told by `damaged`.
    """

    def __init__(self, since_ns: int | None = None) -> None:
        self._recorded_ns = -1 if since_ns is None else since_ns
        self._closing = ExitStack()
        self._join = Join()
        self._closing.callback(self._join.close)
        self._feedback_read = self._calls_read = self._calls_wanted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes what was stored on disk, and closes connections."""
        self._closing.close()

    def closing(self, close: Callable[[], object]) -> None:
        """Names something more to call at `close`."""
        self._closing.callback(close)

    @property
    @abstractmethod
    def where(self) -> str:
        """What is read, in a few words: `2 files`, or an address without its password."""

    def feedback(self, *, name: str | None = None, since_ns: int | None = None) -> Iterator[Feedback]:
        """The signals that stand, in the order in which they were recorded: one for each id, withdrawn ones left out.

        Args:
            name: Only signals of this name.
            since_ns: Only signals given at this time or later, ns since the epoch.

        Raises:
            SourceError: The source does not answer.
        """
        self._feedback_once()
        return self._join.signals(self._asked(name, since_ns))

    def find(self, feedback_id: str) -> Feedback | None:
        """The latest record of a signal, also one that withdraws it; None where there is none.

        Raises:
            SourceError: The source does not answer.
        """
        self._feedback_once()
        return self._join.signal(feedback_id)

    @abstractmethod
    def calls(self) -> Iterator[Call]:
        """Every model call, rated or not, in the order of the source.

        Raises:
            SourceError: The source does not answer.
        """

    def rated(
        self,
        *,
        name: str | None = None,
        since_ns: int | None = None,
        negative: bool = False,
        limit: int | None = None,
    ) -> Iterator[RatedCall]:
        """Rated calls with their signals, by the calls' start; then feedback whose call is not there, by time.

        Args:
            name: Only signals of this name.
            since_ns: Only signals given at this time or later, ns since the epoch.
            negative: Only calls with at least one signal, of those that remain, that has a score below 0.
            limit: Only that many of the latest.

        Raises:
            SourceError: The source does not answer.
        """
        self._calls_once()
        return self._join.rated(self._asked(name, since_ns, negative, limit))

    def summary(
        self, *, name: str | None = None, since_ns: int | None = None, negative: bool = False
    ) -> list[ModelSummary]:
        """What the signals say by model and type. The arguments are those of `rated`."""
        self._calls_once()
        return self._join.summary(self._asked(name, since_ns, negative))

    def sql(self, query: str) -> Iterator[dict[str, Any]]:
        """The rows of a query over two tables, `feedback` and `calls`, each by the names of its columns.

        `feedback` has one row for each signal that stands, `calls` one for each model call; the columns are named as
        the fields of `Feedback` and `Call`. Read where the telemetry is, by DuckDB for files and by ClickHouse; a query
        that keeps to what both understand runs unchanged on either.

        Args:
            query: One SELECT statement, which may begin with WITH.

        Raises:
            SourceError: The source does not answer or refuses the query, or cannot be asked by SQL.
        """
        raise SourceError(self.where, f"cannot be asked by SQL: {query[:80]!r}")

    def damaged(self) -> Iterator[DamagedLine]:
        """What could not be read so far, by place."""
        return self._join.damaged()

    def damaged_count(self) -> int:
        """How many lines, files or traces could not be read so far."""
        return self._join.damaged_count()

    @abstractmethod
    def _read_feedback(self) -> None:
        """Puts every signal into the join."""

    @abstractmethod
    def _read_calls(self) -> None:
        """Puts the calls that there are signals on into the join."""

    def _asked(
        self, name: str | None, since_ns: int | None, negative: bool = False, limit: int | None = None
    ) -> dict[str, Any]:
        """What the join is asked with. To SQLite, a limit of -1 is none."""
        return {
            "name": name,
            "since_ns": -1 if since_ns is None else since_ns,
            "recorded_ns": self._recorded_ns,
            "negative": negative,
            "limit": -1 if limit is None else limit,
        }

    def _feedback_once(self) -> None:
        if not self._feedback_read:
            self._read_feedback()
            self._feedback_read = True  # not before: after a failure the next question reads anew

    def _calls_once(self) -> None:
        if not self._calls_read:
            self._calls_wanted = True
            self._feedback_once()
            if self._join.signal_count():
                self._read_calls()
            self._calls_read = True

    def _put_span(self, span: Record, service_name: str | None, by_response: bool) -> None:
        """Puts a call into the join where a signal is on it; `by_response` where some know only a response's id."""
        if not has(span, semconv.GEN_AI_OPERATION_NAME):
            return
        ids = ids_of(span)
        if by_response and (response_id := attributes_of(span).get(semconv.GEN_AI_RESPONSE_ID)):
            self._join.claim(str(response_id), *ids)
        if self._join.is_rated(*ids):
            self._join.put_call(span, service_name)
            for event in span.get("events") or ():
                self._put_content(event, ids)

    def _put_content(self, event: Record, ids: tuple[str | None, str | None] | None) -> None:
        if has_content(event):
            ids = ids or ids_of(event)
            if self._join.is_rated(*ids):
                self._join.put_content(*ids, event)

    def _attempt(self, path: str, line: int, read: Callable[..., T], *args: Any) -> T | None:
        """What a function reads, or None for what is no OTLP, which is noted."""
        try:
            return read(*args)
        except NO_OTLP as error:
            self._damaged(path, line, error)
            return None

    def _damaged(self, path: str, line: int, error: Exception) -> None:
        self._join.put_damaged(DamagedLine(path, line, f"is no OTLP-JSON: {type(error).__name__}: {error}"))


def call_of(span: Record, service_name: str | None) -> Call | None:
    """The call that a span is; None for a span that is none."""
    return call_from(span, service_name) if has(span, semconv.GEN_AI_OPERATION_NAME) else None
