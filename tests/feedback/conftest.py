"""Providers in memory, and settings that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spanback import _settings
from spanback._settings import Settings
from spanback._spanref import RESPONSES
from spanback.feedback._recent import RECENT
from spanback.testing import InMemoryTelemetry, capture

NOW_NS = 1_760_000_000_000_000_000


@pytest.fixture
def configure() -> Iterator[Callable[..., Settings]]:
    """Puts settings in force that differ from the defaults by the arguments."""

    def put(**choices: Any) -> Settings:
        settings = Settings()._replace(**choices)
        _settings.use(settings)
        return settings

    put()
    yield put
    _settings.use(None)


@pytest.fixture
def telemetry(configure: Callable[..., Settings]) -> Iterator[InMemoryTelemetry]:
    """Three providers that keep what they get; content capture is off."""
    RESPONSES.clear()
    RECENT.clear()
    with capture() as kept:
        yield kept
    RESPONSES.clear()
    RECENT.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time stands still at NOW_NS."""
    monkeypatch.setattr("time.time_ns", lambda: NOW_NS)
