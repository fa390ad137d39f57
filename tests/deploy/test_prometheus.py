"""`deploy/prometheus`: the rules and alerts, by promtool and by a real Prometheus that scrapes a real collector."""

from __future__ import annotations

import math
import subprocess

import pytest
import yaml

from tests.backends import builds
from tests.backends.conftest import _require
from tests.backends.prometheus import Prometheus, installed
from tests.backends.servers import eventually
from tests.deploy.conftest import CALLS, PROMETHEUS, Pipeline

pytestmark = pytest.mark.backends

RULES = [rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
BY_VERSION = {"job": "travel-assistant", "gen_ai_prompt_name": "travel", "feedback_type": "explicit"}


@pytest.mark.parametrize("promtool", ["promtool", "promtool3"])
@pytest.mark.parametrize(
    "command",
    ["check config prometheus.yml", "check rules rules.yml alerts.yml", "test rules tests.yml"],
)
def test_promtool(promtool: str, command: str, pytestconfig: pytest.Config) -> None:
    """Promtool, of either line, finds nothing wrong, and every alert fires when it should and only then."""
    _require(promtool, pytestconfig)
    binary = builds.build(promtool) if promtool in builds.RECIPES else installed(promtool)
    done = subprocess.run(
        [binary, *command.split()], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    """An alert that never fires in tests.yml would be one that nobody knows to work."""
    tested = {
        one["alertname"]
        for test in yaml.safe_load((PROMETHEUS / "tests.yml").read_text())["tests"]
        for one in test["alert_rule_test"]
        if one["exp_alerts"]
    }
    assert tested == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["record"])
def test_every_rule_records(scraped: Prometheus, rule: dict[str, str]) -> None:
    """Each recording rule has values for the app, from what the collector says."""
    (*_, found) = eventually(lambda: [one for one in scraped.query(rule["record"]) if not math.isnan(one.value)])
    assert found.labels["job"] == "travel-assistant"


def test_recorded_means_are_the_signals_means(scraped: Prometheus, pipeline: Pipeline) -> None:
    """A recorded mean is the mean by weight of the signals that were given: the second run's are those of the first."""
    means = {}
    for version in ("3", "4"):
        # A signal that is given again, or withdrawn later, has been counted: a counter takes nothing back.
        given = [
            signal
            for signal in pipeline.signals
            if (signal["prompt_version"], signal["type"], signal["action"]) == (version, "explicit", "set")
            and signal["score"] is not None
            and signal["number"] < CALLS // 2
        ]
        means[version] = sum(s["score"] * s["weight"] for s in given) / sum(s["weight"] for s in given)

    def recorded() -> dict[str, float]:
        found = scraped.query("prompt_version:feedback_score:mean1d")
        return {
            one.labels["gen_ai_prompt_version"]: one.value for one in found if BY_VERSION.items() <= one.labels.items()
        }

    eventually(lambda: recorded() == pytest.approx(means, abs=1e-6))


def test_nothing_fires_while_all_is_well(scraped: Prometheus) -> None:
    """No alert is up while feedback comes as it should."""
    assert scraped.alerts() == []
