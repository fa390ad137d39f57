"""`deploy/kubernetes`: the manifests against Kubernetes' schemas, and the two tiers run as processes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.backends.servers import eventually, free_ports
from tests.deploy.collectors import merged, validated, without
from tests.deploy.conftest import run_app
from tests.deploy.tiers import Tier, on_loopback, received

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
FILES = sorted([*KUBERNETES.glob("*.yaml"), *KUBERNETES.glob("kafka/*.yaml")])
MANIFESTS: list[tuple[str, dict[str, Any]]] = [
    (file.relative_to(KUBERNETES).as_posix(), manifest)
    for file in FILES
    for manifest in yaml.safe_load_all(file.read_text())
]
WORKLOADS = [manifest for _, manifest in MANIFESTS if manifest["kind"] in {"DaemonSet", "StatefulSet"}]


def named(manifest: dict[str, Any]) -> str:
    """A manifest's kind and name, for the name of a test."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize(("file", "manifest"), MANIFESTS, ids=lambda one: one if isinstance(one, str) else named(one))
def test_manifests_are_as_kubernetes_wants_them(file: str, manifest: dict[str, Any], version: str) -> None:
    """The schema of an older and of a newer Kubernetes finds nothing wrong, and no field that it does not know."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_config_maps_are_copies() -> None:
    """The ConfigMaps hold the collectors' files as they are: `python deploy/kubernetes/make.py` would change nothing."""
    for file, text in runpy.run_path(str(KUBERNETES / "make.py"))["manifests"]().items():
        assert (KUBERNETES / file).read_text() == text
    kept = dict(
        MANIFESTS[index] for index in range(len(MANIFESTS)) if named(MANIFESTS[index][1]) == "ConfigMap gateways"
    )
    for file, manifest in kept.items():
        assert manifest["data"]["collector-config.yaml"] == (ROOT / "collector-config.yaml").read_text(), file


