"""Spools that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spanback
from spanback.export._spool._database import Database
from spanback.export._spool._spool import SPOOLS
from spanback.export._spool._store import Outbox, Store
from tests.export.spool.backend import Backend, over_grpc, over_http


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the environment decides; spools of the test are closed."""
    import os

    for name in os.environ:
        if name.startswith(("OTEL_", "SPANBACK_SPOOL")):
            monkeypatch.delenv(name)
    yield
    SPOOLS.close(0.0)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the spool of the test is."""
    return str(tmp_path / "spool.db")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    """A store without a limit."""
    one = Store(Database(path, 0, "FULL"), drop_oldest=False)
    yield one
    one.close()


@pytest.fixture
def outbox(path: str) -> Iterator[Outbox]:
    """The sender's side of the same file."""
    one = Outbox(Database(path, 0, "NORMAL"), "me")
    yield one
    one.close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend over HTTP that takes everything, until the test says otherwise."""
    with over_http() as one:
        yield one


@pytest.fixture
def grpc_backend() -> Iterator[Backend]:
    """The same over gRPC."""
    with over_grpc() as one:
        yield one


@pytest.fixture
def durable(
    instrument: Callable[..., None], path: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """`instrument()` with in-memory providers, a spool, and a backend to send to."""

    def start(backend: Backend | str, protocol: str = "http/protobuf", **choices: Any) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", backend if isinstance(backend, str) else backend.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        instrument(**{"durable": path, "clients": [], **choices})

    yield start
    SPOOLS.close(0.0)
    spanback.uninstrument()
