"""Real processes: killed ones, forked ones, many on one spool, greenlets, and the exit."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from tests.export.backends import black_hole, free_port
from tests.export.spool.backend import Backend, Reply

ROOT = Path(__file__).parents[3]
SLOW_S = 5.0


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
    with closing(sqlite3.connect(path)) as connection, connection:
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("traces", "logs"))


def send_what_is_left(url: str, path: str, **more: str) -> None:
    """Starts the app anew until nothing is left: who was killed while it sent has the lease for half a minute more."""
    deadline = time.monotonic() + 60
    run("idle", url, path, **more)
    while left(path) and time.monotonic() < deadline:
        time.sleep(1)
        run("idle", url, path, **more)


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


over_both = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])


@over_both
@pytest.mark.parametrize("what", ["fork", "preload", "pool"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_loses_nothing(what: str, protocol: str, backend: Backend, grpc_backend: Backend, path: str) -> None:
    """Parent and child have a connection and senders of their own, forked in the midst or before there are any."""
    to, failure = (grpc_backend, grpc.StatusCode.UNAVAILABLE) if protocol == "grpc" else (backend, 503)
    answers = iter([Reply(failure)] * 2)
    to.answer = lambda _kind, _ids: next(answers, None)
    ids = run(what, to.url, path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert len(ids) == {"fork": 49, "preload": 6, "pool": 15}[what]
    send_what_is_left(to.url, path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert set(to.accepted["traces"]) == set(to.accepted["logs"]) == set(ids)
    assert left(path) == 0


@over_both
def test_greenlets_are_threads_enough(protocol: str, backend: Backend, grpc_backend: Backend, path: str) -> None:
    """With gevent's patches the sender is a greenlet, and all is as ever."""
    pytest.importorskip("gevent")
    to = grpc_backend if protocol == "grpc" else backend
    ids = run("gevent", to.url, path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert len(ids) == 12
    assert sorted(to.accepted["traces"]) == sorted(to.accepted["logs"]) == sorted(ids)


@over_both
@pytest.mark.parametrize("name", ["workers", "preload"])
@pytest.mark.skipif(sys.platform == "win32", reason="no gunicorn there")
def test_workers_of_greenlets_go_on_while_the_backend_is_slow(
    name: str, protocol: str, backend: Backend, grpc_backend: Backend, path: str
) -> None:
    """A gunicorn worker of gevent answers while its sender waits, and all that it took arrives, loaded early or late."""
    pytest.importorskip("gevent")
    pytest.importorskip("gunicorn")
    to = grpc_backend if protocol == "grpc" else backend
    is_asked = threading.Event()

    def slowly(_kind: str, _ids: list[str]) -> None:
        is_asked.set()
        time.sleep(SLOW_S)

    to.answer = slowly
    process = start("workers", to.url, path, name, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}/"
        ids, longest_s = [asked(url)[0]], 0.0
        assert is_asked.wait(20)
        for _ in range(20):
            one, took_s = asked(url)
            ids.append(one)
            longest_s = max(longest_s, took_s)
        assert longest_s < SLOW_S / 2
        to.answer = lambda _kind, _ids: None
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    send_what_is_left(to.url, path, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    taken = set(ids) | ({"preloaded"} if name == "preload" else set())
    assert set(to.accepted["traces"]) == set(to.accepted["logs"]) == taken
    assert left(path) == 0


def asked(url: str) -> tuple[str, float]:
    """What a worker answers, and how many seconds that takes."""
    since_s = time.monotonic()
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode(), time.monotonic() - since_s
