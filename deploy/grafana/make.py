"""The dashboards, from one readable source: `python deploy/grafana/make.py` writes dashboards/*.json.

Grafana has no say in how they are kept: whoever changes a panel changes it here. Prometheus scrapes what the collector
makes of feedback (../../collector-config.yaml), Tempo has the traces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
TEMPO = {"type": "tempo", "uid": "tempo"}
WIDTH = 24

Panel = dict[str, Any]

# What people look at: which label, and how it is called.
DIMENSIONS = {
    "gen_ai_prompt_version": "prompt version",
    "gen_ai_request_model": "model",
    "feedback_name": "signal",
    "feedback_source": "source",
    "feedback_type": "type",
}
CHOSEN = 'job=~"$job", gen_ai_prompt_name=~"$prompt", feedback_type=~"$type"'


def mean_score(by: str = "", window: str = "$window", chosen: str = CHOSEN) -> str:
    """The mean by weight, -1 to 1; where nobody voted there is none."""
    total, weight = (
        f"sum by ({by}) (increase({metric}{{{chosen}}}[{window}]))"
        for metric in ("feedback_weighted_score_normalized_sum", "feedback_weight_sum")
    )
    return f"2 * {total} / ({weight} > 0) - 1"


def signals(by: str = "", window: str = "$window", chosen: str = CHOSEN) -> str:
    """How many signals came."""
    return f"sum by ({by}) (increase(feedback_signals_total{{{chosen}}}[{window}]))"


def share(chosen: str, window: str = "$__range") -> str:
    """The share of signals that have some label, of all that are chosen; where there are no signals there is none."""
    return f"({signals(window=window, chosen=f'{CHOSEN}, {chosen}')} or vector(0)) / ({signals(window=window)} > 0)"


def prometheus(expression: str, legend: str = "", *, instant: bool = False) -> Panel:
    """A PromQL query; `legend` names its series."""
    return {"datasource": PROMETHEUS, "expr": expression, "legendFormat": legend, "instant": instant}


def tempo(query: str) -> Panel:
    """A TraceQL query whose answer is a table of spans; a metrics query gives series."""
    return {"datasource": TEMPO, "query": query, "queryType": "traceql", "tableType": "spans", "limit": 50, "spss": 10}


def panel(kind: str, title: str, targets: Sequence[Panel], *, width: int, height: int = 8, **more: Any) -> Panel:
    """One panel; `more` are Grafana's own fields, of which `unit`, `low` and `high` are shortened here."""
    defaults = {"unit": more.pop("unit", "short"), "min": more.pop("low", None), "max": more.pop("high", None)}
    defaults |= more.pop("defaults", {})
    return {
        "type": kind,
        "title": title,
        "datasource": targets[0]["datasource"],
        "targets": [{"refId": chr(ord("A") + number), **target} for number, target in enumerate(targets)],
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "gridPos": {"w": width, "h": height},
        **more,
    }


def stat(title: str, expression: str, **more: Any) -> Panel:
    """One number, over the time that is shown."""
    return panel("stat", title, [prometheus(expression, instant=True)], width=6, height=4, **more)


def series(title: str, *targets: Panel, width: int = 12, **more: Any) -> Panel:
    """Lines over time."""
    return panel("timeseries", title, targets, width=width, **more)


def row(title: str) -> Panel:
    """A heading over panels."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDTH, "h": 1}}


def link_to_tempo(title: str) -> Panel:
    """A link from a trace id to its trace in Tempo, in Grafana itself."""
    query = {"query": "${__value.raw}", "queryType": "traceql"}
    return {
        "title": title,
        "url": "",
        "internal": {"datasourceUid": "tempo", "datasourceName": "Tempo", "query": query},
    }


def link_to_jaeger(title: str) -> Panel:
    """A link from a trace id to its trace in Jaeger's own pages, with the rated span found there."""
    rated = '${__data.fields["feedback.target.span_id"]}'
    return {"title": title, "url": "${jaeger}/trace/${__value.raw}?uiFind=" + rated, "targetBlank": True}


