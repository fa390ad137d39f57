"""The README's queries of Jaeger, Tempo and Prometheus find in the real ones what the README says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import spanback
from spanback.testing import fake_ref
from tests.backends.giving import Told, app, run_app
from tests.backends.prometheus import RELEASES
from tests.backends.servers import Collector, Jaeger, Tempo, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.backends.prometheus import Prometheus

pytestmark = pytest.mark.backends

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

UP, DOWN, STARS = 0, 1, 2
"""What the app gives: thumbs up as a child of its call, and on another call thumbs down and two of five stars."""

TAGS = {
    "feedback.sentiment=negative": {DOWN, STARS},
    "feedback.name=user_thumbs feedback.score=-1": {DOWN},
    "feedback.target.span_id=<span id>": {DOWN, STARS},
    "feedback.label=wrong": {DOWN},
    "gen_ai.evaluation.score.label=wrong": {DOWN},
    "gen_ai.request.model=gpt-4o-mini feedback.type=explicit": {DOWN, STARS},
}
SEARCHES = [
    {DOWN, STARS},  # what was disliked
    {DOWN, STARS},  # by the event
    {DOWN, STARS},  # by the rated span, attribute ...
    {DOWN, STARS},  # ... and link
    {STARS},  # two stars of five
    {DOWN},  # corrections
    {DOWN, STARS},  # explicit, of some weight
    {UP},  # in the trace of its call
    {DOWN, STARS},  # traces rated badly
]
METRICS = [
    {"gpt-4.1": 1.0, "gpt-4o-mini": -0.75},
    {"positive": 1.0, "negative": 2.0},
    {"gpt-4.1": 0.8, "gpt-4o-mini": -1.3},
    {"gpt-4.1": 0.8, "gpt-4o-mini": 1.8},
]


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of one language."""
    return [found.strip() for found in re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)]


def tag_rows() -> list[str]:
    """The searches of the README's table for Jaeger."""
    return re.findall(r"^\| `([a-z_.]+=[^`]+)` \| ", README, re.MULTILINE)


TRACEQL = [query for query in blocks("traceql") if "_over_time" not in query]
TRACEQL_METRICS = [query for query in blocks("traceql") if "_over_time" in query]


@pytest.fixture(scope="module")
def in_jaeger(jaeger: Jaeger) -> list[Told]:
    """The signals of an app that sends to Jaeger."""
    return run_app(jaeger, "grpc", "asked-jaeger", "rated").signals


@pytest.fixture(scope="module")
def in_tempo(tempo: Tempo) -> list[Told]:
    """The signals of an app that sends to Tempo; no rated span's id begins with 00, which Tempo misses links to."""
    while True:
        told = run_app(tempo, "grpc", "asked-tempo", "rated").signals
        if not told[DOWN].target_span_id.startswith("00"):
            return told


def test_every_query_is_told_what_it_must_find() -> None:
    """The README has no query that is not tried here, and there is none here that it has not."""
    assert tag_rows() == list(TAGS)
    assert (len(TRACEQL), len(TRACEQL_METRICS)) == (len(SEARCHES), len(METRICS))
    assert all("." in number for query in TRACEQL for number in re.findall(r"[<>=] (-?[\d.]+)", query))


@pytest.mark.parametrize("row", TAGS)
def test_tag_search(row: str, in_jaeger: list[Told], jaeger: Jaeger) -> None:
    """A tag search in Jaeger finds those signals and no others."""
    filled = row.replace("<span id>", in_jaeger[DOWN].target_span_id)
    tags = dict(pair.split("=") for pair in filled.split())
    expected = {in_jaeger[number].span_id for number in TAGS[row]}
    eventually(lambda: {span.span_id for span in jaeger.search("asked-jaeger", tags=tags)} == expected)


@pytest.mark.parametrize("number", range(len(TRACEQL)), ids=lambda number: TRACEQL[number])
def test_traceql(number: int, in_tempo: list[Told], tempo: Tempo) -> None:
    """A TraceQL query finds those signals and, of this app, no others."""
    query = TRACEQL[number].replace("<span id>", in_tempo[DOWN].target_span_id)
    expected = {in_tempo[signal].span_id for signal in SEARCHES[number]}
    ours = {told.span_id for told in in_tempo}
    eventually(lambda: {match.span_id for match in tempo.search(query, limit=5_000)} & ours == expected)


