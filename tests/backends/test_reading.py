"""The same 1,000 signals, read back from files, Jaeger, Tempo and ClickHouse: the same rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from spanback import reading
from spanback.cli import main
from spanback.errors import SourceError
from spanback.reading import Call, Feedback
from spanback.reading._tempo import VALUE_LIMIT_BYTES
from tests.backends import otlp
from tests.backends.many_signals import LONG_BYTES, SIGNALS
from tests.backends.servers import Collector, Jaeger, Tempo, eventually, get_json
from tests.deploy.clickhouse import ClickHouse
from tests.deploy.writer import ClickHouseWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.backends

ROOT = Path(__file__).parents[2]
SERVICE = "many-signals"
CALLS = SIGNALS // 5
PREFERENCES = WITHDRAWN = CALLS // 25
# A thumb down by the same user replaces the thumb up.
STANDING = SIGNALS - CALLS - WITHDRAWN


class Written(NamedTuple):
    """Where the signals are."""

    file: Path
    jaeger: str
    tempo: str
    since_ns: int


class Rows(NamedTuple):
    """What was read of the service, by id."""

    feedback: dict[str, Feedback]
    calls: dict[str, Call]
    rated: dict[str, tuple[str, ...]]
    damaged: int


@pytest.fixture(scope="module")
def written(collector_binary: None, jaeger: Jaeger, tempo: Tempo) -> Iterator[Written]:
    """The signals of one app, sent to one collector, which sends them on to everything."""
    since_ns = time.time_ns()
    config = Path(__file__).parent / "configs" / "reading.yaml"
    env = {"JAEGER_ENDPOINT": jaeger.otlp_grpc_endpoint, "TEMPO_ENDPOINT": tempo.otlp_grpc_endpoint}
    with Collector(config, env) as collector:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
        kept |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.otlp_grpc_endpoint}",
            "OTEL_SERVICE_NAME": SERVICE,
            "SPANBACK_USER_HASH_KEY": "key",
        }
        command = [sys.executable, "-m", "tests.backends.many_signals"]
        subprocess.run(command, cwd=ROOT, env=kept, check=True, timeout=120)
        query = f'{{ resource.service.name = "{SERVICE}" && span.feedback.id != nil }}'
        eventually(lambda: sum(1 for _ in tempo.search(query, limit=10_000)) >= SIGNALS)
        yield Written(collector.telemetry / "all.jsonl", jaeger.query_url, tempo.query_url, since_ns)


def rows_of(source: str | Path, since_ns: int | None) -> Rows:
    """Everything that a source gives of the app."""
    with reading.open(source, since_ns=since_ns) as reader:
        feedback = {row.feedback_id: row for row in reader.feedback() if row.service_name == SERVICE}
        rated = {
            found.feedback[0].span_id or found.feedback[0].feedback_id: tuple(row.feedback_id for row in found.feedback)
            for found in reader.rated()
            if found.feedback[0].service_name == SERVICE
        }
        calls = {call.span_id: call for call in reader.calls() if call.service_name == SERVICE}
        return Rows(feedback, calls, rated, reader.damaged_count())


@pytest.fixture(scope="module")
def in_files(written: Written) -> Rows:
    """What the collector's file gives."""
    return rows_of(written.file, None)


def test_files_hold_every_signal(in_files: Rows) -> None:
    """One row a signal that stands, and one a call."""
    assert len(in_files.feedback) == STANDING
    assert len(in_files.calls) == CALLS
    assert sum(not row.resolved for row in in_files.feedback.values()) == CALLS // 10
    assert sum(row.relation == "chosen" for row in in_files.feedback.values()) == PREFERENCES
    assert in_files.damaged == 0


def test_jaeger_gives_the_same_rows(written: Written, in_files: Rows) -> None:
    """Every field of every row."""
    assert rows_of(f"jaeger+{written.jaeger}", written.since_ns) == in_files


def test_tempo_gives_the_same_rows_but_for_long_texts(written: Written, in_files: Rows) -> None:
    """Every field of every row; of a text longer than 2,048 bytes its beginning."""
    read = rows_of(f"tempo+{written.tempo}", written.since_ns)
    (long,) = (row for row in in_files.feedback.values() if len((row.comment or "").encode()) == LONG_BYTES)
    cut = (long.comment or "").encode()[:VALUE_LIMIT_BYTES].decode()
    expected = {**in_files.feedback, long.feedback_id: replace(long, comment=cut)}
    assert read.feedback == expected
    assert read == in_files._replace(feedback=expected)


@pytest.fixture(scope="module")
def clickhouse(collector_deploy_binary: None, written: Written) -> Iterator[str]:
    """The address of a ClickHouse into which a collector's exporter has written what is in the file."""
    pytest.importorskip("chdb")
    with ClickHouse() as server:
        server.make("otel", "tables.sql", "views.sql")
        with ClickHouseWriter(server.query_url, "otel") as writer:
            lines = written.file.read_bytes().splitlines()
            writer.send(lines)
            messages = list(map(json.loads, lines))
            sent = tuple(sum(len(of(one)) for one in messages) for of in (otlp.spans, otlp.log_records))
            eventually(lambda: _counts(server) == sent)
        yield f"clickhouse+{server.query_url}/otel"


