"""SQLite's write-ahead log, switched on by several processes at once."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

_PAUSE_S: Final = 0.01


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
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # In most cases SQLite has waited for as long itself by then, and must not do so again.
            if not is_busy(error) or time.monotonic() + _PAUSE_S > deadline_s:
                raise
        else:
            return
        time.sleep(_PAUSE_S)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether the file is another one's just now."""
    return "locked" in str(error)
