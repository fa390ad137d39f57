"""SQL over files: the same as the rows, whatever the files are like."""

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanback import reading
from spanback.errors import SourceError
from spanback.reading import Feedback, _duckdb, _lines
from tests.reading.writing import call_span, carrier_span, log_event, logs_line, spans_line

WIRE = Path(__file__).parent / "wire" / "collector.jsonl"
COUNT = "SELECT count(*) AS n FROM feedback"


def _asked(source: Any, query: str) -> list[dict[str, Any]]:
    with reading.open(source) as reader:
        return list(reader.sql(query))


def test_the_tables_hold_what_the_rows_hold() -> None:
    """One row a signal that stands and one a call, with columns named as the rows' fields."""
    with reading.open(WIRE) as reader:
        feedback = {row.feedback_id: row for row in reader.feedback()}
        calls = {call.span_id: call for call in reader.calls()}
    asked = _asked(WIRE, "SELECT * FROM feedback ORDER BY time_ns")
    assert [row["feedback_id"] for row in asked] == list(feedback)
    for row in asked:
        signal = feedback[row["feedback_id"]]
        for name in ("name", "score", "weight", "source", "label", "comment", "span_id", "time_ns", "sampled", "scope"):
            assert row[name] == getattr(signal, name), name
        assert row["request_model"] == signal.dimensions.get("gen_ai.request.model")
    found = _asked(WIRE, "SELECT * FROM calls")
    assert {row["span_id"] for row in found} == set(calls)
    for row in found:
        call = calls[row["span_id"]]
        for name in ("operation", "start_time_ns", "duration_ns", "input_tokens", "response_model", "parent_span_id"):
            assert row[name] == getattr(call, name), name


def test_means_of_stated_and_inferred_stay_apart() -> None:
    """A query of the README's kind."""
    query = "SELECT type, count(*) AS n, round(avg(score), 2) AS mean FROM feedback GROUP BY type ORDER BY type;"
    assert _asked(WIRE, query) == [
        {"type": "explicit", "n": 5, "mean": -0.38},
        {"type": "implicit", "n": 1, "mean": 0.4},
    ]


@pytest.mark.parametrize(
    ("threads", "longest_bytes", "expected"),
    [
        (1, 16_777_216, (1, 400_000_000)),
        (2, 16_777_216, (2, 400_000_000)),
        (64, 1_000, (4, 800_000_000)),
        (64, 30_000_000, (2, 1_000_000_000)),
        (64, 100_000_000, (1, 1_864_455_680)),
    ],
)
def test_memory_is_shared_by_no_more_threads_than_it_serves(
    threads: int, longest_bytes: int, expected: tuple[int, int]
) -> None:
    """Each thread has memory for lines as long as the longest, whatever the machine has of either."""
    assert _duckdb.budget(threads, longest_bytes) == expected


