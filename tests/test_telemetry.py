"""What is in force is resolved once."""

from __future__ import annotations

import threading
from typing import Any

from spanback._telemetry import Telemetry


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
