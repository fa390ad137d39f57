"""The README's table of what works where: each cell is tried on the real backend, the negative ones too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import spanback
from spanback import reading
from spanback.testing import fake_ref
from tests.backends import otlp
from tests.backends.end_to_end import Backends
from tests.backends.giving import Told, app, run_app
from tests.backends.loopback import get_json
from tests.backends.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# One worker runs all of them: what they share takes half a minute.
pytestmark = [pytest.mark.backends, pytest.mark.xdist_group("table")]

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SERVICE = "table"
COMMENT = "too long. " * 300
UP, DOWN, STARS = 0, 1, 2
WEIGHTED_MEANS = {"gpt-4.1": 1.0, "gpt-4o-mini": (-0.8 - 0.5) / 1.8}
MEANS = {"gpt-4.1": 1.0, "gpt-4o-mini": -0.75}


class There(NamedTuple):
    """Backends that have everything of an app, and what the app told of it."""

    backends: Backends
    told: list[Told]

    @property
    def negative(self) -> set[str]:
        """The ids of the spans of bad feedback."""
        return {self.told[DOWN].span_id, self.told[STARS].span_id}

    def ask_clickhouse(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        return self.backends.clickhouse.rows(query, database="otel")

    def carrier_in_jaeger(self, number: int) -> otlp.Span:
        """The span of a signal."""
        (span,) = self.backends.jaeger.trace(self.told[number].trace_id)
        return span

    def in_files(self, number: int) -> tuple[otlp.Span, otlp.LogRecord]:
        """The span and the log event of a signal."""
        told, collector = self.told[number], self.backends.collector
        (span,) = collector.file_spans(told.trace_id)
        logs = collector.file_logs(told.target_trace_id)
        return span, next(log for log in logs if log.attributes["feedback.id"] == told.feedback_id)


@pytest.fixture(scope="module")
def there(all_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    """All backends, with two calls, three signals and a long comment."""
    pytest.importorskip("chdb")
    with Backends(tmp_path_factory.mktemp("table"), {}) as backends:
        told = run_app(backends.collector, "grpc", SERVICE, "rated").signals
        with app(backends.collector, "long", capture_content=True):
            spanback.record_feedback(fake_ref(trace_id=5), comment=COMMENT, placement="linked")
        wanted = {one.span_id for one in told} | {one.target_span_id for one in told}
        eventually(lambda: _all_there(backends, wanted), 30)
        yield There(backends, told)


def _all_there(backends: Backends, wanted: set[str]) -> bool:
    lines = backends.collector.file_lines()
    in_files = {span.span_id for line in lines for span in otlp.spans(line)}
    in_jaeger = {span.span_id for span in backends.jaeger.search(SERVICE)}
    query = f'{{ resource.service.name = "{SERVICE}" }}'
    in_tempo = {match.span_id for match in backends.tempo.search(query)}
    long = backends.jaeger.search("long") and backends.tempo.search('{ resource.service.name = "long" }')
    counted = backends.prometheus.value("sum(feedback_signals_total)") == 4
    logs = sum(len(otlp.log_records(line)) for line in lines) >= 3
    rows = backends.clickhouse.rows("SELECT SpanId AS id FROM otel_traces", database="otel")
    (kept,) = backends.clickhouse.rows("SELECT count() AS n FROM otel_logs", database="otel")
    (signals,) = backends.clickhouse.rows("SELECT count() AS n FROM feedback FINAL", database="otel")
    in_clickhouse = wanted <= {row["id"] for row in rows} and kept["n"] >= 3 and signals["n"] == 4
    return all((wanted <= in_files, wanted <= in_jaeger, wanted <= in_tempo, in_clickhouse, long, counted, logs))


def takes_logs(url: str) -> bool:
    """Whether a server takes log records by OTLP."""
    request = urllib.request.Request(f"{url}/v1/logs", b'{"resourceLogs":[]}', {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        with error:
            return False


def aggregates(there: There) -> bool:
    """Whether this Jaeger adds anything up."""
    try:
        get_json(f"{there.backends.jaeger.query_url}/api/metrics/calls", {"service": SERVICE})
    except AssertionError:
        return False
    return True


def labels_of_feedback(there: There) -> set[str]:
    """The names of the labels of everything about feedback in Prometheus."""
    found = there.backends.prometheus.query('{__name__=~"feedback_.*"}')
    return {name for sample in found for name in sample.labels}


def searched(there: There, **tags: str) -> set[str]:
    """What a tag search in Jaeger finds."""
    wanted = {f"feedback.{name.replace('__', '.')}": value for name, value in tags.items()}
    return {span.span_id for span in there.backends.jaeger.search(SERVICE, tags=wanted)}


def traceql(there: There, condition: str) -> set[str]:
    """What a TraceQL condition finds."""
    query = f'{{ resource.service.name = "{SERVICE}" && {condition} }}'
    return {match.span_id for match in there.backends.tempo.search(query)}


def over_time(there: There, aggregate: str) -> dict[str, float]:
    """What a TraceQL metrics query gives by model, once Tempo answers for both."""
    query = f'{{ resource.service.name = "{SERVICE}" && span.feedback.score != nil }} | {aggregate} by (span.gen_ai.request.model)'

    def ask() -> dict[str, float] | None:
        found = there.backends.tempo.query_range(query, last_s=1_800, step="1800s")
        means = {str(*one.labels.values()): sum(value for _, value in one.samples) for one in found}
        return means if MEANS.keys() <= means.keys() else None

    return {model: mean for model, mean in eventually(ask).items() if model in MEANS}


def by_model(there: There, promql: str) -> dict[str, float]:
    """What a PromQL query gives by model."""
    found = there.backends.prometheus.query(promql)
    return {one.labels["gen_ai_request_model"]: one.value for one in found}


def exemplars(there: There) -> set[str]:
    """The ids of the spans that the metrics of feedback lead to."""
    found = there.backends.prometheus.exemplars("feedback_count_total")
    return {one["labels"]["span_id"] for one in found}


def rows_by_model(there: There, expression: str) -> dict[str, float]:
    """What a query of ClickHouse gives by model."""
    query = f"SELECT request_model, {expression} AS value FROM feedback FINAL WHERE service = '{SERVICE}' GROUP BY 1"
    return {row["request_model"]: row["value"] for row in there.ask_clickhouse(query)}


def show(there: There, *more: str) -> list[dict[str, Any]]:
    """What `spanback show --json` prints of the collector's files."""
    command = [sys.executable, "-m", "spanback", "show", "--json", *more, str(there.backends.collector.telemetry)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def feedback_shown(there: There, span_id: str) -> int:
    """How many signals `spanback show` lists under a call."""
    return sum(len(one["feedback"]) for one in show(there) if one["call"] and one["call"]["span_id"] == span_id)


def summary(there: There, field: str) -> dict[str, float]:
    """What `spanback show` sums up, by the requested model's family."""
    with reading.open(str(there.backends.collector.telemetry)) as reader:
        found = {str(one.model): getattr(one, field) for one in reader.summary() if one.type == "explicit"}
    return {model: next(value for name, value in found.items() if name.startswith(model)) for model in MEANS}


def weighted_in_tempo(there: There) -> dict[str, float]:
    """The quotient of two sums."""
    sums = over_time(there, "sum_over_time(span.feedback.weighted_score)")
    weights = over_time(there, "sum_over_time(span.feedback.weight)")
    return {model: sums[model] / weights[model] for model in MEANS}


def comments(there: There) -> dict[str, int]:
    """How much of the long comment each backend has, in characters."""
    (jaeger,) = there.backends.jaeger.search("long")
    (match,) = there.backends.tempo.search('{ resource.service.name = "long" } | select(span.feedback.comment)')
    (row,) = there.ask_clickhouse("SELECT comment FROM feedback FINAL WHERE service = 'long'")
    (file,) = (
        span
        for line in there.backends.collector.file_lines("feedback")
        for span in otlp.spans(line)
        if span.service == "long"
    )
    return {
        "Jaeger": len(jaeger.attributes["feedback.comment"]),
        "Tempo": len(match.attributes["feedback.comment"]),
        "ClickHouse": len(row["comment"]),
        "files": len(file.attributes["feedback.comment"]),
    }


EVENT = "gen_ai.evaluation.result"
WEIGHTED_PROMQL = (
    '2 * sum by (gen_ai_request_model) (feedback_weighted_score_normalized_sum{job="table"})'
    ' / sum by (gen_ai_request_model) (feedback_weight_sum{job="table"}) - 1'
)
MEAN_PROMQL = (
    'sum by (gen_ai_request_model) (feedback_score_sum{job="table"})'
    ' / sum by (gen_ai_request_model) (feedback_score_count{job="table"})'
)

CELLS: dict[str, dict[str, Callable[[There], bool]]] = {
    "find feedback by score": {
        "Jaeger": lambda there: (
            searched(there, sentiment="negative") == there.negative and searched(there, score="-0.5") < there.negative
        ),
        "Tempo": lambda there: traceql(there, "span.feedback.score < 0.0") == there.negative,
        "Prometheus": lambda there: "feedback_id" in labels_of_feedback(there),
        "ClickHouse": lambda there: (
            {
                row["id"]
                for row in there.ask_clickhouse("SELECT carrier_span_id AS id FROM feedback FINAL WHERE score < 0")
            }
            == there.negative
        ),
        "files": lambda there: (
            {signal["feedback_id"] for call in show(there, "--negative") for signal in call["feedback"]}
            == {there.told[number].feedback_id for number in (DOWN, STARS)}
        ),
    },
    "find the feedback on a span": {
        "Jaeger": lambda there: searched(there, target__span_id=there.told[DOWN].target_span_id) == there.negative,
        "Tempo": lambda there: (
            traceql(there, f'span.feedback.target.span_id = "{there.told[DOWN].target_span_id}"') == there.negative
        ),
        "Prometheus": lambda there: any("span_id" in label for label in labels_of_feedback(there)),
        "ClickHouse": lambda there: (
            there.ask_clickhouse(
                f"SELECT count() AS n FROM feedback FINAL WHERE span_id = '{there.told[DOWN].target_span_id}'"
            )
            == [{"n": 2}]
        ),
        "files": lambda there: feedback_shown(there, there.told[DOWN].target_span_id) == 2,
    },
    "go from feedback to the call": {
        "Jaeger": lambda there: (
            there.backends.jaeger.references(there.told[DOWN].trace_id)[there.told[DOWN].span_id]
            == [("FOLLOWS_FROM", there.told[DOWN].target_trace_id, there.told[DOWN].target_span_id)]
        ),
        "Tempo": lambda there: (
            [link.span_id for span in there.backends.tempo.trace(there.told[DOWN].trace_id) for link in span.links]
            == [there.told[DOWN].target_span_id]
        ),
        "Prometheus": lambda there: exemplars(there) == {told.target_span_id for told in there.told},
        "ClickHouse": lambda there: (
            there.ask_clickhouse(
                "SELECT count() AS n FROM feedback AS f FINAL"
                " INNER JOIN otel_traces AS t ON f.trace_id = t.TraceId AND f.span_id = t.SpanId"
                " WHERE t.SpanAttributes['gen_ai.operation.name'] = 'chat'"
            )
            == [{"n": 3}]
        ),
        "files": lambda there: (
            {call["call"]["span_id"] for call in show(there) if call["call"]}
            == {told.target_span_id for told in there.told}
        ),
    },
    "see the event of the conventions": {
        "Jaeger": lambda there: [event.name for event in there.carrier_in_jaeger(DOWN).events] == [EVENT],
        "Tempo": lambda there: traceql(there, f'event:name = "{EVENT}"') == {told.span_id for told in there.told},
        "Prometheus": lambda there: any("evaluation" in label for label in labels_of_feedback(there)),
        "ClickHouse": lambda there: (
            there.ask_clickhouse(
                f"SELECT count() AS n FROM otel_traces WHERE has(Events.Name, '{EVENT}') AND ServiceName = '{SERVICE}'"
            )
            == [{"n": 3}]
        ),
        "files": lambda there: [event.name for event in there.in_files(DOWN)[0].events] == [EVENT],
    },
    "take log events": {
        "Jaeger": lambda there: takes_logs(there.backends.jaeger.otlp_http_endpoint),
        "Tempo": lambda there: takes_logs(there.backends.tempo.otlp_http_endpoint),
        "Prometheus": lambda there: takes_logs(there.backends.prometheus.query_url),
        "ClickHouse": lambda there: (
            there.ask_clickhouse(f"SELECT count() AS n FROM otel_logs WHERE EventName = '{EVENT}'") == [{"n": 3}]
        ),
        "files": lambda there: there.in_files(DOWN)[1].event_name == EVENT,
    },
    "mean score by model": {
        "Jaeger": aggregates,
        "Tempo": lambda there: over_time(there, "avg_over_time(span.feedback.score)") == pytest.approx(MEANS),
        "Prometheus": lambda there: by_model(there, MEAN_PROMQL) == pytest.approx(MEANS),
        "ClickHouse": lambda there: rows_by_model(there, "avg(score)") == pytest.approx(MEANS),
        "files": lambda there: summary(there, "mean_score") == pytest.approx(MEANS),
    },
    "weighted mean score": {
        "Jaeger": aggregates,
        "Tempo": lambda there: weighted_in_tempo(there) == pytest.approx(WEIGHTED_MEANS),
        "Prometheus": lambda there: by_model(there, WEIGHTED_PROMQL) == pytest.approx(WEIGHTED_MEANS),
        "ClickHouse": lambda there: (
            rows_by_model(there, "sum(weighted_score) / sum(weight)") == pytest.approx(WEIGHTED_MEANS)
        ),
        "files": lambda there: summary(there, "weighted_mean_score") == pytest.approx(WEIGHTED_MEANS),
    },
    "comments of any length": {
        "Jaeger": lambda there: comments(there)["Jaeger"] == len(COMMENT),
        "Tempo": lambda there: comments(there)["Tempo"] == 2_048,
        "Prometheus": lambda there: any("comment" in label for label in labels_of_feedback(there)),
        "ClickHouse": lambda there: comments(there)["ClickHouse"] == len(COMMENT),
        "files": lambda there: comments(there)["files"] == len(COMMENT),
    },
}


def table() -> dict[tuple[str, str], str]:
    """The README's table, by row and column."""
    section = README.partition("### What works where")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| *(.*?) \|$", section, re.MULTILINE)
    head, *rows = [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith("---")]
    return {(row[0], column): cell for row in rows for column, cell in zip(head[1:], row[1:], strict=True)}


SAID = table()


def test_every_cell_is_tried() -> None:
    """The README's table has the rows and columns that are tried here."""
    assert list(SAID) == [(row, column) for row, cells in CELLS.items() for column in cells]


@pytest.mark.parametrize(("row", "column"), SAID, ids=str)
def test_cell(row: str, column: str, there: There) -> None:
    """What the cell says works does; what it says does not, does not."""
    assert CELLS[row][column](there) is (SAID[row, column] != "no")
