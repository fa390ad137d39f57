"""Waiting for telemetry to leave, no longer than allowed."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

import pytest

from spanback import export
from spanback._telemetry import TELEMETRY
from spanback.export._flush import LEAVING, Lanes, Leaving
from spanback.export._guard import Address, Guard


class Held:
    """A processor that remembers how it was flushed."""

    def __init__(self, answer: bool | None = True) -> None:
        self.answer = answer
        self.timeouts_ms: list[int] = []

    def force_flush(self, timeout_ms: int) -> bool | None:
        """Remembers the time it got."""
        self.timeouts_ms.append(timeout_ms)
        return self.answer


def never() -> bool:
    """No provider was shut down."""
    return False


def lanes() -> Lanes:
    """Lanes of their own, open."""
    made = Lanes()
    made.open()
    return made


def test_actions_run_beside_each_other() -> None:
    """One that hangs holds up neither the others nor the caller, beyond the time allowed for all."""
    released = threading.Event()
    done: list[str] = []
    started = time.monotonic()

    late = lanes().run(
        {
            "traces": lambda: released.wait(10),
            "logs": lambda: done.append("logs") is None,
            "metrics": lambda: released.wait(10),
        },
        0.2,
    )

    assert late == {"traces", "metrics"}
    assert done == ["logs"]
    assert 0.2 <= time.monotonic() - started < 5
    released.set()


def test_what_raises_or_says_no_has_not_succeeded() -> None:
    """A lane outlives what it runs."""
    made = lanes()

    def broken() -> bool:
        raise ConnectionError("gone")

    assert made.run({"traces": broken, "logs": lambda: False, "metrics": lambda: True}, 5) == {"traces", "logs"}
    assert made.run({"traces": lambda: True}, 5) == frozenset()


def test_lanes_are_opened_once() -> None:
    """Opening them again starts no more threads."""
    made = lanes()
    before = threading.active_count()
    made.open()

    assert threading.active_count() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_lanes_of_its_own() -> None:
    """Threads do not survive a fork, so the child starts its own."""
    made = lanes()
    child = os.fork()
    if child == 0:
        os._exit(0 if made.run({"traces": lambda: True}, 5) == frozenset() else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_lanes_need_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """On systems without fork there is nothing to register."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)

    assert lanes().run({"traces": lambda: True}, 5) == frozenset()


def test_flush_reaches_processors_of_providers_that_are_not_global() -> None:
    """A processor that says nothing has done its work; each gets what is left of the time."""
    leaving = Leaving(Lanes())
    traces, logs = Held(), Held(None)
    leaving.add_processor("traces", traces, never)
    leaving.add_processor("logs", logs, never)

    assert leaving.flush(3.0) is True
    assert [2_000 < timeout_ms <= 3_000 for timeout_ms in traces.timeouts_ms + logs.timeouts_ms] == [True, True]


def test_flush_says_when_not_all_was_taken() -> None:
    """A processor that could not, or an exporter whose last batch did not arrive."""
    refusing = Leaving(Lanes())
    held = Held(False)
    refusing.add_processor("traces", held, never)
    assert refusing.flush(3.0) is False

    failing = Leaving(Lanes())
    failing.guards.append(Guard(Failing(), "traces", Address("http://c", "Start it.")))
    assert failing.flush(3.0) is True
    failing.guards[0].export([])
    assert failing.flush(3.0) is False


def test_flush_forgets_processors_that_are_gone() -> None:
    """Providers that the app drops are not kept alive."""
    leaving = Leaving(Lanes())
    leaving.add_processor("traces", Held(False), never)

    assert leaving.flush(3.0) is True


def test_one_that_raises_keeps_no_other_from_its_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be flushed is told by the answer, and all else has left."""
    leaving = Leaving(Lanes())
    provider, processor = Held(True), Held(True)
    monkeypatch.setattr(provider, "force_flush", lambda _millis: 1 / 0)
    flushed: list[int] = []
    monkeypatch.setattr(processor, "force_flush", flushed.append)
    monkeypatch.setattr(TELEMETRY, "providers", lambda: {"traces": provider})
    leaving.add_processor("traces", processor, never)

    assert leaving.flush(3.0) is False
    assert len(flushed) == 1


def test_what_is_tied_up_before_has_no_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told how long it may take, and one that raises stops nothing."""
    told: list[float] = []
    monkeypatch.setattr(TELEMETRY, "before_flush", {told.append, lambda _timeout_s: 1 / 0})
    monkeypatch.setattr(TELEMETRY, "providers", dict)

    assert Leaving(Lanes()).flush(3.0) is True
    assert 2.0 < told[0] <= 3.0


def test_closing_shuts_every_provider_down_and_says_which_was_late(caplog: pytest.LogCaptureFixture) -> None:
    """A provider that hangs or raises is named in one line, and the others are shut down all the same."""
    leaving = Leaving(Lanes())
    released, shut = threading.Event(), []
    leaving.add_provider("traces", lambda: released.wait(10))
    leaving.add_provider("logs", lambda: shut.append("logs"))
    guard = Guard(Failing(), "traces", Address("http://c", "Start it."))
    leaving.guards.append(guard)

    leaving.close(0.1)

    assert shut == ["logs"]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "Not all traces left within 0.1 s at exit. What did not is lost.")
    ]
    assert guard._closing
    released.set()


def test_closing_in_time_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Silence is success."""
    leaving = Leaving(Lanes())
    leaving.add_provider("metrics", lambda: None)

    leaving.close(5.0)

    assert caplog.records == []


def test_the_public_flush_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing set up there is nothing to send; an interpreter that goes down can send nothing more."""
    assert export.flush(1.0) is True

    def no_more_threads() -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(LEAVING._lanes, "open", no_more_threads)
    assert export.flush(1.0) is False


class Failing:
    """An exporter that gets nothing through."""

    def export(self, batch: Any) -> Any:
        """Gives no result."""
        return

    def shutdown(self) -> None:
        """Has nothing to close."""
