"""`spanback status`: what is instrumented in this environment, and where telemetry goes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

import spanback
from spanback import TargetStatus, _settings
from spanback._never_raise import never_raise
from spanback._settings import Settings, Way

SIGNALS: Final = ("traces", "logs", "metrics")

_COLOURS: Final = {"patched": "green", "adopted": "green", "missing attribute": "red"}
_PORTS: Final = {"grpc": 4317, "http/protobuf": 4318}
_EPILOG: Final = """
examples:
  spanback status                          clients, settings, and where telemetry goes
  spanback status --json | jq '.targets'   the same for programs

The clients that are installed are imported here, to see whether their functions are where they are expected to be.
Nothing is sent. Settings come from environment variables; arguments that an app gives to instrument() are not known.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "status",
        help="say what is instrumented in this environment",
        description="Says which functions of which clients spanback.instrument() wraps in this environment, which "
        "settings are in force, and where telemetry goes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 1 when a function of an installed client is missing, so that calls through it are not seen.
    """
    targets = targets_here()
    settings = _settings.from_environment()
    if arguments.json:
        print(json.dumps(to_json(targets, settings), ensure_ascii=False))  # noqa: T201 - a command's own output
    elif find_spec("rich") is None:
        _print_lines(targets, settings)
    else:
        _print_tables(targets, settings)
    return int(any(target.state == "missing attribute" for target in targets))


def targets_here() -> list[TargetStatus]:
    """What `spanback.status()` says once the installed clients have been imported; nothing stays instrumented."""
    _settings.keep_clients_offline()
    spanback.instrument(set_up=False)
    try:
        for client in {target.client for target in spanback.status() if target.state == "not imported"}:
            never_raise(import_module, client)
        return spanback.status()
    finally:
        spanback.uninstrument()


def to_json(targets: Iterable[TargetStatus], settings: Settings) -> dict[str, Any]:
    """The object that `spanback status --json` prints."""
    return {
        "version": spanback.__version__,
        "targets": [asdict(target) for target in targets],
        "settings": shown_settings(settings),
        "export": {signal: shown_way(settings, getattr(settings, signal)) for signal in SIGNALS},
    }


def shown_settings(settings: Settings) -> dict[str, Any]:
    """The settings without secrets: of keys only whether there are some, of the index where it is."""
    shown = {name: value for name, value in settings._asdict().items() if name not in SIGNALS}
    shown |= {name: "set" if shown[name] else None for name in _settings.SECRETS}
    shown["clients"] = None if settings.clients is None else sorted(settings.clients)
    address = settings.shared_index
    shown["index"] = None if address is None else public_address(address)
    del shown["shared_index"]
    return shown


def shown_way(settings: Settings, way: Way) -> dict[str, Any]:
    """How a signal leaves: the exporters in force, and the endpoint without user name, password and query."""
    for_file_only = settings.file is not None and way.endpoint is None
    exporters = list(way.exporters) or ([] if for_file_only else ["otlp"])
    if settings.sdk_disabled or exporters == ["none"]:
        exporters = []
    endpoint = public_address(way.endpoint or f"http://localhost:{_PORTS[way.protocol]}")
    has_otlp = "otlp" in exporters
    return {
        "exporters": exporters,
        "protocol": way.protocol if has_otlp else None,
        "compression": way.compression if has_otlp else None,
        "endpoint": endpoint if has_otlp else None,
        "file": None if settings.sdk_disabled else settings.file,
    }


def public_address(address: str) -> str:
    """An address without user name, password, query and fragment."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that cannot be read"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _settings_rows(settings: Settings) -> list[Sequence[str]]:
    return [(name, _text(value)) for name, value in shown_settings(settings).items()]


def _export_rows(settings: Settings) -> list[Sequence[str]]:
    return [(signal, *map(_text, shown_way(settings, getattr(settings, signal)).values())) for signal in SIGNALS]


def _target_row(target: TargetStatus) -> Sequence[str]:
    return target.client, target.version or "", target.state, target.target, target.detail or ""


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _print_lines(targets: Iterable[TargetStatus], settings: Settings) -> None:
    """Prints what the tables hold as lines, fields parted by tabs."""
    rows = [*map(_target_row, targets), *_settings_rows(settings), *_export_rows(settings)]
    for row in rows:
        print("\t".join(row))  # noqa: T201 - a command's own output


def _print_tables(targets: Iterable[TargetStatus], settings: Settings) -> None:
    from rich.text import Text  # noqa: PLC0415 - the rest works without rich

    from spanback.cli._tree import PipeConsole, table_of  # noqa: PLC0415 - as above

    console = PipeConsole()
    clients = table_of(["client", "version", "state", "function", "detail"])
    for target in targets:
        client, version, state, function, detail = map(Text, _target_row(target))
        state.stylize(_COLOURS.get(target.state, "yellow"))
        clients.add_row(client, version, state, function, detail)
    choices = table_of(["setting", "value"])
    ways = table_of(["signal", "exporters", "protocol", "compression", "endpoint", "file"])
    for table, rows in ((choices, _settings_rows(settings)), (ways, _export_rows(settings))):
        for row in rows:
            table.add_row(*map(Text, row))
    for heading, table in (("Clients", clients), ("Settings", choices), ("Where telemetry goes", ways)):
        console.print(Text(heading, style="bold"))
        console.print(table)
