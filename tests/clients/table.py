"""The README's table of clients and call styles, from the matrix: `python -m tests.clients.table` prints it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from tests.clients.cases import ClientCase
from tests.clients.test_matrix import MODULES

ROOT = Path(__file__).parent.parent.parent
_PINNED = re.compile(r'"([A-Za-z0-9_.-]+)==([^"]+)"')


def oldest() -> dict[str, str]:
    """The oldest version of each distribution that the tests run with, from the tox environments."""
    text = (ROOT / "pyproject.toml").read_text()
    environments = text.split("[tool.tox.env.")[1:]
    pins = [pin for one in environments if one.startswith("oldest") for pin in _PINNED.findall(one)]
    return {name.lower(): ".".join(version.split(".")[:2]) for name, version in pins}


def newest() -> dict[str, str]:
    """The newest, from constraints.txt."""
    lines = [line.partition(" ;")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    return {name.lower(): ".".join(version.split(".")[:2]) for name, version in (line.split("==") for line in lines)}


def row(case: ClientCase) -> str:
    """One client: its versions, and its call styles."""
    kinds: dict[str, set[str]] = {}
    for style in case.styles:
        kinds.setdefault(style.name.removesuffix(" async"), set()).add("async" if style.is_async else "sync")
    styles = [f"`{name}`{'' if len(both) == 2 else f' ({both.pop()})'}" for name, both in kinds.items()]
    name = case.distribution
    versions = f"{oldest().get(name, '?')} to {newest().get(name, '?')}"
    return f"| `{case.client}` | {versions} | {', '.join(styles)} |"


def table() -> str:
    """The whole table."""
    cases = [importlib.import_module(f"tests.clients.{name}").CASE for name in MODULES]
    return "\n".join(["| client | versions | call styles, sync and async |", "|---|---|---|", *map(row, cases)])


if __name__ == "__main__":
    print(table())  # noqa: T201 - this is what it is for
