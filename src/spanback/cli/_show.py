"""`spanback show`: rated calls with their feedback, from files and servers."""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spanback import _settings, reading
from spanback.errors import SourceError
from spanback.reading import Progress as Told
from spanback.reading import RatedCall, Reader, TelemetryFiles
from spanback.reading._rows import nanoseconds

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DEFAULT_PATHS: Final = ("telemetry/", "spanback-demo/")
NO_FILES: Final = ": none in the folder is named .json, .jsonl or .ndjson"
NEEDS_RICH: Final = "spanback show needs rich to draw: pip install 'spanback[cli]', or use --json."

_BAR_DELAY_S: Final = 0.5
_DAMAGED_SHOWN: Final = 10
_AGE: Final = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_EPILOG: Final = """
examples:
  spanback show                                   what is in SPANBACK_FILE, telemetry/ or spanback-demo/
  spanback show telemetry/ --negative --since 7d  bad answers of the last week
  spanback show otel.json.gz --name user_thumbs   one signal, from a file of the collector
  spanback show tempo+http://localhost:3200       from Tempo, of the last 7 days; jaeger+http://localhost:16686 and
                                                  clickhouse+http://user:password@localhost:8123/otel likewise
  zstd -dc otel.zst | spanback show -             standard input
  spanback show --json | jq '.feedback[].score'   one JSON object a line for each rated call

Files hold OTLP-JSON lines, as the OpenTelemetry Collector's file exporter and spanback write them; gzip is
recognised. A folder stands for the .json, .jsonl and .ndjson files in it, rotated and gzip ones included.
Times are in UTC.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "show",
        help="print rated calls with their feedback",
        description="Prints rated calls with their feedback as a tree, and a summary by model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="SOURCE", help="file, folder, - for standard input, or an address")
    parser.add_argument("--negative", action="store_true", help="only calls with at least one negative signal")
    parser.add_argument("--name", help="only signals of this name")
    parser.add_argument(
        "--since", type=since_ns, metavar="WHEN", help="only signals given since then: 30m, 2h, 7d, or an ISO time"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the N latest calls; the summary counts all")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each rated call")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0, also when lines are damaged; 1 when a whole file or a server cannot be read or the disk is too full to join
        on; 2 when there is nothing to read or rich is missing.
    """
    paths = arguments.paths or _default_paths()
    if not arguments.json and find_spec("rich") is None:
        return _fail(NEEDS_RICH)
    if not paths:
        return _fail(
            "There is nothing to show: name a file or a folder, set SPANBACK_FILE, or make some telemetry with "
            "`spanback demo`. Looked for " + " and ".join(DEFAULT_PATHS) + "."
        )
    bar = _Bar()
    try:
        with _opened(paths, arguments.since, bar.update if sys.stderr.isatty() else None) as reader:
            try:
                rated = reader.rated(
                    name=arguments.name, since_ns=arguments.since, negative=arguments.negative, limit=arguments.limit
                )
            finally:
                bar.stop()
            _tell_damaged(reader)
            if arguments.json:
                _print_json(rated)
            else:
                _print_tree(rated, reader, arguments)
            return int(any(not damaged.line for damaged in reader.damaged()))
    except SourceError as error:
        return _fail(f"{error}.", 1)
    except OSError as error:
        if error.filename is None:  # it is the output that fails, which is told elsewhere
            raise
        return _fail(f"{error.filename} cannot be read: {error.strerror}.")
    except sqlite3.OperationalError as error:
        return _fail(f"The temporary database cannot be written ({error}); TMPDIR names where it lies.", 1)


def _opened(paths: list[str], since: int | None, progress: Told | None) -> Reader:
    """A reader of what the arguments name. A signal is not recorded before it was given, so older records are left."""
    addresses = [path for path in paths if reading.is_address(path)]
    if addresses and len(paths) > 1:
        raise SourceError(addresses[0], "stands alone: name one address, or files and folders")
    return reading.open(addresses[0] if addresses else paths, since_ns=since, progress=progress)


def since_ns(text: str) -> int:
    """The time that `--since` names, ns since the epoch: an age (`90s`, `30m`, `2h`, `7d`, `1w`) or an ISO time in UTC.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    if age := _AGE.fullmatch(text.strip()):
        return max(0, time.time_ns() - int(age[1]) * _UNIT_S[age[2]] * 1_000_000_000)
    moment = nanoseconds(text)
    if moment is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither an age (30m, 2h, 7d) nor an ISO time (2026-11-21T07:24)")
    return moment


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _default_paths() -> list[str]:
    file = _settings.current().file
    return [os.path.expanduser(file)] if file else [path for path in DEFAULT_PATHS if Path(path).is_dir()]  # noqa: PTH111


def _fail(message: str, code: int = 2) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - a command's own output
    return code


def _tell_damaged(reader: Reader) -> None:
    """Names the first lines that could not be read, on standard error."""
    if count := reader.damaged_count():
        _fail(f"{count} {'place' if count == 1 else 'places'} could not be read:")
        for damaged in islice(reader.damaged(), _DAMAGED_SHOWN):
            _fail(f"  {damaged}")
        if count > _DAMAGED_SHOWN:
            _fail(f"  and {count - _DAMAGED_SHOWN} more")


def _print_json(rated: Iterator[RatedCall]) -> None:
    """Prints one object a line, in UTF-8 whatever the terminal's encoding, since JSON is."""
    out = sys.stdout.buffer
    for call in rated:
        text = json.dumps(call.to_json(), ensure_ascii=False)
        out.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _print_tree(rated: Iterator[RatedCall], reader: Reader, arguments: argparse.Namespace) -> None:
    from spanback.cli import _tree  # noqa: PLC0415 - the only part that needs rich

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = _tree.PipeConsole()
    shown = absent = 0
    for call in rated:
        if call.call is None and not absent:
            _tree.draw_heading(console)
        absent += call.call is None
        shown += 1
        _tree.draw(console, call)
    if not shown:
        is_chosen = arguments.negative or arguments.name is not None or arguments.since is not None
        hint = NO_FILES if isinstance(reader, TelemetryFiles) and not reader.file_count else ""
        _fail(f"No {'such ' if is_chosen else ''}feedback in {reader.where}{hint}.")
        return
    _tree.draw_summary(
        console, reader.summary(name=arguments.name, since_ns=arguments.since, negative=arguments.negative)
    )


class _Bar:
    """A progress bar on standard error that shows itself only when reading takes long."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()
        self._bar: tuple[Progress, TaskID] | None = None

    def update(self, read_bytes: int, all_bytes: int) -> None:
        """Moves the bar to what has been read."""
        if self._bar is None:
            if time.monotonic() - self._since_s < _BAR_DELAY_S or find_spec("rich") is None:
                return
            from rich.console import Console  # noqa: PLC0415 - most readings are done before it is needed
            from rich.progress import Progress  # noqa: PLC0415 - as above

            progress = Progress(console=Console(stderr=True), transient=True)
            self._bar = progress, progress.add_task("Reading")
            progress.start()
        progress, task = self._bar
        progress.update(task, completed=read_bytes, total=all_bytes)

    def stop(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar[0].stop()
