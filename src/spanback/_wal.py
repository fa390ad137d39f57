"""SQLite's write-ahead log, switched on by several processes at once."""

from __future__ import annotations

import sqlite3
import time


def switch_to_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Has a connection's file keep a write-ahead log.

    SQLite does not wait by itself where two processes make the same new file.

    Args:
        connection: The connection.
        timeout_s: For how long the others are waited for.

    Raises:
        sqlite3.Error: The file cannot be read or written, or is locked for longer than that.
    """
    deadline_s = time.monotonic() + timeout_s
    while not _is_switched(connection, is_last=time.monotonic() > deadline_s):
        time.sleep(0.01)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether the file is another one's just now."""
    return "locked" in str(error)


def _is_switched(connection: sqlite3.Connection, *, is_last: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if is_last or not is_busy(error):
            raise
        return False
    return True
