"""`deploy/compose.yaml` and what its services are given: as far as can be told without containers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.backends import builds
from tests.deploy.collectors import merged, validated, without

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
CHAT = (DEPLOY / "chat" / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]


def test_it_is_a_compose_file() -> None:
    """The compose specification's own schema finds nothing wrong."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_services_are_pinned_and_closed(service: str) -> None:
    """An image names a version, and a port is open to this machine only."""
    image = SERVICES[service].get("image")
    assert re.search(r":v?\d+\.\d+[\d.]*$", image) if image else SERVICES[service]["build"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_there(service: str) -> None:
    """Every file and folder that a service mounts or is built from exists, and every volume is declared."""
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    for mount in SERVICES[service].get("volumes", ()):
        source, *_ = mount.split(":")
        assert (DEPLOY / source).exists() if source.startswith(".") else source in volumes
    if build := SERVICES[service].get("build"):
        assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_the_chat_is_built_from_what_is_there() -> None:
    """The Dockerfile copies what exists, and installs an extra that there is."""
    copied = [source for line in re.findall(r"^COPY (.*)$", CHAT, re.MULTILINE) for source in line.split()[:-1]]
    assert copied
    assert all((ROOT / source).exists() for source in copied)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r'"\.\[(.*?)\]"', CHAT)) <= set(extras)


def test_the_chat_starts_with_what_the_command_takes() -> None:
    """The Dockerfile's command has no option that the command line does not know, and the port that compose.yaml says."""
    (command,) = [json.loads(line) for line in re.findall(r"^CMD (.*)$", CHAT, re.MULTILINE)]
    told = subprocess.run(
        [sys.executable, "-m", "spanback", *command[1:2], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert command[0] == "spanback"
    assert [word for word in command if word.startswith("--") and word not in told] == []
    assert f"http://localhost:{command[command.index('--port') + 1]} " in COMPOSE.read_text()


def test_addresses_are_those_of_services() -> None:
    """Every host that a configuration names is a service of the same network."""
    files = ("collector.yaml", "prometheus/prometheus.yml", "grafana/provisioning/datasources/datasources.yaml")
    text = "\n".join((DEPLOY / file).read_text() for file in files)
    text += "\n" + "\n".join(SERVICES["collector"]["environment"].values())
    hosts = set(re.findall(r"\b([a-z]+):\d{4,5}\b", text))
    assert {"jaeger", "tempo", "clickhouse", "collector", "prometheus"} <= hosts <= set(SERVICES)


def test_clickhouse_starts_with_its_tables() -> None:
    """The start-up script is one that a shell can read, and names the files that are mounted."""
    script = DEPLOY / "clickhouse" / "init.sh"
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)
    (names,) = re.findall(r"for file in (.*); do", script.read_text())
    mounted = {mount.split(":")[1] for mount in SERVICES["clickhouse"]["volumes"]}
    assert {f"/schema/{name}.sql" for name in names.split()} <= mounted


@pytest.mark.backends
def test_tempo_takes_its_configuration(tempo: object) -> None:
    """Tempo itself finds nothing wrong with its configuration."""
    command = [str(builds.build("tempo")), f"-config.file={DEPLOY / 'tempo' / 'tempo.yaml'}", "-config.verify=true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.backends
@pytest.mark.parametrize(
    ("binary", "kinds"),
    [
        ("collector", {"clickhouse"}),
        ("collector_deploy", {"count", "signaltometrics", "prometheus", "deltatocumulative"}),
    ],
)
def test_collectors_take_the_configuration(
    binary: str, kinds: set[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Both files together are valid: to one collector all but ClickHouse, to a newer one all but the connectors."""
    request.getfixturevalue(f"{binary}_binary")
    file = tmp_path / "whole.yaml"
    file.write_text(yaml.safe_dump(without(merged(ROOT / "collector-config.yaml", DEPLOY / "collector.yaml"), kinds)))
    done = validated(binary, file, CLICKHOUSE_PASSWORD="feedback")
    assert (done.returncode, done.stderr) == (0, "")
    assert validated(binary, file, SPANBACK_QUEUE_SIZE="many").returncode == 1


@pytest.mark.backends
@pytest.mark.parametrize(
    ("file", "spelling", "status"),
    [
        ("collector-config.yaml", "otlp/", 0),
        ("collector-config.yaml", "otlp_grpc/", 1),
        ("deploy/kubernetes/config/agent-kafka.yaml", "otlp/", 0),
    ],
)
def test_an_older_collector_knows_the_spellings(
    jaeger: object, file: str, spelling: str, status: int, tmp_path: Path
) -> None:
    """A collector of 0.140, as Jaeger 2.13 is one, takes what it has components for, and not by newer names."""
    config = without(merged(ROOT / file), {"count", "signaltometrics", "transform", "deltatocumulative", "file"})
    del config["extensions"], config["service"]["extensions"]
    older = tmp_path / "older.yaml"
    older.write_text(yaml.safe_dump(config).replace("otlp/", spelling))
    done = validated("jaeger", older)
    assert done.returncode == status, done.stderr
    assert ('unknown type: "otlp_grpc"' in done.stderr) is bool(status)
