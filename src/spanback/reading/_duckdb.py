"""Asks telemetry files by SQL, with DuckDB: nothing is loaded beforehand, and memory stays below a limit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Final

from spanback import semconv
from spanback.errors import SourceError
from spanback.reading._sql import Column, with_tables

_LEAST_BYTES: Final = 400_000_000
_MOST_BYTES: Final = 1_000_000_000
"""Of memory; for a line of more than 50 MB it is more. Beyond it, DuckDB writes what it sorts and groups to disk."""
_MOST_THREADS: Final = 4
_BYTES_A_THREAD: Final = 200_000_000
_SHORT_LINE_BYTES: Final = 16 * 1024 * 1024
_COPIES_OF_A_LINE: Final = 20
"""A thread holds lines as text and as values, and several of them at once. What it needs for that must fit: it is not
written to disk, and on a machine of many processors there would not be enough of it."""

_TYPES: Final = {"text": "VARCHAR", "number": "DOUBLE", "integer": "BIGINT", "boolean": "BOOLEAN"}
_ATTRIBUTES: Final = (
    "STRUCT(key VARCHAR, value STRUCT(stringValue VARCHAR, doubleValue VARCHAR, intValue VARCHAR, boolValue VARCHAR))[]"
)
# Spans and log records, and what they stand in, get one type, so that one pass over the file reads both.
_RECORD: Final = (
    "STRUCT(traceId VARCHAR, spanId VARCHAR, parentSpanId VARCHAR, name VARCHAR, startTimeUnixNano VARCHAR, "
    f"endTimeUnixNano VARCHAR, timeUnixNano VARCHAR, observedTimeUnixNano VARCHAR, attributes {_ATTRIBUTES})"
)
_SCOPE: Final = f"STRUCT(spans {_RECORD}[], logRecords {_RECORD}[])"
_RESOURCE: Final = f"STRUCT(resource STRUCT(attributes {_ATTRIBUTES}), scopeSpans {_SCOPE}[], scopeLogs {_SCOPE}[])"
_RECORDED: Final = "coalesce(startTimeUnixNano, nullif(timeUnixNano, '0'), observedTimeUnixNano)"
_BATCH: Final = 10_000


def _either(spans: str, logs: str) -> str:
    """The list of spans or of log records, whichever there is: a line has one of them, and to join two copies both."""
    return (
        f"CASE WHEN {logs} IS NULL THEN {spans} WHEN {spans} IS NULL THEN {logs} ELSE list_concat({spans}, {logs}) END"
    )


_BOTH: Final = (
    _either("resourceSpans", "resourceLogs"),
    _either("r.scopeSpans", "r.scopeLogs"),
    _either("s.spans", "s.logRecords"),
)


class Files:
    """DuckDB's words for telemetry files.

    Args:
        plain: Paths of files as they are.
        gzip: Paths of gzip files.
        longest_bytes: At least as much as the longest line. DuckDB passes longer ones over without a word, and holds
            several of them at once.

    Attributes:
        lines: The query of all lines, as far as the tables need them.
    """

    def __init__(self, plain: Sequence[str], gzip: Sequence[str], longest_bytes: int) -> None:
        parts = ((plain, "uncompressed"), (gzip, "gzip"))
        some = [_lines(paths, form, longest_bytes) for paths, form in parts if paths]
        self.longest_bytes = longest_bytes
        self.lines = (
            " UNION ALL ".join(some)
            or f"SELECT CAST(NULL AS {_RESOURCE}[]) AS resourceSpans, resourceSpans AS resourceLogs"
        )
        self.feedback_records = f"""
            SELECT *, {_time(_RECORDED)} AS time_ns, CASE WHEN startTimeUnixNano IS NULL THEN 0 ELSE 1 END AS form
            FROM ({self._records(*_BOTH)})
            WHERE {_kept("attributes", "keys", semconv.FEEDBACK_ID)} IS NOT NULL AND {_is_time(_RECORDED)}
        """  # noqa: S608 - made of constants and quoted paths
        self.call_records = f"""
            SELECT *, traceId AS trace_id, spanId AS span_id, nullif(parentSpanId, '') AS parent_span_id,
                {_time("startTimeUnixNano")} AS start_time_ns,
                greatest(0, {_time("endTimeUnixNano")} - {_time("startTimeUnixNano")}) AS duration_ns
            FROM ({self._records("resourceSpans", "r.scopeSpans", "s.spans")})
            WHERE {_kept("attributes", "keys", semconv.GEN_AI_OPERATION_NAME)} IS NOT NULL
                AND {_is_time("startTimeUnixNano")} AND {_is_time("endTimeUnixNano")}
        """  # noqa: S608 - as above

    def value(self, column: Column) -> str:
        """An attribute as a value of its kind; NULL where it is absent."""
        text = _kept("record.attributes", "record.keys", column.attribute)
        return text if column.kind == "text" else f"TRY_CAST({text} AS {_TYPES[column.kind]})"

    def moment(self, nanoseconds: str) -> str:
        """Ns since the epoch as a time in UTC."""
        return f"TRY(make_timestamp_ns({nanoseconds}))"

    def _records(self, batches: str, scopes: str, records: str) -> str:
        # The keys of a record, taken out once, are looked through for each column.
        return f"""
            SELECT unnest(record), [a.key FOR a IN record.attributes] AS keys, service_name FROM (
                SELECT service_name, unnest({records}) AS record FROM (
                    SELECT {_of("r.resource.attributes", "service.name")} AS service_name, unnest({scopes}) AS s
                    FROM (SELECT unnest({batches}) AS r FROM ({self.lines}))))
        """  # noqa: S608 - made of constants and quoted paths


def budget(threads: int, longest_bytes: int) -> tuple[int, int]:
    """How many threads to use, of so many, and how much memory in bytes.

    Args:
        threads: As many as there are processors.
        longest_bytes: Of the longest line.
    """
    each_bytes = _BYTES_A_THREAD + _COPIES_OF_A_LINE * max(0, longest_bytes - _SHORT_LINE_BYTES)
    used = max(1, min(threads, _MOST_THREADS, _MOST_BYTES // each_bytes))
    least_bytes = _LEAST_BYTES if longest_bytes <= _SHORT_LINE_BYTES else _MOST_BYTES
    return used, max(least_bytes, used * each_bytes)


def rows(files: Files, query: str) -> Iterator[dict[str, Any]]:
    """The rows of a query over `feedback` and `calls`, each by the names of its columns.

    Raises:
        SourceError: DuckDB is not installed, or refuses the query.
    """
    try:
        import duckdb  # noqa: PLC0415 - 20 MB, and only here needed
    except ImportError:
        raise SourceError("SQL over files", "needs DuckDB: pip install 'spanback[sql]'") from None
    # Without a folder of its own, DuckDB writes into the working directory.
    with tempfile.TemporaryDirectory(prefix="spanback-sql-") as folder, duckdb.connect() as connection:
        connection.execute("SELECT current_setting('threads')")
        (most,) = connection.fetchone() or (1,)
        threads, limit_bytes = budget(most, files.longest_bytes)
        connection.execute(
            f"SET threads = {threads}; SET memory_limit = '{limit_bytes}B'; SET temp_directory = {_quoted(folder)}; "
            "SET preserve_insertion_order = false"
        )
        try:
            answer = connection.execute(with_tables(files, query))
            names = [column[0] for column in answer.description or ()]
            while some := answer.fetchmany(_BATCH):
                yield from (dict(zip(names, row, strict=True)) for row in some)
        except duckdb.Error as error:
            raise SourceError("SQL over files", str(error)) from None


def _time(text: str) -> str:
    """Ns since the epoch; NULL where there is none."""
    return f"TRY_CAST({text} AS BIGINT)"


def _is_time(text: str) -> str:
    """Whether a time can be one, if it is there: one record that is no OTLP must not fail the query."""
    return f"({text} IS NULL OR {_time(text)} >= 0)"


def _lines(paths: Sequence[str], compression: str, longest_bytes: int) -> str:
    files = ", ".join(map(_quoted, paths))
    return f"""
        SELECT * FROM read_json([{files}], format = 'newline_delimited', compression = '{compression}',
            ignore_errors = true, maximum_object_size = {longest_bytes},
            columns = {{resourceSpans: '{_RESOURCE}[]', resourceLogs: '{_RESOURCE}[]'}})
    """  # noqa: S608 - made of constants and quoted paths


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _of(attributes: str, key: str) -> str:
    """The text of an attribute; NULL where it is absent. Of one that is there twice, the first."""
    return _kept(attributes, f"[a.key FOR a IN {attributes}]", key)


def _kept(attributes: str, keys: str, key: str) -> str:
    """The same where the keys are at hand."""
    value = f"{attributes}[list_position({keys}, '{key}')].value"
    return f"coalesce({value}.stringValue, {value}.doubleValue, {value}.intValue, {value}.boolValue)"
