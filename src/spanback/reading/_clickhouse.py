"""Reads ClickHouse: the tables `otel_traces` and `otel_logs` of the collector's ClickHouse exporter.

The exporter keeps every attribute as text, so numbers, booleans and lists are read back by the attribute's name, and
the values of metadata stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, Final
from urllib.parse import urlencode

from spanback import semconv
from spanback.errors import SourceError
from spanback.reading._http import Server
from spanback.reading._json import loads
from spanback.reading._otlp import Record
from spanback.reading._reader import Progress, Reader, call_of
from spanback.reading._rows import Call
from spanback.reading._sql import Column, Kind, with_tables

Run = Callable[[str], AbstractContextManager[IO[bytes]]]
"""Runs a query and gives what it prints, to be read inside the block. Raises SourceError."""

_DOUBLES: Final = frozenset(
    {
        semconv.FEEDBACK_SCORE,
        semconv.FEEDBACK_SCORE_RAW,
        semconv.FEEDBACK_SCORE_MIN,
        semconv.FEEDBACK_SCORE_MAX,
        semconv.FEEDBACK_WEIGHT,
        semconv.GEN_AI_EVALUATION_SCORE_VALUE,
        semconv.GEN_AI_USAGE_INPUT_TOKENS,
        semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
        semconv.FEEDBACK_TARGET_CHOICE,
    }
)
_BOOLEANS: Final = frozenset({semconv.FEEDBACK_TARGET_SAMPLED, semconv.FEEDBACK_TARGET_RESOLVED})
_LISTS: Final = frozenset(
    {
        semconv.GEN_AI_RESPONSE_FINISH_REASONS,
        semconv.TAGS,
        semconv.FEEDBACK_REJECTED_TRACE_IDS,
        semconv.FEEDBACK_REJECTED_SPAN_IDS,
        semconv.FEEDBACK_REJECTED_RESPONSE_IDS,
        semconv.FEEDBACK_REJECTED_MODELS,
        semconv.FEEDBACK_REJECTED_CHOICES,
    }
)

_SPAN: Final = """
    toString(toUnixTimestamp64Nano(Timestamp)) AS start, toString(Duration) AS duration, TraceId AS trace_id,
    SpanId AS span_id, ParentSpanId AS parent_span_id, SpanName AS name, ServiceName AS service_name,
    StatusCode AS status, SpanAttributes AS attributes, Events.Attributes AS events,
    Links.TraceId AS link_trace_ids, Links.SpanId AS link_span_ids, Links.Attributes AS link_attributes
"""
_LOG: Final = """
    toString(toUnixTimestamp64Nano(Timestamp)) AS start, TraceId AS trace_id, SpanId AS span_id,
    ServiceName AS service_name, LogAttributes AS attributes
"""
_IS_CARRIER: Final = f"mapContains(SpanAttributes, '{semconv.FEEDBACK_ID}')"
_IS_CALL: Final = f"mapContains(SpanAttributes, '{semconv.GEN_AI_OPERATION_NAME}')"
_IS_EVENT: Final = f"mapContains(LogAttributes, '{semconv.FEEDBACK_ID}')"
_IS_CONTENT: Final = (
    f"(mapContains(LogAttributes, '{semconv.GEN_AI_INPUT_MESSAGES}') "
    f"OR mapContains(LogAttributes, '{semconv.GEN_AI_OUTPUT_MESSAGES}'))"
)
# The rated spans, and the responses whose spans nobody knew.
_RATED: Final = f"""
    TraceId IN (SELECT SpanAttributes['{semconv.FEEDBACK_TARGET_TRACE_ID}'] FROM otel_traces WHERE {_IS_CARRIER})
