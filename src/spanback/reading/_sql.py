"""Two tables to ask by SQL, `feedback` and `calls`, with the same columns over files (DuckDB) and in ClickHouse.

A query that keeps to what both understand (aggregates, GROUP BY, JOIN, CASE, coalesce, round, date_trunc, FILTER) runs
unchanged on either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from spanback import semconv

Kind = Literal["text", "number", "integer", "boolean"]

_WITH: Final = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*WITH\b\s*(RECURSIVE\b)?", re.IGNORECASE | re.DOTALL)
"""The begin of a query that names tables of its own, after comments if there are some."""


class Column(NamedTuple):
    """A column that is an attribute of the record.

    Attributes:
        name: The column's name, that of the row's field.
        attribute: The attribute's name.
        kind: What its values are.
    """

    name: str
    attribute: str
    kind: Kind = "text"


_DIMENSIONS: Final = (
    Column("provider", semconv.GEN_AI_PROVIDER_NAME),
    Column("request_model", semconv.GEN_AI_REQUEST_MODEL),
    Column("response_model", semconv.GEN_AI_RESPONSE_MODEL),
    Column("response_id", semconv.GEN_AI_RESPONSE_ID),
    Column("prompt_name", semconv.GEN_AI_PROMPT_NAME),
    Column("prompt_version", semconv.GEN_AI_PROMPT_VERSION),
    Column("conversation_id", semconv.GEN_AI_CONVERSATION_ID),
    Column("experiment", semconv.FEATURE_FLAG_KEY),
    Column("variant", semconv.FEATURE_FLAG_RESULT_VARIANT),
)
FEEDBACK: Final = (
    Column("feedback_id", semconv.FEEDBACK_ID),
    Column("action", semconv.FEEDBACK_ACTION),
    Column("name", semconv.FEEDBACK_NAME),
    Column("score", semconv.FEEDBACK_SCORE, "number"),
    Column("weight", semconv.FEEDBACK_WEIGHT, "number"),
    Column("weighted_score", semconv.FEEDBACK_WEIGHTED_SCORE, "number"),
    Column("score_raw", semconv.FEEDBACK_SCORE_RAW, "number"),
    Column("score_min", semconv.FEEDBACK_SCORE_MIN, "number"),
    Column("score_max", semconv.FEEDBACK_SCORE_MAX, "number"),
    Column("sentiment", semconv.FEEDBACK_SENTIMENT),
    Column("source", semconv.FEEDBACK_SOURCE),
    Column("type", semconv.FEEDBACK_TYPE),
    Column("label", semconv.FEEDBACK_LABEL),
    Column("criterion", semconv.FEEDBACK_CRITERION),
    Column("comment", semconv.FEEDBACK_COMMENT),
    Column("improvement", semconv.FEEDBACK_IMPROVEMENT),
    Column("user_hash", semconv.FEEDBACK_USER_HASH),
    Column("rater_hash", semconv.FEEDBACK_RATER_HASH),
    Column("observed_at", semconv.FEEDBACK_OBSERVED_AT),
    Column("trace_id", semconv.FEEDBACK_TARGET_TRACE_ID),
    Column("span_id", semconv.FEEDBACK_TARGET_SPAN_ID),
    Column("sampled", semconv.FEEDBACK_TARGET_SAMPLED, "boolean"),
    Column("resolved", semconv.FEEDBACK_TARGET_RESOLVED, "boolean"),
    Column("scope", semconv.FEEDBACK_TARGET_SCOPE),
    Column("choice", semconv.FEEDBACK_TARGET_CHOICE, "integer"),
    Column("document_id", semconv.FEEDBACK_TARGET_DOCUMENT_ID),
    Column("tool_call_id", semconv.GEN_AI_TOOL_CALL_ID),
    *_DIMENSIONS,
)
CALLS: Final = (
    Column("operation", semconv.GEN_AI_OPERATION_NAME),
    Column("input_tokens", semconv.GEN_AI_USAGE_INPUT_TOKENS, "integer"),
    Column("output_tokens", semconv.GEN_AI_USAGE_OUTPUT_TOKENS, "integer"),
    Column("error_type", semconv.ERROR_TYPE),
    Column("user_hash", semconv.USER_HASH),
    *_DIMENSIONS,
)


class Dialect(Protocol):
    """How one engine says what the tables need."""

    feedback_records: str
    """The query of all carrier spans and log events: `time_ns`, `form` (1 for a span), `service_name`, attributes."""
    call_records: str
    """The query of all calls: ids, `name`, `start_time_ns`, `duration_ns`, `service_name`, attributes."""

    def value(self, column: Column) -> str:
        """An attribute as a value of its kind; NULL where it is absent."""
        ...

    def moment(self, nanoseconds: str) -> str:
        """Ns since the epoch as a time in UTC."""
        ...


def with_tables(dialect: Dialect, query: str) -> str:
    """A query with `feedback` and `calls` defined before it.

    `feedback` has one row for each signal that stands: the latest record of its id, withdrawn ones left out.

    Args:
        dialect: The engine's.
        query: One SELECT statement, which may begin with WITH.
    """
    tables = f"""
        feedback_record AS (SELECT {_columns(dialect, FEEDBACK)}, time_ns, form, service_name
            FROM ({dialect.feedback_records}) AS record),
        latest_record AS (SELECT *, row_number() OVER (PARTITION BY feedback_id ORDER BY time_ns DESC,
            CASE WHEN action = 'retract' THEN 1 ELSE 0 END DESC, form DESC) AS nth
            FROM feedback_record WHERE feedback_id IS NOT NULL),
        feedback AS (SELECT {", ".join(column.name for column in FEEDBACK)}, service_name, time_ns,
            {dialect.moment("time_ns")} AS recorded_at
            FROM latest_record WHERE nth = 1 AND coalesce(action, 'set') <> 'retract'),
        calls AS (SELECT trace_id, span_id, parent_span_id, name, start_time_ns, duration_ns, service_name,
            {dialect.moment("start_time_ns")} AS start_time, {_columns(dialect, CALLS)}
            FROM ({dialect.call_records}) AS record)
    """  # noqa: S608 - made of constants
    text = query.strip().rstrip(";")
    found = _WITH.match(text)
    if found is None:
        return f"WITH {tables} {text}"
    return f"WITH {found[1] or ''} {tables}, {text[found.end() :]}"


def _columns(dialect: Dialect, columns: Sequence[Column]) -> str:
    return ", ".join(f"{dialect.value(column)} AS {column.name}" for column in columns)
