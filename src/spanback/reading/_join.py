"""Joins signals and calls on disk, so that memory stays flat however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from spanback import semconv
from spanback.reading._json import dumps, loads
from spanback.reading._lines import DamagedLine
from spanback.reading._otlp import (
    NO_CONTENT,
    Record,
    attributes_of,
    call_from,
    content_of,
    feedback_from_log,
    feedback_from_span,
)
from spanback.reading._rows import Call, Feedback, ModelSummary, RatedCall

_SCHEMA: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -32768;
    CREATE TABLE signal (
        id TEXT PRIMARY KEY, form INTEGER, time_ns INTEGER, given_ns INTEGER, withdrawn INTEGER, name TEXT, type TEXT,
        score REAL, weight REAL, model TEXT, target TEXT, record BLOB
    );
    CREATE INDEX signal_target ON signal (target);
    CREATE TABLE call (target TEXT PRIMARY KEY, start_ns INTEGER, model TEXT, record BLOB);
    CREATE TABLE content (target TEXT PRIMARY KEY, record BLOB);
    CREATE TABLE damaged (path TEXT, line INTEGER, reason TEXT, PRIMARY KEY (path, line));
"""
_FROM_LOG: Final = 0
_FROM_SPAN: Final = 1
"""At the same time the span form wins: backends cut neither form, but only spans hold the link."""

# The latest record of an id stands, whatever the order of reading; at the same time, one that withdraws.
_PUT_SIGNAL: Final = """
    INSERT INTO signal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        form = excluded.form, time_ns = excluded.time_ns, given_ns = excluded.given_ns,
        withdrawn = excluded.withdrawn, name = excluded.name, type = excluded.type, score = excluded.score,
        weight = excluded.weight, model = excluded.model, target = excluded.target, record = excluded.record
    WHERE (excluded.time_ns, excluded.withdrawn, excluded.form) >= (signal.time_ns, signal.withdrawn, signal.form)
"""
_WANTED: Final = (
    "NOT withdrawn AND (:name IS NULL OR name = :name) AND given_ns >= :since_ns AND time_ns >= :recorded_ns"
)
_TARGETS: Final = f"""
    SELECT target, ifnull(start_ns, min(given_ns)) AS order_ns, start_ns IS NULL AS absent
    FROM signal LEFT JOIN call USING (target) WHERE {_WANTED}
    GROUP BY target HAVING NOT :negative OR min(score) < 0
"""  # noqa: S608 - made of constants
_LATEST_TARGETS: Final = f"""
    SELECT target FROM (SELECT * FROM ({_TARGETS}) ORDER BY order_ns DESC, target DESC LIMIT :limit)
    ORDER BY absent, order_ns, target
"""  # noqa: S608 - made of constants
_SIGNALS_OF_TARGET: Final = f"""
    SELECT form, record FROM signal WHERE target = :target AND {_WANTED} ORDER BY time_ns, id
"""  # noqa: S608 - made of constants
_SUMMARY: Final = f"""
    SELECT ifnull(call.model, signal.model) AS its_model, type, count(DISTINCT target), count(*),
        count(*) FILTER (WHERE score < 0),
        avg(score), sum(score * weight) / nullif(sum(weight) FILTER (WHERE score IS NOT NULL), 0)
    FROM signal JOIN ({_TARGETS}) USING (target) LEFT JOIN call USING (target) WHERE {_WANTED}
    GROUP BY its_model, type ORDER BY its_model IS NULL, its_model, type
"""  # noqa: S608 - made of constants


