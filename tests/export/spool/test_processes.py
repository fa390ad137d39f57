"""Real processes: killed ones, forked ones, many on one spool, greenlets, and the exit."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.export.backends import black_hole, free_port
from tests.export.spool.backend import Backend, Reply

ROOT = Path(__file__).parents[3]


def start(what: str, url: str, path: str, name: str = "app", **more: str) -> subprocess.Popen[str]:
    """Starts the app."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "SPANBACK_"))} | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "SPANBACK_SPOOL": path,
        **more,
    }
    command = [sys.executable, "-m", "tests.export.spool.app", what, name]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(what: str, url: str, path: str, name: str = "app", code: int = 0, **more: str) -> list[str]:
    """Runs the app to its end and gives the ids of what it has recorded."""
    process = start(what, url, path, name, **more)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    return out.split()


def left(path: str) -> int:
    """How many records are in the file."""
    with sqlite3.connect(path) as connection:
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("traces", "logs"))


def send_what_is_left(url: str, path: str) -> None:
    """Starts the app anew until nothing is left: who was killed while it sent has the lease for half a minute more."""
    deadline = time.monotonic() + 60
    run("idle", url, path)
    while left(path) and time.monotonic() < deadline:
        time.sleep(1)
        run("idle", url, path)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_exit_sends_what_is_there(protocol: str, backend: Backend, grpc_backend: Backend, path: str) -> None:
    """A process that ends has delivered what it recorded a moment before."""
    to = grpc_backend if protocol == "grpc" else backend
    ids = run("give", to.url, path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert len(ids) == 3
    assert to.accepted == {"traces": ids, "logs": ids}
    assert left(path) == 0


def test_a_killed_process_loses_nothing(backend: Backend, path: str) -> None:
    """After `kill -9` the next process sends what was acknowledged, with its first span, once."""
    ids = run("kill", f"http://127.0.0.1:{free_port()}", path, code=-9)
    assert len(ids) == 3
    assert left(path) == 6
    send_what_is_left(backend.url, path)
    assert backend.accepted == {"traces": ids, "logs": ids}
    assert left(path) == 0


def test_a_backend_that_hangs_does_not_hold_up_the_exit(path: str) -> None:
    """The exit waits no longer than it may, and the signals stay."""
    with black_hole() as url:
        since = time.monotonic()
        run("give", url, path, SPANBACK_FLUSH_TIMEOUT_S="0.5")
        assert time.monotonic() - since < 10
    assert left(path) == 6


def test_processes_share_a_spool(backend: Backend, path: str) -> None:
    """Four processes on one file, as gunicorn's workers are: everything arrives, and all else that does is the same."""
    # An exit that is cut short in the midst of a request leaves that to be sent again.
    patient = {"SPANBACK_FLUSH_TIMEOUT_S": "30"}
    processes = [start("give", backend.url, path, f"app{number}", **patient) for number in range(4)]
    ids = [one for process in processes for one in process.communicate(timeout=60)[0].split()]
    assert len(ids) == 12
    send_what_is_left(backend.url, path)
    assert set(backend.accepted["traces"]) == set(backend.accepted["logs"]) == set(ids)
    assert left(path) == 0


@pytest.mark.parametrize("what", ["fork", "preload", "pool"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_loses_nothing(what: str, backend: Backend, path: str) -> None:
    """Parent and child have a connection and senders of their own, forked in the midst or before there are any."""
    answers = iter([Reply(503)] * 2)
    backend.answer = lambda _kind, _ids: next(answers, None)
    ids = run(what, backend.url, path)
    assert len(ids) == {"fork": 49, "preload": 6, "pool": 15}[what]
    send_what_is_left(backend.url, path)
    assert set(backend.accepted["traces"]) == set(backend.accepted["logs"]) == set(ids)
    assert left(path) == 0


def test_greenlets_are_threads_enough(backend: Backend, path: str) -> None:
    """With gevent's patches the sender is a greenlet, and all is as ever."""
    pytest.importorskip("gevent")
    ids = run("gevent", backend.url, path)
    assert len(ids) == 12
    assert sorted(backend.accepted["traces"]) == sorted(backend.accepted["logs"]) == sorted(ids)
