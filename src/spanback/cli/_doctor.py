"""`spanback doctor`: checks the way from this environment to the backend, step by step, and says what to change."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import spanback
from spanback import _settings
from spanback._settings import Settings

if TYPE_CHECKING:
    from spanback.cli._checks import Check

_EXPORT_TIMEOUT_S: Final = 5
_LONGEST_WAIT_S: Final = 3_600
_MARKS: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_EPILOG: Final = """
examples:
  spanback doctor                                    the environment of this shell, and its collector
  spanback doctor --endpoint http://localhost:4317   another collector
  spanback doctor --jaeger http://localhost:16686 --wait 35
                                                     also whether feedback arrives that comes after a tail sampler's
                                                     decision: 30 s as it comes, 10 s in collector-config.yaml
  spanback doctor --json | jq '.checks[] | select(.state == "failed")'

It sends a few spans, log events and metrics of service spanback-doctor, and nothing else. Arguments that an app gives
to instrument() are not known here. The exit code is 1 when a step failed.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the way from this environment to the backend, and say what to change",
        description="Checks versions, clients, variables, the collector, sampling, and whether late feedback arrives.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--endpoint", metavar="URL", help="send there, instead of OTEL_EXPORTER_OTLP_ENDPOINT")
    parser.add_argument("--jaeger", metavar="URL", help="read back from this Jaeger")
    parser.add_argument("--tempo", metavar="URL", help="read back from this Tempo")
    parser.add_argument(
        "--wait", type=_seconds, default=5.0, metavar="SECONDS", help="how late the late feedback is; default: 5"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 1 when a step failed.
    """
    if arguments.endpoint:
        _settings.send_to(arguments.endpoint)
    checks: list[Check] = []
    draw = _drawing() if not arguments.json else None
    for check in _steps(arguments, _settings.from_environment()):
        checks.append(check)
        if draw is not None:
            draw(check)
    failed = any(check.state == "failed" for check in checks)
    if arguments.json:
        shown = {"ok": not failed, "checks": [check.to_json() for check in checks]}
        print(json.dumps(shown, ensure_ascii=False))  # noqa: T201 - a command's own output
    return int(failed)


def _steps(arguments: argparse.Namespace, settings: Settings) -> Iterator[Check]:
    """The steps in their order; what cannot be tried once an earlier one failed is left out, and that is said."""
    from spanback.cli import _checks  # noqa: PLC0415 - loads the SDK, which the help does not need

    yield from _checks.check_versions()
    yield from _checks.check_clients()
    yield from _checks.check_variables(settings)
    yield from _checks.check_sampling(settings)
    reachable = list(_checks.check_reachable(settings))
    yield from reachable
    if any(check.state != "ok" for check in reachable):
        yield _checks.Check("collector", "skipped", "not asked, since no address answers")
        return
    _settings.give_up_after(_EXPORT_TIMEOUT_S)
    probe = _checks.Probe(settings)
    spanback.instrument(clients=[], set_up=False, **probe.providers)
    try:
        yield from _checks.check_accepted(settings, probe)
        addresses = [f"{kind}+{url}" for kind in ("jaeger", "tempo") if (url := getattr(arguments, kind))]
        for address in addresses:
            yield from _checks.check_late(probe, address, arguments.wait)
        if not addresses:
            yield _checks.Check(
                "late feedback", "skipped", "not read back: say where with --jaeger or --tempo, to know of samplers"
            )
    finally:
        spanback.uninstrument()
        probe.close()


def _drawing() -> Any:
    """What prints a step: a line, and beneath it what to change."""
    if find_spec("rich") is None:
        return _print_line
    from rich.text import Text  # noqa: PLC0415 - the rest works without rich

    from spanback.cli._tree import PipeConsole  # noqa: PLC0415 - as above

    console = PipeConsole()

    def draw(check: Check) -> None:
        console.print(
            Text.assemble((f"{check.state:<8}", _MARKS[check.state]), (check.name, "bold"), f"  {check.detail}")
        )
        if check.advice:
            console.print(Text(_advice(check.advice)), soft_wrap=True)

    return draw


def _print_line(check: Check) -> None:
    print(f"{check.state:<8}{check.name}  {check.detail}")  # noqa: T201 - a command's own output
    if check.advice:
        print(_advice(check.advice))  # noqa: T201 - as above


def _advice(advice: str) -> str:
    return f"        -> {advice}" if advice.endswith("?") else f"        -> {advice}."


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {_LONGEST_WAIT_S}")
    return seconds
