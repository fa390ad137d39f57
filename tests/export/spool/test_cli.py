"""`spanback spool`: lists, exports, retries and drops."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from spanback import _settings
from spanback._telemetry import Unsent
from spanback.cli import main
from spanback.export._spool._letters import Letters
from spanback.export._spool._store import Outbox, Store
from spanback.export._spool._wire import encoded
from tests.export.telemetry import log, span

SECOND_NS = 10**9


@pytest.fixture
def filled(store: Store, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, path: str) -> str:
    """A spool with two dead letters and two records that wait, given at the second 5."""
    from spanback.export._spool import _store

    monkeypatch.setattr(_store.time, "time_ns", lambda: 5 * SECOND_NS)
    signals = [Unsent(one, span(one, {"feedback.id": one}, remote=True), log({"feedback.id": one})) for one in "ab"]
    store.put(encoded(signals))
    monkeypatch.undo()
    for kind in ("traces", "logs"):
        outbox.bury(outbox.batch(kind, 0, 1, 10_000), "HTTP 400 Bad Request: odd", 7 * SECOND_NS)
    assert outbox.claim("traces", 0)
    outbox.settle("traces", 3, 9 * SECOND_NS, "HTTP 503")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """What a command prints."""
    assert main(["spool", *words]) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def test_what_is_there_is_listed(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, sizes, times and reasons, for people and for programs."""
    size = Path(filled).stat().st_size + Path(f"{filled}-wal").stat().st_size
    text = run(capsys, filled)
    assert text.splitlines() == [
        f"{filled}: {size:,} bytes",
        "traces: 1 waiting, the oldest of 1970-01-01T00:00:05Z; last trouble: HTTP 503",
        "logs: 1 waiting, the oldest of 1970-01-01T00:00:05Z",
        "dead letters: 2",
        "  1970-01-01T00:00:07Z  traces  a  HTTP 400 Bad Request: odd",
        "  1970-01-01T00:00:07Z  logs  a  HTTP 400 Bad Request: odd",
    ]
    dead = {"feedback_id": "a", "given": "1970-01-01T00:00:05Z", "died": "1970-01-01T00:00:07Z"}
    waits = {"records": 1, "oldest": "1970-01-01T00:00:05Z"}
    assert json.loads(run(capsys, "list", filled, "--json")) == {
        "path": filled,
        "bytes": size,
        "pending": {
            "traces": {
                **waits,
                "failed_attempts": 3,
                "next_attempt": "1970-01-01T00:00:09Z",
                "last_trouble": "HTTP 503",
            },
            "logs": {**waits, "failed_attempts": 0, "next_attempt": None, "last_trouble": None},
        },
        "dead_letters": [
            {"id": 1, "kind": "traces", **dead, "reason": "HTTP 400 Bad Request: odd"},
            {"id": 2, "kind": "logs", **dead, "reason": "HTTP 400 Bad Request: odd"},
        ],
    }


def test_records_are_exported_as_lines(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A record is a line as the collector's file exporter writes it, ids in hex."""
    from spanback.export._otlp_json import logs_line, spans_line

    dead = run(capsys, "export", filled).splitlines()
    everything = run(capsys, "export", filled, "--pending").splitlines()
    assert [len(dead), len(everything)] == [2, 4]
    assert everything[:2] == dead
    assert run(capsys, "export", filled, "--id", "b") == ""
    assert len(run(capsys, "export", filled, "--pending", "--id", "b").splitlines()) == 2
    exported = json.loads(dead[0])
    (expected,) = json.loads(spans_line([span("a", {"feedback.id": "a"}, remote=True)]))["resourceSpans"]
    own = exported["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    theirs = expected["scopeSpans"][0]["spans"][0]
    assert own.keys() == theirs.keys()
    assert {key: own[key] for key in own.keys() - {"spanId"}} == {key: theirs[key] for key in own.keys() - {"spanId"}}
    assert int(own["spanId"], 16) > 0
    own, theirs = (
        one["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        for one in (json.loads(dead[1]), json.loads(logs_line([log({"feedback.id": "a"})])))
    )
    assert own["attributes"] == theirs["attributes"]


def test_dead_letters_are_put_back(filled: str, outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    """They wait again, and at once, in the order in which they were."""
    assert run(capsys, "retry", filled, "--id", "b") == "0 records put back.\n"
    before_ns = time.time_ns()
    assert run(capsys, "retry", filled, "--json") == '{"records": 2}\n'
    assert outbox.counts() == {"dead": 0, "traces": 2, "logs": 2}
    assert outbox.batch("traces", 0, 9, 9_999)[1].id > before_ns
    assert [row.record.feedback_id for row in outbox.batch("traces", 0, 9, 9_999)] == ["b", "a"]
    assert outbox.lane("traces", 0).next_ns == 0


def test_records_are_dropped_only_when_it_is_meant(
    filled: str, outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --yes it is said how many would go."""
    assert run(capsys, "drop", filled) == "2 records would be dropped; say --yes.\n"
    assert run(capsys, "drop", filled, "--pending", "--id", "b") == "2 records would be dropped; say --yes.\n"
    assert outbox.counts() == {"dead": 2, "traces": 1, "logs": 1}
    assert run(capsys, "drop", filled, "--id", "a", "--yes") == "2 records dropped.\n"
    assert run(capsys, "drop", filled, "--pending", "--yes") == "2 records dropped.\n"
    assert outbox.counts() == {"dead": 0, "traces": 0, "logs": 0}


def test_the_path_is_the_variables_unless_given(
    filled: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPANBACK_SPOOL says where; no path and two are a wrong call; a file that is not there or none is said."""
    monkeypatch.setattr(_settings.IN_FORCE, "settings", None)
    monkeypatch.delenv("SPANBACK_SPOOL", raising=False)
    assert run(capsys, code=2) == "There is no spool to look into: name its file, or set SPANBACK_SPOOL.\n"
    monkeypatch.setattr(_settings.IN_FORCE, "settings", None)
    monkeypatch.setenv("SPANBACK_SPOOL", filled)
    assert run(capsys).startswith(filled)
    assert run(capsys, "list", "a", "b", code=2) == "One path, please, and not 2: a b\n"
    assert run(capsys, "exprot", "a", code=2) == (
        "One path, please, and not 2: exprot a. Actions are list, export, retry, drop.\n"
    )
    assert run(capsys, f"{filled}.no", code=1) == f"{filled}.no: there is no such file\n"
    Path(f"{filled}.odd").write_text("no database" * 500)
    assert run(capsys, f"{filled}.odd", code=1) == f"{filled}.odd: SQLite says: file is not a database\n"


def test_a_spool_without_a_log_beside_it(path: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty spool of an app that has ended is an empty list."""
    store.put([])
    store.close()
    assert run(capsys, path).splitlines()[1:] == ["traces: 0 waiting", "logs: 0 waiting", "dead letters: 0"]


def test_a_log_that_has_gone_meanwhile_counts_for_nothing(filled: str) -> None:
    """What cannot be looked at has no size, and the rest of the list is there."""
    letters = Letters(filled)
    with_log = letters.overview()
    Path(f"{filled}-wal").unlink()
    assert letters.overview() == {**with_log, "bytes": Path(filled).stat().st_size}
    letters.close()


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """The help says what can be done."""
    with pytest.raises(SystemExit):
        main(["spool", "--help"])
    assert "spanback spool export feedback.db > dead.jsonl" in capsys.readouterr().out
