"""A shared index in an SQLite file, for the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from spanback._index._value import packed, unpacked
from spanback._spanref import SpanRef
from spanback._wal import switch_to_wal

WRITE_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 0.25
PRUNE_EVERY_S: Final = 60.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS spanback_refs (
    response_id TEXT PRIMARY KEY, ref TEXT NOT NULL, expires_s INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spanback_refs_by_time ON spanback_refs (expires_s);
"""
_inherited: Final[list[Any]] = []
"""Connections that a forked process got from its parent. To close one there would take the parent's locks away."""


class SqliteIndex:
    """One file, which processes write in turn. Its folder must exist; the file is readable by its owner alone.

    Args:
        path: The file.
        ttl_s: For how long an entry is known, in seconds.
    """

    def __init__(self, path: str, ttl_s: float) -> None:
        self._path = path
        self._ttl_s = ttl_s
        self._pruned_s = float("-inf")
        self._begin()

    def put_all(self, refs: Mapping[str, SpanRef]) -> None:
        """Notes many responses at once, and forgets the old ones now and then."""
        expires_s = int(time.time() + self._ttl_s)
        rows = [(response_id, packed(ref), expires_s) for response_id, ref in refs.items()]
        with self._writing:
            if self._writer is None:
                self._writer = self._connect(WRITE_TIMEOUT_S)
            with self._writer as connection:
                connection.executemany("INSERT OR REPLACE INTO spanback_refs VALUES (?, ?, ?)", rows)
                if time.monotonic() - self._pruned_s >= PRUNE_EVERY_S:
                    self._pruned_s = time.monotonic()
                    connection.execute("DELETE FROM spanback_refs WHERE expires_s <= ?", (int(time.time()),))

    def find(self, response_id: str) -> SpanRef | None:
        """One response, where it is known and not too old."""
        with self._reading:
            if self._reader is None:
                self._reader = self._connect(READ_TIMEOUT_S)
            row = self._reader.execute(
                "SELECT ref FROM spanback_refs WHERE response_id = ? AND expires_s > ?", (response_id, int(time.time()))
            ).fetchone()
        return None if row is None else unpacked(str(row[0]))

    def forget(self) -> None:
        """Begins anew in a process that was forked off."""
        _inherited.extend((self._writer, self._reader))
        self._begin()

    def disconnect(self) -> None:
        """Closes the file until the next use."""
        with self._writing, self._reading:
            for connection in (self._writer, self._reader):
                if connection is not None:
                    connection.close()
            self._writer = self._reader = None

    def _begin(self) -> None:
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def _connect(self, timeout_s: float) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, timeout=timeout_s, check_same_thread=False)
        switch_to_wal(connection, timeout_s)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_SCHEMA)
        return connection
