"""The endpoint behind real servers: bodies that come slowly, connections that stay, processes that die."""

from __future__ import annotations

import json
import select
import signal
import socket
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.conftest import KEY, REF
from tests.web.served import served

SERVERS = [
    "uvicorn",
    "wsgiref",
    pytest.param("gunicorn", marks=pytest.mark.skipif(sys.platform == "win32", reason="no gunicorn there")),
]
TOKEN = REF.token(keys=[KEY])
HEAD = (
    "POST / HTTP/1.1\r\nHost: host\r\nContent-Type: application/json\r\n"
    f"Authorization: Bearer {TOKEN}\r\nContent-Length: {{}}\r\n\r\n"
)


def signals_in(folder: Path) -> list[dict[str, Any]]:
    """The attributes of the carrier spans in OTLP-JSON lines."""
    file = folder / "traces.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [
        {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def answered(connection: socket.socket) -> bytes:
    """All that a server says before it closes, or the begin of it."""
    connection.settimeout(10)
    return connection.recv(65_536)


def drip(connection: socket.socket, drops: list[bytes]) -> None:
    """Sends drops, one at a time, until the server answers."""
    for drop in drops:
        connection.sendall(drop)
        if select.select([connection], [], [], 0.05)[0]:
            return


@pytest.mark.parametrize("kind", SERVERS)
def test_a_real_server_takes_feedback_and_gives_up_on_slow_bodies(kind, tmp_path):
    """One that never comes, one that comes in drops, one that is too long, and good ones on one connection."""
    with served(kind, tmp_path, SPANBACK_TOKEN_KEYS=KEY, OTEL_BSP_SCHEDULE_DELAY="100") as (port, _):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for score in (1, -1):
                done = client.post("/", json={"score": score, "token": TOKEN})
                assert (done.status_code, done.json()["status"]) == (202, "recorded")
            chunks = iter([b'{"score":1,', f'"token":"{TOKEN}"}}'.encode()])
            chunked = client.post("/", content=chunks, headers={"content-type": "application/json"})
            assert chunked.status_code == (400 if kind == "wsgiref" else 202)  # which knows nothing of chunks
            begun_s = time.monotonic()
            assert (
                client.post("/", content=b" " * 10_000_000, headers={"content-type": "application/json"}).status_code
                == 413
            )
            assert time.monotonic() - begun_s < 5
        for drops in ([], [b"{"] * 40):
            begun_s = time.monotonic()
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(HEAD.format(400).encode())
                try:
                    drip(connection, drops)
                    answer = answered(connection)
                except ConnectionError:  # a drop that comes as the server closes resets the connection, and its answer
                    assert drops
                    answer = b"HTTP/1.1 408 "
            assert answer.split(b" ", 2)[1] == b"408", answer
            assert b"urn:spanback:problem:too-slow" in answer or len(answer) < 400
            assert time.monotonic() - begun_s < 5
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(HEAD.format(400).encode() + b'{"score":1}')
            connection.shutdown(socket.SHUT_WR)
            assert answered(connection).split(b" ", 2)[1:2] in ([b"400"], [])
        expected = [1.0, -1.0] + [1.0] * (kind != "wsgiref")
        ends_s = time.monotonic() + 10
        while len(signals_in(tmp_path)) < len(expected) and time.monotonic() < ends_s:
            time.sleep(0.05)
        assert [float(one["feedback.score"]) for one in signals_in(tmp_path)] == expected
    kept = "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
    assert "user_feedback" in kept
    assert [secret for secret in (*TOKEN.split("."), KEY.partition(":")[2]) if secret in kept] == []


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed so there")
@pytest.mark.parametrize("path", ["/", "/batch"])
@pytest.mark.parametrize("kind", ["uvicorn", "wsgiref"])
def test_what_was_accepted_survives_kill_9(kind, path, tmp_path):
    """With a spool, 202 means that the signal, or each signal of the batch, is on disk, whatever becomes of us then."""
    variables = {"SPANBACK_TOKEN_KEYS": KEY, "SPANBACK_SPOOL": str(tmp_path / "spool.db")}
    accepted = []
    for run in range(2):
        folder = tmp_path / str(run)
        with served(kind, folder, **variables, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1") as (port, process):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                for number in range(3):
                    signals = [{"score": 1, "feedback_id": f"{run}-{number}-{one}", "token": TOKEN} for one in range(3)]
                    done = client.post(path, json=signals[0] if path == "/" else {"signals": signals})
                    assert done.status_code == 202
                    receipts = [done.json()] if path == "/" else done.json()["receipts"]
                    assert [one["status"] for one in receipts] == ["spooled"] * (1 if path == "/" else 3)
                    accepted += [one["feedback_id"] for one in receipts]
                process.send_signal(signal.SIGKILL)
            process.wait(10)
    assert sorted(ids_in(tmp_path / "spool.db")) == sorted(accepted)
    assert len(set(accepted)) == (6 if path == "/" else 18)


def ids_in(spool: Path) -> list[str]:
    """The ids of the signals in a spool."""
    with closing(sqlite3.connect(spool)) as database, database:
        return [row[0] for row in database.execute("select feedback_id from traces")]
