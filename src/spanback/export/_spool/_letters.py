"""What people ask of a spool: what it holds, its records as OTLP-JSON lines, and what to do with dead letters."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from spanback.errors import SpoolUnavailable
from spanback.export._spool._database import Database
from spanback.export._spool._store import KINDS, NEXT_ID, TABLES, Kind, Record, count

_COLUMNS: Final = "feedback_id, has_twin, resource, scope, body"


class Letters:
    """A spool seen from outside; its app may run meanwhile.

    Args:
        path: The file.

    Raises:
        SpoolUnavailable: It is not there.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - a text is what SQLite and messages want
        self._database = Database(self.path, 0, "FULL")
        if not self._database.exists():
            raise SpoolUnavailable(self.path, "there is no such file")

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def overview(self) -> dict[str, Any]:
        """Counts, sizes and times of all that is there, as JSON values.

        Raises:
            SpoolUnavailable: The file cannot be read.
        """
        with self._database.reading() as connection:
            return {
                "path": self.path,
                "bytes": sum(map(_size, (self.path, f"{self.path}-wal"))),
                "pending": {kind: _queue(connection, kind) for kind in KINDS},
                "dead_letters": [
                    {
                        "id": number,
                        "kind": kind,
                        "feedback_id": one,
                        "given": _iso(at),
                        "died": _iso(died),
                        "reason": why,
                    }
                    for number, kind, one, at, died, why in connection.execute(
                        "SELECT id, kind, feedback_id, created_ns, died_ns, reason FROM dead ORDER BY id"
                    )
                ],
            }

    def lines(self, tables: Sequence[str], feedback_id: str | None) -> Iterator[bytes]:
        """The records of some tables as OTLP-JSON lines, one record a line, oldest first.

        Args:
            tables: Among `dead`, `traces` and `logs`.
            feedback_id: Only of this signal; of all when None.

        Raises:
            SpoolUnavailable: The file cannot be read.
        """
        from spanback.export._spool._wire import json_line  # noqa: PLC0415 - loads protobuf and the SDK

        for table in tables:
            last = 0
            while found := self._page(table, feedback_id, last):
                last = found[-1][0]
                yield from (json_line(record) for _, record in found)

    def retry(self, feedback_id: str | None) -> int:
        """Puts dead letters back, to be sent by the app that uses the spool; says how many.

        Raises:
            SpoolUnavailable: The file cannot be written.
        """
        return self._database.transaction(lambda connection: _put_back(connection, feedback_id))

    def drop(self, tables: Sequence[str], feedback_id: str | None) -> int:
        """Deletes records for good; says how many.

        Raises:
            SpoolUnavailable: The file cannot be written.
        """
        return self._database.transaction(
            lambda connection: sum(_delete(connection, table, feedback_id) for table in tables)
        )

    def count(self, tables: Sequence[str], feedback_id: str | None) -> int:
        """How many records `drop` would delete.

        Raises:
            SpoolUnavailable: The file cannot be read.
        """
        with self._database.reading() as connection:
            return sum(count(connection, table, feedback_id) for table in tables)

    def _page(self, table: str, feedback_id: str | None, after: int) -> list[tuple[int, Record]]:
        kind = "kind" if table == "dead" else f"'{table}'"
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT id, {kind}, {_COLUMNS} FROM {table} WHERE id > ? "  # noqa: S608 - names of ours
                "AND feedback_id = coalesce(?, feedback_id) ORDER BY id LIMIT 100",
                (after, feedback_id),
            ).fetchall()
        return [(number, Record(kind, one, bool(twin), *blobs)) for number, kind, one, twin, *blobs in found]


def tables_of(*, pending: bool) -> tuple[str, ...]:
    """The tables that a command is about: the dead letters, or with `pending` all."""
    return TABLES if pending else TABLES[:1]


def _queue(connection: sqlite3.Connection, kind: Kind) -> dict[str, Any]:
    (oldest,) = connection.execute(f"SELECT min(created_ns) FROM {kind}").fetchone()  # noqa: S608
    attempts, next_ns, reason = connection.execute(
        "SELECT attempts, next_ns, reason FROM lanes WHERE kind = ?", (kind,)
    ).fetchone()
    return {
        "records": count(connection, kind),
        "oldest": None if oldest is None else _iso(oldest),
        "failed_attempts": attempts,
        "next_attempt": _iso(next_ns) if next_ns else None,
        "last_trouble": reason,
    }


def _put_back(connection: sqlite3.Connection, feedback_id: str | None) -> int:
    moved = 0
    for kind in KINDS:
        columns = f"created_ns, {_COLUMNS}"
        moved += connection.execute(
            f"INSERT INTO {kind} (id, {columns}) SELECT {NEXT_ID[kind]} - 1 "  # noqa: S608
            f"+ row_number() OVER (ORDER BY id), {columns} FROM dead WHERE kind = ? "
            "AND feedback_id = coalesce(?, feedback_id)",
            (time.time_ns(), kind, feedback_id),
        ).rowcount
    _delete(connection, "dead", feedback_id)
    connection.execute("UPDATE lanes SET next_ns = 0, attempts = 0 WHERE owner IS NULL")
    return moved


def _delete(connection: sqlite3.Connection, table: str, feedback_id: str | None) -> int:
    statement = f"DELETE FROM {table} WHERE feedback_id = coalesce(?, feedback_id)"  # noqa: S608
    return connection.execute(statement, (feedback_id,)).rowcount


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as above
    except OSError:
        return 0


def _iso(at_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns // 10**9))
