"""Clients that another thread is importing while `instrument()` runs."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from spanback.instrumentation import WRAPPING
from spanback.instrumentation._adapter import Target
from spanback.instrumentation._importing import once_imported
from spanback.instrumentation.providers import Client

STOP = "import import_gate; import_gate.stop()\n"
FILES = {
    "__init__.py": f"{STOP}from slow import client, extra\n{STOP}",
    "client.py": f"{STOP}def complete():\n    return 'whole'\n{STOP}",
    "extra.py": f"def embed():\n    return 'whole'\n{STOP}",
    "lazy.py": f"{STOP}def rank():\n    return 'whole'\n",
}
WHOLE = {"slow.client.complete": "patched", "slow.extra.embed": "patched", "slow.extra.gone": "missing attribute"}


class Slow:
    """An adapter of a client whose import takes as long as a test wants it to."""

    client = "slow"
    targets = (
        Target("slow.client", "complete", is_async=False),
        Target("slow.extra", "embed", is_async=False),
        Target("slow.extra", "gone", is_async=False),
        Target("slow.lazy", "rank", is_async=False),
    )
    traces_itself = None

    def find_endpoint(self, _args: Any, _kwargs: Any) -> None:
        """No call is a model call."""


class Gate(SimpleNamespace):
    """Holds an import up at one of the places where it would be, and may let it fail there."""

    def __init__(self, place: int, error: type[Exception] | None = None) -> None:
        super().__init__(left=place, error=error, reached=threading.Event(), open=threading.Event(), seen=None)

    def stop(self) -> None:
        """A place in the import."""
        self.left -= 1
        if self.left == 0:
            self.reached.set()
            assert self.open.wait(10)
            if self.error is not None:
                raise self.error


@pytest.fixture
def importing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Has another thread import a module of the client, up to a gate; gives what lets it go on to its end."""
    rows = {"slow": Client("tests.instrumentation.test_importing", "slow.client", "wrapt")}
    monkeypatch.setattr("spanback.instrumentation._wrap.CLIENTS", rows)
    monkeypatch.setattr(sys.modules[__name__], "ADAPTER", Slow(), raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "slow").mkdir()
    for name, content in FILES.items():
        (tmp_path / "slow" / name).write_text(content)
    importlib.invalidate_caches()

    def start(gate: Gate, *modules: str) -> Callable[[], None]:
        monkeypatch.setitem(sys.modules, "import_gate", gate)

        def run() -> None:
            with suppress(OSError):
                for module in modules or ("slow",):
                    importlib.import_module(module)
                gate.seen = states()  # where the app goes on in this thread

        def finish() -> None:
            gate.open.set()
            thread.join(10)
            assert not thread.is_alive()

        thread = threading.Thread(target=run)
        thread.start()
        assert gate.reached.wait(10)
        return finish

    yield start
    WRAPPING.remove()
    for module in [name for name in sys.modules if name.partition(".")[0] == "slow"]:
        del sys.modules[module]


def states() -> dict[str, str]:
    """What became of each function."""
    return {line.target: line.state for line in WRAPPING.status()}


@pytest.mark.parametrize("place", range(1, 6))
def test_a_client_that_is_being_imported_is_wrapped_once_it_is_whole(importing: Any, place: int) -> None:
    """Wherever its import is: nothing is waited for, and all is wrapped before the thread that imports it goes on."""
    gate = Gate(place)
    finish = importing(gate)
    WRAPPING.install(["slow"])
    assert set(states().values()) == {"not imported"}
    WRAPPING.install(["slow"])
    finish()
    assert gate.seen == {**WHOLE, "slow.lazy.rank": "not imported"}
    slow: Any = sys.modules["slow"]
    assert slow.client.complete() == "whole"
    assert not hasattr(slow.client.complete.__wrapped__, "__wrapped__")
    assert type(slow.__spec__) is type(slow.client.__spec__) is ModuleSpec


def test_a_module_that_is_imported_after_its_client(importing: Any) -> None:
    """It alone is wrapped later."""
    gate = Gate(6)
    finish = importing(gate, "slow", "slow.lazy")
    WRAPPING.install(["slow"])
    assert states() == {**WHOLE, "slow.lazy.rank": "not imported"}
    finish()
    assert gate.seen == {**WHOLE, "slow.lazy.rank": "patched"}


@pytest.mark.parametrize("place", [1, 2, 5])
def test_an_import_that_fails_is_looked_at_again(importing: Any, place: int) -> None:
    """Apps try again, or a file that was missing has come."""
    finish = importing(Gate(place, OSError))
    WRAPPING.install(["slow"])
    finish()
    assert "slow" not in sys.modules
    assert states()["slow.client.complete"] in {"not imported", "patched"}  # modules inside may be whole, and stay
    importlib.import_module("slow")
    assert states() == {**WHOLE, "slow.lazy.rank": "not imported"}


def test_a_client_that_is_given_back_while_it_is_imported(importing: Any) -> None:
    """It is left alone."""
    gate = Gate(3)
    finish = importing(gate)
    WRAPPING.install(["slow"])
    WRAPPING.remove()
    finish()
    assert set(gate.seen.values()) == {"not instrumented"}
    assert not hasattr(sys.modules["slow.client"].complete, "__wrapped__")


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told"])
def test_an_import_that_ends_while_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, is_told: bool) -> None:
    """Either the thread that imports or the one that asks goes on, and never both."""
    spec = ModuleSpec("ended", None)
    spec._initializing = True
    told: list[str] = []

    class Waiting(dict[object, Callable[[], object]]):
        def __setitem__(self, key: object, then: Callable[[], object]) -> None:
            super().__setitem__(key, then)
            spec._initializing = False
            if is_told:
                self.pop(key)()

    spec.__dict__["_spanback_waiting"] = Waiting()
    module = ModuleType("ended")
    module.__spec__ = spec
    monkeypatch.setitem(sys.modules, "ended", module)
    assert once_imported("ended", lambda: told.append("then")) is is_told
    assert told == ["then"] * is_told
    assert type(spec) is ModuleSpec