class Join:
    """The signals that stand, and the calls that they are about, in a temporary database on disk."""

    def __init__(self) -> None:
        # The empty name makes a private file that SQLite removes by itself.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Removes the database."""
        self._db.close()

    def put_carrier(self, span: Record, service_name: str | None) -> None:
        """Adds the signal that a carrier span holds. Raises what `_otlp` raises for a record that is no OTLP."""
        self._put_signal(feedback_from_span(span, service_name), _FROM_SPAN, span, service_name)

    def put_event(self, record: Record, service_name: str | None) -> None:
        """Adds the signal that a log event holds. Raises what `_otlp` raises for a record that is no OTLP."""
        self._put_signal(feedback_from_log(record, service_name), _FROM_LOG, record, service_name)

    def _put_signal(self, signal: Feedback, form: int, record: Record, service_name: str | None) -> None:
        dimensions = signal.dimensions
        row = (
            signal.feedback_id,
            form,
            signal.time_ns,
            signal.given_time_ns,
            signal.action == "retract",
            signal.name,
            signal.type,
            signal.score,
            signal.weight,
            dimensions.get(semconv.GEN_AI_RESPONSE_MODEL) or dimensions.get(semconv.GEN_AI_REQUEST_MODEL),
            _target_of(signal),
            dumps((service_name, record)),
        )
        self._db.execute(_PUT_SIGNAL, row)

    def is_rated(self, trace_id: str | None, span_id: str | None) -> bool:
        """Whether there is a signal on a span."""
        found = self._db.execute("SELECT 1 FROM signal WHERE target = ? LIMIT 1", (_by_span(trace_id, span_id),))
        return found.fetchone() is not None

    def claim(self, response_id: str, trace_id: str | None, span_id: str | None) -> None:
        """Gives the signals that know only a response's id to the span that the response came from."""
        targets = (_by_span(trace_id, span_id), _by_response(response_id))
        self._db.execute("UPDATE signal SET target = ? WHERE target = ?", targets)

    def has_unclaimed(self) -> bool:
        """Whether there is a signal that knows only a response's id."""
        found = self._db.execute("SELECT 1 FROM signal WHERE target >= 'response:' AND target < 'response;' LIMIT 1")
        return found.fetchone() is not None

    def unclaimed(self) -> list[str]:
        """The ids of the responses whose spans are not known."""
        query = "SELECT DISTINCT substr(target, 10) FROM signal WHERE target >= 'response:' AND target < 'response;'"
        return [response_id for (response_id,) in self._db.execute(query)]

    def missing_traces(self) -> Iterator[str]:
        """The ids of the traces that hold rated spans whose calls are not there, each once, in their order."""
        query = """
            SELECT DISTINCT substr(target, 1, 32) FROM signal
            WHERE target NOT LIKE '%:%' AND NOT EXISTS (SELECT 1 FROM call WHERE call.target = signal.target)
            ORDER BY 1
        """
        # Read whole: calls are put in while this goes on. 32 letters a trace.
        return iter([trace_id for (trace_id,) in self._db.execute(query)])

    def put_call(self, span: Record, service_name: str | None) -> None:
        """Adds a call; the same span again changes nothing. Raises what `_otlp` raises for a span that is no call."""
        call = call_from(span, service_name)
        row = (
            _by_span(call.trace_id, call.span_id),
            call.start_time_ns,
            call.response_model or call.request_model,
            dumps((service_name, span)),
        )
        self._db.execute("INSERT OR IGNORE INTO call VALUES (?, ?, ?, ?)", row)

    def put_content(self, trace_id: str | None, span_id: str | None, event: Record) -> None:
        """Adds an event that holds a call's content; only the first one of a call counts."""
        self._db.execute("INSERT OR IGNORE INTO content VALUES (?, ?)", (_by_span(trace_id, span_id), dumps(event)))

    def put_damaged(self, damaged: DamagedLine) -> None:
        """Notes a line that could not be read; the same line again changes nothing."""
        row = (damaged.path, damaged.line, damaged.reason)
        self._db.execute("INSERT OR IGNORE INTO damaged VALUES (?, ?, ?)", row)

    def damaged(self) -> Iterator[DamagedLine]:
        """The lines that could not be read, by file and number."""
        for row in self._db.execute("SELECT path, line, reason FROM damaged ORDER BY path, line"):
            yield DamagedLine(*row)

    def damaged_count(self) -> int:
        """How many lines could not be read."""
        return self._db.execute("SELECT count(*) FROM damaged").fetchone()[0]

    def signal_count(self) -> int:
        """How many signals stand, withdrawn ones not counted."""
        return self._db.execute("SELECT count(*) FROM signal WHERE NOT withdrawn").fetchone()[0]

    def signals(self, where: dict[str, Any]) -> Iterator[Feedback]:
        """The signals that stand, in the order in which they were recorded."""
        query = f"SELECT form, record FROM signal WHERE {_WANTED} ORDER BY time_ns, id"  # noqa: S608 - constants
        for form, record in self._db.execute(query, where):
            yield _signal_from(form, record)

    def signal(self, feedback_id: str) -> Feedback | None:
        """The latest record of a signal, withdrawn or not; None where there is none."""
        row = self._db.execute("SELECT form, record FROM signal WHERE id = ?", (feedback_id,)).fetchone()
        return None if row is None else _signal_from(*row)

    def rated(self, where: dict[str, Any]) -> Iterator[RatedCall]:
        """The calls with their signals by start, then signals whose call is absent by time."""
        for (target,) in self._db.execute(_LATEST_TARGETS, where):
            signals = self._db.execute(_SIGNALS_OF_TARGET, {**where, "target": target})
            yield RatedCall(self._call(target), tuple(_signal_from(*row) for row in signals))

    def summary(self, where: dict[str, Any]) -> list[ModelSummary]:
        """What the signals say by model and type, in the order of the models' names."""
        return [ModelSummary(*row) for row in self._db.execute(_SUMMARY, where)]

    def _call(self, target: str) -> Call | None:
        query = "SELECT call.record, content.record FROM call LEFT JOIN content USING (target) WHERE target = ?"
        row = self._db.execute(query, (target,)).fetchone()
        if row is None:
            return None
        service_name, span = loads(row[0])
        return call_from(span, service_name, content_of(attributes_of(loads(row[1]))) if row[1] else NO_CONTENT)


def _signal_from(form: int, record: bytes) -> Feedback:
    service_name, given = loads(record)
    return (feedback_from_span if form == _FROM_SPAN else feedback_from_log)(given, service_name)


def _target_of(signal: Feedback) -> str:
    """What signals on the same thing have in common."""
    if signal.trace_id and signal.span_id:
        return _by_span(signal.trace_id, signal.span_id)
    dimensions = signal.dimensions
    if response_id := dimensions.get(semconv.GEN_AI_RESPONSE_ID):
        return _by_response(response_id)
    if conversation_id := dimensions.get(semconv.GEN_AI_CONVERSATION_ID):
        return f"conversation:{conversation_id}"
    return f"feedback:{signal.feedback_id}"


def _by_response(response_id: str) -> str:
    return f"response:{response_id}"


def _by_span(trace_id: str | None, span_id: str | None) -> str:
    return f"{trace_id}{span_id}"
