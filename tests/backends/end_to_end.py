"""Feedback from an app to every backend, through the collector's recommended configuration, counted on both ends.

    python -m tests.backends.end_to_end 10000

runs an app under load, the collector, Jaeger, Tempo, Prometheus and ClickHouse's engine on this machine, and prints
what each has in the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from tests.backends import otlp
from tests.backends.loopback import get_json
from tests.backends.prometheus import Prometheus
from tests.backends.servers import COLLECTOR_CONFIG, Collector, Jaeger, Tempo, eventually
from tests.deploy.clickhouse import ClickHouse
from tests.deploy.writer import ClickHouseWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
SERVICE = "end-to-end"
SAMPLING = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
# A trace is complete once the SDK has sent all of it, which it does every five seconds.
TAIL_SAMPLING = {"SPANBACK_SAMPLE_PERCENT": "1", "SPANBACK_SAMPLE_WAIT": "6s"}
ARRIVAL_TIMEOUT_S = 120.0
MANY = 40_000


class Signal(NamedTuple):
    """A signal as a backend has it, or as the app gave it; ids in hex, of the rated span."""

    feedback_id: str
    name: str
    score: float
    weight: float
    trace_id: str
    span_id: str


class Sums(NamedTuple):
    """How many signals there are, and how good they are."""

    count: int
    mean: float
    weighted_mean: float


def sums(signals: Collection[Signal]) -> Sums:
    """The sums of signals that a backend holds one by one."""
    weights = fsum(signal.weight for signal in signals)
    weighted = fsum(signal.score * signal.weight for signal in signals)
    return Sums(len(signals), fsum(signal.score for signal in signals) / len(signals), weighted / weights)


class Given(NamedTuple):
    """What an app gave, and what must be kept of its calls: those of quick bad feedback, as far as they were sampled."""

    signals: list[Signal]
    sampled: set[str]
    must_keep: set[str]


def give(collector: Collector, count: int) -> Given:
    """Runs the app under load to its end."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    endpoint = f"http://{collector.otlp_grpc_endpoint}"
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": SERVICE, **SAMPLING}
    command = [sys.executable, "-m", "tests.backends.load", str(count)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return Given(
        [Signal(*(one[field] for field in Signal._fields)) for one in told],
        {one["span_id"] for one in told if one["sampled"]},
        {one["span_id"] for one in told if one["placement"] == "child" and one["score"] < 0},
    )


def all_backends(folder: Path) -> Path:
    """collector-config.yaml with further backends, as one would add them: of each exporter one more."""
    config = yaml.safe_load(COLLECTOR_CONFIG.read_text())
    pipelines = config["service"]["pipelines"]
    for backend in ("tempo", "clickhouse"):
        for pipeline, name in (("traces/feedback", "feedback"), ("traces/sampled", "traces")):
            more = {**config["exporters"][f"otlp/{name}"], "endpoint": f"${{env:{backend.upper()}_ENDPOINT}}"}
            config["exporters"][f"otlp/{name}_{backend}"] = more
            pipelines[pipeline]["exporters"].append(f"otlp/{name}_{backend}")
    pipelines["logs"]["exporters"].append("otlp/feedback_clickhouse")
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


class Backends:
    """A collector that feeds Jaeger, Tempo, Prometheus and files, and ClickHouse by a second one; a context manager.

    The collector that can be built with all other components lacks the exporter to ClickHouse; the second one has it.
    """

    def __init__(self, folder: Path, sampling: Mapping[str, str] = TAIL_SAMPLING) -> None:
        self._folder, self._sampling = folder, sampling
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self.jaeger, self.tempo = enter(Jaeger()), enter(Tempo())
        self.clickhouse = enter(ClickHouse())
        self.clickhouse.make("otel", "tables.sql", "views.sql")
        endpoints = {
            "SPANBACK_TRACES_ENDPOINT": self.jaeger.otlp_grpc_endpoint,
            "TEMPO_ENDPOINT": self.tempo.otlp_grpc_endpoint,
            "CLICKHOUSE_ENDPOINT": enter(ClickHouseWriter(self.clickhouse.query_url, "otel")).otlp_grpc_endpoint,
        }
        self.collector = enter(Collector(all_backends(self._folder), {**endpoints, **self._sampling}))
        self.prometheus = enter(Prometheus([self.collector.metrics_endpoint, self.collector.sdk_metrics_endpoint]))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def in_jaeger(self) -> list[Signal]:
        """The signals in Jaeger, their targets as the references say."""
        found = []
        for span in self._jaeger_spans():
            tags = {tag["key"]: tag["value"] for tag in span["tags"]}
            if "feedback.id" in tags:
                (link,) = (one for one in span["references"] if one["refType"] == "FOLLOWS_FROM")
                found.append(_signal(tags, link["traceID"], link["spanID"]))
        return found

    def in_tempo(self) -> list[Signal]:
        """The signals in Tempo, their targets as the attributes say: its search does not give links."""
        wanted = ("id", "name", "score", "weight", "target.trace_id", "target.span_id")
        selected = ", ".join(f"span.feedback.{name}" for name in wanted)
        query = f'{{ resource.service.name = "{SERVICE}" && span.feedback.id != nil }} | select({selected})'
        found = [match.attributes for match in self.tempo.search(query, limit=MANY)]
        return [_signal(one, one["feedback.target.trace_id"], one["feedback.target.span_id"]) for one in found]

    def in_files(self) -> list[Signal]:
        """The signals in the collector's files, as spans; their targets as the links say."""
        spans = [span for line in self.collector.file_lines("feedback") for span in otlp.spans(line)]
        return [_signal(span.attributes, span.links[0].trace_id, span.links[0].span_id) for span in spans]

    def in_log_files(self) -> list[Signal]:
        """The signals in the collector's files, as log events; their targets are the spans that these belong to."""
        records = [record for line in self.collector.file_lines("logs") for record in otlp.log_records(line)]
        return [
            _signal(record.attributes, record.trace_id, record.span_id)
            for record in records
            if "feedback.id" in record.attributes
        ]

    def in_clickhouse(self) -> list[Signal]:
        """The signals in ClickHouse."""
        query = "SELECT feedback_id, name, score, weight, trace_id, span_id FROM feedback FINAL"
        return [Signal(**row) for row in self.clickhouse.rows(query, database="otel")]

    def in_prometheus(self) -> Sums | None:
        """What Prometheus has added up; None while it has not everything of a signal."""
        queries = (
            "sum(feedback_signals_total)",
            "sum(feedback_score_sum) / sum(feedback_score_count)",
            "2 * sum(feedback_weighted_score_normalized_sum) / sum(feedback_weight_sum) - 1",
        )
        found = [self.prometheus.query(query) for query in queries]
        return Sums(int(found[0][0].value), found[1][0].value, found[2][0].value) if all(found) else None

    def calls(self) -> dict[str, set[str]]:
        """The ids of the calls' spans that each backend has kept."""
        rows = self.clickhouse.rows(
            "SELECT SpanId AS id FROM otel_traces WHERE SpanName LIKE 'chat %'", database="otel"
        )
        chats = [span for span in self._jaeger_spans() if span["operationName"].startswith("chat ")]
        in_files = [span for line in self.collector.file_lines("traces") for span in otlp.spans(line)]
        query = f'{{ resource.service.name = "{SERVICE}" && span.gen_ai.operation.name = "chat" }}'
        return {
            "Jaeger": {span["spanID"] for span in chats},
            "Tempo": {match.span_id for match in self.tempo.search(query, limit=MANY)},
            "files": {span.span_id for span in in_files},
            "ClickHouse": {row["id"] for row in rows},
        }

    def sinks(self) -> dict[str, Callable[[], list[Signal]]]:
        """What reads the signals, one by one, of each backend that holds them so."""
        return {
            "Jaeger": self.in_jaeger,
            "Tempo": self.in_tempo,
            "files": self.in_files,
            "log files": self.in_log_files,
            "ClickHouse": self.in_clickhouse,
        }

    def _jaeger_spans(self) -> list[dict[str, Any]]:
        answer = get_json(f"{self.jaeger.query_url}/api/traces", {"service": SERVICE, "limit": MANY}, timeout_s=60)
        return [span for trace in answer["data"] for span in trace["spans"]]


def _signal(attributes: Mapping[str, Any], trace_id: str, span_id: str) -> Signal:
    """A signal by its attributes and what it is about."""
    id_, name, score, weight = (attributes[f"feedback.{field}"] for field in ("id", "name", "score", "weight"))
    return Signal(id_, name, float(score), float(weight), trace_id, span_id)


def gather(sink: Callable[[], list[Signal]], count: int) -> list[Signal]:
    """What a backend has, once it has as many as were given."""
    return eventually(lambda: found if len(found := sink()) >= count else None, ARRIVAL_TIMEOUT_S, pause_s=1.0)


def main(count: int, folder: Path) -> None:
    """Runs everything once and prints what every backend has."""
    with Backends(folder) as backends:
        started_s = time.monotonic()
        given = give(backends.collector, count)
        expected, ids = sums(given.signals), {signal.feedback_id for signal in given.signals}
        print(
            f"{len(ids)} signals on {count} calls in {time.monotonic() - started_s:.0f} s; {len(given.sampled)} calls"
        )
        print(f"sampled by the app, {len(given.must_keep)} of them with quick bad feedback; expected {expected}")
        for name, sink in backends.sinks().items():
            found = gather(sink, count)
            linked = sum(a == b for a, b in zip(sorted(found), sorted(given.signals), strict=False))
            print(
                f"{name}: {len({one.feedback_id for one in found} & ids)} of {count} signals, "
                f"{len(found) - len(set(found))} twice, {linked} as given; {sums(found)}"
            )
        print(f"Prometheus: {backends.in_prometheus()}")
        for name, kept in eventually(lambda: _whole(backends, given)).items():
            print(
                f"{name}: {len(kept)} calls, {len(given.must_keep & kept)} of {len(given.must_keep)} with bad feedback"
            )


def _whole(backends: Backends, given: Given) -> dict[str, set[str]] | None:
    calls = backends.calls()
    return calls if all(given.must_keep <= kept for kept in calls.values()) else None


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temp:
        main(int(sys.argv[1]), Path(temp))
