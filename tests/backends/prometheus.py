"""Prometheus as a process of a test, on a free loopback port.

The one that is installed (Debian: `prometheus`, 2.42), and the one that is built, 3.15.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.backends import builds
from tests.backends.builds import BackendUnavailableError
from tests.backends.loopback import get_json
from tests.backends.servers import Server, eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Sample:
    """One value of an instant query; labels without the metric's name."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Range:
    """One series of a range query; samples are (seconds, value) pairs."""

    labels: dict[str, str]
    samples: list[tuple[float, float]]


def installed(name: str) -> Path:
    """The path of ``prometheus`` or ``promtool``.

    Raises:
        BackendUnavailableError: It is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise BackendUnavailableError(f"no {name} on the PATH (Debian: apt-get install prometheus)")
    return Path(found)


class Prometheus(Server):
    """Prometheus with targets to scrape and rules to evaluate, once a second unless told otherwise.

    Args:
        targets: ``host:port`` of what is scraped, such as a collector's ``metrics_endpoint``.
        rules: Files of recording and alerting rules.
        interval: How often it scrapes and evaluates, as Prometheus writes durations.
        data: A folder of blocks, such as `promtool tsdb create-blocks-from openmetrics` writes; empty unless given.
    """

    name = "prometheus"
    ready_path = "/-/ready"

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        rules: Sequence[Path] = (),
        interval: str = "1s",
        data: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(env)
        self.targets = list(targets)
        self.rules = [str(path.resolve()) for path in rules]
        self.interval = interval
        self.data = data

    def binary(self) -> Path:
        """The installed one."""
        return installed("prometheus")

    def arguments(self) -> list[str]:
        """The command line after the binary; writes the configuration that it names."""
        config = self.folder / "prometheus.json"  # YAML too
        scraped = {"job_name": "collector", "honor_labels": True, "static_configs": [{"targets": self.targets}]}
        often = {
            "scrape_interval": self.interval,
            "scrape_timeout": self.interval,
            "evaluation_interval": self.interval,
        }
        config.write_text(json.dumps({"global": often, "rule_files": self.rules, "scrape_configs": [scraped]}))
        return [
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data or self.folder / 'data'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address={self.query_url.removeprefix('http://')}",
            "--enable-feature=exemplar-storage",
        ]

    def query(self, promql: str, at_s: float | None = None) -> list[Sample]:
        """The values of an instant query, now or at a time in seconds since the epoch."""
        params = {"query": promql} | ({} if at_s is None else {"time": at_s})
        data = get_json(f"{self.query_url}/api/v1/query", params)["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(_labels(one["metric"]), float(one["value"][1])) for one in data["result"]]

    def value(self, promql: str) -> float | None:
        """The value of a query that gives one; None while it gives none."""
        found = self.query(promql)
        return found[0].value if found else None

    def reach(self, promql: str, expected: float) -> None:
        """Waits until a query gives a value, to nine digits."""
        eventually(lambda: (found := self.value(promql)) is not None and abs(found - expected) < 1e-9)

    def query_range(self, promql: str, *, last_s: float = 300.0, step_s: float = 1.0) -> list[Range]:
        """The series of a range query over the last seconds."""
        now = time.time()
        params = {"query": promql, "start": now - last_s, "end": now, "step": step_s}
        result = get_json(f"{self.query_url}/api/v1/query_range", params)["data"]["result"]
        return [Range(_labels(one["metric"]), [(at, float(value)) for at, value in one["values"]]) for one in result]

    def exemplars(self, promql: str, *, last_s: float = 300.0) -> list[dict[str, Any]]:
        """The exemplars of the series that a query names: labels, value and timestamp."""
        now = time.time()
        params = {"query": promql, "start": now - last_s, "end": now + 5}
        data = get_json(f"{self.query_url}/api/v1/query_exemplars", params)["data"]
        return [exemplar for series in data for exemplar in series["exemplars"]]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing."""
        return get_json(f"{self.query_url}/api/v1/alerts")["data"]["alerts"]


class Prometheus3(Prometheus):
    """The same of the newer line."""

    name = "prometheus3"

    def binary(self) -> Path:
        """The built one."""
        return builds.build(self.name)


RELEASES = {kind.name: kind for kind in (Prometheus, Prometheus3)}


def _labels(metric: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in metric.items() if name != "__name__"}