@pytest.mark.parametrize("workload", WORKLOADS, ids=named)
def test_workloads_fit_together(workload: dict[str, Any]) -> None:
    """What a pod is started with is in its ConfigMap, and its probes and Services ask for ports that it has."""
    pod = workload["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (config,) = [volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume]
    maps = [one["data"] for _, one in MANIFESTS if named(one) == f"ConfigMap {config}"]
    assert len(maps) == 2
    wanted = {Path(argument.removeprefix("--config=")).name for argument in container["args"]}
    assert all(wanted == set(data) for data in maps)
    assert re.search(r":\d+\.\d+\.\d+$", container["image"])
    ports = {port["containerPort"] for port in container["ports"]}
    services = [
        one
        for _, one in MANIFESTS
        if one["kind"] == "Service" and one["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    ]
    assert services
    assert {port["port"] for service in services for port in service["spec"]["ports"]} <= ports
    assert int(pod["metadata"]["annotations"]["prometheus.io/port"]) in ports
    text = "\n".join(str(data) for data in maps) + str(container.get("env", ""))
    assert str(container["readinessProbe"]["httpGet"]["port"]) in text
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
    assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]} | claims


def test_agents_find_the_gateways() -> None:
    """The name by which agents look for gateways is that of the gateways' headless Service."""
    (service,) = [one for _, one in MANIFESTS if named(one) == "Service gateways"]
    assert service["spec"]["clusterIP"] == "None"
    text = (KUBERNETES / "config" / "agent.yaml").read_text()
    metadata = service["metadata"]
    assert set(re.findall(r"[a-z]+\.[a-z]+\.svc\.cluster\.local", text)) == {
        f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
    }


@pytest.mark.backends
def test_the_collector_takes_the_gateways_configuration(collector_binary: None) -> None:
    """collector-config.yaml and what gateways do otherwise are valid together, as they are."""
    done = validated("collector", ROOT / "collector-config.yaml", KUBERNETES / "config" / "gateway.yaml")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.backends
@pytest.mark.parametrize("name", ["agent.yaml", "agent-kafka.yaml"])
def test_a_newer_collector_takes_the_agents_configuration(collector_deploy_binary: None, name: str) -> None:
    """An agent's file is valid as it is."""
    done = validated("collector_deploy", KUBERNETES / "config" / name)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.backends
def test_a_newer_collector_takes_the_configuration_with_kafka(collector_deploy_binary: None, tmp_path: Path) -> None:
    """What a gateway reads from Kafka with is valid, but for the connectors, which that collector does not have."""
    whole = merged(ROOT / "collector-config.yaml", KUBERNETES / "config" / "gateway-kafka.yaml")
    assert {name for name, one in whole["service"]["pipelines"].items() if one["receivers"] != ["kafka"]} == {
        "metrics/feedback"
    }
    file = tmp_path / "whole.yaml"
    file.write_text(yaml.safe_dump(without(whole, {"count", "signaltometrics", "prometheus", "deltatocumulative"})))
    done = validated("collector_deploy", file)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("load", [1, 99, 1_000, 10_000, 100_000])
def test_sizes(load: int) -> None:
    """A size has the processor time, twice over, and one gateway to spare, and never gets smaller with the load."""
    sizing = runpy.run_path(str(KUBERNETES / "sizing.py"))
    size = sizing["size"](load)
    assert size.cores == pytest.approx(load * 11 * sizing["MEASURED_US_A_SPAN"] / 1e6)
    assert size.gateways >= max(3, 2 * size.cores)
    assert sizing["size"](2 * load).gateways >= size.gateways
    assert f"| {load:,} | {11 * load:,} | {size.cores:.2f} | {size.gateways} |" in sizing["table"]([load])


def agent(*gateways: str, **env: str) -> Tier:
    """An agent that balances over gateways at some addresses; its file is otherwise as it is."""
    config = yaml.safe_load(on_loopback(KUBERNETES / "config" / "agent.yaml"))
    for name in ("loadbalancing/feedback", "loadbalancing/traces"):
        config["exporters"][name]["resolver"] = {"static": {"hostnames": list(gateways)}}
    config["exporters"]["otlp/any_gateway"] |= {"endpoint": gateways[0]}
    return Tier("collector_deploy", yaml.safe_dump(config), **env)


def gateway(**env: str) -> Tier:
    """A gateway, its files as they are."""
    texts = (ROOT / "collector-config.yaml").read_text(), on_loopback(KUBERNETES / "config" / "gateway.yaml")
    return Tier("collector", *texts, **env)


@pytest.mark.backends
def test_an_agent_keeps_feedback_while_gateways_are_away(
    collector_binary: None, collector_deploy_binary: None, tmp_path: Path
) -> None:
    """Feedback that came while no gateway was there, before the agent was started anew, arrives when one is there."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with agent(address, SPANBACK_COLLECTOR_FOLDER=str(tmp_path)) as before:
        signals = run_app(before, 5)
    with gateway(SPANBACK_OTLP_GRPC_ENDPOINT=address) as only, agent(address, SPANBACK_COLLECTOR_FOLDER=str(tmp_path)):
        wanted = {signal["carrier_span_id"] for signal in signals}
        eventually(lambda: received(only) == wanted, 60)


@pytest.mark.backends
def test_two_tiers_lose_nothing_and_keep_traces_together(collector_binary: None, collector_deploy_binary: None) -> None:
    """An agent balances over two gateways: both have work, a call and its feedback meet at one, nothing is lost."""
    with gateway() as first, gateway() as second, agent(first.otlp_grpc_endpoint, second.otlp_grpc_endpoint) as own:
        signals = run_app(own, 40)

        wanted = {signal["carrier_span_id"] for signal in signals}
        eventually(lambda: received(first) | received(second) >= wanted, 30)
        assert received(first) & received(second) == set()
        assert received(first)
        assert received(second)
        # Quick feedback is in its call's trace, so all of a call's came to the same gateway.
        for carriers in (received(first), received(second)):
            traces = {signal["trace_id"] for signal in signals if signal["carrier_span_id"] in carriers}
            of_traces = {
                signal["carrier_span_id"] for signal in signals if signal["trace_id"] in traces and signal["resolved"]
            }
            assert of_traces <= carriers
