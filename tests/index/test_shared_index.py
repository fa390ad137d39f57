"""A response that one process got is rated in another by its id alone."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

import spanback
from spanback import InvalidSetting, SpanRef
from spanback._index import SharedIndex, _shared, _sqlite, opened
from spanback._index._opening import EXTRA_RULE, INDEX_RULE
from spanback._sharing import SHARING
from spanback._spanref import RESPONSES
from spanback._wal import switch_to_wal
from spanback.demo._loopback import LoopbackServer
from spanback.testing import InMemoryTelemetry
from tests.index.conftest import HANDLE, RedisServer, eventually
from tests.index.noting import note

REF = SpanRef.from_handle(HANDLE, "resp_1", "gpt-4o-mini-2024-07-18")


class Dictionary(dict[str, SpanRef]):
    """An index of the app's own that counts as false while nothing is in it."""

    put = dict.__setitem__
    find = dict.get


@pytest.fixture
def telemetry() -> Iterator[InMemoryTelemetry]:
    """Providers in memory; `instrument()` is taken back after the test."""
    yield InMemoryTelemetry()
    spanback.uninstrument()


def start(telemetry: InMemoryTelemetry, **choices: Any) -> None:
    """Instruments with providers in memory."""
    spanback.instrument(tracer_provider=telemetry.tracer_provider, set_up=False, clients=[], **choices)


def test_what_is_noted_is_found_elsewhere(url: str, telemetry: InMemoryTelemetry) -> None:
    """Another index on the same store has the whole reference, and feedback by the id is resolved."""
    start(telemetry, index=url)
    RESPONSES.add("resp_1", HANDLE, "gpt-4o-mini-2024-07-18")
    spanback.flush()
    RESPONSES.clear()
    receipt = spanback.record_feedback("resp_1", score=1)
    assert (receipt.status, receipt.target) == ("recorded", REF)
    other = opened(url, 60)
    assert other.find("resp_1") == REF
    assert other.find("resp_2") is None
    assert spanback.record_feedback("resp_2", score=1).status == "unresolved"


def test_an_entry_has_its_time(url: str) -> None:
    """After the time limit it is unknown."""
    index = opened(url, 1)
    index.offer("resp_1", HANDLE, None)
    assert index.flush(5)
    eventually(lambda: index.find("resp_1") is None)
    assert index.close(5)


CALLER = """
import openai, spanback, sys
from spanback.testing import InMemoryTelemetry
spanback.instrument(tracer_provider=InMemoryTelemetry().tracer_provider, set_up=False)
made = openai.OpenAI().chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Kyoto?"}])
print(spanback.reference(made).traceparent, made.id)
"""


def test_a_web_worker_rates_what_another_one_got(url: str, telemetry: InMemoryTelemetry) -> None:
    """A call of the real client in another process, noted at its exit; the variable is enough."""
    with LoopbackServer() as server:
        given = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none", "SPANBACK_INDEX": url}
        done = subprocess.run(
            [sys.executable, "-c", CALLER], env={**os.environ, **given}, capture_output=True, text=True, check=True, timeout=60
        )  # fmt: skip
    traceparent, response_id = done.stdout.split()
    assert done.stderr == ""
    start(telemetry, index=url)
    receipt = spanback.record_feedback(response_id, score=1)
    assert receipt.status == "recorded"
    assert receipt.target is not None
    assert receipt.target.traceparent == traceparent
    assert spanback.reference({"id": response_id}) == receipt.target


def test_many_processes_write_at_once(url: str) -> None:
    """Nothing is lost between three of them."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=note, args=(url, 200 * number, 200)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 3
    index = opened(url, 600)
    assert all(index.find(f"resp_{number}") is not None for number in range(600))


@pytest.mark.filterwarnings("ignore:.*use of fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_forked_process_goes_on_by_itself(url: str) -> None:
    """It has a thread and connections of its own; what waited in its parent is its parent's to write."""
    index = opened(url, 60)
    index.offer("parent", HANDLE, None)
    assert index.flush(5)
    assert index.find("parent") is not None
    child = os.fork()
    if child == 0:
        index.offer("child", HANDLE, None)
        ok = index.flush(5) and index.find("parent") is not None
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert index.find("child") is not None
    index.offer("again", HANDLE, None)
    assert index.flush(5)
    assert index.find("again") is not None


