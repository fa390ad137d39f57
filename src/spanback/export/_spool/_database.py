"""One SQLite file in WAL mode, safe with threads, with many processes and with fork."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, Literal, TypeVar

from spanback._wal import is_busy, switch_to_wal
from spanback.errors import SpoolFull, SpoolUnavailable

T = TypeVar("T")

BUSY_TIMEOUT_S: Final = 10.0
"""How long a process waits for the others' commits; one takes as long as the disk takes to sync, some ms."""

RESERVE_BYTES: Final = 8 * 1024 * 1024
"""Room that is left on the disk: what the write-ahead log and the way from there into the file can take."""

_SLACK_BYTES: Final = 64 * 1024
_FORMAT: Final = 1
_WAL_LIMIT_BYTES: Final = 4 * 1024 * 1024
_MODE: Final = 0o600  # comments and corrections are in it
_STATVFS: Final = getattr(os, "statvfs", None)
# An id is the time of its commit in ns, or the next one that is free, and so never given twice: a sender that was slow
# must not delete a later record by its old id. SQLite's own way to the same, and an index, would be more pages to sync.
_QUEUE: Final = """
CREATE TABLE IF NOT EXISTS {name} (
    id INTEGER PRIMARY KEY, feedback_id TEXT NOT NULL, created_ns INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_ns INTEGER NOT NULL DEFAULT 0, has_twin INTEGER NOT NULL,
    resource BLOB NOT NULL, scope BLOB NOT NULL, body BLOB NOT NULL
);
"""
_SCHEMA: Final = (
    _QUEUE.format(name="traces")
    + _QUEUE.format(name="logs")
    + """
CREATE TABLE IF NOT EXISTS dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, feedback_id TEXT NOT NULL, created_ns INTEGER NOT NULL,
    died_ns INTEGER NOT NULL, reason TEXT NOT NULL, has_twin INTEGER NOT NULL,
    resource BLOB NOT NULL, scope BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS lanes (
    kind TEXT PRIMARY KEY, owner TEXT, until_ns INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, next_ns INTEGER NOT NULL DEFAULT 0, reason TEXT
);
INSERT OR IGNORE INTO lanes (kind) VALUES ('traces'), ('logs');
"""
)


class Database:
    """A connection that opens when it is needed, and again after a fork or where the file has been replaced.

    Args:
        path: The file; it is made where there is none, readable by its owner alone.
        limit_bytes: The most that it may hold; 0 for no limit. The write-ahead log beside it takes some MiB more.
        synchronous: `FULL` for commits that survive a power cut, `NORMAL` for those that survive a killed process.
    """

    def __init__(self, path: str, limit_bytes: int, synchronous: Literal["FULL", "NORMAL"]) -> None:
        self.path = path
        self._folder = os.path.dirname(path)  # noqa: PTH120 - as a text it is at hand
        self._limit_bytes = limit_bytes
        self._synchronous = synchronous
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What a function gives for the connection; what it does there is committed, or rolled back when it raises.

        A context manager would take several times as many steps, for each signal.

        Raises:
            SpoolFull: The limit is reached, or the disk is full.
            SpoolUnavailable: The file cannot be opened, read or written.
        """
        with self._lock:
            try:
                connection = self._opened()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    made = work(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # some errors have rolled it back already
                        connection.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, OSError) as error:
                raise self._refusal(error) from error
            return made

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """The connection for single reads, which wait for nobody.

        Raises:
            SpoolUnavailable: The file cannot be opened or read.
        """
        with self._lock:
            try:
                yield self._opened()
            except (sqlite3.Error, OSError) as error:
                raise self._refusal(error) from error

    def exists(self) -> bool:
        """Whether there is a file. Never raises."""
        return _inode(self.path) is not None

    def make_sure_of_room(self, connection: sqlite3.Connection, size_bytes: int) -> None:
        """Leaves the last of a disk alone: also a record that is deleted takes room at first, in the log.

        Raises:
            SpoolFull: Neither the disk nor what is free in the file has room for so many bytes.
        """
        if self._free_bytes() < RESERVE_BYTES + 2 * size_bytes:
            (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            if pages * page_bytes < 2 * size_bytes + _SLACK_BYTES:
                raise SpoolFull(self.path, "the disk is full")

    def hold(self) -> None:
        """Closes the connection and keeps others from opening it, for the time of a fork."""
        self._lock.acquire()
        self.close()

    def resume(self, *, in_child: bool) -> None:
        """Undoes `hold`. In the child, where no other thread is left to release it, the lock is a new one."""
        if in_child:
            self._lock = threading.RLock()
        else:
            self._lock.release()

    def close(self) -> None:
        """Closes the connection; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode != _inode(self.path):
            self.close()  # somebody has moved or deleted the file: what is written there now is found by nobody
        if self._connection is None:
            self._connection = self._open()
            self._inode = _inode(self.path)
        return self._connection

    def _open(self) -> sqlite3.Connection:
        os.makedirs(self._folder, exist_ok=True)  # noqa: PTH103 - on the hot path's cold side
        with suppress(PermissionError):  # SQLite says it better
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, _MODE))
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        switch_to_wal(connection, BUSY_TIMEOUT_S)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        if self._limit_bytes:
            connection.execute(f"PRAGMA max_page_count = {max(1, self._limit_bytes // page_bytes)}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _FORMAT:
            raise SpoolUnavailable(self.path, "a newer release of spanback has written it")
        if version < _FORMAT:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;")

    def _refusal(self, error: sqlite3.Error | OSError) -> SpoolUnavailable:
        """Says in the project's own errors what SQLite or the file system refuses."""
        if isinstance(error, OSError):
            return SpoolUnavailable(self.path, error.strerror or str(error))
        if str(error) == "database or disk is full":
            return SpoolFull(self.path, self._full_because())
        if not is_busy(error):
            self.close()  # whatever is wrong, the next one begins anew
        return SpoolUnavailable(self.path, f"SQLite says: {error}")

    def _full_because(self) -> str:
        is_disk_full = self._free_bytes() < _WAL_LIMIT_BYTES
        return "the disk is full" if is_disk_full else f"its limit of {self._limit_bytes:,} bytes is reached"

    def _free_bytes(self) -> int:
        if _STATVFS is None:  # pragma: no cover - Windows
            return shutil.disk_usage(self._folder).free
        found = _STATVFS(self._folder)  # asked for each signal, and shutil takes three times as long
        return found.f_bavail * found.f_frsize


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for each signal
    except OSError:
        return None
    return found.st_dev, found.st_ino