def _counts(server: ClickHouse) -> tuple[int, int]:
    """How many spans and how many log records there are."""
    (spans,) = server.rows("SELECT count() AS n FROM otel_traces", database="otel")
    (logs,) = server.rows("SELECT count() AS n FROM otel_logs", database="otel")
    return spans["n"], logs["n"]


def test_clickhouse_gives_the_same_rows_but_for_types_of_metadata(clickhouse: str, in_files: Rows) -> None:
    """Every field of every row; of metadata the text, since the exporter keeps every value as text."""
    read = rows_of(clickhouse, None)

    def in_text(row: Feedback) -> Feedback:
        metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.metadata.items()}
        return replace(row, metadata=metadata)

    expected = {key: in_text(row) for key, row in in_files.feedback.items()}
    assert read.feedback == expected
    assert read == in_files._replace(feedback=expected)


QUERIES = [
    """
    SELECT request_model, type, count(*) AS signals, round(avg(score), 6) AS mean, min(weight) AS least,
        count(*) FILTER (WHERE score < 0) AS negative, count(DISTINCT user_hash) AS users
    FROM feedback WHERE score IS NOT NULL GROUP BY request_model, type ORDER BY request_model, type
    """,
    """
    WITH worst AS (SELECT span_id, min(score) AS score FROM feedback WHERE resolved GROUP BY span_id)
    SELECT calls.operation, calls.response_model, count(*) AS calls, sum(calls.output_tokens) AS tokens,
        sum(CASE WHEN worst.score < 0 THEN 1 ELSE 0 END) AS bad, min(calls.duration_ns) AS shortest
    FROM calls JOIN worst ON worst.span_id = calls.span_id
    GROUP BY calls.operation, calls.response_model ORDER BY calls.response_model
    """,
    "SELECT * FROM feedback ORDER BY feedback_id",
    "SELECT * FROM calls ORDER BY span_id",
    "SELECT name, count(*) AS n FROM feedback WHERE recorded_at >= date_trunc('year', recorded_at) GROUP BY name ORDER BY name;",
]


@pytest.mark.parametrize("query", QUERIES, ids=["means", "join", "feedback", "calls", "times"])
def test_one_query_gives_the_same_by_duckdb_and_by_clickhouse(query: str, written: Written, clickhouse: str) -> None:
    """The same text, the same columns in the same order, the same values."""

    def plain(value: object) -> object:
        """Times and 64-bit integers are JSON in ClickHouse's answer, and Python's own in DuckDB's."""
        if isinstance(value, datetime):
            return value.isoformat(" ")
        return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else value

    def asked(source: str | Path) -> list[dict[str, object]]:
        with reading.open(source) as reader:
            return [{name: plain(value) for name, value in row.items()} for row in reader.sql(query)]

    by_duckdb, by_clickhouse = asked(written.file), asked(clickhouse)
    assert len(by_duckdb) > 1
    for row in (*by_duckdb, *by_clickhouse):
        for name in ("recorded_at", "start_time"):
            if name in row:
                row[name] = str(row[name])[:26]
    assert by_clickhouse == by_duckdb


def test_what_cannot_be_asked_by_sql_says_so(written: Written, clickhouse: str) -> None:
    """Neither a trace store nor a query that is none."""
    with reading.open(f"jaeger+{written.jaeger}") as reader, pytest.raises(SourceError, match="cannot be asked by SQL"):
        reader.sql("SELECT 1")
    for source in (written.file, clickhouse):
        with reading.open(source) as reader, pytest.raises(SourceError, match="nonsense"):
            list(reader.sql("SELECT nonsense FROM feedback"))


@pytest.mark.parametrize("backend", ["jaeger", "tempo"])
@pytest.mark.parametrize("scope", ["child", "linked"])
def test_open_finds_a_signal_in_the_backend(
    backend: str, scope: str, written: Written, in_files: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    """The addresses are those of the response's span and of the signal's own, and the backend has both traces."""
    rows = [row for row in in_files.feedback.values() if row.span_id and row.span_id in in_files.calls]
    is_child = {True: "child", False: "linked"}
    signal = next(row for row in rows if is_child[row.carrier_trace_id == row.trace_id] == scope)
    url = getattr(written, backend)
    assert main(["open", backend, signal.feedback_id, "--url", url, "--since", "1h", "--print"]) == 0
    addresses = [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()]
    places = [(signal.trace_id, signal.span_id), (signal.carrier_trace_id, signal.carrier_span_id)]
    if backend == "jaeger":
        assert addresses == [f"{url}/trace/{trace_id}?uiFind={span_id}" for trace_id, span_id in places]
        addresses = [f"{url}/api/v3/traces/{trace_id}" for trace_id, _ in places]
    assert [trace_id in address for address, (trace_id, _) in zip(addresses, places, strict=True)] == [True, True]
    for address, (_, span_id) in zip(addresses, places, strict=True):
        spans = otlp.spans(next(iter(get_json(address).values())))
        assert span_id in {span.span_id for span in spans}


def test_a_search_that_finds_too_much_is_split(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missed where a server gives a few traces at a time, not even of one second."""
    from spanback.reading._jaeger import Jaeger as JaegerReader

    monkeypatch.setattr(JaegerReader, "limit", 16)
    with reading.open(f"jaeger+{written.jaeger}", since_ns=written.since_ns) as reader:
        found = [row for row in reader.feedback() if row.service_name == SERVICE]
    assert len(found) == STANDING
