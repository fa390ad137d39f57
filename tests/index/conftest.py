"""A real Redis server, and an SQLite file."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spanback._index import _shared
from spanback._spanref import RESPONSES, Handle

STARTED_NS = time.time_ns()
HANDLE: Handle = (10, 11, 1, STARTED_NS, "openai", "gpt-4o-mini", "greeting", "7", "c-1", ("beta",), "tone", "warm", 12)


class RedisServer:
    """A server of its own folder and port, which may be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://:secret-word@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "secret-word"]
        self._process = subprocess.Popen(
            ["redis-server", *words, "--dir", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers)

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        import redis

        try:
            return bool(redis.Redis.from_url(self.url).ping())
        except redis.ConnectionError:
            return False


def eventually(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Whatever a test opens is closed."""
    yield
    for index in tuple(_shared._all):
        index.close(5)


@pytest.fixture(scope="session")
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The one server of the whole run."""
    if shutil.which("redis-server") is None:
        if os.environ.get("SPANBACK_REQUIRE_REDIS"):
            pytest.fail("redis-server is missing")
        pytest.skip("redis-server is not installed")
    pytest.importorskip("redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_server(redis_servers: RedisServer) -> RedisServer:
    """A server that runs."""
    redis_servers.stop()
    redis_servers.start()
    return redis_servers


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the index is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.db'}"
    return request.getfixturevalue("redis_server").url


@pytest.fixture(autouse=True)
def responses() -> Iterator[None]:
    """This process knows no response, and shares none, before and after each test."""
    RESPONSES.clear()
    yield
    RESPONSES.clear()
    assert (RESPONSES.offer, RESPONSES.ask) == (None, None)
