"""What is not yet delivered: commits that threads share, batches for the sender, and dead letters."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from spanback.errors import SpoolFull, SpoolUnavailable
from spanback.export._spool._database import Database

Kind = Literal["traces", "logs"]
KINDS: Final[tuple[Kind, Kind]] = ("traces", "logs")
TABLES: Final = ("dead", *KINDS)

LEASE_S: Final = 30.0
"""For how long a process has the sending of one kind to itself; when it dies, another one waits that long."""

_LEASE_NS: Final = int(LEASE_S * 1e9)
_FIRST_DROPPED: Final = 64
_FAR_NS: Final = 2 * 3_600 * 10**9
_COLUMNS: Final = "id, feedback_id, created_ns, has_twin, resource, scope, body"
# The time in ns, or the next id that is free.
NEXT_ID: Final = {kind: f"max(?, (SELECT coalesce(max(id), 0) + 1 FROM {kind}))" for kind in KINDS}  # noqa: S608 - names of ours
_INSERT: Final = {
    kind: f"INSERT INTO {kind} ({_COLUMNS}) VALUES ({NEXT_ID[kind]}, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
    for kind in KINDS
}


class Record(NamedTuple):
    """One form of one signal, encoded.

    Attributes:
        kind: `traces` for a carrier span, `logs` for a log record.
        feedback_id: The signal's id.
        has_twin: Whether the signal is spooled in the other form too.
        resource: OTLP's ResourceSpans or ResourceLogs without what is in it.
        scope: OTLP's ScopeSpans or ScopeLogs without what is in it.
        body: OTLP's Span or LogRecord.
    """

    kind: Kind
    feedback_id: str
    has_twin: bool
    resource: bytes
    scope: bytes
    body: bytes


class Row(NamedTuple):
    """A record as it is kept, with its number and how often it was tried in vain on its own."""

    id: int
    attempts: int
    record: Record


class Lane(NamedTuple):
    """How the sending of one kind stands.

    Attributes:
        is_held: Whether another process sends.
        attempts: How often in a row it has failed.
        next_ns: Not before then is it tried again, in ns since the epoch.
        reason: What went wrong last, or None.
    """

    is_held: bool
    attempts: int
    next_ns: int
    reason: str | None


class _Waiting:
    """Records that one thread wants committed."""

    is_taken = is_done = False
    error: SpoolUnavailable | None = None

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records


class Store:
    """Commits records for good, in transactions that concurrent threads share.

    Args:
        database: Where to; with `FULL`, a commit has survived a power cut when it returns.
        drop_oldest: Whether the oldest records make room for new ones when the limit is reached.

    Attributes:
        dropped: How many records have made room so far, in this process.
    """

    def __init__(self, database: Database, *, drop_oldest: bool) -> None:
        self._database = database
        self._drop_oldest = drop_oldest
        self._queue: list[_Waiting] = []
        self._committing = threading.Lock()
        self.dropped = 0

    def put(self, records: Sequence[Record]) -> None:
        """Commits records, all or none of them.

        The first thread that comes commits what all others have queued by then, so that they share one sync of the
        disk. May be called from any thread.

        Raises:
            SpoolFull: There is no room, or none without dropping while that was not asked for.
            SpoolUnavailable: The file cannot be written.
        """
        own = _Waiting(records)
        self._queue.append(own)
        with self._committing:
            if not own.is_taken:
                waiting, self._queue = self._queue, []
                self._commit_all(waiting)
        if own.error is not None:
            raise own.error
        if not own.is_done:  # what was under way in another thread was cut short by a signal
            raise SpoolUnavailable(self._database.path, "the commit was interrupted")

    def hold(self) -> None:
        """Waits for the commit under way and lets none begin, for the time of a fork."""
        self._committing.acquire()
        self._database.hold()

    def resume(self, *, in_child: bool) -> None:
        """Undoes `hold`. What other threads had queued stays with the parent."""
        self._database.resume(in_child=in_child)
        if in_child:
            self._committing = threading.Lock()
            self._queue = []
        else:
            self._committing.release()

    def close(self) -> None:
        """Closes the file until the next use."""
        self._database.close()

    def _commit_all(self, waiting: Sequence[_Waiting]) -> None:
        for one in waiting:
            one.is_taken = True  # whatever comes of it, its own thread does not commit it again
        # What does not fit as a whole may fit in part; nobody is refused for the size of a neighbour.
        if len(waiting) > 1 and self._tried([record for one in waiting for record in one.records]) is None:
            for one in waiting:
                one.is_done = True
            return
        for one in waiting:
            one.error = self._tried(one.records)
            one.is_done = True

    def _tried(self, records: Sequence[Record]) -> SpoolUnavailable | None:
        try:
            self._insert(records)
        except SpoolFull as error:
            return self._dropping(records, error) if self._drop_oldest else error
        except SpoolUnavailable as error:
            return error
        return None

    def _insert(self, records: Sequence[Record], dropped: int = 0) -> int:
        now_ns = time.time_ns()

        def insert(connection: sqlite3.Connection) -> int:
            gone = 0
            if not dropped:  # else they take the room of others
                size_bytes = 0
                for one in records:
                    size_bytes += sum(map(len, one[3:]))
                self._database.make_sure_of_room(connection, size_bytes)
            else:
                gone = sum(connection.execute(_drop(table), (dropped,)).rowcount for table in TABLES)
            if len(records) <= len(KINDS):  # as fast for these, and faster to commit
                for one in records:
                    connection.execute(_INSERT[one.kind], (now_ns, one.feedback_id, now_ns, *one[2:]))
            else:
                for kind in KINDS:
                    rows = ((now_ns, one.feedback_id, now_ns, *one[2:]) for one in records if one.kind == kind)
                    connection.executemany(_INSERT[kind], rows)
            return gone

        return self._database.transaction(insert)

    def _dropping(self, records: Sequence[Record], error: SpoolUnavailable | None) -> SpoolUnavailable | None:
        """Drops twice as much each time, until the records fit or nothing is left to drop."""
        number = max(_FIRST_DROPPED, len(records))
        before = 0
        while isinstance(error, SpoolFull) and before < self._held():
            # Each try is rolled back: where the records do not fit at all, nothing is lost for them.
            error = self._dropped(records, number)
            before, number = number, number * 2
        return error

    def _dropped(self, records: Sequence[Record], number: int) -> SpoolUnavailable | None:
        try:
            self.dropped += self._insert(records, number)
        except SpoolUnavailable as error:
            return error
        return None

    def _held(self) -> int:
        with self._database.reading() as connection:
            return max(count(connection, table) for table in TABLES)


def count(connection: sqlite3.Connection, table: str, feedback_id: str | None = None) -> int:
    """How many rows a table has, of one signal or of all."""
    where = "" if feedback_id is None else " WHERE feedback_id = ?"
    values = () if feedback_id is None else (feedback_id,)
    (found,) = connection.execute(f"SELECT count(*) FROM {table}{where}", values).fetchone()  # noqa: S608 - as above
    return found


def _drop(table: str) -> str:
    return f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?)"  # noqa: S608 - as above


class Outbox:
    """The same file as the sender sees it.

    Args:
        database: With `NORMAL`: a deletion or a lease that a power cut undoes is only done again.
        owner: What tells this process from others, and from an earlier one with its number.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    def claim(self, kind: Kind, now_ns: int) -> bool:
        """Takes the sending of a kind for `LEASE_S`, or renews it; False while another process has it."""

        def claim(connection: sqlite3.Connection) -> bool:
            if self._lane(connection, kind, now_ns).is_held:
                return False
            connection.execute(
                "UPDATE lanes SET owner = ?, until_ns = ? WHERE kind = ?", (self._owner, now_ns + _LEASE_NS, kind)
            )
            return True

        return self._database.transaction(claim)

    def settle(self, kind: Kind, attempts: int, next_ns: int, reason: str | None) -> None:
        """Gives the lane up and says for all processes when it may be tried again."""
        self._database.transaction(
            lambda connection: connection.execute(
                "UPDATE lanes SET owner = NULL, until_ns = 0, attempts = ?, next_ns = ?, reason = ? "
                "WHERE kind = ? AND owner = ?",
                (attempts, next_ns, reason, kind, self._owner),
            )
        )

    def batch(self, kind: Kind, now_ns: int, limit_records: int, limit_bytes: int) -> list[Row]:
        """The oldest records that are due: at least one if there is any, at most as many as the limits allow."""
        rows: list[Row] = []
        size = 0
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT id, attempts, feedback_id, has_twin, resource, scope, body FROM {kind} "  # noqa: S608
                "WHERE next_ns <= ? ORDER BY id LIMIT ?",
                (now_ns, limit_records),
            )
            for number, attempts, feedback_id, has_twin, *blobs in found:
                row = Row(number, attempts, Record(kind, feedback_id, bool(has_twin), *blobs))
                size += sum(map(len, blobs))
                if rows and size > limit_bytes:
                    break
                rows.append(row)
            found.close()
        return rows

    def rename(self, owner: str) -> None:
        """Tells a forked child from its parent."""
        self._owner = owner

    def has_any(self, kind: Kind) -> bool:
        """Whether anything of that kind waits. Does not make a file where there is none."""
        if not self._database.exists():
            return False
        with self._database.reading() as connection:
            return connection.execute(f"SELECT 1 FROM {kind} LIMIT 1").fetchone() is not None  # noqa: S608

    def delete(self, kind: Kind, ids: Iterable[int]) -> None:
        """Deletes what the backend has accepted."""
        rows = ((number,) for number in ids)
        self._database.transaction(
            lambda connection: connection.executemany(f"DELETE FROM {kind} WHERE id = ?", rows)  # noqa: S608
        )

    def delete_twins(self, kind: Kind) -> int:
        """Deletes the records whose signals are there in the other form too, and says how many."""
        return self._database.transaction(
            lambda connection: connection.execute(f"DELETE FROM {kind} WHERE has_twin").rowcount  # noqa: S608
        )

    def bury(self, rows: Iterable[Row], reason: str, now_ns: int) -> None:
        """Moves records that the backend will never take to the dead letters."""

        def bury(connection: sqlite3.Connection) -> None:
            for number, _, record in rows:
                # Deleted first: where the limit is reached, the room that this leaves is taken again.
                where = f"FROM {record.kind} WHERE id = ?"
                found = connection.execute(f"SELECT created_ns {where}", (number,)).fetchone()
                connection.execute(f"DELETE {where}", (number,))
                if found is not None:
                    connection.execute(
                        "INSERT INTO dead (kind, feedback_id, created_ns, died_ns, reason, has_twin, resource, scope, "
                        "body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (record.kind, record.feedback_id, *found, now_ns, reason, record.has_twin, *record[3:]),
                    )

        self._database.transaction(bury)

    def defer(self, row: Row, next_ns: int) -> None:
        """Lets the others go first."""
        self._database.transaction(
            lambda connection: connection.execute(
                f"UPDATE {row.record.kind} SET attempts = attempts + 1, next_ns = ? WHERE id = ?",  # noqa: S608
                (next_ns, row.id),
            )
        )

    def lane(self, kind: Kind, now_ns: int) -> Lane:
        """How the sending of a kind stands."""
        with self._database.reading() as connection:
            return self._lane(connection, kind, now_ns)

    def _lane(self, connection: sqlite3.Connection, kind: Kind, now_ns: int) -> Lane:
        owner, until_ns, attempts, next_ns, reason = connection.execute(
            "SELECT owner, until_ns, attempts, next_ns, reason FROM lanes WHERE kind = ?", (kind,)
        ).fetchone()
        # A time that lies further ahead than any can is of a clock that has been set back since.
        is_held = owner not in (None, self._owner) and now_ns < until_ns <= now_ns + 2 * _LEASE_NS
        return Lane(is_held, attempts, 0 if next_ns > now_ns + _FAR_NS else next_ns, reason)

    def counts(self) -> dict[str, int]:
        """How many records each table holds: `traces`, `logs` and `dead`."""
        if not self._database.exists():
            return dict.fromkeys(TABLES, 0)
        with self._database.reading() as connection:
            return {table: count(connection, table) for table in TABLES}

    def hold(self) -> None:
        """As `Store.hold`."""
        self._database.hold()

    def resume(self, *, in_child: bool) -> None:
        """As `Store.resume`."""
        self._database.resume(in_child=in_child)

    def close(self) -> None:
        """Closes the file until the next use."""
        self._database.close()
