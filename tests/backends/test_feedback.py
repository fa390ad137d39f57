"""A rated call and its feedback, from an app that only calls `instrument()`, in the real collector, Jaeger and Tempo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.backends import otlp
from tests.backends.giving import Told, arrived, run_app
from tests.backends.servers import Collector, Jaeger, Tempo, eventually

pytestmark = pytest.mark.backends

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def in_jaeger(collector: Collector, jaeger: Jaeger) -> list[Told]:
    """The signals of an app that sent by grpc through the collector to Jaeger."""
    return run_app(collector, "grpc", "rated-jaeger", "rated").signals


@pytest.fixture(scope="module")
def in_tempo(tempo: Tempo) -> list[Told]:
    """The signals of an app that sent by http/protobuf straight to Tempo."""
    return run_app(tempo, "http/protobuf", "rated-tempo", "rated").signals


def linkable(signals: list[Told]) -> str:
    """A rated span's id that this Tempo finds links by: not one that starts with a zero byte."""
    return next(told.target_span_id for told in signals if not told.target_span_id.startswith("00"))


def check_pair(rated: otlp.Span, carrier: otlp.Span, told: Told) -> None:
    """A rated span and its feedback are as the app made them."""
    assert (rated.name, rated.kind, rated.scope) == (
        f"chat {rated.attributes['gen_ai.request.model']}",
        "CLIENT",
        "spanback",
    )
    assert (carrier.kind, carrier.end_ns - carrier.start_ns) == ("INTERNAL", 1_000)
    assert carrier.links == (otlp.Link(told.target_trace_id, told.target_span_id, {"feedback.relation": "rates"}),)
    assert [event.name for event in carrier.events] == ["gen_ai.evaluation.result"]
    assert carrier.attributes["feedback.id"] == told.feedback_id
    assert carrier.attributes["feedback.target.span_id"] == rated.span_id
    for name in ("gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.id", "gen_ai.response.model"):
        assert carrier.attributes[name] == rated.attributes[name]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("backend", ["collector", "jaeger", "tempo"])
def test_rated_span_and_feedback_arrive(
    backend: str, protocol: str, collector: Collector, jaeger: Jaeger, tempo: Tempo
) -> None:
    """The rated span and its feedback arrive by either protocol, through the collector or straight."""
    server = {"collector": collector, "jaeger": jaeger, "tempo": tempo}[backend]
    trace = tempo.trace if backend == "tempo" else jaeger.trace
    ran = run_app(server, protocol, f"arrive-{backend}-{protocol[:4]}", "rated")
    assert [told.placement for told in ran.signals] == ["child", "linked", "linked"]
    for told in ran.signals:
        rated = arrived(trace, told.target_trace_id, told.target_span_id)
        check_pair(rated, arrived(trace, told.trace_id, told.span_id), told)


