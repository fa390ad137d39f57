"""`spanback doctor` before real servers: what is well, what is lost on the way, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanback import TargetStatus, _settings
from spanback.cli import _checks, _status, main
from tests.backends.servers import Collector, Jaeger, Tempo

pytestmark = pytest.mark.backends

CONFIGS = Path(__file__).parent / "configs"
PATCHED = TargetStatus("openai", "openai._base_client.SyncAPIClient.request", "patched", "3.52.0", None)

Doctor = Callable[..., tuple[int, dict[str, tuple[str, str, str | None]]]]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs the command with variables; gives the exit code and each step's last state, detail and advice."""
    for name in _settings.variables_set():
        monkeypatch.delenv(name)
    monkeypatch.setattr(_status, "targets_here", lambda: [PATCHED])
    monkeypatch.setattr(_checks, "ARRIVAL_TIMEOUT_S", 3.0)
    _settings.use(None)

    def run(*arguments: str, **variables: str) -> tuple[int, dict[str, Any]]:
        for name, value in {"OTEL_EXPORTER_OTLP_TIMEOUT": "3", **variables}.items():
            monkeypatch.setenv(name, value)
        code = main(["doctor", "--json", *arguments])
        said = json.loads(capsys.readouterr().out)
        assert said["ok"] == (code == 0)
        return code, {one["name"]: (one["state"], one["detail"], one["advice"]) for one in said["checks"]}

    return run


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_shipped_collector_is_well(protocol: str, doctor: Doctor, collector: Collector, jaeger: Jaeger) -> None:
    """All three signals are taken, and all late feedback arrives past the tail sampler, whatever it keeps of calls."""
    at = f"http://{collector.otlp_grpc_endpoint}" if protocol == "grpc" else collector.otlp_http_endpoint
    code, said = doctor(
        *("--jaeger", jaeger.query_url, "--wait", "1"),
        OTEL_EXPORTER_OTLP_ENDPOINT=at,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert code == 0
    assert {name: state for name, (state, _, _) in said.items()} == {
        "versions": "ok",
        "clients": "ok",
        "variables": "ok",
        "sampling": "ok",
        "exporter": "ok",
        "collector: traces": "ok",
        "collector: logs": "ok",
        "collector: metrics": "ok",
        "late feedback: jaeger": "ok",
    }
    assert said["late feedback: jaeger"][1].startswith("20 of 20 signals arrived that were given 1 s after their calls")


def test_a_tail_sampler_that_loses_feedback_is_found(
    doctor: Doctor, start_collector: Callable[..., Collector], tempo: Tempo
) -> None:
    """What arrived is counted, and the way out is named."""
    collector = start_collector(CONFIGS / "tail_sampled.yaml", {"SPANBACK_TRACES_ENDPOINT": tempo.otlp_grpc_endpoint})
    given = f"http://{collector.otlp_grpc_endpoint}"
    code, said = doctor("--tempo", tempo.query_url, "--wait", "2", OTEL_EXPORTER_OTLP_ENDPOINT=given)
    state, detail, advice = said["late feedback: tempo"]
    assert (code, state) == (1, "failed")
    assert int(detail.split(" of ")[0]) < 20
    assert detail.endswith("a sampler on the way drops feedback")
    assert (advice or "").startswith("Split feedback off before the tail sampler")


def test_nothing_listening_is_told_before_anything_is_sent(doctor: Doctor) -> None:
    """The address is named, and what would be tried next is left out."""
    code, said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert code == 1
    state, detail, advice = said["exporter"]
    assert (state, advice) == (
        "failed",
        "Start a collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT to where one is",
    )
    assert detail.startswith("nothing answers at http://127.0.0.1:1 (traces, logs, metrics): ")
    assert said["collector"] == ("skipped", "not asked, since no address answers", None)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_port_of_the_other_protocol_takes_nothing(protocol: str, doctor: Doctor, collector: Collector) -> None:
    """Something listens, but what is sent is not taken."""
    at = collector.otlp_http_endpoint if protocol == "grpc" else f"http://{collector.otlp_grpc_endpoint}"
    code, said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=at, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert code == 1
    assert said["exporter"][0] == "ok"
    state, detail, advice = said["collector: traces"]
    assert (state, detail.split(":")[0]) == ("failed", f"not taken by {protocol}")
    assert f"speaks {protocol} there" in (advice or "")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_backend_that_takes_no_logs_is_no_failure(protocol: str, doctor: Doctor, jaeger: Jaeger) -> None:
    """Feedback is on spans too; the variable that stops the asking is named."""
    at = f"http://{jaeger.otlp_grpc_endpoint}" if protocol == "grpc" else jaeger.otlp_http_endpoint
    code, said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=at, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert code == 0
    assert said["collector: traces"][0] == "ok"
    state, detail, advice = said["collector: logs"]
    assert (state, detail) == ("warning", f"{at} takes no logs; feedback is on spans too, so none is lost")
    assert advice == "Send to a collector that has a pipeline for logs, or set OTEL_LOGS_EXPORTER=none"
    assert said["collector: metrics"][0] == "warning"


def test_a_wrong_query_address_is_told(doctor: Doctor, collector: Collector) -> None:
    """What was sent is taken; where it should be read back, something else answers, or nothing does."""
    given = f"http://{collector.otlp_grpc_endpoint}"
    code, said = doctor("--tempo", collector.query_url, "--wait", "0", OTEL_EXPORTER_OTLP_ENDPOINT=given)
    assert code == 1
    assert said["late feedback: tempo"][0] == "failed"
    code, said = doctor("--jaeger", "http://127.0.0.1:1", "--wait", "0", OTEL_EXPORTER_OTLP_ENDPOINT=given)
    assert said["late feedback: jaeger"][2] == "Is this the address of its query API?"
