"""The collector of `deploy/compose.yaml` as far as ClickHouse goes: its own exporter writes the rows."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import yaml

from tests.backends import builds
from tests.backends.servers import Collector
from tests.deploy.collectors import Config, merged

ROOT = Path(__file__).parents[2]
PATHS = {"resourceSpans": "traces", "resourceLogs": "logs"}

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def clickhouse_alone(query_url: str, database: str) -> Config:
    """Both files of compose.yaml's collector, with what leads to ClickHouse and nothing else.

    The exporter speaks HTTP instead of the native protocol, and does not compress, as the engine's server here wants
    it; where it speaks to and what it writes is as in the files.
    """
    config = merged(ROOT / "collector-config.yaml", ROOT / "deploy" / "collector.yaml")
    config["exporters"] = {
        name: {**one, "endpoint": f"{query_url}?compress=none", "database": database}
        for name, one in config["exporters"].items()
        if name.startswith("clickhouse/")
    }
    del config["connectors"], config["processors"]["deltatocumulative"]
    pipelines = config["service"]["pipelines"]
    for name, pipeline in list(pipelines.items()):
        pipeline["exporters"] = [one for one in pipeline["exporters"] if one in config["exporters"]]
        if not pipeline["exporters"]:
            del pipelines[name]
    config["service"]["telemetry"] = {"metrics": {"level": "none"}}  # several run at once, and it has one port
    return config


class ClickHouseWriter(Collector):
    """A collector that writes all that it takes into ClickHouse's tables, with the exporter of the real one.

    Args:
        query_url: Where ClickHouse answers by HTTP.
        database: In which the tables are.
    """

    name = "clickhouse writer"

    def __init__(self, query_url: str, database: str) -> None:
        super().__init__(env={"CLICKHOUSE_PASSWORD": ""})
        self.written = clickhouse_alone(query_url, database)

    def binary(self) -> Path:
        """The collector that has the exporter."""
        return builds.build("collector_deploy")

    def arguments(self) -> list[str]:
        """The command line after the binary; writes the file that it names."""
        (self.folder / "writer.yaml").write_text(yaml.safe_dump(self.written))
        return ["--config=writer.yaml"]

    def send(self, lines: Iterable[bytes]) -> None:
        """Sends the lines of a collector's file: spans and log records, no metrics."""
        headers = {"Content-Type": "application/json"}
        for line in lines:
            (kind,) = json.loads(line)
            if kind in PATHS:
                request = urllib.request.Request(f"{self.otlp_http_endpoint}/v1/{PATHS[kind]}", line, headers)
                with _opener.open(request, timeout=10) as response:
                    assert response.status == 200