def test_a_redis_that_is_down_costs_a_bounded_moment(
    redis_server: RedisServer, telemetry: InMemoryTelemetry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Calls go on, feedback is unresolved, one WARNING is logged, and it is found again once the server is back."""
    start(telemetry, index=redis_server.url)
    redis_server.stop()
    caplog.set_level(logging.DEBUG, "spanback")
    before_s = time.monotonic()
    for _ in range(20):
        assert spanback.record_feedback("resp_1", score=1).status == "unresolved"
        RESPONSES.add("resp_2", HANDLE, None)
    assert time.monotonic() - before_s < 2
    spanback.flush()
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warnings == [
        "The shared index does not answer; feedback by response id alone stays unresolved. Said once a minute; DEBUG says why."
    ]
    assert "secret-word" not in caplog.text
    redis_server.start()
    monkeypatch.setattr(_shared, "PAUSE_S", 0.0)
    RESPONSES.add("resp_1", HANDLE, None)
    spanback.flush()
    RESPONSES.clear()
    assert spanback.record_feedback("resp_1", score=1).status == "recorded"


def test_an_sqlite_file_that_cannot_be_written(
    tmp_path: Path, telemetry: InMemoryTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that does not exist is no reason to fail; it is said once."""
    start(telemetry, index=f"sqlite:///{tmp_path / 'missing' / 'index.db'}")
    for number in range(3):
        RESPONSES.add(f"resp_{number}", HANDLE, None)
        spanback.flush()
    assert [one.getMessage() for one in caplog.records] == [
        (
            "The shared index does not take responses; other processes will not find them by their ids. "
            "Said once a minute; DEBUG says why."
        )
    ]


def test_the_file_is_its_owners_and_holds_no_content(tmp_path: Path) -> None:
    """What stands there is ids, names and numbers; old entries go."""
    path = tmp_path / "index.db"
    index = opened(f"sqlite:///{path}", 1)
    index.offer("resp_1", HANDLE, "m")
    assert index.flush(5)
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(path)) as connection, connection:
        ((text,),) = connection.execute("SELECT ref FROM spanback_refs").fetchall()
        assert json.loads(text) == [1, 10, 11, True, HANDLE[3], "resp_1", "openai", "gpt-4o-mini", "m", "greeting", "7", "c-1", ["beta"], "tone", "warm", 12]  # fmt: skip
        assert len(text) < 200
        connection.execute("UPDATE spanback_refs SET expires_s = 0")
    connection.close()
    index.index._pruned_s = float("-inf")
    index.offer("resp_2", HANDLE, "m")
    assert index.flush(5)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT response_id FROM spanback_refs").fetchall() == [("resp_2",)]
    connection.close()


class Own:
    """An index of an app's own."""

    def __init__(self) -> None:
        self.noted: dict[str, SpanRef] = {}
        self.gate = threading.Event()
        self.gate.set()

    def put(self, response_id: str, ref: SpanRef) -> None:
        """Notes it, once the gate is open."""
        self.gate.wait()
        if response_id == "bad":
            raise RuntimeError
        self.noted[response_id] = ref

    def find(self, response_id: str) -> Any:
        """What was noted; something odd for one id."""
        if response_id == "bad":
            raise RuntimeError
        return "odd" if response_id == "odd" else self.noted.get(response_id)


def test_an_app_may_bring_its_own(telemetry: InMemoryTelemetry) -> None:
    """Two methods are enough; what they raise or give that is no reference does no harm."""
    own = Own()
    start(telemetry, index=own)
    sharing = SHARING.index
    start(telemetry)
    assert SHARING.index is sharing
    RESPONSES.add("resp_1", HANDLE, None)
    RESPONSES.add("bad", HANDLE, None)
    spanback.flush()
    assert list(own.noted) == ["resp_1"]
    RESPONSES.clear()
    assert spanback.reference("resp_1") == own.noted["resp_1"]
    assert spanback.reference("odd") is None
    assert spanback.reference("bad") is None
    assert spanback.reference("resp_1") is None, "it is not asked right after a failure"