"""  # noqa: S608 - made of constants
_RATED_BY_LOGS: Final = f"TraceId IN (SELECT TraceId FROM otel_logs WHERE {_IS_EVENT})"  # noqa: S608 - as above


class ClickHouse(Reader):
    """The calls and the feedback in ClickHouse.

    Args:
        run: Runs a query.
        where: The database's address, without its password.
        since_ns: Read only feedback that was recorded at this time or later, ns since the epoch.
        progress: Called with the number of rows read, and again as those that there are, which is not known.
    """

    def __init__(self, run: Run, where: str, *, since_ns: int | None = None, progress: Progress | None = None) -> None:
        super().__init__(since_ns)
        self._run = run
        self._where = where
        self._since = "" if since_ns is None else f" AND Timestamp >= fromUnixTimestamp64Nano({int(since_ns)})"
        self._progress = progress
        self._done = 0

    @property
    def where(self) -> str:
        """The database's address."""
        return self._where

    def calls(self) -> Iterator[Call]:
        """Every model call, rated or not, by start."""
        query = f"SELECT {_SPAN} FROM otel_traces WHERE {_IS_CALL} ORDER BY Timestamp, SpanId"  # noqa: S608 - constants
        for service_name, span in self._records(query, _span_of):
            call = self._attempt(self._where, 0, call_of, span, service_name)
            if call is not None:
                yield call

    def sql(self, query: str) -> Iterator[dict[str, Any]]:
        """The rows of a query over `feedback` and `calls`, by ClickHouse."""
        return self.query(with_tables(Tables(has_logs=self._has_logs()), query))

    def query(self, sql: str) -> Iterator[dict[str, Any]]:
        """The rows that a query of your own gives, each by the names of its columns.

        Raises:
            SourceError: The server does not answer, or refuses the query.
        """
        with self._run(f"{sql}\nFORMAT JSONEachRow") as lines:
            for line in lines:
                try:
                    row = loads(line)
                except ValueError:
                    raise SourceError(self._where, f"breaks off: {line[:200].decode(errors='replace')}") from None
                yield row

    def _read_feedback(self) -> None:
        query = f"SELECT {_SPAN} FROM otel_traces WHERE {_IS_CARRIER}{self._since}"  # noqa: S608 - constants, an integer
        for service_name, span in self._records(query, _span_of):
            self._attempt(self._where, 0, self._join.put_carrier, span, service_name)
        if self._has_logs():
            query = f"SELECT {_LOG} FROM otel_logs WHERE {_IS_EVENT}{self._since}"  # noqa: S608 - as above
            for service_name, record in self._records(query, _log_of):
                self._attempt(self._where, 0, self._join.put_event, record, service_name)

    def _read_calls(self) -> None:
        has_logs, by_response = self._has_logs(), self._join.has_unclaimed()
        wanted = [_RATED, *([_RATED_BY_LOGS] if has_logs else [])]
        if by_response:
            # All calls that have a response id: which of them are meant is known here, not there.
            wanted.append(f"mapContains(SpanAttributes, '{semconv.GEN_AI_RESPONSE_ID}')")
        query = f"SELECT {_SPAN} FROM otel_traces WHERE {_IS_CALL} AND ({' OR '.join(wanted)})"  # noqa: S608 - constants
        for service_name, span in self._records(query, _span_of):
            self._attempt(self._where, 0, self._put_span, span, service_name, by_response)
        if has_logs:
            query = f"SELECT {_LOG} FROM otel_logs WHERE {_IS_CONTENT}"  # noqa: S608 - as above
            for _, record in self._records(query, _log_of):
                self._attempt(self._where, 0, self._put_content, record, None)

    def _has_logs(self) -> bool:
        query = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name = 'otel_logs'"
        return any(self.query(query))

    def _records(self, query: str, read: Callable[[Mapping[str, Any]], Record]) -> Iterator[tuple[str | None, Record]]:
        for row in self.query(query):
            record = self._attempt(self._where, 0, read, row)
            if record is not None:
                yield row["service_name"] or None, record
            self._done += 1
            if self._progress is not None and not self._done % 10_000:
                self._progress(self._done, self._done)


_READ_AS: Final[dict[Kind, str]] = {
    "text": "nullIf({0}, '')",
    "number": "toFloat64OrNull({0})",
    "integer": "toInt64OrNull({0})",
    "boolean": "if({0} = '', NULL, {0} = 'true')",
}


