"""Every signal whose call returned is in the collector's file at the end, exactly once after reduction by its id.

    python -m tests.export.faults --signals 100000 --processes 4

Processes record feedback, single signals and batches, into one spool, while they are killed with `kill -9`, the real
collector is killed and restarted, a proxy before it is slow, answers 429, 503 and partial success, loses answers and
connections, and the disk of the spool fills up: a small tmpfs where this runs as root, else the spool's own limit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "tests" / "backends" / "configs" / "faults.yaml"
BATCH = 50
DISK_BYTES = 32 * 1024 * 1024
ID = re.compile(rb'"key":"feedback\.id","value":\{"stringValue":"([^"]+)"\}')


def write(name: str, first: int, count: int, acknowledged: str) -> None:
    """Records signals by number until the last, noting each that is acknowledged; one that is refused is tried again."""
    import spanback
    from spanback import SpoolUnavailable
    from spanback.testing import fake_ref

    spanback.instrument(clients=[])
    chance = random.Random(f"{name}{first}")
    notes = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    number, refused = first, 0
    while number < count:
        ids = [f"{name}-{one}" for one in range(number, min(number + chance.choice((1, 1, BATCH, BATCH)), count))]
        try:
            if len(ids) == 1:
                receipts = [spanback.record_feedback(fake_ref(), score=1.0, feedback_id=ids[0])]
            else:
                receipts = spanback.record_many({"target": fake_ref(), "score": 1.0, "feedback_id": one} for one in ids)
        except SpoolUnavailable:
            refused += 1
            time.sleep(0.05)
            continue
        assert {receipt.status for receipt in receipts} == {"spooled"}
        os.write(notes, "".join(f"{one}\n" for one in ids).encode())
        number += len(ids)
    sys.stderr.write(f"refused {refused}\n")


def drain(timeout_s: float) -> None:
    """Sends what is left."""
    import spanback
    from spanback._telemetry import TELEMETRY

    spanback.instrument(clients=[])
    assert TELEMETRY.tracer() is not None
    deadline = time.monotonic() + timeout_s
    while not spanback.flush(5.0) and time.monotonic() < deadline:
        pass


class Writers:
    """The processes that record, each started again where it is killed."""

    def __init__(self, folder: Path, count: int, signals: int, env: dict[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._quota = -(-signals // count)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._begun_with: dict[str, int] = {}
        self._killed_idle: set[str] = set()
        self.kills = self.refused = 0
        for number in range(count):
            self._start(f"w{number}")

    def notes(self, name: str) -> Path:
        """Where a process notes what is acknowledged."""
        return self._folder / f"{name}.acknowledged"

    def acknowledged(self) -> list[str]:
        """Every id whose call has returned."""
        return [one for name in self._running for one in self._noted(name)]

    def kill_one(self) -> None:
        """Kills one that runs, at whatever it does, and starts its successor.

        No successor is killed before it has recorded anything if that is how the one before it ended: on a machine
        that starts processes slower than this kills them, nothing would ever be recorded.
        """
        running = [name for name, process in self._running.items() if process.poll() is None]
        idle = {name for name in running if len(self._noted(name)) == self._begun_with[name]}
        mortal = [name for name in running if name not in idle & self._killed_idle]
        if mortal:
            name = random.choice(mortal)
            self._killed_idle = self._killed_idle - {name} | ({name} & idle)
            self._running[name].send_signal(signal.SIGKILL)
            self._running[name].wait()
            self.kills += 1
            self._start(name)

    def are_done(self) -> bool:
        """Whether all of them have recorded all."""
        for name, process in self._running.items():
            if process.poll() not in (None, 0, -signal.SIGKILL):
                raise RuntimeError(f"{name} failed: see {self._folder}")
        return all(process.poll() == 0 for process in self._running.values())

    def _start(self, name: str) -> None:
        noted = self._noted(name)
        self._begun_with[name] = len(noted)
        first = int(noted[-1].rpartition("-")[2]) + 1 if noted else 0
        command = [sys.executable, "-m", "tests.export.faults", "--write", name, str(first), str(self._quota)]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*command, str(self.notes(name))], cwd=ROOT, env=self._env, stdout=log, stderr=log
            )

    def _noted(self, name: str) -> list[str]:
        # A note that a kill has cut short is none.
        return self.notes(name).read_text().split("\n")[:-1] if self.notes(name).exists() else []


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """A folder on a file system of its own, as small as that, and whether it is one."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    is_mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield disk, is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(disk)], check=False)


