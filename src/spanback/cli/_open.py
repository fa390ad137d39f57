"""`spanback open`: where Jaeger, Grafana or Tempo shows a signal and the response that it is about."""

from __future__ import annotations

import argparse
import json
import sys
import webbrowser
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from spanback import reading
from spanback.cli._show import since_ns
from spanback.errors import SourceError
from spanback.reading import Feedback

URLS: Final = {"jaeger": "http://localhost:16686", "tempo": "http://localhost:3200"}
"""Where each of them listens unless it is told otherwise."""

_HOUR_NS: Final = 3_600_000_000_000
_EPILOG: Final = """
examples:
  spanback open jaeger 01a1fe31-6c37-7d06-adba-32f2ef0b0610
                                      finds the signal in Jaeger on this machine, and opens its response there
  spanback open jaeger ID --from telemetry/ --url https://jaeger.example --print
                                      finds it in files, and prints the addresses
  spanback open tempo ID --grafana http://localhost:3000 --datasource tempo
                                      in Grafana's Explore; without --grafana, Tempo's own API

A receipt of record_feedback() has the id, and so has every signal that `spanback show --json` prints. Opened is the
response that was rated, or the signal's own span where no response is known.
"""


class Place(NamedTuple):
    """A span in a trace, and when about it was made."""

    trace_id: str
    span_id: str
    time_ns: int


def add_parser(subparsers: Any) -> None:
    """Adds the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "open",
        help="open a signal and the response that it is about in Jaeger or Grafana",
        description="Finds a signal by its id and opens the response that it is about in Jaeger or Grafana.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("where", choices=URLS, help="what shows traces")
    parser.add_argument("feedback_id", metavar="FEEDBACK_ID", help="the signal's id")
    parser.add_argument("--from", dest="source", metavar="SOURCE", help="find it in files, a folder or at an address")
    parser.add_argument("--url", help=f"its address; default: {URLS['jaeger']} or {URLS['tempo']}")
    parser.add_argument("--grafana", metavar="URL", help="tempo: open Grafana's Explore at this address")
    parser.add_argument("--datasource", default="tempo", metavar="UID", help="with --grafana: the data source's uid")
    parser.add_argument("--since", type=since_ns, metavar="WHEN", help="how far back to search; default: 7d")
    parser.add_argument("--print", action="store_true", help="print the addresses and open none")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0; 1 when there is no such signal, it cannot be searched for, or nothing can be opened.
    """
    url = (arguments.url or URLS[arguments.where]).rstrip("/")
    source = arguments.source or f"{arguments.where}+{url}"
    try:
        with reading.open(source, since_ns=arguments.since) as reader:
            signal = reader.find(arguments.feedback_id)
            where = reader.where
    except SourceError as error:
        return _fail(f"{error}.")
    except OSError as error:
        return _fail(f"{error.filename} cannot be read: {error.strerror}.")
    if signal is None:
        return _fail(f"No signal {arguments.feedback_id} in {where}; look further back with --since, or name --from.")
    addresses = {
        name: _address(arguments, url, place)
        for name, place in (("response", rated_span(signal)), ("feedback", carrier_span(signal)))
        if place is not None
    }
    if not addresses:
        return _fail(f"Signal {arguments.feedback_id} names no span: only its log event was read, without a response.")
    for name, address in addresses.items():
        print(f"{name}  {address}")  # noqa: T201 - a command's own output
    sys.stdout.flush()
    if arguments.print or webbrowser.open(next(iter(addresses.values()))):
        return 0
    return _fail("There is no browser to open it with.")


def rated_span(signal: Feedback) -> Place | None:
    """The span of the response that a signal is about; None where it is not known."""
    if signal.trace_id is None or signal.span_id is None:
        return None
    return Place(signal.trace_id, signal.span_id, signal.time_ns)


def carrier_span(signal: Feedback) -> Place | None:
    """A signal's own span; None where only its log event was read."""
    if signal.carrier_trace_id is None or signal.carrier_span_id is None:
        return None
    return Place(signal.carrier_trace_id, signal.carrier_span_id, signal.time_ns)


def jaeger_address(url: str, place: Place) -> str:
    """Jaeger's page of a trace, with the span found in it."""
    return f"{url}/trace/{place.trace_id}?{urlencode({'uiFind': place.span_id})}"


def grafana_address(url: str, datasource: str, place: Place) -> str:
    """Grafana's Explore with a trace of Tempo.

    Args:
        url: Grafana's address.
        datasource: The uid of its Tempo data source.
        place: The span; its time is the middle of the two hours that are searched.
    """
    query = {
        "refId": "A",
        "datasource": {"type": "tempo", "uid": datasource},
        "queryType": "traceql",
        "query": place.trace_id,
    }
    milliseconds = [str((place.time_ns + hours * _HOUR_NS) // 1_000_000) for hours in (-1, 1)]
    pane = {
        "datasource": datasource,
        "queries": [query],
        "range": dict(zip(("from", "to"), milliseconds, strict=True)),
        "panelsState": {"trace": {"spanId": place.span_id}},
    }
    panes = quote(json.dumps({"a": pane}, separators=(",", ":")))
    return f"{url.rstrip('/')}/explore?schemaVersion=1&orgId=1&panes={panes}"


def _address(arguments: argparse.Namespace, url: str, place: Place) -> str:
    if arguments.where == "jaeger":
        return jaeger_address(url, place)
    if arguments.grafana:
        return grafana_address(arguments.grafana, arguments.datasource, place)
    return f"{url}/api/v2/traces/{place.trace_id}"


def _fail(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - a command's own output
    return 1