def test_a_query_keeps_to_its_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DuckDB is told how much memory and which threads it has; what it writes to disk goes where temporary files go."""
    monkeypatch.setattr(_duckdb, "budget", lambda *_: (3, 700_000_000))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("threads", "memory_limit", "temp_directory")
    (row,) = _asked(WIRE, "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in names))
    assert (row["threads"], row["memory_limit"]) == (3, "667.5 MiB")
    assert Path(row["temp_directory"]).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_spans_and_log_records_in_one_line_are_both_read(tmp_path: Path) -> None:
    """A line may hold both kinds, though no exporter writes such lines."""
    one, other = (Feedback(name, 1, score=1.0, trace_id="1" * 32, span_id="2" * 16) for name in ("fb-1", "fb-2"))
    line = json.loads(spans_line(carrier_span(one))) | json.loads(logs_line(log_event(other)))
    (tmp_path / "both.jsonl").write_text(json.dumps(line) + "\n")
    assert _asked(tmp_path, COUNT) == [{"n": 2}]


def test_gzip_and_plain_files_are_one(tmp_path: Path) -> None:
    """By content, whatever their names; what is in both counts once."""
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(WIRE.read_bytes()))
    (tmp_path / "it's.jsonl").write_bytes(WIRE.read_bytes())
    signal = Feedback("fb-more", 1, score=1.0, trace_id="1" * 32, span_id="2" * 16)
    (tmp_path / "c.jsonl").write_text(logs_line(log_event(signal)))
    assert _asked(tmp_path, COUNT) == [{"n": 7}]


def test_damaged_lines_lose_nothing_else(tmp_path: Path) -> None:
    """They are passed over."""
    odd = {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [{"name": 5, "attributes": [{"key": "feedback.id", "value": {}}]}]}]}
        ]
    }
    file = tmp_path / "t.jsonl"
    file.write_text('garbage\n{"a":\n' + WIRE.read_text() + json.dumps(odd) + '\n{"resourceSpans":"no"}\n')
    assert _asked(file, COUNT) == [{"n": 6}]


@pytest.mark.parametrize("value", ["soon", "18446744073709551615", "-5"])
@pytest.mark.parametrize("field", ["startTimeUnixNano", "endTimeUnixNano"])
def test_a_time_that_is_none_loses_its_record_alone(field: str, value: str, tmp_path: Path) -> None:
    """As it does for the rows."""
    signal = Feedback("fb-odd", 1, score=1.0, trace_id="1" * 32, span_id="2" * 16)
    odd = ({**call_span(next(iter(_calls()))), field: value}, {**carrier_span(signal), "startTimeUnixNano": value})
    (tmp_path / "t.jsonl").write_text(WIRE.read_text() + spans_line(*odd))
    assert _asked(tmp_path, "SELECT count(recorded_at) AS n FROM feedback") == [{"n": 6}]
    assert _asked(tmp_path, "SELECT count(start_time) AS n, min(duration_ns) >= 0 AS ok FROM calls") == [
        {"n": 3, "ok": True}
    ]


def test_the_last_time_there_is_fails_no_query(tmp_path: Path) -> None:
    """It is later than DuckDB's last."""
    signal = Feedback("fb-last", 2**63 - 1, score=1.0, trace_id="1" * 32, span_id="2" * 16)
    (tmp_path / "t.jsonl").write_text(spans_line(carrier_span(signal)))
    assert _asked(tmp_path, "SELECT time_ns, recorded_at FROM feedback") == [
        {"time_ns": 2**63 - 1, "recorded_at": None}
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_long_line_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]) -> None:
    """However long the longest line is, what it holds counts."""
    monkeypatch.setattr(_lines, "_BLOCK_BYTES", 1024 * 1024)
    call = {**call_span(next(iter(_calls()))), "name": "x" * 5_000_000}
    signal = Feedback("fb", 1, score=1.0, trace_id="1" * 32, span_id="2" * 16)
    file = tmp_path / "t.jsonl"
    file.write_bytes(pack((spans_line(call, carrier_span(signal)) * 2 + WIRE.read_text()).encode()))
    assert _asked(file, COUNT) == [{"n": 7}]


def _calls() -> Any:
    with reading.open(WIRE) as reader:
        yield from reader.calls()


def test_an_empty_folder_has_empty_tables(tmp_path: Path) -> None:
    """No file is no failure."""
    assert _asked(tmp_path, COUNT) == [{"n": 0}]
    assert _asked(tmp_path, "SELECT * FROM calls") == []


def test_a_wrong_query_is_told() -> None:
    """In DuckDB's words."""
    with pytest.raises(SourceError, match="nonsense"):
        _asked(WIRE, "SELECT nonsense FROM feedback")


@pytest.mark.parametrize(
    "before",
    [
        "WITH",
        "with\n ",
        "  WITH\t",
        "-- Which WITH?\nWITH ",
        "/* WITH\n*/ WITH ",
        "WITH RECURSIVE ",
        "with\nrecursive\n",
    ],
)
def test_a_query_may_name_tables_of_its_own(before: str) -> None:
    """However its author breaks lines, and whatever is said before it."""
    query = f"{before} mine AS (SELECT count(*) AS n FROM feedback) -- and\nSELECT n FROM mine"
    assert _asked(WIRE, query) == [{"n": 6}]


def test_comments_may_stand_before_a_query() -> None:
    """A table may have any name."""
    assert _asked(WIRE, "-- WITH all\nSELECT count(*) AS without FROM feedback AS within") == [{"without": 6}]


PACKED = gzip.compress(WIRE.read_bytes())


@pytest.mark.parametrize(
    "content",
    [PACKED[:-20], PACKED[:60] + b"\0" * 10 + PACKED[70:], b"\x28\xb5\x2f\xfdxxxx"],
    ids=["cut", "bad", "zstd"],
)
def test_an_unreadable_file_is_told(content: bytes, tmp_path: Path) -> None:
    """A broken gzip file cannot be asked, nor what is not read at all."""
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(SourceError, match="cannot be asked by SQL"):
        _asked(tmp_path, COUNT)


def test_without_duckdb_its_package_is_named(run_without: Callable[..., str]) -> None:
    """Everything else works without it."""
    code = """
from spanback import reading
reader = reading.open(sys.argv[1])
print(len(list(reader.feedback())))
try:
    list(reader.sql("SELECT 1"))
except OSError as error:
    print(error)
"""
    assert run_without("duckdb", code, str(WIRE)).splitlines() == [
        "6",
        "SQL over files: needs DuckDB: pip install 'spanback[sql]'",
    ]
