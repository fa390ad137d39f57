"""Waits for telemetry to leave, but never longer than allowed, also while the interpreter goes down.

The SDK's own ways to flush and to shut down wait as long as an exporter takes. So they run in threads of their own, one
a signal, and only those wait. The threads are made ahead, since from Python 3.12 on none can be started at exit.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from spanback._never_raise import never_raise
from spanback._telemetry import TELEMETRY

if TYPE_CHECKING:
    from spanback.export._guard import Guard

_SIGNALS: Final = ("traces", "logs", "metrics")
_logger: Final = logging.getLogger("spanback.export")


class _Job:
    """One thing to do in a lane; what it raises counts as failure."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._done = threading.Event()
        self._succeeded = False

    def run(self) -> None:
        self._succeeded = never_raise(self._action) is True
        self._done.set()

    def wait(self, timeout_s: float) -> bool:
        return self._done.wait(timeout_s) and self._succeeded


class Lanes:
    """One idle thread a signal, so that a signal whose backend hangs does not hold up the others."""

    def __init__(self) -> None:
        self._queues: dict[str, SimpleQueue[_Job]] = {}

    def open(self) -> None:
        """Starts the threads unless they run; a forked child starts its own.

        Raises:
            RuntimeError: The interpreter is going down.
        """
        if not self._queues:
            self._start()
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._start)

    def run(self, actions: Mapping[str, Callable[[], object]], timeout_s: float) -> frozenset[str]:
        """Runs an action for each signal named, all at once.

        Args:
            actions: What to run, by signal. True says that it succeeded; anything else, or raising, that it failed.
            timeout_s: The longest to wait for all of them together.

        Returns:
            The signals whose action did not succeed in time. One that takes longer goes on in its thread.
        """
        deadline = time.monotonic() + timeout_s
        jobs = {signal: _Job(action) for signal, action in actions.items()}
        for signal, job in jobs.items():
            self._queues[signal].put(job)
        return frozenset(signal for signal, job in jobs.items() if not job.wait(max(0.0, deadline - time.monotonic())))

    def _start(self) -> None:
        queues: dict[str, SimpleQueue[_Job]] = {signal: SimpleQueue() for signal in _SIGNALS}
        for signal, queue in queues.items():
            threading.Thread(target=_work, args=(queue,), name=f"spanback-flush-{signal}", daemon=True).start()
        self._queues = queues


class Leaving:
    """What has to be flushed, and closed at exit.

    Args:
        lanes: Where the waiting is done.

    Attributes:
        guards: The guards of the OTLP exporters in use.
        drain_spools: Sends what spools hold, within a number of seconds, and says whether all of it has arrived.
    """

    def __init__(self, lanes: Lanes) -> None:
        self.guards: list[Guard] = []
        self.drain_spools: Callable[[float], bool] | None = None
        self._lanes = lanes
        self._shutdowns: dict[str, Callable[[], object]] = {}
        self._processors: dict[str, WeakKeyDictionary[Any, Callable[[], bool]]] = {
            "traces": WeakKeyDictionary(),
            "logs": WeakKeyDictionary(),
        }

    def add_processor(self, signal: str, processor: Any, is_shut: Callable[[], bool]) -> None:
        """Names a processor that was added to a provider which may not be the global one.

        Args:
            signal: "traces" or "logs".
            processor: The processor, which is not kept alive.
            is_shut: Whether its provider has been shut down: it holds nothing then, and says that it cannot be flushed.
        """
        self._processors[signal][processor] = is_shut

    def add_provider(self, signal: str, shutdown: Callable[[], object]) -> None:
        """Names how the provider of a signal is shut down, which sends what it holds."""
        self._lanes.open()
        self._shutdowns[signal] = shutdown

    def close(self, timeout_s: float) -> None:
        """Shuts the providers down, and waits no longer than that for all of them together."""
        for guard in self.guards:
            guard.close()
        late = self._lanes.run({signal: partial(_shut, shut) for signal, shut in self._shutdowns.items()}, timeout_s)
        if late:
            what = " and ".join(sorted(late))
            _logger.warning("Not all %s left within %g s at exit. What did not is lost.", what, timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """Sends what is held; described at `spanback.export.flush`."""
        deadline = time.monotonic() + timeout_s
        self._lanes.open()
        for tie_up in tuple(TELEMETRY.before_flush):
            never_raise(tie_up, max(0.0, deadline - time.monotonic()))
        holders = {
            signal: [provider, *(added for added, is_shut in self._added(signal) if not is_shut())]
            for signal, provider in TELEMETRY.providers().items()
        }
        late = self._lanes.run(
            {signal: partial(_flush, held, deadline) for signal, held in holders.items()},
            max(0.0, deadline - time.monotonic()),
        )
        is_drained = self.drain_spools is None or self.drain_spools(max(0.0, deadline - time.monotonic()))
        return is_drained and not late and not any(guard.failing for guard in self.guards)

    def _added(self, signal: str) -> list[tuple[Any, Callable[[], bool]]]:
        return list(self._processors[signal].items()) if signal in self._processors else []  # metrics have none


def _shut(shutdown: Callable[[], object]) -> bool:
    shutdown()
    return True


def _flush(held: Iterable[Any], deadline: float) -> bool:
    # Those that the API provides while nobody has set any have nothing to flush.
    flushes = [thing.force_flush for thing in held if hasattr(thing, "force_flush")]
    taken = [never_raise(_taken, flush, deadline) is True for flush in flushes]  # all of them, whatever one raises
    return all(taken)


def _taken(flush: Callable[[int], object], deadline: float) -> bool:
    # Processors of others may say nothing.
    return flush(int(max(0.0, deadline - time.monotonic()) * 1_000)) is not False


def _work(queue: SimpleQueue[_Job]) -> None:
    while True:
        queue.get().run()


LEAVING: Final = Leaving(Lanes())
"""What leaves this process."""
