"""What is on disk: commits, limits, leases, dead letters, and files that cannot be used."""

from __future__ import annotations

import sqlite3
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spanback.errors import SpoolFull, SpoolUnavailable
from spanback.export._spool import _database
from spanback.export._spool._database import Database
from spanback.export._spool._store import LEASE_S, Lane, Outbox, Record, Row, Store, _Waiting
from tests.backends.servers import eventually

LEASE_NS = int(LEASE_S * 1e9)
HOUR_NS = 3_600 * 10**9


def record(number: int, kind: Any = "traces", body: bytes = b"span", *, has_twin: bool = False) -> Record:
    """A record by its number."""
    return Record(kind, f"id-{number}", has_twin, b"resource", b"scope", body)


def ids(outbox: Outbox, kind: Any = "traces", now_ns: int = 0) -> list[str]:
    """The feedback ids of what is due."""
    return [row.record.feedback_id for row in outbox.batch(kind, now_ns, 10_000, 10**9)]


def test_what_is_put_is_read_back_in_order(store: Store, outbox: Outbox) -> None:
    """Records come out as they were put in, oldest first, each kind by itself."""
    records = [record(1), record(2, "logs", b"log", has_twin=True), record(3)]
    before_ns = time.time_ns()
    store.put(records)
    spans = outbox.batch("traces", 0, 10, 1_000)
    now_ns = spans[0].id
    assert before_ns <= now_ns <= time.time_ns()
    assert spans == [Row(now_ns, 0, records[0]), Row(now_ns + 1, 0, records[2])]
    assert outbox.batch("logs", 0, 10, 1_000) == [Row(now_ns, 0, records[1])]
    assert outbox.counts() == {"dead": 0, "traces": 2, "logs": 1}


def test_the_file_is_its_owners_alone(store: Store, path: str) -> None:
    """Comments are in it, so no other user can read it, nor the log beside it."""
    store.put([record(1)])
    for name in (path, f"{path}-wal"):
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600


def test_a_commit_is_synced_to_the_disk(store: Store) -> None:
    """WAL with synchronous FULL, which is 2: SQLite syncs the log before a commit returns."""
    store.put([record(1)])
    with store._database.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_batch_ends_at_its_limits(store: Store, outbox: Outbox) -> None:
    """A batch has at most so many records and bytes, but one record at least."""
    store.put([record(number, body=b"x" * 100) for number in range(10)])
    assert len(outbox.batch("traces", 0, 3, 10_000)) == 3
    assert len(outbox.batch("traces", 0, 10, 250)) == 2
    assert len(outbox.batch("traces", 0, 10, 1)) == 1


