"""Reads telemetry files: OTLP-JSON lines as the collector's file exporter writes them, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from os import PathLike
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

from spanback import semconv
from spanback.reading._join import Join
from spanback.reading._json import loads
from spanback.reading._lines import DamagedLine, lines, size_bytes, sources
from spanback.reading._otlp import Record, attributes_of, call_from, has, has_content, ids_of, logs, spans
from spanback.reading._rows import Call, Feedback, ModelSummary, RatedCall

Progress = Callable[[int, int], object]
"""Called now and then with the bytes read so far and those that there are to read."""

_FEEDBACK: Final = semconv.FEEDBACK_ID.encode()
_CALL: Final = b"gen_ai."
_BATCHES: Final = ("resourceSpans", "resourceLogs", "resourceMetrics")
_NO_OTLP: Final = (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError)
"""What reading a record raises that is no OTLP."""

T = TypeVar("T")


class _Place(NamedTuple):
    """Where a batch stands: a file and the line's number from 1."""

    path: str
    line: int


class TelemetryFiles:
    """The calls and the feedback in telemetry files. Use it as a context manager, or call `close`.

    Nothing is read before the first question. Feedback is read first, then the calls that it is about; both are joined
    on disk, so memory stays flat. What cannot be read is passed over and told by `damaged`.

    Args:
        paths: Files, folders, or `-` for standard input. A folder stands for the files directly in it that end in
            `.json`, `.jsonl` or `.ndjson`, rotated ones included. Gzip is recognised by content.
        progress: Called about every 4 MB while files are read.

    Raises:
        FileNotFoundError: A path does not exist.
    """

    def __init__(self, paths: Iterable[str | PathLike[str]], *, progress: Progress | None = None) -> None:
        self._closing = ExitStack()
        try:
            self._sources = tuple(sources(paths, self._closing))
        except OSError:
            self._closing.close()
            raise
        self._join = Join()
        self._closing.callback(self._join.close)
        self._progress = progress
        self._feedback_read = self._calls_read = False
        self._done_bytes = self._all_bytes = 0

    def __enter__(self) -> TelemetryFiles:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes what was stored on disk."""
        self._closing.close()

    @property
    def file_count(self) -> int:
        """How many files there are to read."""
        return len(self._sources)

    def feedback(self, *, name: str | None = None, since_ns: int | None = None) -> Iterator[Feedback]:
        """The signals that stand, in the order in which they were recorded: one for each id, withdrawn ones left out.

        Args:
            name: Only signals of this name.
            since_ns: Only signals given at this time or later, ns since the epoch.
        """
        if not self._feedback_read:
            self._expect(passes=1)
            self._read_feedback()
        return self._join.signals(_where(name, since_ns))

    def calls(self) -> Iterator[Call]:
        """Every model call, rated or not, in the order of the files.

        Straight from the files: a span that was written twice comes twice, and content comes from spans only.
        """
        self._expect(passes=1)
        for place, batch in self._batches(_CALL):
            for service_name, span in self._records(spans, place, batch):
                call = self._attempt(place, _call_of, span, service_name)
                if call is not None:
                    yield call

    def rated(
        self,
        *,
        name: str | None = None,
        since_ns: int | None = None,
        negative: bool = False,
        limit: int | None = None,
    ) -> Iterator[RatedCall]:
        """Rated calls with their signals, by the calls' start; then feedback whose call is not in the files, by time.

        Args:
            name: Only signals of this name.
            since_ns: Only signals given at this time or later, ns since the epoch.
            negative: Only calls with at least one signal, of those that remain, that has a score below 0.
            limit: Only that many of the latest.
        """
        self._read_calls()
        return self._join.rated(_where(name, since_ns, negative, limit))

    def summary(
        self, *, name: str | None = None, since_ns: int | None = None, negative: bool = False
    ) -> list[ModelSummary]:
        """What the signals say by model and type. The arguments are those of `rated`."""
        self._read_calls()
        return self._join.summary(_where(name, since_ns, negative))

    def damaged(self) -> Iterator[DamagedLine]:
        """The lines and files that could not be read so far, by file and number."""
        return self._join.damaged()

    def damaged_count(self) -> int:
        """How many lines and files could not be read so far."""
        return self._join.damaged_count()

    def _read_feedback(self) -> None:
        self._feedback_read = True
        for place, batch in self._batches(_FEEDBACK):
            for records, put in ((spans, self._join.put_carrier), (logs, self._join.put_event)):
                for service_name, record in self._records(records, place, batch):
                    self._attempt(place, self._read_signal, put, record, service_name)

    def _read_calls(self) -> None:
        if self._calls_read:
            return
        self._calls_read = True
        self._expect(passes=1 if self._feedback_read else 2)
        if not self._feedback_read:
            self._read_feedback()
        if not self._join.signal_count():
            return
        by_response = self._join.has_unclaimed()
        for place, batch in self._batches(_CALL):
            for service_name, span in self._records(spans, place, batch):
                self._attempt(place, self._read_span, span, service_name, by_response)
            for _, event in self._records(logs, place, batch):
                self._attempt(place, self._read_content, event, None)

    def _read_signal(self, put: Callable[[Record, str | None], None], record: Record, service_name: str | None) -> None:
        if has(record, semconv.FEEDBACK_ID):
            put(record, service_name)

    def _read_span(self, span: Record, service_name: str | None, by_response: bool) -> None:
        if not has(span, semconv.GEN_AI_OPERATION_NAME):
            return
        ids = ids_of(span)
        if by_response and (response_id := attributes_of(span).get(semconv.GEN_AI_RESPONSE_ID)):
            self._join.claim(str(response_id), *ids)
        if self._join.is_rated(*ids):
            self._join.put_call(span, service_name)
            for event in span.get("events") or ():
                self._read_content(event, ids)

    def _read_content(self, event: Record, ids: tuple[str | None, str | None] | None) -> None:
        if has_content(event):
            ids = ids or ids_of(event)
            if self._join.is_rated(*ids):
                self._join.put_content(*ids, event)

    def _batches(self, marker: bytes) -> Iterator[tuple[_Place, Record]]:
        """The lines that hold a marker, parsed. Others are not even looked into, which is what makes reading fast."""
        for source in self._sources:
            for number, line in lines(source, self._join.put_damaged, self._report):
                if marker in line:
                    place = _Place(source.name, number)
                    batch = self._attempt(place, _batch_of, line)
                    if batch is not None:
                        yield place, batch

    def _records(
        self, records: Callable[[Record], Iterator[tuple[str | None, Record]]], place: _Place, batch: Record
    ) -> Iterator[tuple[str | None, Record]]:
        try:
            yield from records(batch)
        except _NO_OTLP as error:
            self._damaged(place, error)

    def _attempt(self, place: _Place, read: Callable[..., T], *args: Any) -> T | None:
        """What a function reads, or None for what is no OTLP, which is noted."""
        try:
            return read(*args)
        except _NO_OTLP as error:
            self._damaged(place, error)
            return None

    def _damaged(self, place: _Place, error: Exception) -> None:
        self._join.put_damaged(DamagedLine(*place, f"is no OTLP-JSON: {type(error).__name__}: {error}"))

    def _expect(self, *, passes: int) -> None:
        self._all_bytes += passes * sum(map(size_bytes, self._sources))

    def _report(self, read_bytes: int) -> None:
        self._done_bytes += read_bytes
        if self._progress is not None:
            self._progress(self._done_bytes, self._all_bytes)


def _batch_of(line: bytes) -> Record:
    batch = loads(line)
    if not any(name in batch for name in _BATCHES):
        raise ValueError(f"it holds none of {', '.join(_BATCHES)}")
    return batch


def _call_of(span: Record, service_name: str | None) -> Call | None:
    return call_from(span, service_name) if has(span, semconv.GEN_AI_OPERATION_NAME) else None


def _where(name: str | None, since_ns: int | None, negative: bool = False, limit: int | None = None) -> dict[str, Any]:
    # To SQLite, a limit of -1 is none.
    return {
        "name": name,
        "since_ns": -1 if since_ns is None else since_ns,
        "negative": negative,
        "limit": -1 if limit is None else limit,
    }