class Tables:
    """ClickHouse's words for the exporter's tables.

    Args:
        has_logs: Whether there is an `otel_logs`.
    """

    def __init__(self, *, has_logs: bool) -> None:
        time_ns = "toUnixTimestamp64Nano(Timestamp)"
        self.feedback_records = f"""
            SELECT {time_ns} AS time_ns, 1 AS form, ServiceName AS service_name, SpanAttributes AS attributes
            FROM otel_traces WHERE {_IS_CARRIER}
        """  # noqa: S608 - made of constants
        if has_logs:
            self.feedback_records += f"""
                UNION ALL
                SELECT {time_ns} AS time_ns, 0 AS form, ServiceName AS service_name, LogAttributes AS attributes
                FROM otel_logs WHERE {_IS_EVENT}
            """  # noqa: S608 - as above
        self.call_records = f"""
            SELECT TraceId AS trace_id, SpanId AS span_id, nullIf(ParentSpanId, '') AS parent_span_id,
                toString(SpanName) AS name, {time_ns} AS start_time_ns, toInt64(Duration) AS duration_ns,
                toString(ServiceName) AS service_name, SpanAttributes AS attributes
            FROM otel_traces WHERE {_IS_CALL}
        """  # noqa: S608 - as above

    def value(self, column: Column) -> str:
        """An attribute as a value of its kind; NULL where it is absent."""
        text = f"record.attributes['{column.attribute}']"
        return _READ_AS[column.kind].format(text)

    def moment(self, nanoseconds: str) -> str:
        """Ns since the epoch as a time in UTC."""
        return f"fromUnixTimestamp64Nano({nanoseconds}, 'UTC')"


def over_http(server: Server, database: str) -> Run:
    """Runs queries by ClickHouse's HTTP interface.

    Args:
        server: Its address, with user name and password where it asks for them.
        database: The database that holds the tables.
    """
    headers = {}
    if server.user is not None:
        headers = {"X-ClickHouse-User": server.user[0], "X-ClickHouse-Key": server.user[1]}
    # Nothing may be written, and an error must not look like the end of the answer.
    path = "/?" + urlencode({"database": database or "default", "readonly": 2, "wait_end_of_query": 1})

    @contextmanager
    def run(sql: str) -> Generator[IO[bytes]]:
        with server.open(path, sql.encode(), headers) as answer:
            yield answer

    return run


def in_process(session: Any) -> Run:
    """Runs queries in this process by chdb, which is ClickHouse as a package.

    Args:
        session: A `chdb.session.Session`.
    """
    from chdb import ChdbError  # noqa: PLC0415 - large, and only here needed

    @contextmanager
    def run(sql: str) -> Generator[Any]:
        query, _, form = sql.rpartition("\nFORMAT ")
        # Two packages bring the module `chdb`, and whichever was installed last says what its `ChdbError` is. The one
        # that the engine raises is a RuntimeError.
        try:
            yield _Lines(session.send_query(query, form))
        except (ChdbError, RuntimeError) as error:
            raise SourceError("chdb", str(error)) from None

    return run


class _Lines:
    """The lines of an answer that comes in pieces."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            yield from piece.bytes().splitlines()


def _span_of(row: Mapping[str, Any]) -> Record:
    """A row of `otel_traces` as an OTLP span."""
    start_ns = int(row["start"])
    ids = zip(row["link_trace_ids"], row["link_span_ids"], row["link_attributes"], strict=True)
    return {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "parentSpanId": row["parent_span_id"],
        "name": row["name"],
        "startTimeUnixNano": start_ns,
        "endTimeUnixNano": start_ns + int(row["duration"]),
        # `Error`; older releases of the exporter wrote `STATUS_CODE_ERROR`.
        "status": {"code": 2 if "ERROR" in row["status"].upper() else 0},
        "attributes": _attributes(row["attributes"]),
        "events": [{"attributes": _attributes(attributes)} for attributes in row["events"]],
        "links": [{"traceId": t, "spanId": s, "attributes": _attributes(attributes)} for t, s, attributes in ids],
    }


def _log_of(row: Mapping[str, Any]) -> Record:
    """A row of `otel_logs` as an OTLP log record."""
    return {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "timeUnixNano": row["start"],
        "attributes": _attributes(row["attributes"]),
    }


def _attributes(texts: Mapping[str, str]) -> list[Record]:
    return [{"key": key, "value": _value(key, text)} for key, text in texts.items()]


def _value(key: str, text: str) -> Record:
    if key in _DOUBLES:
        return {"doubleValue": text}
    if key in _BOOLEANS:
        return {"boolValue": text == "true"}
    if key in _LISTS and text.startswith("["):
        return {"arrayValue": {"values": [{"stringValue": str(item)} for item in loads(text.encode())]}}
    return {"stringValue": text}
