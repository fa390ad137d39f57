"""Turns the collector's OTLP-JSON lines into rows of its ClickHouse tables, as its `clickhouse` exporter writes them.

For what was kept in files before there was a ClickHouse, and for collectors without that exporter. It needs nothing
but Python; gzip files are read too:

    python load.py traces *.jsonl | clickhouse-client --query "INSERT INTO otel.otel_traces FORMAT JSONEachRow"
    python load.py logs *.jsonl | clickhouse-client --query "INSERT INTO otel.otel_logs FORMAT JSONEachRow"

The same file twice does no harm to `feedback`, whose rows replace each other; in the other tables rows are then twice.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUSES = ("Unset", "Ok", "Error")

Record = Mapping[str, Any]
Row = dict[str, Any]


def trace_rows(message: Record) -> Iterator[Row]:
    """The rows of `otel_traces` in one line; none where it holds logs or metrics."""
    for resource, scope, span in _records(message, "resourceSpans", "scopeSpans", "spans"):
        start_ns = int(span.get("startTimeUnixNano", 0))
        events, links = span.get("events", ()), span.get("links", ())
        status = span.get("status", {})
        yield {
            "Timestamp": timestamp(start_ns),
            "TraceId": span.get("traceId", ""),
            "SpanId": span.get("spanId", ""),
            "ParentSpanId": span.get("parentSpanId", ""),
            "TraceState": span.get("traceState", ""),
            "SpanName": span.get("name", ""),
            "SpanKind": KINDS[span.get("kind", 0)],
            **_resource(resource),
            "ScopeName": scope.get("name", ""),
            "ScopeVersion": scope.get("version", ""),
            "SpanAttributes": texts(span),
            "Duration": int(span.get("endTimeUnixNano", 0)) - start_ns,
            "StatusCode": STATUSES[status.get("code", 0)],
            "StatusMessage": status.get("message", ""),
            "Events.Timestamp": [timestamp(int(event.get("timeUnixNano", 0))) for event in events],
            "Events.Name": [event.get("name", "") for event in events],
            "Events.Attributes": [texts(event) for event in events],
            "Links.TraceId": [link.get("traceId", "") for link in links],
            "Links.SpanId": [link.get("spanId", "") for link in links],
            "Links.TraceState": [link.get("traceState", "") for link in links],
            "Links.Attributes": [texts(link) for link in links],
        }


def log_rows(message: Record) -> Iterator[Row]:
    """The rows of `otel_logs` in one line; none where it holds traces or metrics."""
    for resource, scope, record in _records(message, "resourceLogs", "scopeLogs", "logRecords"):
        yield {
            "Timestamp": timestamp(int(record.get("timeUnixNano") or record.get("observedTimeUnixNano") or 0)),
            "TraceId": record.get("traceId", ""),
            "SpanId": record.get("spanId", ""),
            "TraceFlags": record.get("flags", 0),
            "SeverityText": record.get("severityText", ""),
            "SeverityNumber": record.get("severityNumber", 0),
            **_resource(resource),
            "Body": text(record.get("body", {})),
            "ScopeName": scope.get("name", ""),
            "ScopeVersion": scope.get("version", ""),
            "ScopeAttributes": texts(scope),
            "LogAttributes": texts(record),
            "EventName": record.get("eventName", ""),
        }


def _records(message: Record, by_resource: str, by_scope: str, key: str) -> Iterator[tuple[Record, Record, Record]]:
    for resource in message.get(by_resource, ()):
        for scoped in resource.get(by_scope, ()):
            for record in scoped.get(key, ()):
                yield resource.get("resource", {}), scoped.get("scope", {}), record


def _resource(resource: Record) -> Row:
    attributes = texts(resource)
    return {"ServiceName": attributes.get("service.name", ""), "ResourceAttributes": attributes}


def timestamp(time_ns: int) -> str:
    """A time as ClickHouse reads it whatever its time zone: seconds since the epoch, to the nanosecond."""
    return f"{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000:09d}"


def texts(holder: Record) -> dict[str, str]:
    """The attributes of a span, record, event, link, scope or resource: the exporter keeps all values as text."""
    return {pair["key"]: text(pair.get("value", {})) for pair in holder.get("attributes", ())}


def text(value: Record) -> str:
    """An OTLP value as the collector prints it: `-1` for -1.0, JSON for lists and mappings."""
    match next(iter(value.items()), ("", "")):
        case ("boolValue", flag):
            return "true" if flag else "false"
        case ("doubleValue", number):
            return double(float(number))
        case ("arrayValue" | "kvlistValue", _):
            return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False, sort_keys=True)
        case (_, content):  # text, an integer, which is text in JSON, or bytes, which stay in base64
            return str(content)


def double(number: float) -> str:
    """A double in the fewest digits that give it back, without a trailing `.0`."""
    if not math.isfinite(number):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(number), "NaN")
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        return format(Decimal(repr(number)), "f").removesuffix(".0")
    mantissa, exponent = repr(number).split("e")
    return f"{mantissa}e{int(exponent):+d}"


def plain(value: Record) -> Any:
    """An OTLP value inside a list or a mapping, for JSON."""
    match next(iter(value.items()), ("", None)):
        case ("arrayValue", array):
            return [plain(item) for item in array.get("values", ())]
        case ("kvlistValue", pairs):
            return {pair["key"]: plain(pair.get("value", {})) for pair in pairs.get("values", ())}
        case ("intValue", number):
            return int(number)
        case (_, content):
            return content


def lines(paths: Iterable[str]) -> Iterator[Record]:
    """The messages in files; a last line that is still being written is left out."""
    for path in map(Path, paths):
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n") and line.strip():
                    yield json.loads(line)


def main(arguments: Sequence[str]) -> int:
    """Writes rows as JSON lines to standard output; returns the exit code."""
    rows_of = {"traces": trace_rows, "logs": log_rows}.get(arguments[0] if arguments else "")
    if rows_of is None or len(arguments) < 2:
        sys.stderr.write("usage: python load.py traces|logs FILE...\n")
        return 2
    for message in lines(arguments[1:]):
        for row in rows_of(message):
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