@pytest.mark.parametrize("backend", ["jaeger", "tempo"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_backend_for_traces_alone_is_told_of_once(backend: str, protocol: str, jaeger: Jaeger, tempo: Tempo) -> None:
    """Logs and metrics that Jaeger or Tempo refuses are a line at INFO each, not an error for every batch."""
    server = {"jaeger": jaeger, "tempo": tempo}[backend]
    more = {"OTEL_BLRP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
    ran = run_app(server, protocol, f"refused-{backend}-{protocol[:4]}", "many", "100", **more)
    assert len(ran.signals) == 100
    lines = sorted(ran.log.splitlines())
    assert [line.split(" takes no ")[1].split(";")[0] for line in lines] == ["logs", "metrics"]
    assert all(line.startswith("INFO spanback.export") for line in lines)


class TestJaeger:
    """What the README says of Jaeger."""

    def test_finds_feedback_by_sentiment(self, in_jaeger: list[Told], jaeger: Jaeger) -> None:
        """A tag search for negative sentiment finds the two negative signals and not the positive one."""
        found = eventually(lambda: jaeger.search("rated-jaeger", tags={"feedback.sentiment": "negative"}))
        assert {span.span_id for span in found} == {told.span_id for told in in_jaeger[1:]}

    def test_finds_feedback_by_target(self, in_jaeger: list[Told], jaeger: Jaeger) -> None:
        """A tag search for a rated span's id finds the feedback on it."""
        target = in_jaeger[1].target_span_id
        found = eventually(lambda: jaeger.search("rated-jaeger", tags={"feedback.target.span_id": target}))
        assert {span.span_id for span in found} == {told.span_id for told in in_jaeger[1:]}

    def test_finds_feedback_by_operation(self, in_jaeger: list[Told], jaeger: Jaeger) -> None:
        """A search for an operation finds the signals of that name."""
        found = eventually(lambda: jaeger.search("rated-jaeger", operation="feedback stars"))
        assert [span.span_id for span in found] == [in_jaeger[2].span_id]

    def test_finds_thumbs_down_by_score(self, in_jaeger: list[Told], jaeger: Jaeger) -> None:
        """A score is searched as it is printed: -1 finds what -1.0 does not."""
        tags = {"feedback.name": "user_thumbs", "feedback.score": "-1"}
        found = eventually(lambda: jaeger.search("rated-jaeger", tags=tags))
        assert [span.span_id for span in found] == [in_jaeger[1].span_id]
        assert jaeger.search("rated-jaeger", tags={**tags, "feedback.score": "-1.0"}) == []

    def test_shows_the_reference(self, in_jaeger: list[Told], jaeger: Jaeger) -> None:
        """The link is shown as a reference to the rated span, and nothing is warned of."""
        told = in_jaeger[1]
        (carrier,) = eventually(lambda: jaeger.trace(told.trace_id))
        assert [(link.trace_id, link.span_id) for link in carrier.links] == [
            (told.target_trace_id, told.target_span_id)
        ]
        assert jaeger.references(told.trace_id) == {
            told.span_id: [("FOLLOWS_FROM", told.target_trace_id, told.target_span_id)]
        }
        assert jaeger.warnings(told.trace_id) == {}


class TestTempo:
    """What the README says of Tempo."""

    def test_finds_feedback_by_span_attribute(self, in_tempo: list[Told], tempo: Tempo) -> None:
        """A score compared with a double finds the two negative signals; compared with an integer it finds none."""
        here = 'resource.service.name = "rated-tempo"'
        found = eventually(lambda: tempo.search(f"{{ {here} && span.feedback.score < 0.0 }}"))
        assert {match.span_id for match in found} == {told.span_id for told in in_tempo[1:]}
        assert tempo.search(f"{{ {here} && span.feedback.score < 0 }}") == []

    def test_finds_feedback_by_event_name(self, in_tempo: list[Told], tempo: Tempo) -> None:
        """The name of the span event finds all three signals."""
        query = '{ resource.service.name = "rated-tempo" && event:name = "gen_ai.evaluation.result" }'
        found = eventually(lambda: tempo.search(query))
        assert {match.span_id for match in found} == {told.span_id for told in in_tempo}

    def test_finds_feedback_by_link(self, in_tempo: list[Told], tempo: Tempo) -> None:
        """The rated span's id finds the feedback that links to it."""
        target = linkable(in_tempo)
        found = eventually(lambda: tempo.search(f'{{ link:spanID = "{target}" }}'))
        assert {match.span_id for match in found} == {
            told.span_id for told in in_tempo if told.target_span_id == target
        }

    def test_gives_the_mean_score_by_model(self, in_tempo: list[Told], tempo: Tempo) -> None:
        """A metrics query gives the mean score of each model: 1 for the liked, -0.75 for the disliked."""
        query = (
            '{ resource.service.name = "rated-tempo" && span.feedback.score != nil }'
            " | avg_over_time(span.feedback.score) by (span.gen_ai.request.model)"
        )

        def means() -> dict[str, float]:
            series = tempo.query_range(query, step="300s")
            found: dict[str, float] = {}
            for one in series:
                values = [value for _, value in one.samples if value]
                found.update({str(label): values[0] for label in one.labels.values() if values})
            return found if len(found) == 2 else {}

        assert eventually(means) == {"gpt-4.1": 1.0, "gpt-4o-mini": -0.75}


def test_collector_file_carries_both_forms_with_one_id(in_jaeger: list[Told], collector: Collector) -> None:
    """The collector's files have each signal as a span and as a log event, of one id, the latter on the rated span."""
    for told in in_jaeger:
        carrier = arrived(collector.file_spans, told.trace_id, told.span_id)
        assert carrier.attributes["feedback.id"] == told.feedback_id
        logs = eventually(lambda told=told: collector.file_logs(told.target_trace_id))
        (record,) = (log for log in logs if log.attributes.get("feedback.id") == told.feedback_id)
        assert (record.event_name, record.span_id) == ("gen_ai.evaluation.result", told.target_span_id)


def test_show_reads_the_collectors_file(in_jaeger: list[Told], collector: Collector) -> None:
    """`spanback show` finds the signals in the files that the collector wrote."""
    eventually(lambda: collector.file_spans(in_jaeger[-1].trace_id))
    command = [sys.executable, "-m", "spanback", "show", "--json", "--negative", str(collector.telemetry)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rated = [json.loads(line) for line in done.stdout.splitlines()]
    found = {signal["feedback_id"] for call in rated for signal in call["feedback"]}
    assert {told.feedback_id for told in in_jaeger[1:]} <= found


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_no_signal_is_sampled_out(protocol: str, collector: Collector, jaeger: Jaeger) -> None:
    """Under a sampler that keeps a tenth of the calls, 500 of 500 signals arrive, as spans and as log events."""
    service = f"sampled-{protocol[:4]}"
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    ran = run_app(collector, protocol, service, "many", "500", **sampler)
    given = {told.feedback_id for told in ran.signals}
    assert len(given) == 500
    assert 0 < sum(told.sampled for told in ran.signals) < 150
    assert {told.placement for told in ran.signals if not told.sampled} == {"linked"}

    def arrived() -> tuple[set[Any], set[Any]] | None:
        lines = collector.file_lines()
        spans = {s.attributes.get("feedback.id") for line in lines for s in otlp.spans(line) if s.service == service}
        logs = {r.attributes.get("feedback.id") for line in lines for r in otlp.log_records(line)}
        return (spans & given, logs & given) if given <= spans and given <= logs else None

    assert eventually(arrived) == (given, given)
    found = eventually(lambda: _whole(jaeger, service, given))
    assert found == given


def _whole(jaeger: Jaeger, service: str, given: set[str]) -> set[str] | None:
    spans = jaeger.search(service, operation="feedback copied", limit=1_000)
    found = {str(span.attributes["feedback.id"]) for span in spans if "feedback.id" in span.attributes}
    return found if found >= given else None