def test_an_empty_index_of_an_apps_own_is_used(telemetry: InMemoryTelemetry) -> None:
    """It is asked whether there is one, and not whether there is anything in it."""
    index = Dictionary()
    start(telemetry, index=index)
    start(telemetry)
    RESPONSES.add("resp_1", HANDLE)
    spanback.flush()
    assert index["resp_1"].trace_id == HANDLE[0]


def test_calls_never_wait_for_it(
    telemetry: InMemoryTelemetry, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """An index that hangs holds up nothing; what does not fit into the queue is dropped, and said."""
    monkeypatch.setattr(_shared, "QUEUE_LIMIT", 100)
    own = Own()
    own.gate.clear()
    index = SharedIndex(own)
    before_s = time.monotonic()
    for number in range(1_000):
        index.offer(f"resp_{number}", HANDLE, None)
    assert not index.flush(0.05)
    assert time.monotonic() - before_s < 2
    assert [one.getMessage() for one in caplog.records] == [
        (
            "The shared index takes responses more slowly than they are made; some are not noted in it. "
            "Said once a minute; DEBUG says why."
        )
    ]
    own.gate.set()
    assert index.close(5)
    assert 100 <= len(own.noted) < 1_000


def test_what_a_forked_process_begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues, threads and connections of its own; those of its parent are left as they are."""
    monkeypatch.setattr(_shared, "_all", WeakSet())
    monkeypatch.setattr(_sqlite, "_inherited", inherited := [])
    own = Own()
    own.gate.clear()
    slow, file = SharedIndex(own), opened(f"sqlite:///{tmp_path / 'index.db'}", 60)
    for index in (slow, file):
        index.offer("parent", HANDLE, None)
    assert not slow.flush(0.05)
    assert file.flush(5)
    assert file.find("parent") is not None
    parents = [(index._queue, index._thread) for index in (slow, file)]
    connections = [file.index._writer, file.index._reader]
    _shared._forget_all()
    assert slow.flush(0), "what waits is not the child's"
    assert inherited == connections
    assert [one.execute("SELECT 1").fetchone() for one in connections] == [(1,), (1,)], "they are not closed"
    for index in (slow, file):
        index.offer("child", HANDLE, None)
    own.gate.set()
    assert slow.close(5)
    assert file.close(5)
    assert own.noted["child"].trace_id == HANDLE[0]
    assert [file.find(one) is not None for one in ("parent", "child")] == [True, True]
    assert not {file.index._writer, file.index._reader} & set(connections)
    for queue, thread in parents:
        queue.put(None)
        assert thread is not None
        thread.join(5)
    assert set(own.noted) == {"parent", "child"}, "the parent's thread has gone on"
    for connection in connections:
        connection.close()
    file.close(5)


def test_those_who_make_a_new_file_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite itself refuses some of them at once, and what they note first would be lost."""
    for number in range(20):
        indexes = [_sqlite.SqliteIndex(str(tmp_path / f"{number}.db"), 60) for _ in range(6)]
        together = threading.Barrier(len(indexes))

        def begin(one: int, indexes: Any = indexes, together: Any = together) -> None:
            together.wait()
            indexes[one].put_all({f"resp_{one}": REF})

        with ThreadPoolExecutor(len(indexes)) as threads:
            list(threads.map(begin, range(len(indexes))))
        assert all(indexes[0].find(f"resp_{one}") for one in range(len(indexes)))
        for index in indexes:
            index.disconnect()


def test_a_file_that_stays_locked_is_waited_for_once(tmp_path: Path) -> None:
    """Where SQLite has waited itself, it does not wait as long again."""
    path, tried = tmp_path / "index.db", list[str]()

    class Counted(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            tried.append(statement)
            return super().execute(statement, *values)

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        own = sqlite3.connect(path, 0.2, factory=Counted)
        with closing(own), pytest.raises(sqlite3.OperationalError, match="locked"):
            switch_to_wal(own, 0.2)
    assert tried == ["PRAGMA journal_mode = WAL"]


def test_a_file_that_is_locked_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    """Where SQLite does not wait itself, it is waited for whoever holds the file."""
    path = tmp_path / "index.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
        closing(sqlite3.connect(path, 0)) as own,
    ):
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(0.1, other.execute, ["COMMIT"])
        release.start()
        switch_to_wal(own, 10.0)
        release.join()
        assert own.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("has_written", [True, False])
def test_an_index_that_is_closed_lets_go_of_its_file(tmp_path: Path, has_written: bool) -> None:
    """What is asked of it later opens it again."""
    index = opened(f"sqlite:///{tmp_path / 'index.db'}", 60)
    if has_written:
        index.offer("resp_1", HANDLE, None)
        assert index.flush(5)
    assert (index.find("resp_1") is not None) == has_written
    assert index.close(5)
    eventually(lambda: index.index._writer is None and index.index._reader is None)
    assert (index.find("resp_1") is not None) == has_written


def test_there_is_one_thread() -> None:
    """Of two calls that find none, the second one leaves that of the first."""
    index = SharedIndex(Own())
    index._start()
    first = index._thread
    index._start()
    assert index._thread is first
    assert index.close(5)


def test_a_flush_waits_for_an_index_no_longer_than_asked(telemetry: InMemoryTelemetry) -> None:
    """The app's own limit goes before that of the exit."""
    released = threading.Event()
    index = Dictionary()
    index.put = lambda _response_id, _ref: released.wait(10)
    start(telemetry, index=index)
    RESPONSES.add("resp_1", HANDLE)
    since_s = time.monotonic()
    spanback.flush(0.1)
    assert time.monotonic() - since_s < 2.0
    released.set()


def test_an_index_is_flushed_only_while_it_is_in_force(telemetry: InMemoryTelemetry) -> None:
    """At the exit of a process that has taken its index back, nothing is waited for."""
    own = Own()
    start(telemetry, index=own)
    RESPONSES.add("resp_1", HANDLE, None)
    SHARING.flush()
    assert list(own.noted) == ["resp_1"]
    index = SHARING.index
    assert index is not None
    spanback.uninstrument()
    own.gate.clear()
    index.offer("resp_2", HANDLE, None)
    before_s = time.monotonic()
    SHARING.flush()
    assert time.monotonic() - before_s < 1
    assert list(own.noted) == ["resp_1"]
    own.gate.set()
    assert index.close(5)


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        *[(bad, INDEX_RULE) for bad in ("", " ", "index.db", "sqlite:///", "sqlite://index.db", "sqlite:///a\0b", "mysql://u:secret@h/d", "redis", 7, object())],
        ("redis://u:secret@host:port", INDEX_RULE),
    ],
)  # fmt: skip
def test_what_is_no_index_is_refused(telemetry: InMemoryTelemetry, bad: Any, rule: str) -> None:
    """The error names the rule, and no password."""
    with pytest.raises(InvalidSetting) as refusal:
        start(telemetry, index=bad or "x")
    assert (refusal.value.setting, refusal.value.rule) == ("index", rule)
    assert "secret" not in f"{refusal.value!r} {refusal.value.value!r}"


def test_without_redis_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is an extra."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(InvalidSetting) as refusal:
        opened("redis://host", 60)
    assert refusal.value.rule == EXTRA_RULE


@pytest.mark.parametrize("bad", [0, 0.5, -1, True, "60", float("inf"), float("nan")])
def test_the_time_limit_is_a_number_of_seconds(telemetry: InMemoryTelemetry, bad: Any) -> None:
    """At least one."""
    with pytest.raises(InvalidSetting) as refusal:
        start(telemetry, index_ttl_s=bad)
    assert refusal.value.setting == "index_ttl_s"


def test_a_wrong_variable_stops_nothing(
    telemetry: InMemoryTelemetry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, without what may be a password."""
    monkeypatch.setenv("SPANBACK_INDEX", "mysql://u:secret@h/d")
    monkeypatch.setenv("SPANBACK_INDEX_TTL_S", "0")
    start(telemetry)
    assert SHARING.index is None
    assert [one.getMessage() for one in caplog.records] == [
        f"SPANBACK_INDEX is not used: index='mysql://...' {INDEX_RULE}"
    ]
