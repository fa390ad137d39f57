"""The command line, `spanback`. One module a command, imported only when the command is called."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_EPILOG: Final = """
examples:
  spanback demo                              calls, spans and feedback on this machine, without a key
  spanback show telemetry/ --negative        what users did not like
  spanback doctor                            is the collector reachable, and does it take everything
  spanback status                            which functions of which clients are instrumented here

`spanback <command> --help` says more about a command.
"""


class _Command(NamedTuple):
    module: str
    summary: str


class _Module(Protocol):
    """What a command's module has."""

    def add_parser(self, subparsers: Any) -> None:
        """Adds the command's parser."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Runs the command and gives the exit code."""
        ...


COMMANDS: Final = {
    "demo": _Command(
        "spanback.cli._demo", "drive the real openai client against a scripted model, and show what comes of it"
    ),
    "doctor": _Command("spanback.cli._doctor", "check the way from this environment to the backend"),
    "keys": _Command("spanback.cli._keys", "make a key for feedback tokens"),
    "open": _Command("spanback.cli._open", "open a signal and the response that it is about in Jaeger or Grafana"),
    "show": _Command("spanback.cli._show", "print rated calls with their feedback"),
    "signals": _Command("spanback.cli._signals", "list declared signals and presets"),
    "spool": _Command("spanback.cli._spool", "say what feedback is not yet delivered"),
    "status": _Command("spanback.cli._status", "say what is instrumented in this environment"),
}


class _Version(argparse.Action):
    """Prints the version. The package's metadata is read only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - it takes longer than the rest of the help

        sys.stdout.write(f"spanback {version('spanback')}\n")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code: 0 for success, 1 for failure, 2 for a wrong call or a missing package, 130 when interrupted.
    """
    try:
        try:
            return _run(sys.argv[1:] if argv is None else list(argv))
        finally:
            # Here and not at the exit, where a pipe that is closed or a disk that is full cannot be told of.
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe has seen enough.
        _write_nowhere()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _write_nowhere()
        sys.stderr.write(f"What is printed cannot be written: {error.strerror}.\n")
        return _FAILED


def _run(words: Sequence[str]) -> int:
    chosen = next((word for word in words if not word.startswith("-")), None)
    command = COMMANDS.get(chosen or "")
    module = cast("_Module", import_module(command.module)) if command else None
    parser = _parser(chosen, module)
    arguments = parser.parse_args(words)
    if module is None:
        parser.print_help()
        return 2
    return module.run(arguments)


def _write_nowhere() -> None:
    """Turns standard output away, so that what is still buffered does not fail once more at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(chosen: str | None, module: _Module | None) -> argparse.ArgumentParser:
    """The parser: whole for the chosen command, a line of help for the others, whose modules are not imported."""
    parser = argparse.ArgumentParser(
        prog="spanback",
        description="Feedback for LLM apps, as OpenTelemetry.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(metavar="<command>", title="commands")
    for name, command in COMMANDS.items():
        if module is not None and name == chosen:
            module.add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=command.summary)
    return parser