def fill(disk: Path, for_s: float) -> None:
    """Takes all that is left of a disk, for a while."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(64 * 1024))
    time.sleep(for_s)
    ballast.unlink()


def found(file: Path) -> dict[str, Counter[str]]:
    """How often each id is in the collector's file, as span and as log record."""
    counts: dict[str, Counter[str]] = {"traces": Counter(), "logs": Counter()}
    with file.open("rb") as lines:
        for line in lines:
            kind = "traces" if line.startswith(b'{"resourceSpans"') else "logs"
            counts[kind].update(one.decode() for one in ID.findall(line))
    # A span has its id twice: as an attribute of its own and of its event.
    counts["traces"] = Counter({one: number // 2 for one, number in counts["traces"].items()})
    return counts


def misbehave(stop: threading.Event, tools: Any, pace_s: float) -> Counter[str]:
    """Does one bad thing after another until told to stop."""
    collector, proxy, writers, disk = tools
    from tests.export.fault_proxy import MODES

    happened: Counter[str] = Counter()
    deeds = ["mode", "mode", "mode", "kill writer", "kill collector", *(["fill disk"] if disk else [])]
    while not stop.is_set():
        for deed in random.sample(deeds, len(deeds)):
            if stop.is_set():
                break
            happened[deed] += 1
            if deed == "mode":
                proxy.mode = random.choice(MODES)
                stop.wait(pace_s)
            elif deed == "kill writer":
                writers.kill_one()
                stop.wait(pace_s)
            elif deed == "fill disk":
                fill(disk, pace_s)
            else:
                with proxy.quiet():
                    time.sleep(0.4)  # what it has accepted is in its file by then
                    collector.kill()
                    time.sleep(pace_s / 2)
                    collector.__enter__()
        proxy.mode = "pass"
        stop.wait(2 * pace_s)
    return happened


def run(signals: int, processes: int, pace_s: float, limit_s: float) -> dict[str, Any]:
    """The whole test, and its figures."""
    from tests.backends.servers import Collector
    from tests.export.fault_proxy import proxy_to

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spanback-faults-")))
        file = folder / "collector.jsonl"
        collector = stack.enter_context(Collector(CONFIG, {"FAULTS_FILE": str(file)}))
        proxy = stack.enter_context(proxy_to(collector.otlp_http_endpoint))
        disk, is_small = stack.enter_context(small_disk(folder))
        spool = disk / "spool.db"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
        env = {
            **kept,
            "OTEL_EXPORTER_OTLP_ENDPOINT": proxy.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
            "OTEL_METRICS_EXPORTER": "none",
            "SPANBACK_SPOOL": str(spool),
            "SPANBACK_SPOOL_LIMIT_BYTES": str(DISK_BYTES if is_small else DISK_BYTES // 4),
        }
        since = time.monotonic()
        writers = Writers(folder, processes, signals, env)
        stop, outcome = threading.Event(), Counter[str]()
        tools = collector, proxy, writers, disk if is_small else None
        demon = threading.Thread(target=lambda: outcome.update(misbehave(stop, tools, pace_s)), daemon=True)
        demon.start()
        while not writers.are_done() and time.monotonic() - since < limit_s:
            time.sleep(0.2)
        written_s = time.monotonic() - since
        stop.set()
        demon.join()
        proxy.mode = "pass"
        subprocess.run([sys.executable, "-m", "tests.export.faults", "--drain"], cwd=ROOT, env=env, check=True)
        time.sleep(0.5)
        collector.stop()
        acknowledged, counts = writers.acknowledged(), found(file)
        with closing(sqlite3.connect(spool)) as connection, connection:
            (dead,) = connection.execute("SELECT count(*) FROM dead").fetchone()
        logs = "".join(path.read_text(errors="replace") for path in folder.glob("*.log"))
        for name in os.environ.get("SPANBACK_FAULTS_KEEP", "").split():
            shutil.copytree(folder, name, ignore=shutil.ignore_patterns("disk"))
        return {
            "acknowledged": len(acknowledged),
            "missing spans": len(set(acknowledged) - counts["traces"].keys()),
            "missing logs": len(set(acknowledged) - counts["logs"].keys()),
            "after reduction": len(set(acknowledged) & counts["traces"].keys()),
            "sent more than once": sum(number > 1 for number in counts["traces"].values()),
            "committed but not acknowledged": len(counts["traces"].keys() - set(acknowledged)),
            "dead letters": dead,
            "refused calls": sum(map(int, re.findall(r"^refused (\d+)$", logs, re.MULTILINE))),
            "writers killed": writers.kills,
            "deeds": dict(outcome),
            "requests by the proxy's mode": dict(proxy.done),
            "disk": "a tmpfs" if is_small else "the spool's limit",
            "written in s": round(written_s, 1),
            "all in s": round(time.monotonic() - since, 1),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the test, prints its figures, and says by its exit code whether nothing is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--pace-s", type=float, default=1.0, help="how long each fault lasts")
    parser.add_argument("--limit-s", type=float, default=1_200.0, help="when to stop writing in any case")
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--drain", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.write:
        name, first, count, acknowledged = given.write
        write(name, int(first), int(count), acknowledged)
        return 0
    if given.drain:
        drain(120.0)
        return 0
    figures = run(given.signals, given.processes, given.pace_s, given.limit_s)
    print(json.dumps(figures, indent=2))  # noqa: T201 - its output is what is wanted
    whole = figures["acknowledged"] >= given.signals
    return 0 if whole and not figures["missing spans"] and not figures["missing logs"] else 1


if __name__ == "__main__":
    sys.exit(main())
