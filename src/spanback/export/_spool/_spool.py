"""The spool of one process: where feedback is committed, its senders and metrics, its ways through fork and exit.

A process has one object for each file, whatever `instrument()` is called with, so that the threads of one process share
their commits.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from spanback import semconv
from spanback._never_raise import never_raise
from spanback._telemetry import TELEMETRY, Unsent
from spanback.errors import SpoolUnavailable
from spanback.export._exporters import otlp_address, sends_by_otlp
from spanback.export._flush import LEAVING
from spanback.export._guard import Address
from spanback.export._spool._database import Database
from spanback.export._spool._post import post_to
from spanback.export._spool._sender import Sender
from spanback.export._spool._store import KINDS, Kind, Outbox, Store
from spanback.export._spool._wire import encoded

if TYPE_CHECKING:
    from spanback._settings import Settings, Way

_SAY_AGAIN_S: Final = 60.0
_logger: Final = logging.getLogger("spanback.export")


class DurableSpool:
    """Implements `spanback._telemetry.Spool` with one SQLite file.

    Args:
        path: The file.
        settings: Those in force.
    """

    def __init__(self, path: str, settings: Settings) -> None:
        self.path = path
        self._settings = settings
        self._store = Store(
            Database(path, settings.spool_limit_bytes, "FULL"), drop_oldest=settings.spool_full == "drop_oldest"
        )
        self._outbox = Outbox(Database(path, settings.spool_limit_bytes, "NORMAL"), _owner())
        addresses: dict[str, Address] = {}
        self._senders: dict[Kind, Sender] = {}
        ways: dict[Kind, Way] = {"traces": settings.traces, "logs": settings.logs}
        for kind, way in ways.items():
            if not way.exporters or any(name.startswith("otlp") for name in way.exporters):
                address = otlp_address(way)
                address = addresses.setdefault(address.url, address)
                self._senders[kind] = Sender(kind, self._outbox, partial(post_to, way, kind), address)
        self._meter: Meter | None = None
        self._is_closed = False
        self._said_dropped = 0
        self._silent_until_s = 0.0

    def is_for(self, settings: Settings) -> bool:
        """Whether it does what these settings ask for."""
        own = self._settings
        return (own.spool_limit_bytes, own.spool_full, own.traces, own.logs) == (
            settings.spool_limit_bytes,
            settings.spool_full,
            settings.traces,
            settings.logs,
        )

    @property
    def falls_back(self) -> bool:
        """As `Spool.falls_back`."""
        return self._settings.spool_full == "drop_oldest"

    def sends(self, kind: Literal["traces", "logs"]) -> bool:
        """As `Spool.sends`."""
        return kind in self._senders

    def replaces(self, processor: object, kind: Literal["traces", "logs"]) -> bool:
        """As `Spool.replaces`."""
        return kind in self._senders and sends_by_otlp(processor, self._senders[kind].address)

    def put(self, signals: Sequence[Unsent]) -> None:
        """As `Spool.put`."""
        try:
            records = encoded(signals)
        except ValueError as error:  # text or numbers that protobuf has no form for
            raise SpoolUnavailable(self.path, f"a record cannot be encoded: {error}") from error
        self._store.put(records)
        self.start()
        for sender in self._senders.values():
            sender.wake()
        meter = TELEMETRY.meter()
        if meter is not None and meter is not self._meter:
            never_raise(self._observe, meter)
        if self._store.dropped > self._said_dropped:
            self._say_dropped()

    def start(self) -> None:
        """Starts the sending; at the exit of the interpreter there is none, and the next process sends."""
        for sender in self._senders.values():
            if not sender.is_running:
                never_raise(sender.start)

    def drain(self, timeout_s: float) -> bool:
        """Sends what waits and gives up at the first failure, or at the timeout; says whether nothing waits."""
        deadline_s = time.monotonic() + timeout_s
        drained = [sender.drain(deadline_s) for sender in self._senders.values() if sender.is_running]
        return all(drained)  # none of them is left out after a first that fails

    def close(self, timeout_s: float) -> None:
        """Sends what can be sent in time and lets go of the file. What is left stays in it."""
        deadline_s = time.monotonic() + timeout_s
        self._is_closed = True
        self.drain(timeout_s)
        for sender in self._senders.values():
            sender.stop(max(0.0, deadline_s - time.monotonic()))
        self._store.close()
        self._outbox.close()

    def before_fork(self) -> None:
        """Closes the file, since no connection to SQLite may be carried over a fork."""
        self._store.hold()
        self._outbox.hold()

    def after_fork(self, *, in_child: bool) -> None:
        """Opens it again, in both processes; the child gets senders of its own, if there were any."""
        self._outbox.resume(in_child=in_child)
        self._store.resume(in_child=in_child)
        if in_child:
            self._outbox.rename(_owner())
            was_running = any(sender.is_running for sender in self._senders.values())
            for sender in self._senders.values():
                sender.forget()
            if was_running:
                self.start()

    def _observe(self, meter: Meter) -> None:
        self._meter = meter
        meter.create_observable_gauge(
            semconv.METRIC_FEEDBACK_SPOOL_PENDING,
            [partial(self._counted, KINDS)],
            "{record}",
            "Records of feedback that are committed to the spool and not yet delivered.",
        )
        meter.create_observable_gauge(
            semconv.METRIC_FEEDBACK_SPOOL_DEAD_LETTERS,
            [partial(self._counted, ("dead",))],
            "{record}",
            "Records of feedback in the spool that the backend has rejected.",
        )

    def _counted(self, tables: Iterable[str], _options: CallbackOptions) -> Iterable[Observation]:
        # A meter cannot be told to ask no more, and whoever counts opens the file.
        counts = None if self._is_closed else never_raise(self._outbox.counts)
        return [] if counts is None else [Observation(sum(counts[table] for table in tables))]

    def _say_dropped(self) -> None:
        dropped, now_s = self._store.dropped, time.monotonic()
        if now_s >= self._silent_until_s:
            self._silent_until_s = now_s + _SAY_AGAIN_S
            _logger.warning(
                "The spool %s is full: %d of its oldest records were dropped for new ones. Said once a minute.",
                self.path,
                dropped - self._said_dropped,
            )
            self._said_dropped = dropped


class _Spools:
    """The spools of this process by their paths."""

    def __init__(self) -> None:
        self._by_path: dict[str, DurableSpool] = {}
        self._is_hooked = False

    def open(self, settings: Settings) -> DurableSpool | None:
        """The spool that settings ask for, sending already if an earlier process has left something."""
        if settings.spool is None or settings.sdk_disabled:
            return None
        # Absolute, since an app may change its working directory.
        path = os.path.abspath(os.path.expanduser(settings.spool))  # noqa: PTH100, PTH111 - pathlib's raises
        known = self._by_path.get(path)
        if known is not None and known.is_for(settings):
            return known
        spool = DurableSpool(path, settings)
        if not spool.sends("traces") and not spool.sends("logs"):
            _logger.warning(
                "OTEL_TRACES_EXPORTER and OTEL_LOGS_EXPORTER name no otlp: the spool %s has nowhere to send to, and "
                "feedback goes where they say without it.",
                path,
            )
            return None
        if known is not None:
            known.close(0.0)
        self._by_path[path] = spool
        self._hook(settings)
        if os.path.exists(path):  # noqa: PTH110 - as above
            spool.start()
        return spool

    def drain(self, timeout_s: float) -> bool:
        """Sends what waits in any of them."""
        deadline_s = time.monotonic() + timeout_s
        drained = [spool.drain(max(0.0, deadline_s - time.monotonic())) for spool in self._by_path.values()]
        return all(drained)

    def close(self, timeout_s: float) -> None:
        """Sends what can be sent in time, lets go of all files and forgets them. Called at the exit of the process."""
        deadline_s = time.monotonic() + timeout_s
        for spool in self._by_path.values():
            spool.close(max(0.0, deadline_s - time.monotonic()))
        self._by_path.clear()

    def _hook(self, settings: Settings) -> None:
        if self._is_hooked:
            return
        self._is_hooked = True
        LEAVING.drain_spools = self.drain
        atexit.register(self.close, settings.flush_timeout_s)
        if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=partial(self._after_fork, in_child=False),
                after_in_child=partial(self._after_fork, in_child=True),
            )

    def _before_fork(self) -> None:
        for spool in self._by_path.values():
            spool.before_fork()

    def _after_fork(self, *, in_child: bool) -> None:
        for spool in reversed(self._by_path.values()):
            spool.after_fork(in_child=in_child)


def _owner() -> str:
    return f"{os.getpid()}-{uuid.uuid4().hex[:12]}"


SPOOLS: Final = _Spools()
"""The spools of this process."""
