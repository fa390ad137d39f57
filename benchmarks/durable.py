"""What durability costs beside SQLite itself, in one run.

Single signals: a durable `record_feedback` beside a bare SQLite WAL commit of the same bytes, both with
`synchronous=FULL`, on the disk of the folder. Batches: the spool's commit of encoded records, beside SQLite's own
`executemany` of the same rows into the same tables; and `record_many` as a whole, which makes and encodes them first.
Rounds alternate, and quantiles are compared with the same of the other, since a shared disk jitters. The ratio is the
disk's as much as ours: what a signal takes besides the commit is printed by itself, as wall and as processor time, with
the time of a bare commit from which on the ratio is 1.5 or less.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

import spanback
from spanback import signals
from spanback._telemetry import TELEMETRY
from spanback.export._spool._store import Record
from spanback.testing import fake_ref

EXAMPLES = """
examples:
  python -m benchmarks.durable
  python -m benchmarks.durable /var/lib/app --rounds 40
"""
SINGLES = 50
BATCH = 5_000


class Bare:
    """A table in a file of its own, with nothing around it."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, body BLOB)")
        fields = "id INTEGER PRIMARY KEY, feedback_id TEXT, created_ns INTEGER, has_twin INTEGER"
        for kind in ("traces", "logs"):
            self.connection.execute(f"CREATE TABLE {kind} ({fields}, resource BLOB, scope BLOB, body BLOB)")

    def one(self, body: bytes) -> None:
        """Commits so many bytes."""
        self.connection.execute("INSERT INTO bare (body) VALUES (?)", (body,))

    def many(self, rows: dict[str, list[tuple[Any, ...]]]) -> None:
        """Commits rows in one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        for kind, kinds_rows in rows.items():
            statement = f"INSERT INTO {kind} (feedback_id, created_ns, has_twin, resource, scope, body) VALUES"
            self.connection.executemany(f"{statement} (?, ?, ?, ?, ?, ?)", kinds_rows)
        self.connection.execute("COMMIT")


def timed(function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How many seconds a call takes."""
    since = clock()
    function()
    return clock() - since


def captured(spool: Any) -> list[Record]:
    """The records that one signal becomes."""
    taken: list[Record] = []
    plain = spool._store.put
    spool._store.put = taken.extend
    spanback.record_feedback(fake_ref(), signals.THUMBS_UP)
    spool._store.put = plain
    return taken


def show(what: str, **figures: float) -> None:
    """Prints one line."""
    print(json.dumps({"what": what, **{name: round(value, 2) for name, value in figures.items()}}))


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.durable",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", help="a folder on the disk that is asked about; that of temporary files")
    parser.add_argument("--rounds", type=int, default=10, help=f"rounds of {SINGLES} signals and one batch; 10")
    given = parser.parse_args(arguments)
    os.environ.update(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", SPANBACK_SPOOL_LIMIT_BYTES="0")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bare = Bare(Path(folder) / "bare.db")
        spanback.instrument(
            durable=Path(folder) / "spool.db",
            tracer_provider=TracerProvider(),
            logger_provider=LoggerProvider(),
            clients=[],
        )
        spool: Any = TELEMETRY.spool
        spool.start = lambda: None  # who sends is another question, and another core's
        records = captured(spool)
        body = b"".join(b"".join(record[3:]) for record in records)
        singles(bare, body, given.rounds)
        batches(bare, spool, records, given.rounds)
        spanback.uninstrument()
        spool.close(0.0)
    return 0


def singles(bare: Bare, body: bytes, rounds: int) -> None:
    """One signal after another."""
    ref = fake_ref()
    contestants: list[Callable[[], object]] = [
        lambda: bare.one(body),
        lambda: spanback.record_feedback(ref, signals.THUMBS_UP),
    ]
    walls: list[list[float]] = [[], []]
    cores: list[list[float]] = [[], []]
    for _ in range(rounds * SINGLES):
        for wall, core, function in zip(walls, cores, contestants, strict=True):
            since = time.thread_time()
            wall.append(timed(function))
            core.append(time.thread_time() - since)
    for name, share in (("fastest tenth", 0.1), ("median", 0.5), ("slowest tenth", 0.9)):
        bare_s, durable_s = (sorted(found)[int(len(found) * share)] for found in walls)
        show(f"{name}: bare commit", us=bare_s * 1e6, bytes=len(body))
        show(f"{name}: durable record_feedback", us=durable_s * 1e6, ratio=durable_s / bare_s)
    ours_s = statistics.median(walls[1]) - statistics.median(walls[0])
    core_s = statistics.median(cores[1]) - statistics.median(cores[0])
    show("a signal besides the commit", us=ours_s * 1e6, processor_us=core_s * 1e6, enough_at_us=2e6 * ours_s)


def batches(bare: Bare, spool: Any, records: list[Record], rounds: int) -> None:
    """Many signals in one commit; processor time is what a core is busy with."""
    batch = records * BATCH
    now_ns = time.time_ns()
    rows = {
        kind: [(r.feedback_id, now_ns, r.has_twin, *r[3:]) for r in batch if r.kind == kind]
        for kind in ("traces", "logs")
    }
    items = [{"target": fake_ref(), "signal": signals.THUMBS_UP} for _ in range(BATCH)]
    rates: dict[str, list[float]] = {"raw SQLite": [], "spool": [], "spool, by processor time": [], "record_many": []}
    for _ in range(rounds):
        rates["raw SQLite"].append(BATCH / timed(lambda: bare.many(rows)))
        rates["spool"].append(BATCH / timed(lambda: spool._store.put(batch)))
        rates["spool, by processor time"].append(BATCH / timed(lambda: spool._store.put(batch), time.process_time))
        rates["record_many"].append(BATCH / timed(lambda: spanback.record_many(items)))
    raw = statistics.median(rates["raw SQLite"])
    for name, found in rates.items():
        show(f"batch: {name}", signals_a_second=statistics.median(found), ratio=statistics.median(found) / raw)


if __name__ == "__main__":
    sys.exit(main())
