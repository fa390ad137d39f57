"""The README's table of clients and call styles, from the matrix: `python -m tests.clients.table` prints it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from tests.clients.cases import ClientCase
from tests.clients.test_matrix import MODULES
from tests.instrumentation.driving import BODIES

ROOT = Path(__file__).parent.parent.parent
_PINNED = re.compile(r'"([A-Za-z0-9_.-]+)==([^"]+)"')


def oldest() -> dict[str, str]:
    """The oldest version of each distribution that the tests run with, from the tox environments."""
    return _pinned("oldest")


def between() -> dict[str, str]:
    """The versions in the environment of those that are neither the oldest nor the newest."""
    return _pinned("between")


def _pinned(environments: str) -> dict[str, str]:
    text = (ROOT / "pyproject.toml").read_text()
    sections = [one for one in text.split("[tool.tox.env.")[1:] if one.startswith(environments)]
    pins = [pin for one in sections for pin in _PINNED.findall(one)]
    # What an environment needs besides may be newer there than in the one that it is itself the subject of.
    pins.sort(key=lambda pin: [int(part) for part in pin[1].split(".") if part.isdigit()], reverse=True)
    return {name.lower(): ".".join(version.split(".")[:2]) for name, version in pins}


def newest() -> dict[str, str]:
    """The newest, from constraints.txt, and from the tox environment for what does not go with the rest."""
    lines = [line.partition(" ;")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    pins = (line.split("==") for line in lines)
    return {name.lower(): ".".join(version.split(".")[:2]) for name, version in pins} | _pinned("newest")


def versions(name: str) -> str:
    """The oldest and the newest of a distribution."""
    first, last = oldest().get(name), newest()[name]
    return last if first in {None, last} else f"{first} to {last}"


def openai() -> str:
    """The row of the client that has a matrix of its own."""
    endpoints = ", ".join(f"`{name}`" for name in BODIES)
    styles = "each made, streamed, by the `.stream()` helper, parsed, raw, as a streaming response, in the background"
    return f"| `openai` | {versions('openai')} | {endpoints}: {styles}; `realtime.connect`, `responses.connect` |"


def langchain() -> str:
    """What the README says of the packages of LangChain that are tested."""
    return " and ".join(f"`{name}` {versions(name)}" for name in ("langchain-openai", "langchain-anthropic"))


def row(case: ClientCase) -> str:
    """One client: its versions, and its call styles."""
    kinds: dict[str, set[str]] = {}
    for style in case.styles:
        kinds.setdefault(style.name.removesuffix(" async"), set()).add("async" if style.is_async else "sync")
    usual = {"sync"} if all(both == {"sync"} for both in kinds.values()) else {"sync", "async"}
    styles = [f"`{name}`{'' if both == usual else f' ({both.pop()})'}" for name, both in kinds.items()]
    name = case.distribution
    return f"| `{case.client}` | {versions(name)} | {', '.join(styles)}{case.note} |"


def listed() -> list[ClientCase]:
    """The clients of the table, but for the one that has a matrix of its own."""
    return [importlib.import_module(f"tests.clients.{name}").CASE for name in MODULES if not name.endswith("_async")]


def table() -> str:
    """The whole table, but for the clients that are tested in environments of their own."""
    return "\n".join(
        ["| client | versions | call styles, each sync and async |", "|---|---|---|", openai(), *map(row, listed())]
    )


if __name__ == "__main__":
    print(table())  # noqa: T201 - this is what it is for
