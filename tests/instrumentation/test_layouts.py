"""Clients whose modules have other names in other releases."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spanback.instrumentation import WRAPPING
from spanback.instrumentation._adapter import Target
from spanback.instrumentation.providers import Client

CHAT = ("twofold.client.chat", "twofold.chat")
FILES = {
    "new": {"client/__init__.py": "", "client/chat.py": "def complete():\n    return 'new'\n"},
    "old": {
        "__init__.py": "",
        "client.py": "",
        "sdk.py": "",
        "chat.py": "def complete():\n    return 'old'\n",
    },
}


class Twofold:
    """An adapter of a client whose chat moved, and that has no rerank in any release."""

    client = "twofold"
    targets = (
        Target(CHAT, "complete", is_async=False),
        Target(("twofold.client.rerank", "twofold.rerank"), "rank", is_async=False),
    )
    traces_itself = None

    def find_endpoint(self, _args: Any, _kwargs: Any) -> None:
        """No call is a model call."""


@pytest.fixture
def layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Makes the client of a layout importable, and spanback know it."""
    rows = {"twofold": Client("tests.instrumentation.test_layouts", ("twofold.client", "twofold.sdk"), "wrapt")}
    monkeypatch.setattr("spanback.instrumentation._wrap.CLIENTS", rows)
    monkeypatch.setattr(sys.modules[__name__], "ADAPTER", Twofold(), raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str) -> None:
        for path, content in FILES[name].items():
            file = tmp_path / "twofold" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        importlib.invalidate_caches()

    yield write
    WRAPPING.remove()
    for module in [name for name in sys.modules if name.partition(".")[0] == "twofold"]:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("name", "trigger", "chat"),
    [("new", "twofold.client", CHAT[0]), ("old", "twofold.sdk", CHAT[1])],
)
def test_a_target_is_found_where_the_release_has_it(
    layout: Callable[[str], None], name: str, trigger: str, chat: str
) -> None:
    """Either layout is wrapped, and only what neither name gives is missing."""
    layout(name)
    WRAPPING.install(["twofold"])
    assert {line.state for line in WRAPPING.status()} == {"not imported"}
    importlib.import_module(trigger)
    complete: Any = importlib.import_module(chat).complete
    assert hasattr(complete, "__wrapped__")
    assert complete() == name
    assert {(line.target, line.state) for line in WRAPPING.status()} == {
        (f"{chat}.complete", "patched"),
        ("twofold.client.rerank.rank", "missing attribute"),
    }


def test_a_module_in_the_place_of_a_package(layout: Callable[[str], None]) -> None:
    """A release that has a module where another has a package lacks what would be inside the package."""
    layout("old")
    importlib.import_module("twofold.client")
    importlib.import_module("twofold.sdk")
    WRAPPING.install(["twofold"])
    importlib.import_module("twofold.chat")
    assert [line.state for line in WRAPPING.status()] == ["patched", "missing attribute"]
