"""Reads telemetry files: OTLP-JSON lines as the collector's file exporter writes them, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import Any, Final, NamedTuple

from spanback import semconv
from spanback.errors import SourceError
from spanback.reading._duckdb import Files, rows
from spanback.reading._json import loads
from spanback.reading._lines import UNREADABLE, is_gzip, lines, longest_line_bytes, size_bytes, sources
from spanback.reading._otlp import Record, has, logs, spans
from spanback.reading._reader import NO_OTLP, Progress, Reader, call_of
from spanback.reading._rows import Call

_FEEDBACK: Final = semconv.FEEDBACK_ID.encode()
_CALL: Final = b"gen_ai."
_BATCHES: Final = ("resourceSpans", "resourceLogs", "resourceMetrics")


class _Place(NamedTuple):
    """Where a batch stands: a file and the line's number from 1."""

    path: str
    line: int


class TelemetryFiles(Reader):
    """The calls and the feedback in telemetry files. Use it as a context manager, or call `close`.

    Args:
        paths: Files, folders, or `-` for standard input. A folder stands for the files directly in it that end in
            `.json`, `.jsonl` or `.ndjson`, rotated ones included. Gzip is recognised by content.
        since_ns: Only feedback recorded at this time or later, ns since the epoch.
        progress: Called about every 4 MB while files are read.

    Raises:
        FileNotFoundError: A path does not exist.
    """

    def __init__(
        self,
        paths: Iterable[str | PathLike[str]],
        *,
        since_ns: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(since_ns)
        try:
            self._sources = tuple(sources(paths, self._closing))
        except OSError:
            self.close()
            raise
        self._progress = progress
        self._done_bytes = self._all_bytes = 0

    @property
    def where(self) -> str:
        """How many files are read."""
        return f"{self.file_count} {'file' if self.file_count == 1 else 'files'}"

    @property
    def file_count(self) -> int:
        """How many files there are to read."""
        return len(self._sources)

    def calls(self) -> Iterator[Call]:
        """Every model call, rated or not, in the order of the files.

        Straight from the files: a span that was written twice comes twice, and content comes from spans only.
        """
        self._expect(passes=1)
        for place, batch in self._batches(_CALL):
            for service_name, span in self._records(spans, place, batch):
                call = self._attempt(*place, call_of, span, service_name)
                if call is not None:
                    yield call

    def sql(self, query: str) -> Iterator[dict[str, Any]]:
        """The rows of a query over `feedback` and `calls`, by DuckDB; damaged lines are passed over, and not told."""
        by_form: dict[bool, list[str]] = {False: [], True: []}
        longest_bytes = 0
        try:
            for source in self._sources:
                by_form[is_gzip(source)].append(source.path)
                longest_bytes = max(longest_bytes, longest_line_bytes(source))
        except UNREADABLE as error:
            raise SourceError(self.where, f"cannot be asked by SQL: {error}") from None
        return rows(Files(by_form[False], by_form[True], longest_bytes), query)

    def _read_feedback(self) -> None:
        # The calls, if they are asked for too, are announced at once: a bar must not go back.
        self._expect(passes=2 if self._calls_wanted else 1)
        for place, batch in self._batches(_FEEDBACK):
            for records, put in ((spans, self._join.put_carrier), (logs, self._join.put_event)):
                for service_name, record in self._records(records, place, batch):
                    self._attempt(*place, _put_signal, put, record, service_name)

    def _read_calls(self) -> None:
        if not self._all_bytes > self._done_bytes:
            self._expect(passes=1)
        by_response = self._join.has_unclaimed()
        for place, batch in self._batches(_CALL):
            for service_name, span in self._records(spans, place, batch):
                self._attempt(*place, self._put_span, span, service_name, by_response)
            for _, event in self._records(logs, place, batch):
                self._attempt(*place, self._put_content, event, None)

    def _batches(self, marker: bytes) -> Iterator[tuple[_Place, Record]]:
        """The lines that hold a marker, parsed. Others are not even looked into, which is what makes reading fast."""
        for source in self._sources:
            for number, line in lines(source, self._join.put_damaged, self._report):
                if marker in line:
                    place = _Place(source.name, number)
                    batch = self._attempt(*place, _batch_of, line)
                    if batch is not None:
                        yield place, batch

    def _records(
        self, records: Callable[[Record], Iterator[tuple[str | None, Record]]], place: _Place, batch: Record
    ) -> Iterator[tuple[str | None, Record]]:
        try:
            yield from records(batch)
        except NO_OTLP as error:
            self._damaged(*place, error)

    def _expect(self, *, passes: int) -> None:
        self._all_bytes += passes * sum(map(size_bytes, self._sources))

    def _report(self, read_bytes: int) -> None:
        self._done_bytes += read_bytes
        if self._progress is not None:
            self._progress(self._done_bytes, self._all_bytes)


def _put_signal(put: Callable[[Record, str | None], None], record: Record, service_name: str | None) -> None:
    if has(record, semconv.FEEDBACK_ID):
        put(record, service_name)


def _batch_of(line: bytes) -> Record:
    batch = loads(line)
    if not any(name in batch for name in _BATCHES):
        raise ValueError(f"it holds none of {', '.join(_BATCHES)}")
    return batch
