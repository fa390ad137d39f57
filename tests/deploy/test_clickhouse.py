"""`deploy/clickhouse`: the tables, the views and every query, on ClickHouse's engine, with what the pipeline wrote."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import correlation, fmean, stdev
from types import ModuleType
from typing import Any

import pytest

from spanback import semconv
from tests.backends import otlp
from tests.backends.servers import eventually
from tests.deploy.clickhouse import FOLDER, ClickHouse
from tests.deploy.conftest import Pipeline
from tests.deploy.writer import ClickHouseWriter

pytestmark = pytest.mark.backends

QUERIES = sorted((FOLDER / "queries").glob("*.sql"))
Signal = dict[str, Any]

# The two shards are one process here: whose a row is must be said. It is by what the Distributed tables shard by.
SHARDS = """SET additional_table_filters = {
    'otel_shard.feedback': 'cityHash64(feedback_id) % 2 = shardNum() - 1',
    'otel_shard.otel_traces': 'cityHash64(TraceId) % 2 = shardNum() - 1',
    'otel_shard.otel_logs': 'cityHash64(TraceId) % 2 = shardNum() - 1'}"""


@pytest.fixture(scope="module")
def exported(clickhouse: ClickHouse, collector_deploy_binary: None, pipeline: Pipeline) -> ClickHouse:
    """A database, `one`, into which the collector's own exporter has written all that the pipeline brought."""
    clickhouse.make("one", "tables.sql", "views.sql")
    spans = sum(len(otlp.spans(message)) for message in pipeline.messages)
    records = sum(len(otlp.log_records(message)) for message in pipeline.messages)
    with ClickHouseWriter(clickhouse.query_url, "one") as writer:
        writer.send(json.dumps(message).encode() for message in pipeline.messages)
        eventually(lambda: (count(clickhouse, "otel_traces"), count(clickhouse, "otel_logs")) == (spans, records))
    return clickhouse


def count(clickhouse: ClickHouse, table: str) -> int:
    """How many rows the exporter has written."""
    (row,) = clickhouse.rows(f"SELECT count() AS n FROM {table}", database="one")
    return row["n"]


@pytest.fixture(scope="module")
def filled(exported: ClickHouse, loader: ModuleType, pipeline: Pipeline) -> ClickHouse:
    """One machine, `one`, filled by the exporter, and a cluster, `otel`, filled by `load.py`; carriers are there twice."""
    exported.make("otel_shard", "tables.sql")
    exported.make("otel", "distributed.sql", "views.sql")
    exported.run(SHARDS)
    traces = [row for message in pipeline.messages for row in loader.trace_rows(message)]
    logs = [row for message in pipeline.messages for row in loader.log_rows(message)]
    exported.insert("otel_traces", traces, database="otel")
    exported.insert("otel_logs", logs, database="otel")
    retried = [row for row in traces if row["SpanName"].startswith("feedback ")]
    for database in ("one", "otel"):
        exported.insert("otel_traces", retried, database=database)
    return exported


@pytest.fixture(scope="module", params=["one", "otel"])
def ask(request: pytest.FixtureRequest, filled: ClickHouse) -> Callable[[str], list[dict[str, Any]]]:
    """Asks a query of `queries/`, or one's own SQL, on one machine or on the cluster."""

    def rows(query: str) -> list[dict[str, Any]]:
        file = FOLDER / "queries" / f"{query}.sql"
        return filled.rows(file.read_text() if file.exists() else query, database=request.param)

    return rows


def grouped(signals: Iterable[Signal], *keys: str) -> dict[tuple[Any, ...], list[Signal]]:
    """Signals by the values of some fields, in the order of these."""
    groups: dict[tuple[Any, ...], list[Signal]] = defaultdict(list)
    for signal in signals:
        groups[tuple(signal[key] for key in keys)].append(signal)
    return dict(sorted(groups.items()))


