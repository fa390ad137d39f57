"""`deploy/kubernetes/kafka`: agents and gateways with a broker between them that speaks Kafka's protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.backends import otlp
from tests.backends.conftest import _require
from tests.backends.servers import Collector, Server, eventually
from tests.deploy.collectors import merged, without
from tests.deploy.conftest import run_app
from tests.deploy.tiers import Tier, on_loopback

pytestmark = pytest.mark.backends

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "kubernetes" / "config"
ADDRESS = "kafka.kafka.svc:9092"
TOPICS = ("otlp_spans", "otlp_logs", "otlp_metrics")


class Kafka(Server):
    """A broker with the topics that `deploy/README.md` makes; `broker` is its address."""

    name = "kafka"

    @property
    def broker(self) -> str:
        """The ``host:port`` of Kafka's protocol."""
        return self.otlp_grpc_endpoint

    def arguments(self) -> list[str]:
        """The command line after the binary."""
        return [self.broker.partition(":")[2], self.query_url.rpartition(":")[2], *TOPICS]


@pytest.fixture
def kafka(collector_deploy_binary: None, pytestconfig: pytest.Config) -> Iterator[Kafka]:
    """A broker of the test's own."""
    _require("kafka", pytestconfig)
    with Kafka() as broker:
        yield broker


def agent(kafka: Kafka) -> Tier:
    """An agent, its file as it is but for addresses."""
    return Tier("collector_deploy", on_loopback(CONFIG / "agent-kafka.yaml").replace(ADDRESS, kafka.broker))


def gateway(kafka: Kafka, **env: str) -> Tier:
    """A gateway without the connectors, which the collector that has Kafka's receiver does not have."""
    whole = merged(ROOT / "collector-config.yaml", CONFIG / "gateway-kafka.yaml")
    config = without(whole, {"count", "signaltometrics", "prometheus", "deltatocumulative"})
    (reader,) = config["service"]["telemetry"]["metrics"]["readers"]
    reader["pull"]["exporter"]["prometheus"] = {"host": "127.0.0.1", "port": "${env:SPANBACK_METRICS_PORT}"}
    return Tier("collector_deploy", yaml.safe_dump(config).replace(ADDRESS, kafka.broker), **env)


def carriers(tier: Collector) -> list[otlp.Span]:
    """The feedback spans that a gateway has had, each as often as it came."""
    return [span for line in tier.file_lines("feedback") for span in otlp.spans(line)]


def events(tier: Collector) -> list[tuple[str, Any]]:
    """The rated traces and the ids of the log events of feedback that a gateway has had."""
    found = [record for line in tier.file_lines("logs") for record in otlp.log_records(line)]
    return [(one.trace_id, one.attributes["feedback.id"]) for one in found if "feedback.id" in one.attributes]


def test_every_signal_arrives_once_through_kafka(kafka: Kafka) -> None:
    """Two gateways share the partitions: each signal comes to one of them, once, with all that is in its trace."""
    with gateway(kafka) as first, gateway(kafka) as second, agent(kafka) as own:
        tiers = (first, second)

        def given(count: int) -> list[dict[str, Any]]:
            """What an app gave, when all of it has arrived."""
            signals = run_app(own, count)
            wanted = {signal["carrier_span_id"] for signal in signals}
            eventually(lambda: wanted <= {span.span_id for tier in tiers for span in carriers(tier)})
            return signals

        # Whoever joins first has all partitions for a while. What changes hands then may come twice.
        eventually(lambda: given(6) and all(map(carriers, tiers)), 60)
        signals = given(20)
        expected = Counter(signal["carrier_span_id"] for signal in signals)
        found = [[span for span in carriers(tier) if span.span_id in expected] for tier in tiers]
        assert Counter(span.span_id for spans in found for span in spans) == expected
        by_gateway = [{span.trace_id for span in spans} for spans in found]
        assert all(by_gateway)
        assert not by_gateway[0] & by_gateway[1]
        rated = Counter((signal["trace_id"], signal["feedback_id"]) for signal in signals if signal["resolved"])
        eventually(lambda: Counter(one for tier in tiers for one in events(tier) if one in rated) == rated)


def test_a_gateway_takes_over(kafka: Kafka) -> None:
    """What came while no gateway was there, after the only one was killed, is read by the next; nothing is lost."""
    with agent(kafka) as own:
        with gateway(kafka) as first:
            before = run_app(own, 5)
            wanted = {signal["carrier_span_id"] for signal in before}
            eventually(lambda: wanted <= {span.span_id for span in carriers(first)})
            first.kill()
        after = run_app(own, 5)
        with gateway(kafka) as second:
            wanted = {signal["carrier_span_id"] for signal in after}
            eventually(lambda: wanted <= {span.span_id for span in carriers(second)}, 60)
