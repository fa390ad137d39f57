"""One run of the real pipeline for all tests here: an app, the collector, Tempo, and ClickHouse's engine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.backends import otlp
from tests.backends.conftest import (  # noqa: F401 - fixtures of tests here too
    _require,
    collector_binary,
    collector_deploy_binary,
    jaeger,
    tempo,
)
from tests.backends.prometheus import RELEASES, Prometheus
from tests.backends.servers import Collector, Tempo, eventually
from tests.deploy.clickhouse import FOLDER, ClickHouse

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
CALLS = 40


@dataclass(frozen=True)
class Pipeline:
    """A collector that has had everything, and what the app says that it sent.

    Attributes:
        collector: It still runs.
        signals: Every signal that was given, in order; see `tests.deploy.app.told`.
        messages: What the collector wrote to its files.
    """

    collector: Collector
    signals: list[dict[str, Any]]
    messages: list[dict[str, Any]]

    @property
    def standing(self) -> list[dict[str, Any]]:
        """The signals that hold: of an id that was given again, the last; what was withdrawn is left out."""
        last = {signal["feedback_id"]: signal for signal in self.signals}
        return [signal for signal in last.values() if signal["action"] == "set"]

    @property
    def scored(self) -> list[dict[str, Any]]:
        """Those that have a score."""
        return [signal for signal in self.standing if signal["score"] is not None]


def run_app(collector: Collector, count: int, **more: str) -> list[dict[str, Any]]:
    """Runs the app to its end and gives the signals that it tells of."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANBACK_"))}
    env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.otlp_grpc_endpoint}",
        "OTEL_SERVICE_NAME": "travel-assistant",
        "SPANBACK_USER_HASH_KEY": "a key of the test's own, long enough",
        **more,
    }
    command = [sys.executable, "-m", "tests.deploy.app", str(count)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def pipeline(collector_binary: None, tempo: Tempo) -> Iterator[Pipeline]:  # noqa: F811 - the fixtures imported above
    """The app's calls and feedback, through the collector, to Tempo and files."""
    with Collector(env={"SPANBACK_TRACES_ENDPOINT": tempo.otlp_grpc_endpoint}) as collector:
        signals = run_app(collector, CALLS)
        wanted = {signal["span_id"] for signal in signals if signal["resolved"]}
        wanted |= {signal["feedback_id"] for signal in signals}

        def whole() -> list[dict[str, Any]] | None:
            messages = collector.file_lines()
            spans = [span for message in messages for span in otlp.spans(message)]
            found = {span.span_id for span in spans} | {span.attributes.get("feedback.id") for span in spans}
            return messages if wanted <= found else None

        messages = eventually(whole, 30)
        assert messages is not None
        yield Pipeline(collector, signals, messages)


@pytest.fixture(scope="session")
def scrapers(
    pytestconfig: pytest.Config, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Prometheus]]:
    """Prometheus of both lines with the shipped rules, which see the app run once more, and its spool's metrics."""
    for release in RELEASES:
        _require(release, pytestconfig)
    rules = []
    for name in ("rules.yml", "alerts.yml"):
        rules.append(tmp_path_factory.mktemp("rules") / name)
        rules[-1].write_text((PROMETHEUS / name).read_text().replace("interval: 1m", "interval: 1s"))
    collector = pipeline.collector
    targets = (collector.metrics_endpoint, collector.sdk_metrics_endpoint, collector.own_metrics_endpoint)
    with ExitStack() as stack:
        running = {name: stack.enter_context(release(targets, rules=rules)) for name, release in RELEASES.items()}
        for prometheus in running.values():
            eventually(lambda prometheus=prometheus: prometheus.query("sum(feedback_signals_total)"))
        run_app(pipeline.collector, CALLS // 2, SPANBACK_SPOOL=str(tmp_path_factory.mktemp("spool") / "spool.db"))
        yield running


@pytest.fixture(scope="session", params=RELEASES)
def scraped(request: pytest.FixtureRequest, scrapers: dict[str, Prometheus]) -> Prometheus:
    """Each of them."""
    return scrapers[request.param]


@pytest.fixture(scope="session")
def loader() -> ModuleType:
    """`deploy/clickhouse/load.py`."""
    spec = importlib.util.spec_from_file_location("load", FOLDER / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clickhouse(pytestconfig: pytest.Config) -> Iterator[ClickHouse]:
    """ClickHouse's engine, one for the whole run: make a database of the test's own."""
    pytest.importorskip("chdb")
    with ClickHouse() as server:
        yield server