def statistics(signals: list[Signal]) -> dict[str, Any]:
    """What the queries say of a group of signals."""
    scores, weights = [s["score"] for s in signals], [s["weight"] for s in signals]
    weighted = sum(score * weight for score, weight in zip(scores, weights, strict=True)) / sum(weights)
    return {
        "signals": len(signals),
        "responses": len({s["span_id"] for s in signals}),
        "mean": round(fmean(scores), 4),
        "margin": round(1.96 * stdev(scores) / math.sqrt(len(signals)), 4) if len(signals) > 1 else None,
        "weighted_mean": round(weighted, 4),
        "negative_share": round(sum(score < 0 for score in scores) / len(signals), 4),
    }


def sentiment(score: float | None) -> str:
    """The sign of a score in words."""
    return "" if score is None else "positive" if score > 0 else "negative" if score < 0 else "neutral"


def close(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows to compare: a number that is rounded to four places may be off by one in the last."""
    return [
        {key: pytest.approx(value, abs=1.1e-4) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]


def test_one_row_a_signal(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """Every signal is one row, though it came as span, as log event, twice, and in part replaced; nothing is lost."""
    rows = ask("SELECT * FROM feedback FINAL WHERE action = 'set' ORDER BY feedback_id")
    assert len(rows) == len(pipeline.standing) < len(pipeline.signals)
    for row, signal in zip(rows, sorted(pipeline.standing, key=lambda one: one["feedback_id"]), strict=True):
        expected = {name: signal[name] for name in ("feedback_id", "carrier_span_id", "trace_id", "span_id", "name")}
        expected |= {name: signal[name] for name in ("score", "weight", "type", "label", "comment", "resolved")}
        expected |= {name: signal[name] for name in ("experiment", "variant", "tags", "conversation_id")}
        expected |= {
            "service": "travel-assistant",
            "request_model": signal["model"],
            "prompt_version": signal["prompt_version"],
            "prompt_name": "travel" if signal["resolved"] else "",
            "score_raw": signal["rating"],
            "criterion": signal["criterion"],
            "weighted_score": None if signal["score"] is None else signal["score"] * signal["weight"],
            "improvement": json.dumps(signal["improvement"], separators=(",", ":")) if signal["improvement"] else "",
            "metadata": {key: str(value) for key, value in signal["metadata"].items()},
            "sentiment": sentiment(signal["score"]),
            "relation": "chosen" if signal["name"] == "side_by_side" else "rates",
        }
        assert {name: row[name] for name in expected} == expected
        assert [bool(row[f"{who}_hash"]) for who in ("user", "rater")] == [
            bool(signal[who]) for who in ("user", "rater")
        ]
        given = datetime.fromisoformat(signal["observed_at"] or f"{row['recorded_at'][:26]}+00:00")
        assert datetime.fromisoformat(f"{row['time'][:26]}+00:00") == given


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("SELECT * FROM otel_traces", "SpanId"),
        ("SELECT * FROM otel_logs", "LogAttributes"),
        ("SELECT TraceId, min(Start), max(End) FROM otel_traces_trace_id_ts GROUP BY TraceId", "TraceId"),
        ("SELECT * FROM feedback FINAL", "feedback_id"),
    ],
)
def test_the_loader_writes_the_exporters_rows(filled: ClickHouse, query: str, key: str) -> None:
    """Every column of every row that `load.py` makes is what the exporter wrote of the same telemetry."""
    # The same attributes are in one order here and in another there, so that ClickHouse cannot tell rows that are twice.
    by_exporter, by_loader = (
        {json.dumps(row[key], sort_keys=True): row for row in filled.rows(query, database=database)}
        for database in ("one", "otel")
    )
    assert len(by_exporter) > 40
    assert by_loader == by_exporter


def test_logs_alone_are_enough(clickhouse: ClickHouse, loader: ModuleType, pipeline: Pipeline) -> None:
    """Where feedback leaves as log events only, the rows say the same, but for the carrier."""
    clickhouse.make("logs_only", "tables.sql", "views.sql")
    rows = [row for message in pipeline.messages for row in loader.log_rows(message)]
    clickhouse.insert("otel_logs", rows, database="logs_only")
    query = "SELECT * EXCEPT (version, carrier_trace_id, carrier_span_id) FROM feedback FINAL ORDER BY feedback_id"
    clickhouse.make("traces_only", "tables.sql", "views.sql")
    rows = [row for message in pipeline.messages for row in loader.trace_rows(message)]
    clickhouse.insert("otel_traces", rows, database="traces_only")
    assert clickhouse.rows(query, database="logs_only") == clickhouse.rows(query, database="traces_only")


def test_retraction(clickhouse: ClickHouse) -> None:
    """A retraction takes the place of what it withdraws, whichever comes first; a later signal of the id holds again."""
    clickhouse.make("retracted", "tables.sql", "views.sql")

    def send(seconds: int, action: str) -> None:
        row = {
            "Timestamp": f"{1_700_000_000 + seconds}.5",
            "SpanAttributes": {"feedback.id": "x", "feedback.action": action},
        }
        clickhouse.insert("otel_traces", [row], database="retracted")

    def standing() -> list[dict[str, Any]]:
        return clickhouse.rows("SELECT feedback_id, action FROM feedback FINAL", database="retracted")

    send(2, "retract")
    send(1, "set")
    assert standing() == [{"feedback_id": "x", "action": "retract"}]
    send(3, "set")
    assert standing() == [{"feedback_id": "x", "action": "set"}]


def test_by_prompt_version(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """Signals, means, margins and shares by prompt version and type."""
    groups = grouped(pipeline.scored, "prompt_version", "type")
    assert ask("by_prompt_version") == close(
        [
            {"prompt_name": "travel" if version else "", "prompt_version": version, "type": kind, **statistics(signals)}
            for (version, kind), signals in groups.items()
        ]
    )


def test_by_model(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """The same by model, the most rated first."""
    rows = [
        {**statistics(signals), "model": model, "type": kind, "provider": "openai" if model else ""}
        for (model, kind), signals in grouped(pipeline.scored, "response_model", "type").items()
    ]
    found = ask("by_model")
    assert [row["signals"] for row in found] == sorted((row["signals"] for row in rows), reverse=True)
    assert sorted(found, key=lambda row: (row["model"], row["type"])) == close(
        [{key: row[key] for key in found[0]} for row in rows]
    )


def test_trend_by_week(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """Weeks by name and type, each with its change to the week before."""
    found = [row for row in ask("trend_by_week") if row["name"] == "copied"]
    weeks: dict[str, list[Signal]] = defaultdict(list)
    for signal in pipeline.scored:
        if signal["name"] == "copied":
            given = datetime.fromisoformat(signal["observed_at"])
            weeks[(given - timedelta(days=given.weekday())).date().isoformat()].append(signal)
    assert len(weeks) > 1
    shown = [(row["week"], row["signals"], row["mean"], row["weighted_mean"]) for row in found]
    assert shown == [
        (week, said["signals"], pytest.approx(said["mean"], abs=1e-4), pytest.approx(said["weighted_mean"], abs=1e-4))
        for week, said in ((week, statistics(signals)) for week, signals in sorted(weeks.items()))
    ]
    changes = [None, *(later["mean"] - earlier["mean"] for earlier, later in itertools.pairwise(found))]
    assert [row["change"] for row in found] == [one if one is None else pytest.approx(one, abs=2e-4) for one in changes]


def test_rater_disagreement(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """Who agrees with whom; alpha is what the definition gives, over all pairs of ratings."""
    (row,) = [row for row in ask("rater_disagreement") if row["name"] == "factual_accuracy"]
    units = [
        [signal["score"] for signal in signals]
        for signals in grouped((s for s in pipeline.scored if s["name"] == "factual_accuracy"), "span_id").values()
    ]
    ratings = [score for unit in units for score in unit]
    observed = sum(sum((a - b) ** 2 for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units)
    chance = sum((a - b) ** 2 for a, b in itertools.permutations(ratings, 2)) / (len(ratings) - 1)
    assert 0 < observed < 2 * chance
    assert row == {
        "name": "factual_accuracy",
        "criterion": "capital",
        "rated_responses": len(units),
        "ratings": len(ratings),
        "agreed_share": pytest.approx(sum(max(unit) == min(unit) for unit in units) / len(units), abs=1e-4),
        "mean_spread": pytest.approx(fmean(max(unit) - min(unit) for unit in units), abs=1e-4),
        "alpha": pytest.approx(1 - observed / chance, abs=1e-4),
    }


def test_worst_answers(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """The most disliked responses, worst first, with what was said of them and the call that made them."""
    found = ask("worst_answers")
    badness = {
        span_id: -sum(signal["score"] * signal["weight"] for signal in signals)
        for (span_id,), signals in grouped(
            (s for s in pipeline.scored if s["type"] == "explicit" and s["resolved"]), "span_id"
        ).items()
    }
    assert {row["span_id"]: row["badness"] for row in found} == {
        span_id: pytest.approx(bad, abs=1e-4) for span_id, bad in badness.items() if bad > 1e-9
    }
    assert [row["badness"] for row in found] == sorted((row["badness"] for row in found), reverse=True)
    for row in found:
        assert row["comments"] == [
            s["comment"] for s in pipeline.scored if s["span_id"] == row["span_id"] and s["comment"]
        ]
        assert "capital of Australia" in row["input_messages"]
        assert "assistant" in row["output_messages"]


def test_implicit_vs_explicit(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """How often what users do and what they say point the same way, and the correlation of both."""
    explicit = {
        span_id: weighted_mean(signals)
        for (span_id,), signals in grouped((s for s in pipeline.scored if s["type"] == "explicit"), "span_id").items()
    }
    rows = ask("implicit_vs_explicit")
    assert [row["implicit_name"] for row in rows] == ["copied", "dismissed"]
    for row in rows:
        pairs = [(s["score"], explicit[s["span_id"]]) for s in pipeline.scored if s["name"] == row["implicit_name"]]
        same = sum((a > 0) - (a < 0) == (b > 0) - (b < 0) for a, b in pairs)
        assert row["responses_with_both"] == len(pairs)
        assert row["same_direction"] == pytest.approx(same / len(pairs), abs=1e-4)
        assert row["implicit_mean"] == pytest.approx(fmean(a for a, _ in pairs), abs=1e-4)
        assert row["explicit_mean"] == pytest.approx(fmean(b for _, b in pairs), abs=1e-4)
        assert row["correlation"] == pytest.approx(correlation(*zip(*pairs, strict=True)), abs=1e-4)


def weighted_mean(signals: list[Signal]) -> float:
    """The mean of scores by weight."""
    return sum(s["score"] * s["weight"] for s in signals) / sum(s["weight"] for s in signals)


def test_unresolved(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """The share of signals that are about no known response, by day."""
    rows = ask("unresolved")
    assert sum(row["signals"] for row in rows) == len(pipeline.standing)
    assert [row["unresolved"] for row in rows] == [1, *[0] * (len(rows) - 1)]
    assert rows[0]["service"] == "travel-assistant"
    assert rows[0]["unresolved_share"] == pytest.approx(1 / rows[0]["signals"], abs=1e-4)


def test_preferences(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """Which model was chosen over which, and by which spans."""
    assert ask("preferences") == [
        {"chosen_model": "gpt-4o-mini-2024-07-18", "rejected_model": model, "times": 1}
        for model in ("gpt-4.1-2025-01-01", "gpt-4o-mini-2024-07-18")
    ]
    (row,) = ask("SELECT trace_id, rejected_trace_ids, rejected_resolved FROM feedback FINAL WHERE relation = 'chosen'")
    trace_ids = list(dict.fromkeys(signal["trace_id"] for signal in pipeline.signals))[:3]
    assert row == {"trace_id": trace_ids[0], "rejected_trace_ids": trace_ids[1:], "rejected_resolved": True}


def test_links_say_what_the_columns_say(filled: ClickHouse) -> None:
    """The target's ids are those of the carrier's links: of the one that rates or is chosen, then of those rejected."""
    rows = filled.rows(
        """SELECT Links.SpanId AS links, arrayConcat([span_id], rejected_span_ids) AS columns, resolved
        FROM feedback AS f FINAL INNER JOIN otel_traces AS t ON t.SpanId = f.carrier_span_id""",
        database="one",
    )
    assert len(rows) > 100
    assert all(row["links"] == (row["columns"] if row["resolved"] else []) for row in rows)


def test_by_experiment(ask: Callable[[str], list[dict[str, Any]]], pipeline: Pipeline) -> None:
    """Signals and means by experiment, variant and type."""
    tried = [signal for signal in pipeline.scored if signal["experiment"]]
    expected = []
    for (experiment, variant, kind), signals in grouped(tried, "experiment", "variant", "type").items():
        said = statistics(signals)
        del said["negative_share"]
        expected.append({"experiment": experiment, "variant": variant, "type": kind, **said})
    assert {row["variant"] for row in expected} == {"warm", "terse"}
    assert ask("by_experiment") == close(expected)


def test_every_attribute_has_a_column() -> None:
    """What feedback says on the wire is read by some column of `feedback`."""
    tables = (FOLDER / "tables.sql").read_text() + (FOLDER / "views.sql").read_text()
    names = {name: value for name, value in vars(semconv).items() if name.startswith("FEEDBACK_")}
    names |= {name: getattr(semconv, name) for name in ("FEATURE_FLAG_KEY", "FEATURE_FLAG_RESULT_VARIANT", "TAGS")}
    assert {value for value in names.values() if f"'{value}'" not in tables} == {
        semconv.FEEDBACK_RELATION
    }  # links' own


@pytest.fixture(scope="module")
def exporter() -> Path:
    """The source of the collector's ClickHouse exporter, in Go's module cache."""
    if shutil.which("go") is None:
        pytest.skip("no Go toolchain to get the exporter's source with")
    module = "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/clickhouseexporter@v0.161.0"
    done = subprocess.run(
        ["go", "mod", "download", "-json", module],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd="/",
        env={**os.environ, "GOFLAGS": ""},
    )
    return Path(json.loads(done.stdout)["Dir"]) / "internal" / "sqltemplates"


@pytest.mark.parametrize("table", ["traces", "logs", "traces_trace_id_ts"])
def test_the_tables_are_the_exporters(clickhouse: ClickHouse, exporter: Path, table: str) -> None:
    """Our tables have the columns, types and order that the exporter's own statements make."""
    files = {"traces": "traces_table", "logs": "logs_table", "traces_trace_id_ts": "traces_id_ts_lookup_table"}
    statement = (exporter / f"{files[table]}.sql").read_text()
    statement = re.sub(r"\{\{- if .*?\{\{- else\}\}|\{\{- end\}\}", "", statement, flags=re.DOTALL)
    start = statement.index("(")
    body = re.sub(r"ENGINE = (%s|\{\{\.Engine\}\})", "ENGINE = MergeTree", statement[start:])
    body = re.sub(r"^\s*(%s|\{\{\.TTL\}\})$", "", body, flags=re.MULTILINE)
    clickhouse.make("exporter")
    clickhouse.make("ours", "tables.sql")
    clickhouse.run(f"CREATE TABLE IF NOT EXISTS otel_{table} {body}", database="exporter")

    def columns(database: str) -> list[dict[str, Any]]:
        return clickhouse.rows(
            "SELECT name, type, is_in_primary_key FROM system.columns WHERE default_kind = '' "
            f"AND database = '{database}' AND table = 'otel_{table}' ORDER BY position"
        )

    assert columns("ours") == columns("exporter")


def test_every_query_runs_unchanged_on_a_cluster(filled: ClickHouse) -> None:
    """Every query gives on two shards what it gives on one machine, and both shards have signals."""
    shards = filled.rows("SELECT shardNum() AS shard, count() AS signals FROM feedback GROUP BY shard", database="otel")
    assert len(shards) == 2
    for query in QUERIES:
        text = query.read_text()
        assert filled.rows(text, database="one") == filled.rows(text, database="otel"), query.name


@pytest.mark.parametrize("database", ["empty", "weightless"])
@pytest.mark.parametrize("query", sorted(file.stem for file in (FOLDER / "queries").iterdir()))
def test_nothing_to_count_is_no_number(query: str, database: str, clickhouse: ClickHouse) -> None:
    """Without signals there are no rows; with one of each type that has no weight, NULL stands where no number can."""
    clickhouse.make(database, "tables.sql", "views.sql")
    if database == "weightless":
        given = {"score": "0.5", "weight": "0", "weighted_score": "0", "name": "stars", "target.resolved": "true"}
        given |= {"target.trace_id": "1" * 32, "target.span_id": "2" * 16, "user.hash": "a", "action": "set"}
        rows = [
            {
                "Timestamp": f"{time.time():.9f}",
                "SpanAttributes": {
                    f"feedback.{name}": text for name, text in {**given, "id": kind, "type": kind}.items()
                }
                | {"feature_flag.key": "tone"},
            }
            for kind in ("explicit", "implicit")
        ]
        clickhouse.insert("otel_traces", rows, database=database)
    text = (FOLDER / "queries" / f"{query}.sql").read_text().rstrip().rstrip(";")
    found = clickhouse.rows(f"{text} SETTINGS output_format_json_quote_denormals = 1", database=database)
    assert [row for row in found if {"nan", "inf", "-inf"} & set(map(str, row.values()))] == []
    if database == "empty":
        assert found == []
    elif query.startswith("by_"):
        assert [(row["mean"], row["margin"], row["weighted_mean"]) for row in found] == [(0.5, None, None)] * 2


def test_the_loader_is_a_command(pipeline: Pipeline, loader: ModuleType, tmp_path: Path) -> None:
    """`load.py` reads files and prints rows; without files it says how it is called."""
    file = tmp_path / "kept.jsonl"
    file.write_text("".join(json.dumps(message) + "\n" for message in pipeline.messages) + '{"resourceSpans": [')
    command = [sys.executable, str(FOLDER / "load.py")]
    done = subprocess.run([*command, "logs", str(file)], capture_output=True, text=True, timeout=60, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows == [row for message in pipeline.messages for row in loader.log_rows(message)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python load.py traces|logs FILE...\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"stringValue": "a"}, "a"),
        ({"boolValue": True}, "true"),
        ({"intValue": "7"}, "7"),
        ({"doubleValue": -1}, "-1"),
        ({"doubleValue": 0.1}, "0.1"),
        ({"doubleValue": 1e16}, "10000000000000000"),
        ({"doubleValue": 1e21}, "1e+21"),
        ({"doubleValue": "NaN"}, "NaN"),
        ({"doubleValue": 5e-7}, "5e-7"),
        ({"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}, '["a",1]'),
        ({"kvlistValue": {"values": [{"key": "b", "value": {"boolValue": False}}]}}, '{"b":false}'),
        ({}, ""),
    ],
)
def test_values_are_text(loader: ModuleType, value: dict[str, Any], text: str) -> None:
    """A value is written as the exporter writes it."""
    assert loader.text(value) == text
