"""Reading a million signals back from a file, beside DuckDB's own scan of the same file.

    python -m benchmarks.reading [signals]

Writes the file to a temporary folder (about 2 kB a signal), then runs each way in a process of its own, so that the
peak of its memory can be told. Processor time is what to compare: a shared machine stretches the other.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SIGNALS = 1_000_000
SIGNALS_A_LINE = 200
NAMES = ("user_thumbs", "stars", "copied")
SCORES = (-1.0, -0.5, 0.0, 0.5, 1.0)
START_NS = 1_763_712_000_000_000_000

MEANS = (
    "SELECT name, type, count(*) AS signals, avg(score) AS mean FROM feedback GROUP BY name, type ORDER BY name, type"
)
BY_VERSION = """
    SELECT coalesce(response_model, request_model) AS model, prompt_version, type, count(*) AS signals,
        avg(score) AS mean, sum(weighted_score) / sum(weight) AS weighted_mean,
        count(*) FILTER (WHERE score < 0) AS negative, count(DISTINCT user_hash) AS users
    FROM feedback WHERE score IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
LINES = "(SELECT sum(length(CAST(json AS VARCHAR))) FROM read_ndjson_objects('{}'))"
SPANS = "(SELECT unnest(resourceSpans) FROM read_json('{}'))"


def write(file: Path, signals: int) -> None:
    """Writes carrier spans as the SDK exports them, in lines of 200; one in ten gives a signal again."""
    with file.open("w") as out:
        for first in range(0, signals, SIGNALS_A_LINE):
            spans = [carrier(number) for number in range(first, min(first + SIGNALS_A_LINE, signals))]
            resource_ = {"attributes": [attribute("service.name", "assistant")]}
            scope = {"scope": {"name": "spanback"}, "spans": spans}
            batch = {"resourceSpans": [{"resource": resource_, "scopeSpans": [scope]}]}
            out.write(json.dumps(batch, separators=(",", ":")) + "\n")


def attribute(key: str, value: str | float | bool) -> dict[str, object]:
    """One attribute in OTLP's JSON."""
    kinds = {str: "stringValue", bool: "boolValue", float: "doubleValue"}
    return {"key": key, "value": {kinds[type(value)]: value}}


def carrier(number: int) -> dict[str, object]:
    """The span of one signal."""
    rated = number if number % 10 else max(0, number - 1)
    trace_id, span_id, model = f"{rated + 1:032x}", f"{rated + 1:016x}", f"model-{rated % 5}"
    score = SCORES[number * 7 % 5]
    values = {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": f"{model}-2026",
        "gen_ai.response.id": f"chatcmpl-{rated}",
        "gen_ai.prompt.version": str(rated % 4),
        "feedback.user.hash": f"{rated % 10_000:032x}",
        "feedback.target.trace_id": trace_id,
        "feedback.target.span_id": span_id,
        "feedback.target.sampled": True,
        "feedback.target.scope": "response",
        "feedback.target.resolved": True,
        "feedback.score": score,
        "feedback.weighted_score": score * 0.8,
        "feedback.sentiment": "positive" if score > 0 else "negative" if score < 0 else "neutral",
        "feedback.weight": 0.8,
        "feedback.source": "user",
        "feedback.type": "implicit" if rated % 3 == 2 else "explicit",
        "feedback.name": NAMES[rated % 3],
        "feedback.action": "set",
        "feedback.id": f"fb-{rated:012d}",
    }
    time_ns = START_NS + number * 1_000_000
    event = {name: values[name] for name in ("feedback.id", "feedback.weight", "feedback.source", "feedback.type")}
    return {
        "traceId": f"{number + (1 << 100):032x}",
        "spanId": f"{number + (1 << 60):016x}",
        "name": f"feedback {NAMES[rated % 3]}",
        "kind": 1,
        "startTimeUnixNano": str(time_ns),
        "endTimeUnixNano": str(time_ns + 1_000),
        "attributes": [attribute(*item) for item in values.items()],
        "events": [
            {
                "timeUnixNano": str(time_ns),
                "name": "gen_ai.evaluation.result",
                "attributes": [attribute(*item) for item in event.items()],
            }
        ],
        "links": [{"traceId": trace_id, "spanId": span_id, "attributes": [attribute("feedback.relation", "rates")]}],
        "status": {},
    }


def scan(records: str) -> object:
    """DuckDB alone."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'; SET threads = 2; SET preserve_insertion_order = false")
        return connection.execute(f"SELECT count(*) FROM {records}").fetchall()


def columns_alone(file: str) -> object:
    """DuckDB alone, with the columns that `Reader.sql` has it read, which are fewer than there are."""
    from spanback.reading import _duckdb

    lines = _duckdb.Files([file], [], longest_bytes=1_000_000).lines
    return scan(f"(SELECT unnest(resourceSpans) FROM ({lines}))")


def sql(file: str, query: str) -> object:
    """`Reader.sql`."""
    from spanback import reading

    with reading.open(file) as reader:
        return sum(row["signals"] for row in reader.sql(query))


def rows(file: str) -> object:
    """Every signal as a row in Python."""
    from spanback import reading

    with reading.open(file) as reader:
        return sum(1 for _ in reader.feedback())


WAYS: dict[str, Callable[[str], object]] = {
    "DuckDB: lines as text": lambda file: scan(LINES.format(file)),
    "DuckDB: read_json": lambda file: scan(SPANS.format(file)),
    "DuckDB: our columns": columns_alone,
    "sql: mean by name": lambda file: sql(file, MEANS),
    "sql: by model and version": lambda file: sql(file, BY_VERSION),
    "rows: every signal": rows,
}


def measured(way: str, file: Path) -> tuple[float, float, int, str]:
    """Wall and processor seconds, the peak of memory in MB, and what came of it."""
    command = [sys.executable, "-m", "benchmarks.reading", "--one", way, str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall_s, cpu_s, peak_mb, found = json.loads(done.stdout)
    return wall_s, cpu_s, peak_mb, found


def one(way: str, file: str) -> None:
    """Runs one way and prints its figures."""
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    found = WAYS[way](file)
    figures = time.perf_counter() - begun_s, time.process_time() - cpu_s
    print(json.dumps([*figures, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, str(found)]))


def table(file: Path) -> Iterator[str]:
    """The figures, line by line."""
    yield f"{file.stat().st_size / 1e9:.2f} GB; {os.cpu_count()} processors"
    own_s = columns_s = None
    for way in WAYS:
        wall_s, cpu_s, peak_mb, found = measured(way, file)
        own_s = cpu_s if way == "DuckDB: read_json" else own_s
        columns_s = cpu_s if way == "DuckDB: our columns" else columns_s
        ratio = f"{cpu_s / own_s:5.2f} x read_json" if own_s else ""
        ratio += f" {cpu_s / columns_s:5.2f} x our columns" if columns_s else ""
        yield f"{way:<28}{wall_s:8.1f} s{cpu_s:8.1f} s of processor{peak_mb:7d} MB  {ratio:<38}{found}"


def main() -> None:
    """Runs one way, or all of them."""
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3])
        return
    signals = int(sys.argv[1]) if sys.argv[1:] else SIGNALS
    with tempfile.TemporaryDirectory(prefix="spanback-reading-") as folder:
        file = Path(folder) / "traces.jsonl"
        write(file, signals)
        for line in table(file):
            print(line, flush=True)


if __name__ == "__main__":
    main()
