"""What is in force is resolved once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry import trace

from spanback._telemetry import Telemetry
from tests.index.conftest import eventually


class _Overtaken:
    """A lock that another thread gets first."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = telemetry._lock
        self.others: list[object] = []

    def __enter__(self) -> None:
        self._telemetry._lock = self._lock
        other = threading.Thread(target=lambda: self.others.append(self._telemetry.spool))
        other.start()
        other.join(10)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_threads_that_come_at_once_open_one_spool() -> None:
    """The one that comes second gets what the first one has opened."""
    opened: list[Any] = []

    def open_spool() -> Any:
        opened.append(object())
        return opened[-1]

    telemetry = Telemetry()
    telemetry.configure(open_spool=open_spool)
    lock: Any = _Overtaken(telemetry)
    telemetry._lock = lock
    assert telemetry.spool is opened[0]
    assert lock.others == opened
    assert len(opened) == 1


def test_a_process_that_is_forked_while_another_thread_sets_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is not there in the child, which neither waits for it nor goes without providers."""
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    begun, released = threading.Event(), threading.Event()
    made: list[int] = []

    def set_up() -> None:
        made.append(threading.get_ident())
        begun.set()
        released.wait(10)

    telemetry = Telemetry()
    telemetry.configure(set_up=set_up)
    parents = threading.Thread(target=telemetry.tracer)
    parents.start()
    assert begun.wait(10)
    child = threading.Thread(target=lambda: (telemetry.forget_threads(), telemetry.tracer()))
    child.start()
    eventually(lambda: len(made) == 2)
    assert made == [parents.ident, child.ident]
    released.set()
    child.join(10)
    parents.join(10)
    assert telemetry.tracer() is None
    assert len(made) == 2
