"""No test of this folder may make OpenTelemetry warn, or the engine swallow an exception, without saying so."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import pytest

from spanback.demo._loopback import LoopbackServer
from spanback.instrumentation import CLIENTS
from spanback.instrumentation.providers.openai import ADAPTER
from tests.conftest import Memory
from tests.instrumentation import driving


class Complaints(logging.Handler):
    """What the loggers of OpenTelemetry (warnings and up) and of spanback (anything) said."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Notes what nobody should have to say."""
        if record.name.startswith("spanback") or record.levelno >= logging.WARNING:
            self.messages.append(self.format(record))

    def take(self) -> list[str]:
        """The first line of each complaint so far; they count as expected."""
        taken, self.messages = self.messages, []
        return [message.partition("\n")[0] for message in taken]


@pytest.fixture(autouse=True)
def openai_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The table of clients has one row here, without its connections, so that what is said of all is said of it."""
    for name in set(CLIENTS) - {"openai"}:
        monkeypatch.delitem(CLIENTS, name)
    connections = ADAPTER.connections
    object.__setattr__(ADAPTER, "connections", ())
    yield
    object.__setattr__(ADAPTER, "connections", connections)


@pytest.fixture(autouse=True)
def complaints() -> Iterator[Complaints]:
    """Fails a test after which there are complaints that it did not take."""
    heard = Complaints()
    loggers = [logging.getLogger("opentelemetry"), logging.getLogger("spanback")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(heard)
    loggers[1].setLevel(logging.DEBUG)
    yield heard
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(heard)
        logger.setLevel(level)
    assert heard.messages == []


@pytest.fixture
async def connect(server: LoopbackServer) -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of the server, which are closed after the test."""
    clients: list[Any] = []

    def make(*, is_async: bool = False, **choices: Any) -> Any:
        client = driving.make_client(server, is_async=is_async, **choices)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await driving.settled(client.close())


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    """A sync client."""
    return connect()


class Bench(NamedTuple):
    """All that a test may need, for those that have many parameters besides."""

    connect: Callable[..., Any]
    instrument: Callable[..., None]
    memory: Memory
    complaints: Complaints


@pytest.fixture
def bench(connect: Any, instrument: Any, memory: Memory, complaints: Complaints) -> Bench:
    """The other fixtures in one."""
    return Bench(connect, instrument, memory, complaints)
