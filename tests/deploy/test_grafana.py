"""`deploy/grafana`: the dashboards are what their source makes, and each of their queries returns data."""

from __future__ import annotations

import json
import math
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.backends import otlp
from tests.backends.prometheus import Prometheus
from tests.backends.servers import Match, Tempo, eventually
from tests.deploy.conftest import Pipeline

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS = {file.name: json.loads(file.read_text()) for file in FILES}
VARIABLES = {"job": ".*", "prompt": ".*", "type": ".*", "window": "5m", "__range": "5m", "__rate_interval": "30s"}

Target = dict[str, Any]


def targets(kind: str) -> Iterator[Any]:
    """Every query of all dashboards to one kind of data source, named by its panel."""
    for file, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                if target["datasource"]["type"] == kind:
                    yield pytest.param(target, id=f"{file}: {panel['title']} {target['refId']}")


def filled_in(query: str) -> str:
    """A query with Grafana's variables filled in."""
    return re.sub(r"\$(\w+)", lambda found: VARIABLES[found[1]], query)


def panel_of(title: str) -> dict[str, Any]:
    """The one panel with a title."""
    (found,) = [
        panel for dashboard in DASHBOARDS.values() for panel in dashboard["panels"] if panel["title"].startswith(title)
    ]
    return found


def test_the_dashboards_are_what_their_source_makes() -> None:
    """Nobody has changed a dashboard beside its source: `python deploy/grafana/make.py` would change nothing."""
    made = runpy.run_path(str(GRAFANA / "make.py"))["dashboards"]()
    assert {name: json.dumps(content, indent=2) + "\n" for name, content in made.items()} == {
        file.name: file.read_text() for file in FILES
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_whole(name: str) -> None:
    """Panels stand side by side without gaps or overlaps, ids are their own, and data sources are provisioned."""
    panels = DASHBOARDS[name]["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken = {
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    }
    assert len(taken) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)
    assert max(x for x, _ in taken) == 23
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "datasources.yaml").read_text())["datasources"]
    known = {(source["type"], source["uid"]) for source in sources}
    used = {tuple(panel["datasource"].values()) for panel in panels if "datasource" in panel}
    assert used <= known
    linked = set(re.findall(r'"datasourceUid": "(\w+)"', json.dumps(DASHBOARDS[name])))
    assert linked <= {uid for _, uid in known}


@pytest.mark.backends
@pytest.mark.parametrize("target", list(targets("prometheus")))
def test_promql_returns_data(target: Target, scraped: Prometheus) -> None:
    """A panel's PromQL has numbers to show."""
    query = filled_in(target["expr"])

    def numbers() -> list[float]:
        found = scraped.query_range(query, last_s=60)
        return [value for one in found for _, value in one.samples if not math.isnan(value)]

    assert eventually(numbers)


@pytest.mark.backends
@pytest.mark.parametrize("variable", ["job", "prompt", "type"])
def test_variables_have_values(variable: str, scraped: Prometheus) -> None:
    """What can be chosen from is what Prometheus knows."""
    (found,) = [one for one in DASHBOARDS["feedback.json"]["templating"]["list"] if one["name"] == variable]
    metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", found["query"]).groups()
    known = {one.labels[label] for one in scraped.query(f"count by ({label}) ({filled_in(metric)})")}
    assert (
        known
        == {
            "job": {"travel-assistant"},
            "prompt": {"travel", "none"},
            "type": {"explicit", "implicit"},
        }[variable]
    )


@pytest.mark.backends
@pytest.mark.parametrize("target", list(targets("tempo")))
def test_traceql_returns_data(target: Target, pipeline: Pipeline, tempo: Tempo) -> None:
    """A panel's TraceQL has spans or series to show."""
    query = filled_in(target["query"])
    assert eventually(lambda: tempo.query_range(query) if "_over_time(" in query else tempo.search(query))


def rated_by(match: Match, tempo: Tempo) -> otlp.Span | None:
    """The call that a row of the table is about; None until it is there, since the sampler waits for whole traces."""
    spans = tempo.trace(match.attributes["feedback.target.trace_id"])
    return next((one for one in spans if one.span_id == match.attributes["feedback.target.span_id"]), None)


@pytest.mark.backends
def test_the_worst_answers_lead_to_their_calls(pipeline: Pipeline, tempo: Tempo) -> None:
    """The table's columns have what its links need, and the trace that a link opens holds the rated call."""
    panel = panel_of("Worst answers")
    found = eventually(lambda: tempo.search(panel["targets"][0]["query"]))
    columns = {column["matcher"]["options"] for column in panel["fieldConfig"]["overrides"]}
    shown = {name for match in found for name in match.attributes}
    assert columns <= shown
    (links,) = [
        one["value"]
        for column in panel["fieldConfig"]["overrides"]
        for one in column["properties"]
        if one["id"] == "links"
    ]
    fields = set(re.findall(r'__data\.fields\["(.*?)"\]', json.dumps(links).replace("\\", "")))
    assert fields == {"feedback.target.span_id"}
    resolved = [match for match in found if "feedback.target.trace_id" in match.attributes]
    for match in resolved[:5]:
        rated = eventually(lambda match=match: rated_by(match, tempo))
        assert rated.attributes["gen_ai.operation.name"] == "chat"