def test_threads_share_a_commit(store: Store, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other threads queue while one commits is committed by the next, all at once."""
    commits: list[int] = []
    plain = store._insert
    first, rest = threading.Event(), threading.Event()

    def counted(records: Any, number: int = 0) -> int:
        commits.append(len(records))
        first.set()
        rest.wait(5)
        return plain(records, number)

    monkeypatch.setattr(store, "_insert", counted)
    threads = [threading.Thread(target=store.put, args=([record(number)],)) for number in range(8)]
    threads[0].start()
    first.wait(5)
    for thread in threads[1:]:
        thread.start()
    while len(store._queue) < 7:
        pass
    rest.set()
    for thread in threads:
        thread.join()
    assert commits == [1, 7]
    assert sorted(ids(outbox)) == sorted(f"id-{number}" for number in range(8))


def test_a_full_spool_refuses(path: str) -> None:
    """At the limit nothing is taken, nothing that is there is lost, and there is room again once something is sent."""
    store = Store(Database(path, 200_000, "FULL"), drop_oldest=False)
    outbox = Outbox(Database(path, 200_000, "NORMAL"), "me")
    fives = [[record(number, body=b"x" * 1_000) for number in range(start, start + 5)] for start in range(0, 1_000, 5)]
    with pytest.raises(SpoolFull) as caught:
        list(map(store.put, fives))
    taken = outbox.counts()["traces"]
    assert caught.value.reason == "its limit of 200,000 bytes is reached"
    assert str(caught.value) == f"the spool {path} takes no signal: its limit of 200,000 bytes is reached"
    assert ids(outbox) == [f"id-{number}" for number in range(taken)]
    assert 100 < taken < 200
    assert Path(path).stat().st_size <= 200_000
    outbox.delete("traces", [row.id for row in outbox.batch("traces", 0, 20, 10**9)])
    store.put([record(-1)])
    assert outbox.counts()["traces"] == taken - 20 + 1
    store.close()
    outbox.close()


def test_a_full_spool_drops_the_oldest_where_the_app_says_so(path: str) -> None:
    """The newest records are always there, and what had to go is counted."""
    store = Store(Database(path, 200_000, "FULL"), drop_oldest=True)
    outbox = Outbox(Database(path, 200_000, "NORMAL"), "me")
    for start in range(0, 500, 20):
        store.put([record(number, body=b"x" * 1_000) for number in range(start, start + 20)])
    left = ids(outbox)
    assert left == [f"id-{number}" for number in range(500 - len(left), 500)]
    assert store.dropped == 500 - len(left) > 300
    with pytest.raises(SpoolFull):
        store.put([record(0, body=b"x" * 300_000)])
    assert ids(outbox) == left
    store.close()
    outbox.close()


def test_what_fits_alone_is_not_refused_for_a_neighbour(path: str) -> None:
    """Of records that threads commit together, only those that do not fit are refused."""
    store = Store(Database(path, 200_000, "FULL"), drop_oldest=False)
    store.put([record(0)])
    small, large = _Waiting([record(1)]), _Waiting([record(2, body=b"x" * 300_000)])
    store._commit_all([large, small])
    assert (small.error, type(large.error)) == (None, SpoolFull)
    store.close()


def test_a_full_disk_is_told_from_a_full_spool(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of a disk is left alone, since what is to be deleted takes room too; and it is said which is full."""
    store = Store(Database(path, 100_000, "FULL"), drop_oldest=False)
    store.put([record(0)])
    cases = (
        (_database.RESERVE_BYTES + 100, 100, "the disk is full"),
        (_database.RESERVE_BYTES + 300, 100, None),
        (10**12, 300_000, "its limit of 100,000 bytes is reached"),
    )
    for free, size, reason in cases:
        disk = SimpleNamespace(f_bavail=free // 10, f_frsize=10)
        monkeypatch.setattr(_database, "_STATVFS", lambda _path, disk=disk: disk)
        if reason is None:
            store.put([record(1, body=b"x" * size)])
            continue
        with pytest.raises(SpoolFull) as caught:
            store.put([record(2, body=b"x" * size)])
        assert caught.value.reason == reason
    store.close()


def test_what_is_free_in_the_file_is_used_on_a_full_disk(
    path: str, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that the spool itself has filled takes signals again as soon as some are sent."""
    store = Store(Database(path, 0, "FULL"), drop_oldest=False)
    store.put([record(number, body=b"x" * 1_000) for number in range(200)])
    disk = SimpleNamespace(f_bavail=0, f_frsize=4096)
    monkeypatch.setattr(_database, "_STATVFS", lambda _path: disk)
    with pytest.raises(SpoolFull, match="the disk is full"):
        store.put([record(200)])
    outbox.delete("traces", [row.id for row in outbox.batch("traces", 0, 150, 10**9)])
    store.put([record(201)])
    assert outbox.counts()["traces"] == 51
    store.close()


def test_a_damaged_file_is_refused(path: str) -> None:
    """What is no database is neither written over nor passed over."""
    Path(path).write_bytes(b"no database" * 1_000)
    store = Store(Database(path, 0, "FULL"), drop_oldest=True)
    with pytest.raises(SpoolUnavailable) as caught:
        store.put([record(1)])
    assert caught.value.reason == "SQLite says: file is not a database"
    assert not isinstance(caught.value, SpoolFull)
    assert Path(path).read_bytes() == b"no database" * 1_000


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A folder that is a file, or a file that is a folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnavailable, match=r"Not a directory|File exists"):
        Store(Database(str(tmp_path / "file" / "spool.db"), 0, "FULL"), drop_oldest=False).put([record(1)])
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpoolUnavailable, match="Is a directory"):
        Store(Database(str(tmp_path / "folder"), 0, "FULL"), drop_oldest=False).put([record(1)])


def test_a_file_of_a_newer_release_is_left_alone(store: Store, path: str) -> None:
    """A format that is not known is not written."""
    store.put([record(1)])
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SpoolUnavailable, match="a newer release of spanback has written it"):
        store.put([record(2)])


def test_a_locked_file_is_waited_for_and_then_refused(store: Store, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may take its time, but not for ever; afterwards all is well."""
    monkeypatch.setattr(_database, "BUSY_TIMEOUT_S", 0.05)
    store.put([record(1)])
    store.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolUnavailable, match="database is locked"):
        store.put([record(2)])
    other.execute("COMMIT")
    other.close()
    store.put([record(3)])


def test_a_file_that_others_are_just_making_is_waited_for(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change to WAL is tried again while another process holds the file, for a time."""
    monkeypatch.setattr(_database, "BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = Store(Database(path, 0, "FULL"), drop_oldest=False)
    with pytest.raises(SpoolUnavailable, match="locked"):
        store.put([record(1)])
    other.execute("COMMIT")
    other.close()
    store.put([record(1)])
    store.close()


def test_a_file_that_is_moved_away_is_made_anew(store: Store, outbox: Outbox, path: str) -> None:
    """Nothing is written into a file that nobody finds any more."""
    store.put([record(1)])
    assert ids(outbox) == ["id-1"]
    Path(path).rename(f"{path}.old")
    for name in (f"{path}-wal", f"{path}-shm"):
        Path(name).unlink()
    store.put([record(2)])
    assert ids(outbox) == ["id-2"]


def test_the_sender_makes_no_file(outbox: Outbox, path: str) -> None:
    """Where nothing was ever put there is nothing to send."""
    assert not outbox.has_any("traces")
    assert outbox.counts() == {"dead": 0, "traces": 0, "logs": 0}
    assert not Path(path).exists()


def test_an_interrupted_commit_refuses_those_who_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is interrupted while it commits for others leaves none of them in doubt."""

    def interrupt(_records: Any, _number: int = 0) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_insert", interrupt)
    with ThreadPoolExecutor(1) as pool:
        with store._committing:
            other = pool.submit(store.put, [record(1)])
            eventually(lambda: store._queue, 10)
            waiting, store._queue = store._queue, []
            with pytest.raises(KeyboardInterrupt):
                store._commit_all(waiting)
        with pytest.raises(SpoolUnavailable, match="the commit was interrupted"):
            other.result(10)


def test_one_process_sends_at_a_time(store: Store, outbox: Outbox, path: str) -> None:
    """A lease keeps others away until it is given up or has run out; each kind has its own."""
    store.put([record(1)])
    other = Outbox(Database(path, 0, "NORMAL"), "other")
    now_ns = 10 * HOUR_NS
    assert outbox.claim("traces", now_ns)
    assert not other.claim("traces", now_ns + LEASE_NS - 1)
    assert other.claim("logs", now_ns)
    assert outbox.claim("traces", now_ns + 1)
    assert other.lane("traces", now_ns) == Lane(True, 0, 0, None)
    outbox.settle("traces", 2, now_ns + 5, "away")
    assert other.lane("traces", now_ns) == Lane(False, 2, now_ns + 5, "away")
    assert other.claim("traces", now_ns)
    outbox.settle("traces", 0, 0, None)  # by then it is the other's
    assert other.lane("traces", now_ns) == Lane(False, 2, now_ns + 5, "away")
    assert not outbox.claim("traces", now_ns)
    assert outbox.claim("traces", now_ns + LEASE_NS)
    assert other.claim("traces", now_ns - HOUR_NS), "of a clock that was set back"
    assert other.lane("traces", now_ns - 3 * HOUR_NS).next_ns == 0
    other.rename("third")
    assert other.lane("traces", now_ns - HOUR_NS).is_held
    other.close()


def test_dead_letters_are_kept_with_their_reason(store: Store, outbox: Outbox, path: str) -> None:
    """A record that is rejected leaves the queue, and only once."""
    store.put([record(1), record(2, has_twin=True)])
    rows = outbox.batch("traces", 0, 10, 1_000)
    outbox.bury(rows[1:], "no such thing", 7)
    outbox.bury(rows[1:], "again", 8)
    assert ids(outbox) == ["id-1"]
    with closing(sqlite3.connect(path)) as connection, connection:
        found = connection.execute("SELECT kind, feedback_id, died_ns, reason, has_twin, body FROM dead").fetchall()
    assert found == [("traces", "id-2", 7, "no such thing", 1, b"span")]


def test_deferred_records_let_others_go_first(store: Store, outbox: Outbox) -> None:
    """A record that is put off is not due until its time."""
    store.put([record(1), record(2)])
    (first,) = outbox.batch("traces", 0, 1, 1_000)
    outbox.defer(first, 100)
    assert ids(outbox) == ["id-2"]
    assert outbox.batch("traces", 100, 1, 1_000)[0] == first._replace(attempts=1)


def test_an_id_is_never_given_twice(store: Store, outbox: Outbox) -> None:
    """A slow sender that deletes what it has sent long ago does not delete what came later."""
    store.put([record(1)])
    (row,) = outbox.batch("traces", 0, 1, 1_000)
    outbox.delete("traces", [row.id])
    store.put([record(2)])
    outbox.delete("traces", [row.id])
    assert ids(outbox) == ["id-2"]


def test_ids_go_on_where_the_clock_is_set_back(store: Store, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put later comes later, whatever the clock says."""
    store.put([record(1)])
    (first,) = outbox.batch("traces", 0, 1, 1_000)
    monkeypatch.setattr(time, "time_ns", lambda: 1_000)
    store.put([record(2), record(3)])
    assert [row.id - first.id for row in outbox.batch("traces", 0, 10, 1_000)] == [0, 1, 2]


def test_twins_go_and_others_stay(store: Store, outbox: Outbox) -> None:
    """Log records whose spans are spooled can go; those that are all there is of a signal cannot."""
    store.put([record(1, "logs", has_twin=True), record(2, "logs")])
    assert outbox.delete_twins("logs") == 1
    assert ids(outbox, "logs") == ["id-2"]
