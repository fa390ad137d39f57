"""Asks telemetry files by SQL, with DuckDB: nothing is loaded beforehand, and memory stays below a limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from spanback import semconv
from spanback.errors import SourceError
from spanback.reading._sql import Column, with_tables

MEMORY_LIMIT: Final = "1GB"
"""Beyond it, DuckDB writes what it sorts and groups to disk. It reads files beside it."""

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
_BATCH: Final = 10_000


class Files:
    """DuckDB's words for telemetry files.

    Args:
        plain: Paths of files as they are.
        gzip: Paths of gzip files.
        longest_bytes: At least as much as the longest line. DuckDB passes longer ones over without a word, and holds
            several of them at once.
    """

    def __init__(self, plain: Sequence[str], gzip: Sequence[str], longest_bytes: int) -> None:
        parts = ((plain, "uncompressed"), (gzip, "gzip"))
        some = [_lines(paths, form, longest_bytes) for paths, form in parts if paths]
        self._lines = (
            " UNION ALL ".join(some)
            or f"SELECT CAST(NULL AS {_RESOURCE}[]) AS resourceSpans, resourceSpans AS resourceLogs"
        )
        self.feedback_records = f"""
            SELECT *, CAST(coalesce(startTimeUnixNano, nullif(timeUnixNano, '0'), observedTimeUnixNano) AS BIGINT)
                AS time_ns, CASE WHEN startTimeUnixNano IS NULL THEN 0 ELSE 1 END AS form
            FROM ({self._records("resourceSpans, resourceLogs", "scopeSpans, r.scopeLogs", "spans, s.logRecords")})
            WHERE {_of("attributes", semconv.FEEDBACK_ID)} IS NOT NULL
        """  # noqa: S608 - made of constants and quoted paths
        self.call_records = f"""
            SELECT *, traceId AS trace_id, spanId AS span_id, nullif(parentSpanId, '') AS parent_span_id,
                CAST(startTimeUnixNano AS BIGINT) AS start_time_ns,
                CAST(endTimeUnixNano AS BIGINT) - CAST(startTimeUnixNano AS BIGINT) AS duration_ns
            FROM ({self._records("resourceSpans, NULL", "scopeSpans, NULL", "spans, NULL")})
            WHERE {_of("attributes", semconv.GEN_AI_OPERATION_NAME)} IS NOT NULL
        """  # noqa: S608 - as above

    def value(self, column: Column) -> str:
        """An attribute as a value of its kind; NULL where it is absent."""
        text = _of("record.attributes", column.attribute)
        return text if column.kind == "text" else f"TRY_CAST({text} AS {_TYPES[column.kind]})"

    def moment(self, nanoseconds: str) -> str:
        """Ns since the epoch as a time in UTC."""
        return f"make_timestamp_ns({nanoseconds})"

    def _records(self, batches: str, scopes: str, records: str) -> str:
        return f"""
            SELECT unnest(record), service_name FROM (
                SELECT service_name, unnest(list_concat(s.{records})) AS record FROM (
                    SELECT {_of("r.resource.attributes", "service.name")} AS service_name,
                        unnest(list_concat(r.{scopes})) AS s
                    FROM (SELECT unnest(list_concat({batches})) AS r FROM ({self._lines}))))
        """  # noqa: S608 - made of constants and quoted paths


def rows(files: Files, query: str) -> Iterator[dict[str, Any]]:
    """The rows of a query over `feedback` and `calls`, each by the names of its columns.

    Raises:
        SourceError: DuckDB is not installed, or refuses the query.
    """
    try:
        import duckdb  # noqa: PLC0415 - 20 MB, and only here needed
    except ImportError:
        raise SourceError("SQL over files", "needs DuckDB: pip install 'spanback[sql]'") from None
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET preserve_insertion_order = false")
        try:
            answer = connection.execute(with_tables(files, query))
            names = [column[0] for column in answer.description or ()]
            while some := answer.fetchmany(_BATCH):
                yield from (dict(zip(names, row, strict=True)) for row in some)
        except duckdb.Error as error:
            raise SourceError("SQL over files", str(error)) from None


def _lines(paths: Sequence[str], compression: str, longest_bytes: int) -> str:
    files = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    return f"""
        SELECT * FROM read_json([{files}], format = 'newline_delimited', compression = '{compression}',
            ignore_errors = true, maximum_object_size = {longest_bytes},
            columns = {{resourceSpans: '{_RESOURCE}[]', resourceLogs: '{_RESOURCE}[]'}})
    """  # noqa: S608 - made of constants and quoted paths


def _of(attributes: str, key: str) -> str:
    """The text of an attribute; NULL where it is absent. Of one that is there twice, the first."""
    value = "coalesce(a.value.stringValue, a.value.doubleValue, a.value.intValue, a.value.boolValue)"
    return f"[{value} FOR a IN {attributes} IF a.key = '{key}'][1]"
