"""`spanback signals`: the signals that an app declares, and those that spanback brings."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from spanback._never_raise import never_raise
from spanback.feedback import PRESETS, Signal
from spanback.feedback._declared import DECLARED, Declaration

_HEADINGS: Final = ("signal", "score", "weight", "source", "type", "labels", "description")
_EPILOG: Final = """
examples:
  spanback signals                           the presets of spanback.signals
  spanback signals --app shop.main:app       also what the app declares with spanback.declare()
  spanback signals --import shop.feedback    the same, by the module that declares
  spanback signals --json | jq '.declared'   for programs

The module is imported, so whatever it does when it is imported is done. The current directory is searched first.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "signals",
        help="list declared signals and presets",
        description="Lists the signals that an app declares with spanback.declare(), and the presets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--app", metavar="MODULE:ATTRIBUTE", help="where the app is; its module is imported")
    parser.add_argument(
        "--import", dest="modules", metavar="MODULE", action="append", default=[], help="a module to import"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 2 when a module cannot be imported or has no such attribute.
    """
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a text, as all of sys.path
    for wanted in [*([arguments.app] if arguments.app else []), *arguments.modules]:
        wrong = _imported(wanted)
        if wrong is not None:
            print(wrong, file=sys.stderr)  # noqa: T201 - a command's own output
            return 2
    declared = sorted(DECLARED.values(), key=lambda one: one.name)
    if arguments.json:
        presets = [{"preset": name, **_preset_json(signal)} for name, signal in PRESETS.items()]
        print(json.dumps({"declared": [one.to_json() for one in declared], "presets": presets}))  # noqa: T201
    else:
        _print(declared)
    return 0


def _imported(wanted: str) -> str | None:
    """Imports a module, and looks up what is named in it; says what is wrong, or None."""
    module_name, _, path = wanted.partition(":")
    try:
        found = never_raise(import_module, module_name)
    except SystemExit:
        found = None
    if found is None:
        return f"{module_name} cannot be imported: python -c 'import {module_name}' says why."
    for name in filter(None, path.split(".")):
        found = getattr(found, name, None)
        if found is None:
            return f"{module_name} has no {path}."
    return None


def _preset_json(signal: Signal) -> dict[str, Any]:
    return {name: getattr(signal, name) for name in ("name", "score", "weight", "source", "type")}


def _declared_row(declared: Declaration) -> Sequence[str]:
    usual = declared.usual
    scale = [f"rated {low:g} to {high:g}" for low, high in filter(None, [declared.scale])]
    scores = [f"{low:g} to {high:g}" for low, high in filter(None, [declared.scores])]
    return (
        declared.name,
        ", ".join(scale + scores),
        f"{usual.weight:g}",
        usual.source,
        usual.type,
        ", ".join(declared.labels),
        declared.description or "",
    )


def _preset_row(item: tuple[str, Signal]) -> Sequence[str]:
    name, signal = item
    score = "" if signal.score is None else f"{signal.score:g}"
    return signal.name, score, f"{signal.weight:g}", signal.source, signal.type, "", f"signals.{name}"


def _print(declared: Sequence[Declaration]) -> None:
    """Prints a table for each kind; without rich lines, fields parted by tabs."""
    kinds = (("Declared", [*map(_declared_row, declared)]), ("Presets", [*map(_preset_row, PRESETS.items())]))
    if find_spec("rich") is None:
        for _, rows in kinds:
            for row in rows:
                print("\t".join(row))  # noqa: T201 - a command's own output
        return
    from rich.text import Text  # noqa: PLC0415 - the rest works without rich

    from spanback.cli._tree import PipeConsole, table_of  # noqa: PLC0415 - as above

    console = PipeConsole()
    for heading, rows in kinds:
        table = table_of(_HEADINGS)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(Text(heading if rows else f"{heading}: none", style="bold"))
        if rows:
            console.print(table)
