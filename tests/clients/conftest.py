"""A server that speaks any client's wire format, and telemetry in memory."""

from __future__ import annotations

import gc
import inspect
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import context as otel_context

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireServer
from tests.conftest import Memory


@pytest.fixture(scope="session", autouse=True)
def light_collections() -> Iterator[None]:
    """Many tests ask the garbage collector to run; it does not have to look at a dozen clients' modules each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def wire() -> Iterator[WireServer]:
    """The one server of all clients."""
    with WireServer().running() as server:
        yield server


async def settled(value: Any) -> Any:
    """The value, awaited where that is to be done."""
    return await value if inspect.isawaitable(value) else value


@pytest.fixture
async def bench(
    wire: WireServer, instrument: Any, memory: Memory, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Any]:
    """A server, telemetry in memory, and a look at what was logged and at the context afterwards."""
    caplog.set_level("WARNING", "opentelemetry")
    caplog.set_level("DEBUG", "spanback")  # last: it is the handler's level, too
    before = otel_context.get_current()

    clients: list[Any] = []

    def connect(case: ClientCase, style: Style) -> Any:
        wire.speak(case.answers)
        clients.append(case.connect(wire, style.is_async))
        return clients[-1]

    yield SimpleNamespace(wire=wire, instrument=instrument, memory=memory, connect=connect)
    records = caplog.get_records("call")  # `caplog.records` are those of the teardown by now
    assert [record.getMessage() for record in records if record.name.startswith(("spanback", "opentele"))] == []
    assert otel_context.get_current() == before
    for client in clients:
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        if close is not None:
            await settled(close())