def column(name: str, *properties: tuple[str, Any]) -> Panel:
    """What is special about one column of a table."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties],
    }


def worst_answers() -> Panel:
    """Bad feedback, with a way to the call that it is about; the sampler keeps those calls."""
    selected = ", ".join(
        f"span.{name}"
        for name in (
            "feedback.name", "feedback.score", "feedback.label", "feedback.comment", "gen_ai.request.model",
            "gen_ai.prompt.version", "feedback.target.trace_id", "feedback.target.span_id",
        )
    )  # fmt: skip
    links = [link_to_tempo("the rated call in Tempo"), link_to_jaeger("the rated call in Jaeger")]
    return panel(
        "table",
        "Worst answers: open the rated call from its trace id",
        [tempo(f'{{ span.feedback.action = "set" && span.feedback.score < -0.4 }} | select({selected})')],
        width=WIDTH,
        height=10,
        overrides=[
            column("feedback.target.trace_id", ("displayName", "rated call"), ("links", links)),
            column("feedback.comment", ("custom.width", 400)),
        ],
        options={"sortBy": [{"displayName": "feedback.score", "desc": False}]},
    )


def feedback() -> list[Panel]:
    """How good answers are, and what says so."""
    score = {"low": -1, "high": 1}
    overview = [
        stat("Signals", signals(window="$__range")),
        stat("Mean score", mean_score(window="$__range"), **score),
        stat("Negative", share('feedback_sentiment="negative"'), unit="percentunit"),
        stat("About no known response", share('feedback_target_resolved="false"'), unit="percentunit"),
    ]
    by_dimension: list[Panel] = []
    for label, name in DIMENSIONS.items():
        legend = f"{{{{{label}}}}}"
        by_dimension += [
            series(f"Mean score by {name}, over $window", prometheus(mean_score(label), legend), **score),
            series(f"Signals by {name}, in $window", prometheus(signals(label), legend)),
        ]
    chosen = 'job=~"$job", gen_ai_prompt_name=~"$prompt", feedback_type="{}"'
    kinds = [("explicit", "what users say"), ("implicit", "what users do")]
    told = [prometheus(mean_score(chosen=chosen.format(kind)), legend) for kind, legend in kinds]
    amounts = [prometheus(signals(chosen=chosen.format(kind)), legend) for kind, legend in kinds]
    buckets = prometheus(f"sum by (le) (increase(feedback_score_bucket{{{CHOSEN}}}[$__rate_interval]))", "{{le}}")
    in_tempo = '{ span.feedback.action = "set" && span.feedback.score != nil } | avg_over_time(span.feedback.score)'
    return [
        *overview,
        row("Implicit against explicit"),
        series("Mean score of what users say and of what they do, over $window", *told, **score),
        series("Signals of either kind, in $window", *amounts),
        row("By what"),
        *by_dimension,
        row("Answers"),
        worst_answers(),
        panel(
            "heatmap",
            "Scores",
            [buckets | {"format": "heatmap"}],
            width=12,
            options={"calculate": False, "yAxis": {"axisPlacement": "left"}},
        ),
        series(
            "Mean score by prompt version, not weighted, from Tempo",
            tempo(f"{in_tempo} by (span.gen_ai.prompt.version)"),
            **score,
        ),
    ]


def delivery() -> list[Panel]:
    """Whether feedback arrives: applications' spools, the collector's queue, and what was refused."""

    def lines(title: str, expression: str, legend: str, **more: Any) -> Panel:
        return series(title, prometheus(expression, legend), **more)

    def rate(counter: str, by: str) -> str:
        # Older and newer collectors end their own counters with and without `_total`.
        return f'sum by ({by}) (rate({{__name__=~"otelcol_{counter}(_total)?"}}[$__rate_interval]))'

    def waiting(metric: str) -> str:
        return f"sum by (job, instance) (feedback_spool_{metric})"

    of_feedback = '{exporter=~".*feedback|kafka"}'
    queue_share = f"otelcol_exporter_queue_size{of_feedback} / otelcol_exporter_queue_capacity{of_feedback}"
    given_and_received = [
        prometheus(f"sum by (job) (increase({metric}[$__rate_interval]))", f"{{{{job}}}} {what}")
        for metric, what in (("feedback_count_total", "given"), ("feedback_signals_total", "received"))
    ]
    return [
        row("Applications"),
        lines("Signals that wait in a spool", waiting("pending"), "{{job}} {{instance}}"),
        lines("Signals refused for good", waiting("dead_letters"), "{{job}} {{instance}}"),
        series("Given in applications, and received by the collector", *given_and_received, width=WIDTH),
        row("Collector"),
        lines(
            "How full the queues of feedback are", queue_share, "{{exporter}} {{instance}}", unit="percentunit", low=0
        ),
        lines("Spans sent a second", rate("exporter_sent_spans", "exporter"), "{{exporter}}", low=0),
        lines(
            "Spans refused a second, so that applications try again",
            f"{rate('receiver_refused_spans', 'receiver')} or vector(0)",
            "{{receiver}}",
            low=0,
        ),
        lines(
            "Spans a second that could not be sent",
            f"{rate('exporter_send_failed_spans', 'exporter')} or vector(0)",
            "{{exporter}}",
            low=0,
        ),
        lines("Memory", "otelcol_process_memory_rss", "{{instance}}", unit="bytes", low=0),
        lines("Cores in use", rate("process_cpu_seconds", "instance"), "{{instance}}", low=0),
    ]


def placed(panels: Sequence[Panel]) -> list[Panel]:
    """Panels with their ids and places, from left to right, then down."""
    x = y = height = 0
    done: list[Panel] = []
    for number, one in enumerate(panels, 1):
        width, own_height = one["gridPos"]["w"], one["gridPos"]["h"]
        if x + width > WIDTH:
            x, y, height = 0, y + height, 0
        done.append({"id": number, **one, "gridPos": {"x": x, "y": y, "w": width, "h": own_height}})
        x, height = x + width, max(height, own_height)
    return done


def choice(name: str, label: str, query: str) -> Panel:
    """A variable whose values Prometheus knows; all of them unless chosen."""
    return {
        "type": "query", "name": name, "label": label, "datasource": PROMETHEUS, "multi": True, "includeAll": True,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "refresh": 2, "query": query,
    }  # fmt: skip


def fixed(kind: str, name: str, label: str, values: Sequence[str]) -> Panel:
    """A variable with values of ours, the first of them chosen."""
    options = [{"text": value, "value": value, "selected": value == values[0]} for value in values]
    return {
        "type": kind, "name": name, "label": label, "query": ",".join(values), "options": options,
        "current": options[0],
    }  # fmt: skip


def dashboard(uid: str, title: str, panels: Sequence[Panel], variables: Sequence[Panel] = ()) -> Panel:
    """A whole dashboard, as Grafana keeps it."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["feedback", "spanback"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "templating": {"list": list(variables)},
        "panels": placed(panels),
    }


def dashboards() -> dict[str, Panel]:
    """All dashboards by the name of their file."""
    variables = [
        choice("job", "Application", "label_values(feedback_signals_total, job)"),
        choice("prompt", "Prompt", 'label_values(feedback_signals_total{job=~"$job"}, gen_ai_prompt_name)'),
        choice("type", "Type", "label_values(feedback_signals_total, feedback_type)"),
        fixed("custom", "window", "Mean over", ["1d", "1h", "6h", "7d"]),
        fixed("textbox", "jaeger", "Jaeger's address", ["http://localhost:16686"]),
    ]
    return {
        "feedback.json": dashboard("spanback-feedback", "Feedback", feedback(), variables),
        "delivery.json": dashboard("spanback-delivery", "Feedback's way here", delivery()),
    }


def main() -> None:
    """Writes the files."""
    for name, content in dashboards().items():
        (FOLDER / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