@pytest.mark.parametrize("number", range(len(TRACEQL_METRICS)), ids=lambda number: TRACEQL_METRICS[number])
def test_traceql_metrics(number: int, in_tempo: list[Told], tempo: Tempo) -> None:
    """A TraceQL metrics query gives those figures."""
    # Narrowed to the calls of this run, as the server is shared.
    rated = {told.target_span_id for told in in_tempo}
    ours = " || ".join(f'span.feedback.target.span_id = "{span_id}"' for span_id in rated)
    query = TRACEQL_METRICS[number].replace(" }", f" && ({ours}) }}", 1)

    def figures() -> dict[str, float]:
        found = tempo.query_range(query, last_s=1_800, step="1800s")
        return {str(*one.labels.values()): sum(value for _, value in one.samples) for one in found}

    eventually(lambda: figures() == pytest.approx(METRICS[number]))


def test_selected_attributes_come_along(in_tempo: list[Told], tempo: Tempo) -> None:
    """The first query gives the comment, the one for corrections the correction."""
    by_id = {told.span_id: told for told in in_tempo}
    said = {match.span_id: match.attributes for match in tempo.search(TRACEQL[0], limit=5_000)}
    assert said[in_tempo[DOWN].span_id]["feedback.comment"] == "Wrong city"
    corrected = [match for match in tempo.search(TRACEQL[5], limit=5_000) if match.span_id in by_id]
    assert [match.attributes["feedback.improvement"] for match in corrected] == ['"Canberra"']


@pytest.mark.parametrize("start_prometheus", RELEASES, indirect=True)
def test_promql(
    jaeger: Jaeger, start_collector: Callable[..., Collector], start_prometheus: Callable[..., Prometheus]
) -> None:
    """The PromQL of the README gives the means and shares of what came while Prometheus looked."""
    collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint})
    scores, weights = [1.0, -1.0, 0.5, 0.25, -0.5, 0.75], [0.8, 0.8, 1.0, 0.3, 0.5, 0.6]

    def give() -> None:
        with app(collector, "asked-prometheus"):
            for score, weight in zip(scores, weights, strict=True):
                ref = fake_ref(prompt_name="travel", prompt_version="4")
                spanback.record_feedback(ref, score=score, weight=weight, placement="linked")

    give()
    prometheus = start_prometheus(collector.metrics_endpoint, collector.sdk_metrics_endpoint)
    prometheus.reach("sum(feedback_weight_count)", len(scores))
    give()
    prometheus.reach("sum(feedback_weight_count)", 2 * len(scores))
    mean = sum(score * weight for score, weight in zip(scores, weights, strict=True)) / sum(weights)
    expected = [mean, 2 / 6, 3 / 6]
    for query, result in zip(blocks("promql"), expected, strict=True):
        eventually(lambda query=query, result=result: prometheus.value(query) == pytest.approx(result, abs=1e-6))
    (by_version,) = prometheus.query(blocks("promql")[0])
    assert by_version.labels == {"gen_ai_prompt_version": "4"}


@pytest.mark.parametrize("start_prometheus", RELEASES, indirect=True)
def test_metrics_and_labels_of_the_readme_exist(
    jaeger: Jaeger, start_collector: Callable[..., Collector], start_prometheus: Callable[..., Prometheus]
) -> None:
    """Every metric that the README names is in Prometheus, with every label that it names."""
    section = README.partition("### In Prometheus")[2].partition("### What works where")[0]
    metrics = set(re.findall(r"`((?:feedback|gen_ai_client)_[a-z_]+)`", section))
    (sentence,) = re.findall(r"All of them have the labels (.*?)\.", section, re.DOTALL)
    labels = set(re.findall(r"`([a-z_]+)`", sentence))
    collector = start_collector(env={"SPANBACK_TRACES_ENDPOINT": jaeger.otlp_grpc_endpoint})
    prometheus = start_prometheus(collector.metrics_endpoint, collector.sdk_metrics_endpoint)
    run_app(collector, "grpc", "named", "rated")
    more = {"feedback_sentiment", "feedback_target_resolved"}
    for metric in sorted(metrics - labels - more):
        shown = f'{{__name__=~"{metric}(_count)?"}}'
        eventually(lambda shown=shown: prometheus.query(shown))
    (labelled, *_) = eventually(lambda: prometheus.query("feedback_weight_count"))
    assert labels <= labelled.labels.keys()
    assert labelled.labels["job"] == "named"
    (counted, *_) = prometheus.query("feedback_signals_total")
    assert labels | more <= counted.labels.keys()
