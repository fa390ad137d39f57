"""`spanback spool`: what is not yet delivered, and what the backend has rejected."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from spanback import SpoolUnavailable, _settings

if TYPE_CHECKING:
    from spanback.export._spool._letters import Letters

ACTIONS: Final = ("list", "export", "retry", "drop")
NO_PATH: Final = "There is no spool to look into: name its file, or set SPANBACK_SPOOL."

_EPILOG: Final = """
examples:
  spanback spool                                 what is in SPANBACK_SPOOL: counts, sizes, dead letters with reasons
  spanback spool list feedback.db --json         the same for programs
  spanback spool export feedback.db > dead.jsonl dead letters as OTLP-JSON lines, which `spanback show` reads
  spanback spool export --pending                these, and what has not been sent yet
  spanback spool retry feedback.db --id 0198...  one signal again; without --id all dead letters
  spanback spool drop feedback.db --yes          dead letters are deleted for good; without --yes it says how many

Records are sent by the app that uses the spool, so `retry` only puts them back in line. All of this may be done while
the app runs.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "spool",
        help="say what feedback is not yet delivered",
        description="Lists, exports, retries or drops what is in the file of instrument(durable=...).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="[ACTION] [PATH]", help=f"{', '.join(ACTIONS)}; and the file")
    parser.add_argument("--id", metavar="FEEDBACK_ID", help="only the records of this signal")
    parser.add_argument("--pending", action="store_true", help="export, drop: not only dead letters")
    parser.add_argument("--yes", action="store_true", help="drop: really")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 1 when the file cannot be read or written; 2 when there is nothing to do or more than one path.
    """
    words: list[str] = arguments.words
    action = words[0] if words and words[0] in ACTIONS else "list"
    paths = words[1:] if words and words[0] in ACTIONS else words
    path = paths[0] if paths else _settings.current().spool
    if path is None:
        return _fail(NO_PATH, 2)
    if len(paths) > 1:
        told = f"One path, please, and not {len(paths)}: {' '.join(paths)}"
        return _fail(told if action == words[0] else f"{told}. Actions are {', '.join(ACTIONS)}.", 2)
    from spanback.export._spool._letters import Letters  # noqa: PLC0415 - so that the help is quick

    try:
        letters = Letters(path)
        try:
            return _ACTIONS[action](letters, arguments)
        finally:
            letters.close()
    except SpoolUnavailable as error:
        return _fail(f"{error.path}: {error.reason}", 1)


def _list(letters: Letters, arguments: argparse.Namespace) -> int:
    found = letters.overview()
    if arguments.json:
        return _print(json.dumps(found))
    lines = [f"{found['path']}: {found['bytes']:,} bytes"]
    for kind, queue in found["pending"].items():
        oldest = f", the oldest of {queue['oldest']}" if queue["oldest"] else ""
        trouble = f"; last trouble: {queue['last_trouble']}" if queue["last_trouble"] else ""
        lines.append(f"{kind}: {queue['records']:,} waiting{oldest}{trouble}")
    lines.append(f"dead letters: {len(found['dead_letters']):,}")
    lines += (f"  {one['died']}  {one['kind']}  {one['feedback_id']}  {one['reason']}" for one in found["dead_letters"])
    return _print("\n".join(lines))


def _export(letters: Letters, arguments: argparse.Namespace) -> int:
    from spanback.export._spool._letters import tables_of  # noqa: PLC0415 - as above

    for line in letters.lines(tables_of(pending=arguments.pending), arguments.id):
        sys.stdout.write(line.decode())
    return 0


def _retry(letters: Letters, arguments: argparse.Namespace) -> int:
    return _told("put back", letters.retry(arguments.id), arguments)


def _drop(letters: Letters, arguments: argparse.Namespace) -> int:
    from spanback.export._spool._letters import tables_of  # noqa: PLC0415 - as above

    tables = tables_of(pending=arguments.pending)
    if not arguments.yes:
        return _told("would be dropped; say --yes", letters.count(tables, arguments.id), arguments)
    return _told("dropped", letters.drop(tables, arguments.id), arguments)


def _told(what: str, records: int, arguments: argparse.Namespace) -> int:
    text = json.dumps({"records": records}) if arguments.json else f"{records:,} records {what}."
    return _print(text)


def _print(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 0


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"{text}\n")
    return code


_ACTIONS: Final = {"list": _list, "export": _export, "retry": _retry, "drop": _drop}
